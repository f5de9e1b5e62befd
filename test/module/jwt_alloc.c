/*-------------------------------------------------------------------------
 *
 * jwt_alloc.c
 *	  An allocator that fails on demand, to be preloaded by the dynamic linker.
 *
 * It calls the allocator of libc, except for one call of malloc, calloc or
 * realloc, or all calls after a given one.  The failing call is one by
 * OpenSSL, or by PostgreSQL's own program, whose memory contexts allocate
 * their blocks in this way.  It also counts the blocks that OpenSSL has not
 * freed. jwt_test.c offers jwt_alloc_arm() and jwt_alloc_state() in SQL.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *old);

extern int	jwt_alloc_arm(const char *who, long nth);
extern long jwt_alloc_state(int *fired);

typedef struct Range
{
	uintptr_t	start;
	uintptr_t	end;
} Range;

static Range openssl;
static Range victim;
static long countdown;			/* 0: not armed */
static int	lasting;			/* all later calls fail, too */
static int	has_fired;

/* The blocks of OpenSSL: a hash table with linear probing. */
#define N_SLOTS		(1 << 18)

static void *slots[N_SLOTS];
static long live;

static int
is_in(const Range *range, const void *address)
{
	return (uintptr_t) address >= range->start && (uintptr_t) address < range->end;
}

static unsigned int
home(const void *block)
{
	return (unsigned int) (((uintptr_t) block >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 46);
}

static void *
note_block(void *block, const void *caller)
{
	unsigned int i = home(block);

	if (block == NULL || !is_in(&openssl, caller) || live >= N_SLOTS / 2)
		return block;
	while (slots[i] != NULL)
		i = (i + 1) % N_SLOTS;
	slots[i] = block;
	live++;
	return block;
}

static void
forget_block(const void *block)
{
	unsigned int i = home(block);

	if (block == NULL)
		return;
	while (slots[i] != block)
	{
		if (slots[i] == NULL)
			return;
		i = (i + 1) % N_SLOTS;
	}
	live--;
	slots[i] = NULL;
	/* later entries may have to move, so that a search finds them */
	for (i = (i + 1) % N_SLOTS; slots[i] != NULL; i = (i + 1) % N_SLOTS)
	{
		void	   *moved = slots[i];
		unsigned int to = home(moved);

		slots[i] = NULL;
		while (slots[to] != NULL)
			to = (to + 1) % N_SLOTS;
		slots[to] = moved;
	}
}

/* May this call succeed? */
static int
may_succeed(const void *caller)
{
	if (countdown == 0 || !is_in(&victim, caller) || --countdown > 0)
		return 1;
	if (lasting)
		countdown = 1;
	has_fired = 1;
	errno = ENOMEM;
	return 0;
}

void *
malloc(size_t size)
{
	const void *caller = __builtin_return_address(0);

	return may_succeed(caller) ? note_block(__libc_malloc(size), caller) : NULL;
}

void *
calloc(size_t n, size_t size)
{
	const void *caller = __builtin_return_address(0);

	return may_succeed(caller) ? note_block(__libc_calloc(n, size), caller) : NULL;
}

void *
realloc(void *old, size_t size)
{
	const void *caller = __builtin_return_address(0);

	if (!may_succeed(caller))
		return NULL;
	forget_block(old);
	return note_block(__libc_realloc(old, size), caller);
}

void
free(void *old)
{
	forget_block(old);
	__libc_free(old);
}

/* Record the address of a library's code; the program has no name. */
static int
note_range(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *who = arg;
	Range	   *range = strcmp(who, "libcrypto") == 0 ? &openssl : &victim;

	(void) size;
	if (*who == '\0' ? info->dlpi_name[0] != '\0' : strstr(info->dlpi_name, who) == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X))
		{
			range->start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			range->end = range->start + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

/*
 * Let the nth next allocation by "openssl" or "postgres" fail. 0 lets none
 * fail, and a negative nth all later ones, too.  Returns whether this code was
 * found.
 */
int
jwt_alloc_arm(const char *who, long nth)
{
	char		libcrypto[] = "libcrypto";
	char		program[] = "";

	countdown = 0;
	if (openssl.start == 0)
		dl_iterate_phdr(note_range, libcrypto);
	if (strcmp(who, "openssl") == 0)
		victim = openssl;
	else
		dl_iterate_phdr(note_range, program);
	has_fired = 0;
	lasting = nth < 0;
	countdown = nth < 0 ? -nth : nth;
	return victim.start != 0;
}

/*
 * Stop failing.  Returns the number of OpenSSL's blocks since the first
 * arming, and whether an allocation has failed.
 */
long
jwt_alloc_state(int *fired)
{
	countdown = 0;
	*fired = has_fired;
	return live;
}

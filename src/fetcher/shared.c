/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  What launcher, workers and sessions tell each other in shared memory.
 *
 * The launcher keeps a slot for each database that it serves.  A worker leaves
 * there when it is to be started again.  A session wakes a database, which costs
 * it a spinlock and, the first time, a latch.  Everything else is in
 * jwt_jwks_state.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "fetcher/shared.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "trust/refresh.h"

typedef struct Slot
{
	SharedDatabase face;
	bool		has_sources;	/* as far as the last worker saw */
	Wakes		wakes;
} Slot;

/* Log lines that are remembered: sets, and those of a set, the last first. */
#define NEWS_SETS	1024
#define NEWS_WAYS	4

typedef struct Shared
{
	slock_t		mutex;			/* held for a few instructions, and no error */
	Latch	   *launcher;		/* NULL when there is none */
	bool		rescan;			/* a database without a slot was woken */
	Slot		slots[SHARED_MAX_DATABASES];
	uint64		news[NEWS_SETS][NEWS_WAYS];
} Shared;

static Shared *shared;			/* NULL when we were not preloaded */

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void wake(Oid database, const char *issuer, int len, bool force);

static void
request_memory(void)
{
	if (next_request_hook)
		next_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Shared)));
}

static void
start_memory(void)
{
	bool		found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("jwt_jwks", sizeof(Shared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		SpinLockInit(&shared->mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Ask for shared memory, while libraries are preloaded, and let jwt find us.
 */
void
shared_init(void)
{
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	*find_rendezvous_variable(REFRESH_RENDEZVOUS) = (void *) wake;
}

/* The slot of a database, or NULL; the mutex is held. */
static Slot *
find_slot(Oid database)
{
	for (int i = 0; i < SHARED_MAX_DATABASES; i++)
		if (shared->slots[i].face.database == database)
			return &shared->slots[i];
	return NULL;
}

static void
add_name(Wakes *wakes, const char *issuer, int len)
{
	wakes->any = true;
	if (issuer == NULL)
		wakes->all = true;
	if (wakes->all)
		return;
	for (int i = 0; i < wakes->n_names; i++)
		if ((int) strlen(wakes->names[i]) == len && memcmp(wakes->names[i], issuer, len) == 0)
			return;
	if (len >= SHARED_NAME_SIZE || wakes->n_names == SHARED_MAX_NAMES)
	{
		wakes->all = true;
		return;
	}
	memcpy(wakes->names[wakes->n_names], issuer, len);
	wakes->names[wakes->n_names][len] = '\0';
	wakes->n_names++;
}

/*
 * A session wakes its database: see RefreshWake in refresh.h.
 */
static void
wake(Oid database, const char *issuer, int len, bool force)
{
	Latch	   *latch = NULL;
	Slot	   *slot;

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot == NULL && force)
	{
		shared->rescan = true;
		latch = shared->launcher;
	}
	else if (slot != NULL && (slot->has_sources || force))
	{
		if (force || !slot->face.woken)
			latch = shared->launcher;
		if (force)
			slot->face.next_due = DT_NOBEGIN;
		else
		{
			slot->face.woken = true;
			add_name(&slot->wakes, issuer, len);
		}
	}
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

static void
launcher_ends(int code, Datum arg)
{
	(void) code;
	(void) arg;
	shared_set_launcher(false);
}

/*
 * The launcher begins, and whoever wakes sets its latch from now on; or it ends.
 */
void
shared_set_launcher(bool running)
{
	if (running)
		before_shmem_exit(launcher_ends, (Datum) 0);
	SpinLockAcquire(&shared->mutex);
	shared->launcher = running ? MyLatch : NULL;
	SpinLockRelease(&shared->mutex);
}

/*
 * Was a database woken that has no slot?
 */
bool
shared_take_rescan(void)
{
	bool		rescan;

	SpinLockAcquire(&shared->mutex);
	rescan = shared->rescan;
	shared->rescan = false;
	SpinLockRelease(&shared->mutex);
	return rescan;
}

/*
 * Copy what the launcher sees of each slot.
 */
void
shared_list(SharedDatabase *slots)
{
	SpinLockAcquire(&shared->mutex);
	for (int i = 0; i < SHARED_MAX_DATABASES; i++)
		slots[i] = shared->slots[i].face;
	SpinLockRelease(&shared->mutex);
}

/*
 * Make a slot for a database, due at once, unless it has one.  false when there
 * is no room.
 */
bool
shared_add(Oid database)
{
	Slot	   *slot;

	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot == NULL)
	{
		slot = find_slot(InvalidOid);
		if (slot != NULL)
		{
			memset(slot, 0, sizeof(*slot));
			slot->face.database = database;
			slot->face.next_due = DT_NOBEGIN;
		}
	}
	SpinLockRelease(&shared->mutex);
	return slot != NULL;
}

void
shared_remove(Oid database)
{
	Slot	   *slot;

	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot != NULL)
		slot->face.database = InvalidOid;
	SpinLockRelease(&shared->mutex);
}

/*
 * The worker of a database has ended.  If it has not said when the next one is
 * to be started, it has failed, and that is then.
 */
void
shared_worker_gone(Oid database, TimestampTz retry_at)
{
	Slot	   *slot;

	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot != NULL && slot->face.next_due == DT_NOEND)
		slot->face.next_due = retry_at;
	SpinLockRelease(&shared->mutex);
}

/*
 * A worker begins, and takes what it was woken for.  From here on, what wakes it
 * is for the next one, whom nothing else makes due.
 */
void
shared_take_wakes(Oid database, Wakes *wakes)
{
	Slot	   *slot;

	memset(wakes, 0, sizeof(*wakes));
	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot != NULL)
	{
		memcpy(wakes, &slot->wakes, sizeof(*wakes));
		memset(&slot->wakes, 0, sizeof(slot->wakes));
		slot->face.woken = false;
		slot->face.next_due = DT_NOEND;
	}
	SpinLockRelease(&shared->mutex);
}

/*
 * A worker ends: when is there something to do again, and are there sources
 * that a session could wake us for?  The launcher need not be the one that has
 * started it.
 */
void
shared_worker_done(Oid database, TimestampTz next_due, bool has_sources)
{
	Latch	   *latch;
	Slot	   *slot;

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	slot = find_slot(database);
	if (slot != NULL)
	{
		slot->face.next_due = Min(slot->face.next_due, next_due);
		slot->has_sources = has_sources;
	}
	latch = shared->launcher;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Is it the first time that this is asked, of what is to be logged once?  The
 * answer may also be yes when much has been asked since, or the server has started
 * anew; without shared memory it always is.
 */
bool
shared_is_news(uint64 hash)
{
	uint64	   *set;
	int			i;

	if (shared == NULL)
		return true;
	set = shared->news[hash % NEWS_SETS];
	SpinLockAcquire(&shared->mutex);
	for (i = 0; i < NEWS_WAYS && set[i] != hash; i++)
		;
	memmove(set + 1, set, sizeof(uint64) * Min(i, NEWS_WAYS - 1));
	set[0] = hash;
	SpinLockRelease(&shared->mutex);
	return i == NEWS_WAYS;
}

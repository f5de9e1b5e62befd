/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Shared memory of launcher, workers and sessions.
 *
 * The launcher has a slot for each database that it serves.  A worker stores
 * there the time of the next start.  A session wakes a database, which costs a
 * spinlock and, the first time, setting a latch.  All other state is in
 * jwt_jwks_state.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "fetcher/settings.h"
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
	bool		has_sources;	/* as the last worker saw it */
	Wakes		wakes;
} Slot;

/*
 * A cache of logged messages: number of sets, and size of a set, the latest
 * first.
 */
#define MESSAGE_SETS	1024
#define MESSAGE_WAYS	4

typedef struct Shared
{
	slock_t		mutex;			/* held for a few instructions that raise no
								 * error */
	Latch	   *launcher;		/* NULL if no launcher runs */
	bool		rescan;			/* a database without a slot was woken */
	Slot		slots[SHARED_MAX_DATABASES];
	uint64		messages[MESSAGE_SETS][MESSAGE_WAYS];
} Shared;

static Shared *shared;			/* NULL if the library was not preloaded */

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
 * Request shared memory during preloading, and publish the functions for
 * jwt.
 */
void
shared_init(void)
{
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	*find_rendezvous_variable(REFRESH_RENDEZVOUS) = (void *) wake;
	*find_rendezvous_variable(REFRESH_RENDEZVOUS_SERVES) = (void *) settings_serve_database;
}

/* The slot of a database, or NULL. The caller holds the mutex. */
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
 * Wake the worker of a database, for a session; see REFRESH_RENDEZVOUS.
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
 * Called by the launcher when it starts and when it exits.  Sessions set its
 * latch in between.
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
 * Was a database without a slot woken?
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
 * Copy the launcher's view of each slot.
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
 * Make a slot for a database unless it has one.  The database is due at once.
 * Returns false if there is no free slot.
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
 * Called by the launcher when the worker of a database has exited.  If the
 * worker stored no time for the next one, it failed, and the next worker starts
 * at the given time.
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
 * Called by a worker when it starts: take the issuers for which it was woken.  A
 * later wake-up is for the next worker.
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
 * Called by a worker when it exits: store when the next one must start, and
 * whether the database has sources for which a session can wake it.  The
 * launcher may have been restarted meanwhile.
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
 * Is this the first message of its kind?  Used for messages that are logged
 * once.  The answer can also be yes after many other messages, and after a
 * restart of the server.  Without shared memory it is always yes.
 */
bool
shared_is_new_message(uint64 hash)
{
	uint64	   *set;
	int			i;

	if (shared == NULL)
		return true;
	set = shared->messages[hash % MESSAGE_SETS];
	SpinLockAcquire(&shared->mutex);
	for (i = 0; i < MESSAGE_WAYS && set[i] != hash; i++)
		;
	memmove(set + 1, set, sizeof(uint64) * Min(i, MESSAGE_WAYS - 1));
	set[0] = hash;
	SpinLockRelease(&shared->mutex);
	return i == MESSAGE_WAYS;
}

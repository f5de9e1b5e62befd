/*-------------------------------------------------------------------------
 *
 * revocation_count.c
 *	  How many transactions of the server have revoked something, when this
 *	  library is preloaded.
 *
 * It saves a backend from asking again for what cannot have changed: a token that
 * was not revoked when no revoking transaction was under way is not revoked for
 * as long as none has begun.
 *
 * A transaction is counted as begun before anybody can see what it wrote, and as
 * ended when everybody does or nobody ever will.  So who takes a snapshot when
 * both counts are the same has seen all revocations that were counted, and later
 * ones move the first count before they are seen.
 *
 * What is not counted makes the count worthless: what recovery replays, and
 * transactions that were prepared and outlive their session, or the server.
 * Where these can be, nobody relies on the count.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "trust/revocation_count.h"

typedef struct Counts
{
	pg_atomic_uint64 begun;
	pg_atomic_uint64 ended;
} Counts;

static Counts *counts;			/* NULL when we were not preloaded */

static bool counting;			/* this transaction has begun to revoke */

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
request_memory(void)
{
	if (next_request_hook)
		next_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Counts)));
}

static void
start_memory(void)
{
	bool		found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	counts = ShmemInitStruct("jwt revocation count", sizeof(Counts), &found);
	if (!found)
	{
		pg_atomic_init_u64(&counts->begun, 0);
		pg_atomic_init_u64(&counts->ended, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * PostgreSQL calls this for the end of a transaction after others see what it
 * wrote.  One that is prepared never ends here.
 */
static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (!counting)
		return;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		pg_atomic_fetch_add_u64(&counts->ended, 1);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		counting = false;
}

/*
 * Ask for shared memory, while libraries are preloaded.
 */
void
revocation_count_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	RegisterXactCallback(transaction_ended, NULL);
}

/*
 * This transaction has revoked something.
 */
void
revocation_count_this(void)
{
	if (counts == NULL || counting)
		return;
	counting = true;
	pg_atomic_fetch_add_u64(&counts->begun, 1);
}

/*
 * The count, for a snapshot that is taken next; REVOCATION_UNCOUNTED when that
 * may not see what was counted, or something that is not committed: this
 * transaction's own writes.
 */
uint64
revocation_count_if_quiet(void)
{
	uint64		begun;
	uint64		ended;

	if (counts == NULL || max_prepared_xacts > 0 || RecoveryInProgress() ||
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return REVOCATION_UNCOUNTED;
	begun = pg_atomic_read_u64(&counts->begun);
	pg_read_barrier();
	ended = pg_atomic_read_u64(&counts->ended);
	pg_memory_barrier();
	return begun == ended ? begun : REVOCATION_UNCOUNTED;
}

/*
 * Has nobody begun to revoke since the count was this, this transaction
 * included?
 */
bool
revocation_count_is(uint64 count)
{
	return count != REVOCATION_UNCOUNTED && counts != NULL &&
		pg_atomic_read_u64(&counts->begun) == count;
}

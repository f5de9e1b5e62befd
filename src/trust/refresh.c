/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Asking the workers of jwt_jwks to fetch key sets.
 *
 * No session does network I/O.  A session can wake the launcher that jwt_jwks
 * starts when it is preloaded, and it can start a worker for one issuer and
 * wait for what that says.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/lock.h"
#include "token/failure.h"
#include "trust/catalog.h"
#include "trust/refresh.h"

/*
 * Sessions that have a worker fetch for them at a time, of a database and of all:
 * the server has few workers, and they are everybody's.
 */
#define MAX_REFRESHES	2
#define MAX_REFRESHES_OF_ALL	3

/* What stands for a function of ours in the lock of all databases. */
#define ANY_FUNCTION	1

StaticAssertDecl(REFRESH_MAX_ISSUER == TRUST_MAX_NAME, "an issuer's name may be longer than is asked for");

static bool wake_at_commit;

static void transaction_ended(XactEvent event, void *arg);

/*
 * Register what this room needs.
 */
void
refresh_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
}

static void
wake(const char *issuer, int len, bool force)
{
	void	  **hook = find_rendezvous_variable(REFRESH_RENDEZVOUS);

	if (*hook != NULL)
		((RefreshWake) *hook) (MyDatabaseId, issuer, len, force);
}

/*
 * No key has signed a token: its issuer may have rotated.  Which that is, only
 * the caller can tell; the token is not asked.  Every such token wakes, which is
 * cheap: where one did not, because another had, its issuer would be asked for
 * nothing when the cooldown after that other one ends.
 */
void
refresh_wake(const Slice *issuer)
{
	wake(issuer->data, issuer->len, false);
}

/*
 * The sources have changed, as others will see when this transaction commits.
 */
void
refresh_wake_at_commit(void)
{
	wake_at_commit = true;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (!wake_at_commit)
		return;
	if (event == XACT_EVENT_COMMIT)
		wake(NULL, 0, true);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

/*
 * Take one of n locks, the first that nobody has, or wait for one of them.
 */
static void
take_one_lock(LOCKTAG *tag, Oid database, Oid function, int n)
{
	for (int i = 1; i <= n; i++)
	{
		SET_LOCKTAG_OBJECT(*tag, database, ProcedureRelationId, function, i);
		if (LockAcquire(tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
			return;
	}
	SET_LOCKTAG_OBJECT(*tag, database, ProcedureRelationId, function, 1 + MyProcPid % n);
	(void) LockAcquire(tag, ExclusiveLock, false, false);
}

/*
 * Wait for one's turn to have a worker, until no other session refreshes this
 * issuer: of two answers the one that was asked for first is stale.  The locks are
 * held until they are released or the transaction ends.
 */
static void
wait_for_turn(Oid function, const Slice *issuer, LOCKTAG turn[3])
{
	uint16		hash = (uint16) hash_bytes((const unsigned char *) issuer->data, issuer->len);

	SET_LOCKTAG_OBJECT(turn[0], MyDatabaseId, ProcedureRelationId, function, hash | 0x8000);
	(void) LockAcquire(&turn[0], ExclusiveLock, false, false);
	take_one_lock(&turn[1], MyDatabaseId, function, MAX_REFRESHES);
	take_one_lock(&turn[2], InvalidOid, ANY_FUNCTION, MAX_REFRESHES_OF_ALL);
}

/*
 * Fetch the key set of an issuer, in a worker, and wait until it has committed
 * what it did.  Raises an error when that failed.  function is that which was
 * called.
 */
void
refresh_now(Oid function, const Slice *issuer, RefreshCounts *counts)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_name = "jwt_jwks refresh",
		.bgw_type = "jwt_jwks worker",
		.bgw_library_name = REFRESH_LIBRARY,
		.bgw_function_name = REFRESH_FUNCTION,
		.bgw_notify_pid = MyProcPid,
	};
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;
	RefreshRequest *request;
	LOCKTAG		turn[3];

	PreventCommandDuringRecovery("jwt_refresh_jwks()");
	if (issuer->len > REFRESH_MAX_ISSUER)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("issuer \"%s\" does not exist", quote_untrusted(issuer->data, issuer->len))));

	wait_for_turn(function, issuer, turn);
	segment = dsm_create(sizeof(RefreshRequest), 0);
	request = dsm_segment_address(segment);
	memset(request, 0, sizeof(*request));
	request->database = MyDatabaseId;
	memcpy(request->issuer, issuer->data, issuer->len);
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));

	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not register background process"),
				 errhint("You may need to increase max_worker_processes.")));

	/* an error or a cancel ends the worker, and gives back the segment */
	PG_TRY();
	{
		if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("cannot start background processes without postmaster")));
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();

	for (int i = lengthof(turn) - 1; i >= 0; i--)
		LockRelease(&turn[i], ExclusiveLock, false);
	if (!request->answered)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("worker that fetches the key set ended without an answer"),
				 errhint("The server log may say why; the library \"%s\" must be installed.",
						 REFRESH_LIBRARY)));
	if (request->error[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not refresh the key set of issuer \"%s\"",
						quote_untrusted(issuer->data, issuer->len)),
				 errdetail_internal("%s", pstrdup(request->error))));
	*counts = request->counts;
	dsm_detach(segment);
}

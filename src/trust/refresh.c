/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Asking the workers of jwt_jwks to fetch key sets.
 *
 * No session does network I/O.  A session can wake the launcher, which runs if
 * jwt_jwks is preloaded.  It can also start a worker for one issuer and wait
 * for its result.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/lock.h"
#include "token/failure.h"
#include "trust/catalog.h"
#include "trust/refresh.h"

/*
 * The maximal number of sessions that have a worker at the same time: of one
 * database, and in total.  The server has few workers.
 */
#define MAX_REFRESHES	2
#define MAX_REFRESHES_OF_ALL	3

/* The lock for all databases uses this in place of a function's OID. */
#define ANY_FUNCTION	1

StaticAssertDecl(REFRESH_MAX_ISSUER == TRUST_MAX_NAME, "an issuer's name may be longer than is asked for");

static bool wake_at_commit;

static void transaction_ended(XactEvent event, void *arg);

/*
 * Register callbacks and variables of this file.
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
 * No key has signed a token, so its issuer may have rotated its keys.  Only
 * the caller can name the issuer, because the token is not verified.  Every
 * such token wakes the worker, which is cheap.  If a token did not, because an
 * earlier one had, its issuer's keys might not be fetched after the cooldown.
 */
void
refresh_wake(const Slice *issuer)
{
	wake(issuer->data, issuer->len, false);
}

/*
 * The sources have changed: wake the worker when this transaction commits.
 */
void
refresh_wake_at_commit(void)
{
	wake_at_commit = true;
}

/*
 * The reason why no worker fetches a source that is due; NULL if one does.
 */
const char *
refresh_why_idle(void)
{
	RefreshServes serves = (RefreshServes) *find_rendezvous_variable(REFRESH_RENDEZVOUS_SERVES);

	if (*find_rendezvous_variable(REFRESH_RENDEZVOUS) == NULL)
		return "No worker fetches its keys, because \"jwt_jwks\" is not in shared_preload_libraries.";
	if (serves != NULL && !serves(get_database_name(MyDatabaseId)))
		return "No worker fetches its keys, because jwt_jwks.databases does not name this database.";
	return NULL;
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
 * Take the first free one of n locks, or wait for one of them.
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
 * Wait until this session may have a worker and no other session refreshes
 * this issuer.  Two fetches of an issuer must not overlap, because the older
 * answer could be imported last.  The locks are held until they are released
 * or the transaction ends.
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
 * Fetch the key set of an issuer in a worker, and wait until the worker has
 * committed.  Raises an error if the fetch fails. function is the OID of the
 * calling SQL function.
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

	/* an error or a cancel terminates the worker and frees the segment */
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

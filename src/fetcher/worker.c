/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The worker processes: one for all due sources of a database, and one
 *	  for a single issuer on request of a session.
 *
 * A worker exits when it is done, when it has used its time, or when a session
 * wants to drop the database.  An error that is not the document's fault, such
 * as a lock timeout, is logged.  After any error the source is due again in a
 * minute, because claiming it has set that time.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "extension/log_once.h"
#include "fetcher/fetch.h"
#include "fetcher/settings.h"
#include "fetcher/shared.h"
#include "fetcher/source.h"
#include "fetcher/transaction.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

extern PGDLLEXPORT JWT_EXPORT void jwt_jwks_worker_main(Datum arg);
extern PGDLLEXPORT JWT_EXPORT void jwt_jwks_refresh_main(Datum arg);

/* A worker starts no fetch after this time, in milliseconds. */
#define MAX_LIFE_MS		30000

/* The delay if other sessions have locked all due sources. */
#define LOCKED_WAIT_MS	5000

/*
 * How often a waiting worker checks whether it blocks a command on the
 * database.
 */
#define YIELD_INTERVAL_MS	500

static Oid	database;
static bool is_single;			/* for a waiting session */

/*
 * Connect to a database, and override settings of the database that change the
 * meaning of names or the length of waits.
 */
static void
connect_to_database(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* a session may have locked the database */
	SetConfigOption("lock_timeout", "5s", PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("exit_on_error", "off", PGC_SUSET, PGC_S_OVERRIDE);
	if (GetConfigOption("transaction_timeout", true, false) != NULL)	/* since 17 */
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("row_security", "on", PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Does a session want to drop, rename, move or copy the database?  It waits
 * some seconds for others to disconnect.  A worker holds no lock while it
 * fetches, so it would not notice otherwise.
 */
static void
yield_database(void)
{
	static TimestampTz last;
	TimestampTz now = GetCurrentTimestamp();
	LOCKTAG		tag;

	if (now >= last && now < TimestampTzPlusMilliseconds(last, YIELD_INTERVAL_MS))
		return;
	last = now;

	/* the lock that a connecting session takes */
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(LOG,
				(errmsg("worker of jwt_jwks leaves a database to somebody who needs it alone")));
		proc_exit(1);
	}
	LockRelease(&tag, RowExclusiveLock, true);
}

/*
 * Called repeatedly while a worker waits.
 */
static void
while_waiting(void)
{
	settings_reload();
	/* for a single refresh, the waiting session blocks the command itself */
	if (!is_single)
		yield_database();
}

/*
 * Add the fetch of a URL for a source.
 */
static void
add_fetch(FetchPool *pool, Source *source, const char *url, const char *etag)
{
	source->last_url = MemoryContextStrdup(GetMemoryChunkContext(source), url);
	fetch_add(pool, url, etag, source);
}

/*
 * Start to fetch a source.  Returns NULL or the error.
 */
static const char *
begin_fetch(FetchPool *pool, Source *source)
{
	const char *error = source->error;
	const char *url = source->uri;

	source->last_url = source->uri;
	if (error == NULL && !source->discovered)
		url = source_discovery_url(source, &error);
	if (error == NULL)
		add_fetch(pool, source, url, source->etag);
	return error;
}

/*
 * Handle the result of a fetch: fetch the discovered set, or import the set.
 * Returns whether the source is finished, with the result in *counts and
 * *error.
 */
static bool
handle_result(FetchPool *pool, Source *source, Fetched *fetched, RefreshCounts *counts, const char **error)
{
	if (!source->discovered && fetched->status == FETCH_DONE)
	{
		char	   *url = source_read_discovery(source, fetched, &fetched->error);

		if (url != NULL)
		{
			/* the entity tag may belong to another URL */
			source->discovered = true;
			add_fetch(pool, source, url, NULL);
			return false;
		}
		fetched->status = FETCH_FAILED;
	}
	*error = source_finish(source, fetched, counts);
	return true;
}

/*
 * Fetch sources, and handle results in the order in which they arrive.  If
 * that takes too long, the next worker does the rest.  *counts and *error have
 * the result of the last source.
 */
static void
fetch_sources(Source **sources, int n, RefreshCounts *counts, const char **error)
{
	FetchPool  *pool = fetch_pool_create(settings_fetch_limits(), while_waiting);
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "jwt_jwks fetch", ALLOCSET_DEFAULT_SIZES);
	Fetched		fetched;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MAX_LIFE_MS);
	volatile int next = 0;

	for (;;)
	{
		MemoryContextReset(each);
		MemoryContextSwitchTo(each);

		/* a source that cannot be started is already finished */
		if (next < n && fetch_has_room(pool) && (next == 0 || GetCurrentTimestamp() < end))
		{
			memset(&fetched, 0, sizeof(fetched));
			fetched.owner = sources[next++];
			fetched.max_age = -1;
			fetched.error = begin_fetch(pool, fetched.owner);
			if (fetched.error == NULL)
				continue;
			fetched.status = FETCH_FAILED;
		}
		else if (!fetch_next(pool, &fetched))
			break;

		PG_TRY();
		{
			RefreshCounts done;
			const char *why = NULL;

			if (handle_result(pool, fetched.owner, &fetched, &done, &why))
			{
				*counts = done;
				*error = why ? MemoryContextStrdup(outer, why) : NULL;
			}
		}
		PG_CATCH();
		{
			ErrorData  *failure;

			HOLD_INTERRUPTS();
			MemoryContextSwitchTo(each);
			failure = CopyErrorData();
			AbortOutOfAnyTransaction();
			FlushErrorState();
			source_log_failure(fetched.owner, failure->message);
			RESUME_INTERRUPTS();
			*error = "The keys could not be written; the server log tells more.";
		}
		PG_END_TRY();
	}
	fetch_pool_free(pool);
	MemoryContextSwitchTo(outer);
}

/*
 * Let the extension jwt_auth, if it is there, rotate its signing keys.  It logs
 * its errors, each once.  On a subscriber nothing is rotated, because the publisher does it.
 */
static void
rotate_signing_keys(void)
{
	Oid			function;

	*find_rendezvous_variable(LOG_ONCE_RENDEZVOUS) = (void *) shared_is_new_message;
	if (!transaction_begin())
		return;
	function = transaction_find_auth_function("jwt_rotate_due_signing_keys");
	if (OidIsValid(function) && !transaction_is_subscribed("jwt_key"))
		(void) OidFunctionCall0(function);
	transaction_commit();
}

/*
 * Make sure that another worker starts if this one has not finished its work.
 */
static void
worker_ends(int code, Datum arg)
{
	(void) arg;
	if (code != 0)
		shared_worker_done(database, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 60000), true);
}

/*
 * Exit, after storing the time of the next worker.
 */
static void
end_worker(TimestampTz earliest, TimestampTz latest)
{
	bool		has_sources;
	TimestampTz due = source_next_due(&has_sources);

	shared_worker_done(database, Min(Max(due, earliest), latest), has_sources);
	proc_exit(0);
}

/*
 * The worker of a database: arg is its OID.
 */
void
jwt_jwks_worker_main(Datum arg)
{
	Wakes	   *wakes;
	Source	  **sources;
	RefreshCounts counts;
	const char *error;
	TimestampTz now;
	TimestampTz end;
	bool		more = true;
	int			n;

	database = DatumGetObjectId(arg);
	before_shmem_exit(worker_ends, (Datum) 0);
	wakes = MemoryContextAlloc(TopMemoryContext, sizeof(Wakes));

	/*
	 * before connecting: a worker that cannot connect would be restarted
	 * again and again
	 */
	shared_take_wakes(database, wakes);
	connect_to_database();
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "jwt_jwks worker", ALLOCSET_DEFAULT_SIZES));

	n = source_claim_due(wakes, settings_cooldown_ms(), &sources);
	if (n > 0)
		fetch_sources(sources, n, &counts, &error);
	end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MAX_LIFE_MS);
	while (more && GetCurrentTimestamp() < end)
	{
		CHECK_FOR_INTERRUPTS();
		more = source_prune_revocations();
	}
	rotate_signing_keys();
	now = GetCurrentTimestamp();
	end_worker(n == 0 ? TimestampTzPlusMilliseconds(now, LOCKED_WAIT_MS) : DT_NOBEGIN,
			   more ? now : DT_NOEND);
}

/*
 * The worker of a single refresh: arg is the handle of a RefreshRequest.
 */
void
jwt_jwks_refresh_main(Datum arg)
{
	dsm_segment *segment;
	RefreshRequest *request;
	Source	   *source;
	const char *error = NULL;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "jwt_jwks refresh");
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not map dynamic shared memory segment")));
	dsm_pin_mapping(segment);
	request = dsm_segment_address(segment);

	database = request->database;
	is_single = true;
	before_shmem_exit(worker_ends, (Datum) 0);
	connect_to_database();
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "jwt_jwks refresh", ALLOCSET_DEFAULT_SIZES));
	source = source_claim(request->issuer, &error);
	if (source != NULL)
	{
		error = NULL;
		/* a session wants an import even if the set was not modified */
		source->etag = NULL;
		fetch_sources(&source, 1, &request->counts, &error);
	}
	if (error != NULL)
		strlcpy(request->error, error, sizeof(request->error));
	request->answered = true;
	end_worker(DT_NOBEGIN, DT_NOEND);
}

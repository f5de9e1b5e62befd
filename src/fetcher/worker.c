/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The processes that fetch: one for what is due in a database, and one for
 *	  a single issuer that a session asks for.
 *
 * Both end when they are done, or have taken so long that others shall have their
 * turn, or when somebody wants to drop the database.  An error that is not a
 * document's, such as a lock that could not be had, is logged.  Whatever happens,
 * the source is as it was: claiming it has made it due again in a minute.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "fetcher/fetch.h"
#include "fetcher/settings.h"
#include "fetcher/shared.h"
#include "fetcher/source.h"
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

/* A worker begins no fetch after so many milliseconds. */
#define MAX_LIFE_MS		30000

/* Who has found everything that is due locked by others comes back after this. */
#define LOCKED_WAIT_MS	5000

/* How often a worker that waits looks if it is in somebody's way. */
#define YIELD_INTERVAL_MS	500

static Oid	database;
static bool is_single;			/* for a session that waits */

/*
 * Connect to a database, and have nothing there decide what names mean or how
 * long we wait.
 */
static void
connect_to_database(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* somebody may have the database locked */
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
 * Is somebody about to drop, rename, move or copy the database?  They wait some
 * seconds for others to leave, and we, who hold no lock while we fetch, would not
 * notice.
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

	/* what a session takes that connects */
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
 * What is to be done again and again while we wait.
 */
static void
while_waiting(void)
{
	settings_reload();
	/* of a single refresh, the session that waits is in the way itself */
	if (!is_single)
		yield_database();
}

/*
 * Ask a URL for a source.
 */
static void
ask(FetchPool *pool, Source *source, const char *url, const char *etag)
{
	source->asked = MemoryContextStrdup(GetMemoryChunkContext(source), url);
	fetch_add(pool, url, etag, source);
}

/*
 * Begin to fetch a source.  Returns NULL, or the error.
 */
static const char *
begin_fetch(FetchPool *pool, Source *source)
{
	const char *error = source->error;
	const char *url = source->uri;

	source->asked = source->uri;
	if (error == NULL && !source->discovered)
		url = source_discovery_url(source, &error);
	if (error == NULL)
		ask(pool, source, url, source->etag);
	return error;
}

/*
 * Deal with what came back: go on to the set that was discovered, or import it.
 * Returns whether the source is finished, and how in *counts and *error.
 */
static bool
deal_with(FetchPool *pool, Source *source, Fetched *fetched, RefreshCounts *counts, const char **error)
{
	if (!source->discovered && fetched->status == FETCH_DONE)
	{
		char	   *url = source_read_discovery(source, fetched, &fetched->error);

		if (url != NULL)
		{
			/* the entity tag may be another URL's */
			source->discovered = true;
			ask(pool, source, url, NULL);
			return false;
		}
		fetched->status = FETCH_FAILED;
	}
	*error = source_finish(source, fetched, counts);
	return true;
}

/*
 * Fetch sources, and deal with them in the order in which they come back.  When
 * that takes too long, the rest is left to the next worker.  The last one's
 * outcome is left in *counts and *error.
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

		/* one that cannot be begun has come back already */
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

			if (deal_with(pool, fetched.owner, &fetched, &done, &why))
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
 * When this worker has not done what it was started for, somebody has to come
 * back.
 */
static void
worker_ends(int code, Datum arg)
{
	(void) arg;
	if (code != 0)
		shared_worker_done(database, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 60000), true);
}

/*
 * End, and leave word when the next worker is to come.
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
	/* first, as one that cannot connect would be started over and over */
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
		/* whoever asks wants to have it, modified or not */
		source->etag = NULL;
		fetch_sources(&source, 1, &request->counts, &error);
	}
	if (error != NULL)
		strlcpy(request->error, error, sizeof(request->error));
	request->answered = true;
	end_worker(DT_NOBEGIN, DT_NOEND);
}

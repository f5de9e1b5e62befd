/*-------------------------------------------------------------------------
 *
 * source.c
 *	  The table jwt_jwks_source: what is due, and how it went.  And the other
 *	  thing that workers do in a database, pruning revocations.
 *
 * Each function is a transaction of its own (transaction.c), so that none is open
 * while we wait for the network, and one issuer's trouble is not another's.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fetcher/source.h"
#include "fetcher/transaction.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Failures are retried after so many seconds at first, twice that then, ... */
#define FIRST_RETRY		30

/* A refresh interval that the endpoint's max-age may shorten to this. */
#define SHORTEST_INTERVAL	60

#define MAX_ERROR	1000

/* Revocations that are pruned in one transaction. */
#define PRUNE_ROWS	10000

/* Arguments of the functions that are called by OID. */
static const Oid import_types[] = {TEXTOID, JSONBOID};
static const Oid prune_types[] = {INT4OID};

/*
 * What the outcome of an import depends on, besides the set: as long as this is
 * so, one that was not modified has nothing to import.  Of the issuer of the row
 * s of jwt_jwks_source.
 */
#define ETAG_STATE \
	"hashtextextended(concat_ws(' ', pg_postmaster_start_time()," \
	" (SELECT i.algorithms FROM %s.jwt_issuer i WHERE i.issuer = s.issuer)," \
	" (SELECT string_agg(concat_ws(' ', k.id, k.kid, k.alg, k.jwk, k.source, k.revoked_at, k.retired_at), ',' ORDER BY k.id)" \
	" FROM %s.jwt_key k WHERE k.issuer = s.issuer)), 0)"

/*
 * Who claims a source makes it due again after this, should it never be heard of
 * again; and after $5 milliseconds when it has been fetched, unless somebody has
 * asked for it, or put it off, meanwhile.
 */
#define CLAIM_TIME "interval '1 minute'"
#define NEXT_ATTEMPT \
	"CASE WHEN next_attempt = last_attempt + " CLAIM_TIME \
	" THEN clock_timestamp() + $5 * interval '1 millisecond' ELSE next_attempt END"

/*
 * What a claim returns.  last_attempt is whose claim it is: who claims a source
 * later makes an earlier answer stale.
 */
#define SOURCE_COLUMNS \
	"s.issuer, s.uri, CASE WHEN s.etag IS NOT NULL AND s.etag_state = " ETAG_STATE " THEN s.etag END," \
	" s.last_error, s.failures, extract(epoch from s.refresh_interval)::bigint, s.last_attempt"

static Source *
copy_source(int row, MemoryContext context)
{
	Source	   *source = MemoryContextAllocZero(context, sizeof(Source));

	source->issuer = transaction_copy_text(row, 1, false);
	source->uri = transaction_copy_text(row, 2, true);
	source->etag = transaction_copy_text(row, 3, true);
	source->last_error = transaction_copy_text(row, 4, true);
	source->failures = DatumGetInt32(transaction_column(row, 5, INT4OID, NULL));
	source->refresh_interval = DatumGetInt64(transaction_column(row, 6, INT8OID, NULL));
	source->claimed_at = DatumGetTimestampTz(transaction_column(row, 7, TIMESTAMPTZOID, NULL));
	source->discovered = source->uri != NULL;
	return source;
}

/* When a source that tokens ask for may be fetched; $3 is the cooldown. */
#define COOLED_DOWN \
	"(least(last_attempt, statement_timestamp())" \
	" + $3 * (1 << greatest(least(failures, 4), 0)) * interval '1 millisecond')"

/*
 * Take what is due, or was woken and is not cooling down, and note that it was.
 * The sources are in the current memory context.
 */
int
source_claim_due(const Wakes *wakes, int cooldown_ms, Source ***sources)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Oid			types[] = {BOOLOID, TEXTARRAYOID, INT4OID};
	Datum		names[SHARED_MAX_NAMES];
	Datum		values[lengthof(types)];
	int			n;

	if (!is_there)
		return 0;
	for (int i = 0; i < wakes->n_names; i++)
		names[i] = CStringGetTextDatum(wakes->names[i]);
	values[0] = BoolGetDatum(wakes->all);
	values[1] = PointerGetDatum(construct_array(names, wakes->n_names, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = Int32GetDatum(cooldown_ms);

	/*
	 * Who is cooling down is due afterwards, and the longer the more often it
	 * has failed; who was put off to infinity stays there.  Who was fetched
	 * in the future is due, as the clock has gone back.  That is judged by
	 * the clock: another worker may have claimed the source after this
	 * statement began.
	 */
	if (wakes->any)
		transaction_execute("UPDATE %s.jwt_jwks_source SET next_attempt = " COOLED_DOWN
							" WHERE issuer IN (SELECT issuer FROM %s.jwt_jwks_source"
							" WHERE ($1 OR issuer = ANY ($2))"
							" AND next_attempt > " COOLED_DOWN " AND next_attempt < 'infinity'"
							" FOR NO KEY UPDATE SKIP LOCKED)",
							SPI_OK_UPDATE, lengthof(types), types, values, NULL);
	transaction_execute("UPDATE %s.jwt_jwks_source s"
						" SET last_attempt = statement_timestamp(),"
						" next_attempt = statement_timestamp() + " CLAIM_TIME
						" WHERE issuer IN (SELECT issuer FROM %s.jwt_jwks_source"
						" WHERE next_attempt IS NULL OR next_attempt <= statement_timestamp()"
						" OR (last_attempt > clock_timestamp() AND next_attempt < 'infinity')"
						" ORDER BY next_attempt NULLS FIRST LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED)"
						" RETURNING " SOURCE_COLUMNS,
						SPI_OK_UPDATE_RETURNING, 0, NULL, NULL, NULL);
	n = (int) SPI_processed;
	*sources = MemoryContextAlloc(context, sizeof(Source *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*sources)[i] = copy_source(i, context);
	transaction_commit();
	return n;
}

/*
 * Take the source of an issuer, due or not; NULL when it has none.  One that is
 * put off for ever remains so.
 */
Source *
source_claim(const char *issuer)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(issuer)};
	Source	   *source = NULL;

	if (!is_there)
		return NULL;
	transaction_execute("UPDATE %s.jwt_jwks_source s"
						" SET last_attempt = statement_timestamp(),"
						" next_attempt = CASE next_attempt WHEN 'infinity' THEN next_attempt ELSE statement_timestamp() + " CLAIM_TIME " END"
						" WHERE issuer = $1"
						" RETURNING " SOURCE_COLUMNS,
						SPI_OK_UPDATE_RETURNING, lengthof(types), types, values, NULL);
	if (SPI_processed > 0)
		source = copy_source(0, context);
	transaction_commit();
	return source;
}

/*
 * Where an issuer's configuration is (OpenID Connect Discovery 1.0 section 4);
 * NULL with an error when it can have none.
 */
char *
source_discovery_url(const Source *source, const char **error)
{
	int			len = (int) strlen(source->issuer);

	if (strncmp(source->issuer, "https://", 8) != 0 && strncmp(source->issuer, "http://", 7) != 0)
	{
		*error = "The issuer is not a URL, so where its keys are cannot be discovered; set \"uri\".";
		return NULL;
	}
	if (source->issuer[len - 1] == '/')
		len--;
	return psprintf("%.*s/.well-known/openid-configuration", len, source->issuer);
}

/*
 * A document as jsonb; an error when it is none.
 */
static Datum
parse_document(const Fetched *fetched)
{
	if (memchr(fetched->body, '\0', fetched->len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s", "json")));
	return DirectFunctionCall1(jsonb_in,
							   CStringGetDatum(pg_any_to_server(fetched->body, fetched->len, PG_UTF8)));
}

typedef struct Discovery
{
	const Source *source;
	const Fetched *fetched;
	char	   *uri;
	const char *error;
} Discovery;

/* A string member of an object; NULL when it has none. */
static char *
string_member(Jsonb *object, const char *name)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(object) ||
		getKeyJsonValueFromContainer(&object->root, name, (int) strlen(name), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

static void
read_discovery(void *arg)
{
	Discovery  *discovery = arg;
	Jsonb	   *document = DatumGetJsonbP(parse_document(discovery->fetched));
	char	   *issuer = string_member(document, "issuer");

	discovery->uri = string_member(document, "jwks_uri");
	if (issuer == NULL || strcmp(issuer, discovery->source->issuer) != 0)
		discovery->error = "The configuration that was discovered is of another issuer.";
	else if (discovery->uri == NULL)
		discovery->error = "The configuration that was discovered names no \"jwks_uri\".";
}

/*
 * The URL of the key set that an issuer's configuration names; NULL with an
 * error when it does not.
 */
char *
source_read_discovery(const Source *source, const Fetched *fetched, const char **error)
{
	MemoryContext context = CurrentMemoryContext;
	Discovery	discovery = {.source = source, .fetched = fetched};
	char	   *parse_error;
	char	   *uri = NULL;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	parse_error = transaction_attempt(read_discovery, &discovery);
	if (parse_error != NULL)
		*error = "The configuration that was discovered is not JSON.";
	else if (discovery.error != NULL)
		*error = discovery.error;
	else
		uri = MemoryContextStrdup(context, discovery.uri);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return uri;
}

typedef struct Import
{
	Oid			function;
	const Source *source;
	const Fetched *fetched;
	RefreshCounts counts;
} Import;

static void
import(void *arg)
{
	Import	   *job = arg;
	ArrayType  *counts = DatumGetArrayTypeP(OidFunctionCall2(job->function,
															 CStringGetTextDatum(job->source->issuer),
															 parse_document(job->fetched)));

	if (ARR_NDIM(counts) != 1 || ARR_DIMS(counts)[0] != 5 || ARR_HASNULL(counts) ||
		ARR_ELEMTYPE(counts) != INT4OID)
		elog(ERROR, "jwt_import_counts() gave something else");
	memcpy(&job->counts, ARR_DATA_PTR(counts), sizeof(job->counts));
}

/*
 * In how many milliseconds to fetch again.  Spread, so that many sources do not
 * stay in step; but never later than the refresh interval.
 */
static int64
next_wait(const Source *source, const Fetched *fetched, bool good)
{
	double		seconds = (double) source->refresh_interval;

	if (good)
	{
		if (fetched->max_age >= 0)
			seconds = Min(seconds, Max(fetched->max_age, SHORTEST_INTERVAL));
		seconds *= 0.9 + 0.1 * pg_prng_double(&pg_global_prng_state);
	}
	else
	{
		seconds = Min(seconds, FIRST_RETRY * (double) (1 << Min(Max(source->failures, 0), 20)));
		seconds *= 0.75 + 0.25 * pg_prng_double(&pg_global_prng_state);
	}
	return (int64) (seconds * 1000);
}

/*
 * Tell the log, once per change of state.
 */
static void
log_outcome(const Source *source, const char *error, const char *detail, const RefreshCounts *counts)
{
	if (error != NULL && (source->last_error == NULL || strcmp(source->last_error, error) != 0))
		ereport(LOG,
				(errmsg("could not refresh the key set of issuer \"%s\"", source->issuer),
				 errdetail_internal("%s%s%s", error, detail ? " " : "", detail ? detail : "")));
	if (error == NULL && source->failures > 0)
		ereport(LOG,
				(errmsg("the key set of issuer \"%s\" is refreshed again", source->issuer)));
	if (error == NULL && counts->added + counts->changed + counts->retired > 0)
		ereport(LOG,
				(errmsg("keys of issuer \"%s\" have changed: %d added, %d changed, %d retired",
						source->issuer, counts->added, counts->changed, counts->retired)));
}

/*
 * Import what was fetched, and note how it went, unless the source has been
 * removed or moved meanwhile.  Returns NULL or the error that was noted.
 */
const char *
source_finish(const Source *source, const Fetched *fetched, RefreshCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Import		job = {.source = source, .fetched = fetched};
	const char *error = fetched->error;
	const char *detail = fetched->detail;
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, BOOLOID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types) + 1] = "  nnnn ";
	bool		changed;

	memset(counts, 0, sizeof(*counts));
	if (!is_there)
		return "The extension is not there any more.";

	values[0] = CStringGetTextDatum(source->issuer);
	values[1] = CStringGetTextDatum(source->uri ? source->uri : "");
	nulls[1] = source->uri ? ' ' : 'n';

	/* the issuer first, as whoever deletes it does */
	transaction_execute("SELECT FROM %s.jwt_issuer WHERE issuer = $1 FOR NO KEY UPDATE",
						SPI_OK_SELECT, 1, types, values, nulls);
	values[6] = TimestampTzGetDatum(source->claimed_at);
	transaction_execute("SELECT FROM %s.jwt_jwks_source WHERE issuer = $1 AND uri IS NOT DISTINCT FROM $2"
						" AND last_attempt = $7 FOR NO KEY UPDATE",
						SPI_OK_SELECT, lengthof(types), types, values, nulls);
	if (SPI_processed == 0)
	{
		transaction_commit();
		return "The source has changed, or has been fetched again, meanwhile.";
	}
	job.function = transaction_find_function("jwt_import_counts", lengthof(import_types), import_types);
	if (error == NULL && !OidIsValid(job.function))
		error = "The extension is of a version that cannot be served.";
	if (error == NULL && fetched->status == FETCH_DONE &&
		(detail = transaction_attempt(import, &job)) != NULL)
		error = "The endpoint's answer could not be imported as a JWK Set; the server log tells why.";
	if (error != NULL)
		error = pnstrdup(error, pg_mbcliplen(error, (int) strlen(error), MAX_ERROR));
	changed = error == NULL && job.counts.added + job.counts.changed + job.counts.retired > 0;

	/* a set that was not modified keeps its entity tag */
	values[2] = CStringGetTextDatum(fetched->etag ? fetched->etag : "");
	nulls[2] = fetched->etag ? ' ' : 'n';
	values[3] = CStringGetTextDatum(error ? error : "");
	nulls[3] = error ? ' ' : 'n';
	values[4] = Int64GetDatum(next_wait(source, fetched, error == NULL));
	nulls[4] = nulls[5] = ' ';
	values[5] = BoolGetDatum(changed);
	if (error != NULL)
		transaction_execute("UPDATE %s.jwt_jwks_source SET failures = least(greatest(failures, 0), 1000000) + 1, last_error = $4,"
							" next_attempt = " NEXT_ATTEMPT
							" WHERE issuer = $1",
							SPI_OK_UPDATE, lengthof(types), types, values, nulls);
	else if (fetched->status == FETCH_NOT_MODIFIED)
		transaction_execute("UPDATE %s.jwt_jwks_source SET failures = 0, last_error = NULL,"
							" last_success = last_attempt,"
							" next_attempt = " NEXT_ATTEMPT
							" WHERE issuer = $1",
							SPI_OK_UPDATE, lengthof(types), types, values, nulls);
	else
		transaction_execute("UPDATE %s.jwt_jwks_source s SET failures = 0, last_error = NULL,"
							" etag = $3, etag_state = " ETAG_STATE ","
							" last_success = last_attempt,"
							" last_change = CASE WHEN $6 THEN last_attempt ELSE last_change END,"
							" next_attempt = " NEXT_ATTEMPT
							" WHERE issuer = $1",
							SPI_OK_UPDATE, lengthof(types), types, values, nulls);
	if (error != NULL)
		error = MemoryContextStrdup(context, error);
	if (detail != NULL)
		detail = MemoryContextStrdup(context, detail);
	transaction_commit();
	*counts = job.counts;
	log_outcome(source, error, detail, counts);
	return error;
}

/*
 * Remove some revocations of tokens that have expired.  Returns whether there
 * may be more.
 */
bool
source_prune_revocations(void)
{
	bool		is_there = transaction_begin();
	Oid			function;
	bool		more = false;

	if (!is_there)
		return false;
	function = transaction_find_function("jwt_prune_revocations", lengthof(prune_types), prune_types);
	if (OidIsValid(function))	/* version 1.1 has none */
		more = DatumGetInt64(OidFunctionCall1(function, Int32GetDatum(PRUNE_ROWS))) == PRUNE_ROWS;
	transaction_commit();
	return more;
}

/*
 * When is somebody to look again, which is before the next source is due, and
 * are there any?
 */
TimestampTz
source_next_due(bool *there_are)
{
	bool		is_there = transaction_begin();
	TimestampTz due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SHARED_MAX_WAIT_MS);
	bool		isnull;
	Datum		datum;

	*there_are = false;
	if (!is_there)
		return due;
	transaction_execute("SELECT count(*) > 0, min(coalesce(next_attempt, '-infinity')) FROM %s.jwt_jwks_source",
						SPI_OK_SELECT, 0, NULL, NULL, NULL);
	*there_are = DatumGetBool(transaction_column(0, 1, BOOLOID, NULL));
	datum = transaction_column(0, 2, TIMESTAMPTZOID, &isnull);
	if (!isnull)
		due = Min(due, DatumGetTimestampTz(datum));
	transaction_commit();
	return due;
}

/*-------------------------------------------------------------------------
 *
 * source.c
 *	  The tables jwt_jwks_source (URLs of key sets) and jwt_jwks_state
 *	  (results of fetches). Also the pruning of revocations by workers.
 *
 * Each function is one transaction (transaction.c).  So no transaction is open
 * while a worker waits for the network, and an error for one issuer does not
 * affect another.
 *
 * jwt_jwks_source may contain anything; workers only read it.  A source
 * without a row in jwt_jwks_state is due at once.  So is a source whose state
 * has another uri: the uri has changed, and the rest of the state is outdated.
 * A source with next_attempt infinity is parked, also if its uri changes.
 *
 * A restore or a publisher may write the tables at the same time.  Workers
 * lock single rows of jwt_issuer and jwt_jwks_source.  They write only
 * jwt_jwks_state, jwt_key (by the import) and jwt_denylist (by pruning), and
 * no table whose rows come from a publisher.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fetcher/source.h"
#include "fetcher/transaction.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "token/json.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * The delay after the first failure, in seconds; it doubles with each further
 * failure.
 */
#define FIRST_RETRY		30

/* The endpoint's max-age can shorten the refresh interval down to this. */
#define SHORTEST_INTERVAL	60

#define MAX_ERROR	1000

/* The maximal number of bytes of a URL in the log. */
#define MAX_LOGGED_URL	256

/*
 * The delay before checking again whether keys come from a publisher, in
 * milliseconds.
 */
#define SUBSCRIBED_WAIT_MS	300000

/* The maximal number of revocations that one transaction prunes. */
#define PRUNE_ROWS	10000

/* Arguments of the functions that are called by OID. */
static const Oid import_types[] = {TEXTOID, TEXTOID};
static const Oid prune_types[] = {INT4OID};

static const char subscribed[] = "The keys come by logical replication, so they are not fetched here.";
static const char no_issuer[] = "The issuer has no row in jwt_issuer.";

/*
 * A hash of everything besides the set that affects an import.  While it is
 * the same, a set that was not modified needs no import.  It is for the issuer
 * of the row t of jwt_jwks_state.
 */
#define ETAG_STATE \
	"hashtextextended(concat_ws(' ', pg_postmaster_start_time()," \
	" (SELECT i.algorithms FROM %s.jwt_issuer i WHERE i.issuer = t.issuer)," \
	" (SELECT string_agg(d.value, ' ' ORDER BY d.value) FROM %s.jwt_denylist d WHERE d.issuer = '' AND d.kind = 'key')," \
	" (SELECT string_agg(concat_ws(' ', k.id, k.kid, k.alg, k.jwk, k.source, k.retired_at), ',' ORDER BY k.id)" \
	" FROM %s.jwt_key k WHERE k.issuer = t.issuer)), 0)"

/* Duplicate keys, as a restore can leave them; an import removes them. */
#define HAS_DUPLICATES \
	"EXISTS (SELECT FROM %s.jwt_key k WHERE k.issuer = t.issuer AND k.source = 'jwks'" \
	" GROUP BY k.kid, k.jwk HAVING count(*) > 1)"

/* The reason why the row s of jwt_jwks_source cannot be fetched. */
#define SOURCE_ERROR \
	"CASE WHEN NOT EXISTS (SELECT FROM %s.jwt_issuer i WHERE i.issuer = s.issuer) THEN $1" \
	" WHEN octet_length(s.uri) > 2048 THEN 'The \"uri\" is longer than 2048 bytes.'" \
	" WHEN s.uri !~ '^https?://' THEN 'The \"uri\" is not an HTTP URL.'" \
	" WHEN s.uri ~ '[[:cntrl:] #]' THEN 'The \"uri\" has a space, a control character or a fragment.' END"

/* An invalid interval in jwt_jwks_source counts as the nearest valid one. */
#define REFRESH_INTERVAL \
	"least(greatest(coalesce(s.refresh_interval, '1 hour'), '1 minute'), '30 days')"

#define HAS_MOVED	"t.uri IS DISTINCT FROM s.uri"

/*
 * Claim the sources t and s.  Claiming a source makes it due again after a
 * minute, in case the worker dies. $3 is the delay in milliseconds for the
 * next fetch.  A session that writes next_attempt during the fetch has
 * priority. last_attempt identifies the claim: a later claim makes the answer
 * to an earlier one stale.
 */
#define CLAIM_TIME "interval '1 minute'"
#define CLAIM \
	"UPDATE %s.jwt_jwks_state t SET uri = s.uri, last_attempt = statement_timestamp()," \
	" next_attempt = CASE t.next_attempt WHEN 'infinity' THEN t.next_attempt ELSE statement_timestamp() + " CLAIM_TIME " END," \
	" etag = CASE WHEN NOT " HAS_MOVED " THEN t.etag END," \
	" failures = CASE WHEN NOT " HAS_MOVED " THEN least(greatest(coalesce(t.failures, 0), 0), 1000000) ELSE 0 END," \
	" last_error = CASE WHEN NOT " HAS_MOVED " THEN t.last_error END" \
	" FROM %s.jwt_jwks_source s WHERE s.issuer = t.issuer AND "
#define CLAIMED \
	" RETURNING s.issuer, CASE WHEN octet_length(s.uri) <= 2048 THEN s.uri END, " SOURCE_ERROR "," \
	" CASE WHEN t.etag IS NOT NULL AND t.etag_state = " ETAG_STATE " AND NOT " HAS_DUPLICATES " THEN t.etag END," \
	" t.failures, extract(epoch from " REFRESH_INTERVAL ")::bigint, t.last_attempt, t.last_success"
#define NEXT_ATTEMPT \
	"CASE WHEN next_attempt = last_attempt + " CLAIM_TIME \
	" THEN clock_timestamp() + $3 * interval '1 millisecond' ELSE next_attempt END"

/* Insert a state for each source without one. */
#define ADD_STATES \
	"INSERT INTO %s.jwt_jwks_state (issuer, uri) SELECT s.issuer, s.uri FROM %s.jwt_jwks_source s" \
	" WHERE NOT EXISTS (SELECT FROM %s.jwt_jwks_state t WHERE t.issuer = s.issuer) ON CONFLICT DO NOTHING"

/*
 * Make a text that contains network input safe for the log and for a row.
 */
static char *
quote_text(const char *text)
{
	return quote_untrusted_up_to(text, (int) strlen(text), MAX_ERROR);
}

/* The name of this database for messages. Needs a transaction. */
static char *
quote_database(void)
{
	return quote_text(get_database_name(MyDatabaseId));
}

static Source *
copy_source(int row, MemoryContext context)
{
	Source	   *source = MemoryContextAllocZero(context, sizeof(Source));
	bool		isnull;

	source->issuer = transaction_copy_text(row, 1, false);
	source->database = MemoryContextStrdup(context, quote_database());
	source->uri = transaction_copy_text(row, 2, true);
	source->error = transaction_copy_text(row, 3, true);
	source->etag = transaction_copy_text(row, 4, true);
	source->failures = DatumGetInt32(transaction_column(row, 5, INT4OID, NULL));
	source->refresh_interval = DatumGetInt64(transaction_column(row, 6, INT8OID, NULL));
	source->claimed_at = DatumGetTimestampTz(transaction_column(row, 7, TIMESTAMPTZOID, NULL));
	source->last_success = DatumGetTimestampTz(transaction_column(row, 8, TIMESTAMPTZOID, &isnull));
	source->discovered = source->uri != NULL;
	return source;
}

/*
 * Do keys, or other rows that a fetch writes, come from a publisher?  Then our
 * writes could stop replication.
 */
static bool
is_subscribed(void)
{
	return transaction_is_subscribed("jwt_key") || transaction_is_subscribed("jwt_jwks_state");
}

static uint64
hash_text(const char *str, uint64 seed)
{
	return hash_bytes_extended((const unsigned char *) str, (int) strlen(str), seed);
}

/*
 * Store in the states of all sources that the publisher fetches their keys.
 */
static void
note_subscribed(void)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(subscribed)};

	if (!transaction_is_subscribed("jwt_jwks_state"))
	{
		transaction_execute(ADD_STATES, SPI_OK_INSERT, 0, NULL, NULL, NULL);
		transaction_execute("UPDATE %s.jwt_jwks_state SET last_error = $1 WHERE last_error IS DISTINCT FROM $1",
							SPI_OK_UPDATE, lengthof(types), types, values, NULL);
	}
	if (shared_is_new_message(hash_text(subscribed, MyDatabaseId)))
		ereport(LOG,
				(errmsg("no key sets are fetched for database \"%s\"", quote_database()),
				 errdetail_internal("%s", subscribed)));
}

/* When a source may be fetched because of a token; $3 is the cooldown. */
#define COOLED_DOWN \
	"(least(last_attempt, statement_timestamp())" \
	" + $3 * (1 << greatest(least(failures, 4), 0)) * interval '1 millisecond')"

/*
 * Claim the sources that are due, or that were woken and have no cooldown.
 * They are in the current memory context.
 */
int
source_claim_due(const Wakes *wakes, int cooldown_ms, Source ***sources)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Oid			types[] = {BOOLOID, TEXTARRAYOID, INT4OID};
	Oid			claim_types[] = {TEXTOID};
	Datum		names[SHARED_MAX_NAMES];
	Datum		values[lengthof(types)];
	Datum		claim_values[] = {CStringGetTextDatum(no_issuer)};
	int			n;

	if (!is_there)
		return 0;
	if (is_subscribed())
	{
		note_subscribed();
		transaction_commit();
		return 0;
	}
	for (int i = 0; i < wakes->n_names; i++)
		names[i] = CStringGetTextDatum(wakes->names[i]);
	values[0] = BoolGetDatum(wakes->all);
	values[1] = PointerGetDatum(construct_array(names, wakes->n_names, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = Int32GetDatum(cooldown_ms);

	/* a source that is deleted and added again is new */
	transaction_execute("DELETE FROM %s.jwt_jwks_state WHERE issuer IN (SELECT issuer FROM %s.jwt_jwks_state t"
						" WHERE NOT EXISTS (SELECT FROM %s.jwt_jwks_source s WHERE s.issuer = t.issuer)"
						" FOR UPDATE SKIP LOCKED)",
						SPI_OK_DELETE, 0, NULL, NULL, NULL);
	transaction_execute(ADD_STATES, SPI_OK_INSERT, 0, NULL, NULL, NULL);

	/*
	 * A woken source with a cooldown becomes due at its end.  The cooldown
	 * grows with the number of failures.  A parked source stays parked.  A
	 * source with a fetch in the future is due, because the clock was set
	 * back.  This uses the clock and not the time of the statement, because
	 * another worker may have claimed the source after the statement began.
	 */
	if (wakes->any)
		transaction_execute("UPDATE %s.jwt_jwks_state SET next_attempt = " COOLED_DOWN
							" WHERE issuer IN (SELECT issuer FROM %s.jwt_jwks_state"
							" WHERE ($1 OR issuer = ANY ($2))"
							" AND next_attempt > " COOLED_DOWN " AND next_attempt < 'infinity'"
							" FOR NO KEY UPDATE SKIP LOCKED)",
							SPI_OK_UPDATE, lengthof(types), types, values, NULL);
	transaction_execute(CLAIM "t.issuer IN (SELECT t.issuer FROM %s.jwt_jwks_state t"
						" JOIN %s.jwt_jwks_source s ON s.issuer = t.issuer"
						" WHERE t.next_attempt IS NULL OR t.next_attempt <= statement_timestamp()"
						" OR (t.next_attempt < 'infinity' AND (" HAS_MOVED " OR t.last_attempt > clock_timestamp()))"
						" ORDER BY t.next_attempt NULLS FIRST LIMIT 1000 FOR NO KEY UPDATE OF t SKIP LOCKED)" CLAIMED,
						SPI_OK_UPDATE_RETURNING, lengthof(claim_types), claim_types, claim_values, NULL);
	n = (int) SPI_processed;
	*sources = MemoryContextAlloc(context, sizeof(Source *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*sources)[i] = copy_source(i, context);
	transaction_commit();
	return n;
}

/*
 * Claim the source of an issuer, even if it is not due.  Returns NULL with an
 * error if that is impossible.  A parked source stays parked.
 */
Source *
source_claim(const char *issuer, const char **error)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(no_issuer), CStringGetTextDatum(issuer)};
	Source	   *source = NULL;

	*error = "The issuer has no row in jwt_jwks_source that is committed.";
	if (!is_there)
		return NULL;
	if (is_subscribed())
		*error = subscribed;
	else
	{
		transaction_execute(ADD_STATES, SPI_OK_INSERT, 0, NULL, NULL, NULL);
		transaction_execute(CLAIM "t.issuer = $2" CLAIMED,
							SPI_OK_UPDATE_RETURNING, lengthof(types), types, values, NULL);
		if (SPI_processed > 0)
			source = copy_source(0, context);
	}
	transaction_commit();
	return source;
}

/*
 * The URL of an issuer's configuration (OpenID Connect Discovery 1.0 section
 * 4), or NULL with an error if it can have none.
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

/* A string member of an object, terminated; NULL if it has none. */
static char *
string_member(const JsonbValue *object, const char *name)
{
	const JsonbPair *member = json_member(object, name);
	int			len;
	const char *str = member ? json_string(&member->value, &len) : NULL;

	return str ? pnstrdup(str, len) : NULL;
}

/*
 * The URL of the key set in an issuer's configuration, or NULL with an error.
 */
char *
source_read_discovery(const Source *source, const Fetched *fetched, const char **error)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbValue	document;
	const char *reason;
	char	   *issuer;
	char	   *uri = NULL;

	/* for character conversions of the reader */
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	reason = json_read_object(fetched->body, fetched->len, &document);
	if (reason != NULL)
		*error = psprintf("The configuration that was discovered %s.", reason);
	else if ((issuer = string_member(&document, "issuer")) == NULL || strcmp(issuer, source->issuer) != 0)
		*error = "The configuration that was discovered is of another issuer.";
	else if ((uri = string_member(&document, "jwks_uri")) == NULL)
		*error = "The configuration that was discovered names no \"jwks_uri\".";
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
	char	   *document = job->fetched->body;
	ArrayType  *counts;

	if (memchr(document, '\0', job->fetched->len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the document has a NUL byte")));
	document = pg_any_to_server(document, job->fetched->len, PG_UTF8);
	counts = DatumGetArrayTypeP(OidFunctionCall2(job->function,
												 CStringGetTextDatum(job->source->issuer),
												 CStringGetTextDatum(document)));
	if (ARR_NDIM(counts) != 1 || ARR_DIMS(counts)[0] != 5 || ARR_HASNULL(counts) ||
		ARR_ELEMTYPE(counts) != INT4OID)
		elog(ERROR, "jwt_import_counts() gave something else");
	memcpy(&job->counts, ARR_DATA_PTR(counts), sizeof(job->counts));
}

/*
 * The delay until the next fetch in milliseconds.  It is random within bounds,
 * so that many sources are not fetched at the same time, and never longer than
 * the refresh interval.
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
 * Must this error of a source be logged?  Each error is logged once until a
 * fetch succeeds.  Digits in the detail, which may be NULL, are ignored: they
 * may be milliseconds.
 */
static bool
is_new_error(const Source *source, const char *error, const char *detail)
{
	uint64		hash = hash_combine64(MyDatabaseId, (uint64) source->last_success);

	hash = hash_text(source->issuer, hash);
	hash = hash_text(source->last_url ? source->last_url : "", hash);
	hash = hash_text(error, hash);
	for (const char *p = detail; p != NULL && *p; p++)
		if (*p < '0' || *p > '9')
			hash = hash_combine64(hash, *p);
	return shared_is_new_message(hash);
}

/*
 * The form of a URL for the log: without user name and password, without the
 * query, which may contain a secret, and without characters that could forge a
 * line.
 */
static char *
url_for_log(const Source *source)
{
	const char *url = source->last_url ? source->last_url : "";
	const char *at = strrchr(url, '@');
	int			len = 0;

	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		return "";
	/* a password may contain any character, not escaped */
	url = at ? at + 1 : url;
	while (len < MAX_LOGGED_URL && url[len] > ' ' && url[len] < 0x7f && strchr("?#", url[len]) == NULL)
		len++;
	return psprintf("URL \"%s%.*s%s\": ", at ? "..." : "", len, url, url[len] != '\0' ? "..." : "");
}

static void
log_error(const Source *source, const char *error, const char *detail)
{
	ereport(LOG,
			(errmsg("could not refresh the key set of issuer \"%s\" in database \"%s\"",
					quote_string(source->issuer), source->database),
			 errdetail_internal("%s%s%s%s", url_for_log(source), error, *error && detail ? " " : "",
								detail ? quote_text(detail) : "")));
}

/*
 * Log the message of a PostgreSQL error that prevented a refresh, if it is
 * new.
 */
void
source_log_failure(const Source *source, const char *message)
{
	if (is_new_error(source, message, NULL))
		log_error(source, "", message);
}

/*
 * Log the result of a fetch if it is new.  Must be called within the
 * transaction.
 */
static void
log_outcome(const Source *source, const Fetched *fetched, const char *error, const char *detail,
			const RefreshCounts *counts)
{
	const char *database = source->database;
	const char *issuer = quote_string(source->issuer);

	/* the error of a document may differ each time */
	if (error != NULL && is_new_error(source, error, fetched->error ? detail : NULL))
		log_error(source, error, detail);
	if (error == NULL && source->failures > 0)
		ereport(LOG,
				(errmsg("the key set of issuer \"%s\" in database \"%s\" is refreshed again", issuer, database)));
	if (error == NULL && counts->added + counts->changed + counts->retired > 0)
		ereport(LOG,
				(errmsg("keys of issuer \"%s\" in database \"%s\" have changed: %d added, %d changed, %d retired",
						issuer, database, counts->added, counts->changed, counts->retired)));
}

/*
 * Import a fetched set and store the result, unless the source was deleted or
 * its uri changed meanwhile.  Returns NULL or the stored error.
 */
const char *
source_finish(const Source *source, const Fetched *fetched, RefreshCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	bool		is_there = transaction_begin();
	Import		job = {.source = source, .fetched = fetched};
	const char *error = fetched->error;
	const char *detail = fetched->detail;
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, BOOLOID, BOOLOID};
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types) + 1] = "       ";
	bool		imported;

	memset(counts, 0, sizeof(*counts));
	if (!is_there)
		return "The extension is not there any more.";

	/* lock the issuer first, as a DELETE of it does */
	values[0] = CStringGetTextDatum(source->issuer);
	values[1] = TimestampTzGetDatum(source->claimed_at);
	transaction_execute("SELECT FROM %s.jwt_issuer WHERE issuer = $1 FOR NO KEY UPDATE",
						SPI_OK_SELECT, 1, types, values, NULL);
	if (SPI_processed == 0)
		error = no_issuer;
	transaction_execute("SELECT FROM %s.jwt_jwks_state t JOIN %s.jwt_jwks_source s ON s.issuer = t.issuer"
						" WHERE t.issuer = $1 AND t.last_attempt = $2 AND NOT " HAS_MOVED
						" FOR NO KEY UPDATE OF t FOR KEY SHARE OF s SKIP LOCKED",
						SPI_OK_SELECT, 2, types, values, NULL);
	if (SPI_processed == 0)
	{
		transaction_commit();
		return "The source has changed, or has been fetched again, meanwhile.";
	}
	if (is_subscribed())
	{
		transaction_commit();
		return subscribed;
	}
	job.function = transaction_find_function("jwt_import_counts", lengthof(import_types), import_types);
	if (error == NULL && !OidIsValid(job.function))
		error = "The extension is of a version that cannot be served.";
	if (error == NULL && fetched->status == FETCH_DONE &&
		(detail = transaction_attempt(import, &job)) != NULL)
		error = "The endpoint's answer could not be imported as a JWK Set; the server log tells why.";
	if (error != NULL)
	{
		error = quote_text(error);
		error = pnstrdup(error, pg_mbcliplen(error, (int) strlen(error), MAX_ERROR));
	}
	imported = error == NULL && fetched->status == FETCH_DONE;

	/* a set that was not modified keeps its entity tag */
	values[2] = Int64GetDatum(next_wait(source, fetched, error == NULL));
	values[3] = CStringGetTextDatum(error ? error : "");
	nulls[3] = error ? ' ' : 'n';
	values[4] = CStringGetTextDatum(fetched->etag ? fetched->etag : "");
	nulls[4] = fetched->etag ? ' ' : 'n';
	values[5] = BoolGetDatum(imported);
	values[6] = BoolGetDatum(job.counts.added + job.counts.changed + job.counts.retired > 0);
	transaction_execute("UPDATE %s.jwt_jwks_state t SET last_error = $4,"
						" failures = CASE WHEN $4 IS NULL THEN 0 ELSE failures + 1 END,"
						" last_success = CASE WHEN $4 IS NULL THEN last_attempt ELSE last_success END,"
						" last_change = CASE WHEN $7 THEN last_attempt ELSE last_change END,"
						" etag = CASE WHEN $6 THEN $5 ELSE etag END,"
						" etag_state = CASE WHEN $6 THEN " ETAG_STATE " ELSE etag_state END,"
						" next_attempt = " NEXT_ATTEMPT
						" WHERE issuer = $1 AND last_attempt = $2",
						SPI_OK_UPDATE, lengthof(types), types, values, nulls);
	if (error != NULL)
		error = MemoryContextStrdup(context, error);
	*counts = job.counts;
	log_outcome(source, fetched, error, detail, counts);
	transaction_commit();
	return error;
}

/*
 * Prune some revocations.  Returns whether there may be more.  On a subscriber
 * nothing is pruned, because the publisher does it.
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
	if (OidIsValid(function) && !transaction_is_subscribed("jwt_denylist"))
		more = DatumGetInt64(OidFunctionCall1(function, Int32GetDatum(PRUNE_ROWS))) == PRUNE_ROWS;
	transaction_commit();
	return more;
}

/*
 * The time at which the next worker must start: when the next source is due,
 * but at most SHARED_MAX_WAIT_MS from now.  *has_sources is whether there are
 * sources.
 */
TimestampTz
source_next_due(bool *has_sources)
{
	bool		is_there = transaction_begin();
	TimestampTz due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SHARED_MAX_WAIT_MS);
	bool		isnull;
	Datum		datum;

	*has_sources = false;
	if (!is_there)
		return due;
	if (is_subscribed())
	{
		transaction_commit();
		return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SUBSCRIBED_WAIT_MS);
	}
	transaction_execute("SELECT count(*) > 0, min(CASE"
						" WHEN t.next_attempt IS NULL OR (t.next_attempt < 'infinity' AND " HAS_MOVED ") THEN '-infinity'"
						" ELSE t.next_attempt END)"
						" FROM %s.jwt_jwks_source s LEFT JOIN %s.jwt_jwks_state t ON t.issuer = s.issuer",
						SPI_OK_SELECT, 0, NULL, NULL, NULL);
	*has_sources = DatumGetBool(transaction_column(0, 1, BOOLOID, NULL));
	datum = transaction_column(0, 2, TIMESTAMPTZOID, &isnull);
	if (!isnull)
		due = Min(due, DatumGetTimestampTz(datum));
	transaction_commit();
	return due;
}

/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of jwt_issuer and jwt_key as C structs, and the reason why a row
 *	  cannot be used.
 *
 * The tables can contain any row, from a restore, a replica or a careless
 * INSERT.  An unusable row is read like any other, and gets a sentence that
 * says why it verifies nothing.
 *
 * In every isolation level, scans read the latest committed state and the
 * changes of the own transaction, because systable_beginscan() takes a new
 * snapshot for a table that is not a catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "extension/arguments.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "trust/rows.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/*
 * Tables up to this number of blocks are read from end to end: the first use
 * of an index in a new backend is more expensive.
 */
#define SMALL_TABLE		8

#define MAX_LEEWAY		(5 * USECS_PER_MINUTE)

/* The maximal size of a uri in bytes. */
#define MAX_URI			2048

#define MAX_INTERVAL	(30 * USECS_PER_DAY)

/* The maximal number of elements in an array of a policy. */
#define MAX_ELEMENTS	100000

/* How many roles that do not exist a message names. */
#define MAX_MISSING_ROLES	10

/*
 * Begin a scan of the rows in which one or two text columns have these values.
 * A string with null data means any value.  End it by rows_end().
 */
RowScan
rows_begin(TrustTable table, TrustIndex index,
		   AttrNumber first, const Slice *first_value,
		   AttrNumber second, const Slice *second_value)
{
	RowScan		scan = {.rel = catalog_open(table, AccessShareLock)};
	ScanKeyData keys[2];
	int			n = 0;
	Oid			index_oid = InvalidOid;

	if (first_value != NULL && first_value->data != NULL)
		ScanKeyInit(&keys[n++], first, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(first_value->data, first_value->len)));
	if (second_value != NULL && second_value->data != NULL)
		ScanKeyInit(&keys[n++], second, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(second_value->data, second_value->len)));
	if (n > 0 && RelationGetNumberOfBlocks(scan.rel) > SMALL_TABLE)
		index_oid = catalog_index(scan.rel, index);
	scan.scan = systable_beginscan(scan.rel, index_oid, OidIsValid(index_oid), NULL, n, keys);
	return scan;
}

/*
 * Go to the next row.  Returns false after the last.
 */
bool
rows_next(RowScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	scan->tuple = systable_getnext(scan->scan);
	return HeapTupleIsValid(scan->tuple);
}

void
rows_end(RowScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->rel, AccessShareLock);
}

/*
 * A column of the current row.  The value points into the row unless it was
 * compressed.
 */
Datum
rows_column(const RowScan *scan, AttrNumber column, bool *isnull)
{
	return heap_getattr(scan->tuple, column, RelationGetDescr(scan->rel), isnull);
}

/*
 * A copy of a text column; NULL for null.
 */
char *
rows_text(const RowScan *scan, AttrNumber column)
{
	bool		isnull;
	Datum		value = rows_column(scan, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

TimestampTz
rows_time(const RowScan *scan, AttrNumber column, TimestampTz null_value)
{
	bool		isnull;
	Datum		value = rows_column(scan, column, &isnull);

	return isnull ? null_value : DatumGetTimestampTz(value);
}

/*
 * Mark a policy as unusable.  The first reason stays.
 */
static void
refuse_policy(TrustIssuer *issuer, const char *column, const char *why)
{
	if (issuer->unusable == NULL)
		issuer->unusable = psprintf("The column \"%s\" %s", column, why);
}

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/*
 * The elements of a text array column as terminated strings.  The policy is
 * unusable if the array has several dimensions, nulls, empty strings or
 * duplicates.
 */
static char **
read_array(TrustIssuer *issuer, const char *column, Datum value, bool isnull, int *n)
{
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	char	  **strings;
	char	  **sorted;

	*n = 0;
	if (isnull)
	{
		refuse_policy(issuer, column, "is null.");
		return NULL;
	}
	array = DatumGetArrayTypeP(value);
	if (ARR_NDIM(array) > 1)
	{
		refuse_policy(issuer, column, "has more than one dimension.");
		return NULL;
	}
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	if (*n > MAX_ELEMENTS)
	{
		refuse_policy(issuer, column, "has too many elements.");
		*n = 0;
		return NULL;
	}
	strings = palloc0(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			refuse_policy(issuer, column, "has a null element.");
		strings[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
		if (!nulls[i] && strings[i][0] == '\0')
			refuse_policy(issuer, column, "has an empty string.");
	}
	sorted = palloc(sizeof(char *) * Max(*n, 1));
	memcpy(sorted, strings, sizeof(char *) * *n);
	qsort(sorted, *n, sizeof(char *), compare_strings);
	for (int i = 1; i < *n; i++)
		if (issuer->unusable == NULL && strcmp(sorted[i - 1], sorted[i]) == 0)
			refuse_policy(issuer, column,
						  psprintf("has \"%s\" twice.", quote_string(sorted[i])));
	pfree(sorted);
	pfree(elements);
	return strings;
}

/*
 * An interval column in microseconds; -1 for null.
 */
static int64
read_interval(Datum value, bool isnull)
{
	return isnull ? -1 : interval_to_usec(DatumGetIntervalP(value));
}

static char *
read_text(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * A boolean column, which must not be null.
 */
static bool
read_flag(TrustIssuer *issuer, const char *column, Datum value, bool isnull)
{
	if (isnull)
		refuse_policy(issuer, column, "is null.");
	return !isnull && DatumGetBool(value);
}

/*
 * Read the audiences for tokens of one purpose.  Null means that no such tokens
 * are accepted.
 */
static void
read_audience(TrustIssuer *issuer, ClaimsPolicy *policy, const char *column, Datum value, bool isnull)
{
	policy->accepts_none = isnull;
	if (isnull)
		return;
	policy->audience = read_array(issuer, column, value, isnull, &policy->n_audience);
	policy->any_audience = policy->n_audience == 1 && strcmp(policy->audience[0], "*") == 0;
}

/*
 * Check the part of a policy that is about events.
 */
static void
check_event_policy(TrustIssuer *issuer)
{
	ClaimsPolicy *events = &issuer->events;

	if (issuer->policy.accepts_none && events->accepts_none)
		refuse_policy(issuer, "audience", "is null, and so is \"event_audience\"; then no token is accepted.");
	if (!events->accepts_none && events->n_audience == 0)
		refuse_policy(issuer, "event_audience", "is empty; use null to accept no events.");
	/* an event for another receiver is not for this one */
	for (int i = 0; i < events->n_audience; i++)
		if (strcmp(events->audience[i], "*") == 0)
			refuse_policy(issuer, "event_audience", "has \"*\"; name what events have as \"aud\" when they are for this receiver.");
	if (!events->accepts_none && events->issuer[0] == '\0')
		refuse_policy(issuer, "event_audience", "is set, but an event always names its issuer, and this one has no name.");
}

/*
 * Check a policy, and mark it as unusable if it is invalid.  Such a row is
 * stored and verifies nothing.
 */
static void
check_policy(TrustIssuer *issuer, const bool *nulls)
{
	ClaimsPolicy *policy = &issuer->policy;
	Slice		token_type = slice_of(policy->token_type);
	const char *purpose = claims_other_purpose(&token_type);

	for (int i = 0; i < policy->n_audience; i++)
		if (policy->n_audience > 1 && strcmp(policy->audience[i], "*") == 0)
			refuse_policy(issuer, "audience", "has \"*\", which stands for any audience and must be alone.");
	if (!nulls[Anum_issuer_algorithms - 1] && issuer->n_algorithms == 0)
		refuse_policy(issuer, "algorithms", psprintf("is empty; accepted are %s.", algorithm_names()));
	for (int i = 0; i < issuer->n_algorithms; i++)
	{
		const char *name = issuer->algorithms[i];

		if (issuer->unusable == NULL && !algorithm_known(name, (int) strlen(name)))
			refuse_policy(issuer, "algorithms",
						  psprintf("has \"%s\", which is not known; accepted are %s.",
								   quote_string(name), algorithm_names()));
	}
	if (policy->token_type != NULL && policy->token_type[0] == '\0')
		refuse_policy(issuer, "token_type", "is empty; use null when the type does not matter.");
	for (const char *p = policy->token_type; p != NULL && *p; p++)
		if (*p <= ' ' || IS_HIGHBIT_SET(*p) || *p == 0x7f)
			refuse_policy(issuer, "token_type", "is not a media type, such as \"at+jwt\".");
	if (purpose != NULL)
		refuse_policy(issuer, "token_type", psprintf("is that of %s, which is never accepted as an access token.", purpose));
	if (policy->leeway < 0 || policy->leeway > MAX_LEEWAY)
		refuse_policy(issuer, "leeway", "must be between 0 and 5 minutes.");
	if (!nulls[Anum_issuer_max_lifetime - 1] && policy->max_lifetime <= 0)
		refuse_policy(issuer, "max_lifetime", "must be more than 0; use null for no limit.");
	if (!nulls[Anum_issuer_max_age - 1] && policy->max_age <= 0)
		refuse_policy(issuer, "max_age", "must be more than 0; use null for no limit.");
	if (issuer->role_claim != NULL && issuer->role_claim[0] == '\0')
		refuse_policy(issuer, "role_claim", "is empty; use null when tokens name no role.");
	for (int i = 0; i < issuer->n_roles; i++)
		if (strcmp(issuer->roles[i], "none") == 0 || strlen(issuer->roles[i]) >= NAMEDATALEN)
			refuse_policy(issuer, "roles",
						  psprintf("has \"%s\", which is not the name of a role.",
								   quote_string(issuer->roles[i])));
	if (policy->session_claim == NULL || policy->session_claim[0] == '\0')
		refuse_policy(issuer, "session_claim", "is null or empty; the usual name is \"sid\".");
	if (issuer->session_lifetime <= 0)
		refuse_policy(issuer, "session_lifetime", "must be more than 0.");
	check_event_policy(issuer);
}

/*
 * Make an issuer from the columns of a row, in the current memory context.  It
 * may be unusable.
 */
TrustIssuer *
rows_read_issuer(const Datum *values, const bool *nulls)
{
	TrustIssuer *issuer = palloc0(sizeof(TrustIssuer));
	ClaimsPolicy *policy = &issuer->policy;
	char	   *confirmation;

#define VALUE(column) values[Anum_issuer_##column - 1], nulls[Anum_issuer_##column - 1]
	policy->issuer = read_text(VALUE(issuer));
	if (policy->issuer == NULL)
	{
		policy->issuer = pstrdup("");
		refuse_policy(issuer, "issuer", "is null.");
	}
	read_audience(issuer, policy, "audience", VALUE(audience));
	issuer->algorithms = read_array(issuer, "algorithms", VALUE(algorithms), &issuer->n_algorithms);
	policy->required = read_array(issuer, "required_claims", VALUE(required_claims), &policy->n_required);
	policy->token_type = read_text(VALUE(token_type));
	policy->leeway = read_interval(VALUE(leeway));
	policy->max_lifetime = nulls[Anum_issuer_max_lifetime - 1] ? CLAIMS_NO_LIMIT :
		read_interval(VALUE(max_lifetime));
	policy->max_age = nulls[Anum_issuer_max_age - 1] ? CLAIMS_NO_LIMIT : read_interval(VALUE(max_age));
	issuer->role_claim = read_text(VALUE(role_claim));
	issuer->roles = read_array(issuer, "roles", VALUE(roles), &issuer->n_roles);
	policy->session_claim = read_text(VALUE(session_claim));
	issuer->session_lifetime = read_interval(VALUE(session_lifetime));
	policy->accept_id_tokens = read_flag(issuer, "accept_id_tokens", VALUE(accept_id_tokens));
	issuer->events.issuer = policy->issuer;
	issuer->events.leeway = policy->leeway;
	issuer->events.max_lifetime = issuer->events.max_age = CLAIMS_NO_LIMIT;
	read_audience(issuer, &issuer->events, "event_audience", VALUE(event_audience));
	issuer->event_without_exp = read_flag(issuer, "event_without_exp", VALUE(event_without_exp));
	issuer->events_for = read_array(issuer, "events_for", VALUE(events_for), &issuer->n_events_for);
	issuer->event_opaque_is_sub = read_flag(issuer, "event_opaque_is_sub", VALUE(event_opaque_is_sub));
	confirmation = read_text(VALUE(confirmation));
	issuer->confirms_elsewhere = confirmation != NULL && strcmp(confirmation, "gateway") == 0;
	if (confirmation == NULL || (strcmp(confirmation, "required") != 0 && strcmp(confirmation, "gateway") != 0))
		refuse_policy(issuer, "confirmation", "is neither \"required\" nor \"gateway\".");
#undef VALUE
	check_policy(issuer, nulls);
	return issuer;
}

/*
 * The issuer of the current row of a scan of jwt_issuer.
 */
TrustIssuer *
rows_current_issuer(const RowScan *scan)
{
	TupleDesc	desc = RelationGetDescr(scan->rel);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	heap_deform_tuple(scan->tuple, desc, values, nulls);
	return rows_read_issuer(values, nulls);
}

/*
 * The row of an issuer, in the current memory context, or NULL.
 */
TrustIssuer *
rows_find_issuer(const char *name, int len)
{
	Slice		value = {name, len};
	RowScan		scan = rows_begin(TRUST_ISSUER, INDEX_ISSUER, Anum_issuer_issuer, &value,
								  InvalidAttrNumber, NULL);
	TrustIssuer *issuer = NULL;

	if (rows_next(&scan))
		issuer = rows_current_issuer(&scan);
	rows_end(&scan);
	return issuer;
}

/*
 * The reason why some roles of a valid issuer cannot be taken, which is that they do
 * not exist now; or NULL.
 */
char *
rows_missing_roles(const TrustIssuer *issuer)
{
	StringInfoData buf;
	int			n = 0;

	initStringInfo(&buf);
	for (int i = 0; i < issuer->n_roles; i++)
		if (!OidIsValid(get_role_oid(issuer->roles[i], true)) && ++n <= MAX_MISSING_ROLES)
			appendStringInfo(&buf, "%s\"%s\"", n == 1 ? "" : ", ", quote_string(issuer->roles[i]));
	if (n > MAX_MISSING_ROLES)
		appendStringInfo(&buf, " and %d more", n - MAX_MISSING_ROLES);
	return n == 0 ? NULL : psprintf("The column \"roles\" names roles that do not exist: %s.", buf.data);
}

/*
 * Does the issuer allow keys with this algorithm?
 */
bool
rows_issuer_allows(const TrustIssuer *issuer, const Algorithm *algorithm)
{
	for (int i = 0; i < issuer->n_algorithms; i++)
		if (algorithm_is(algorithm, issuer->algorithms[i], (int) strlen(issuer->algorithms[i])))
			return true;
	return false;
}

/*
 * The algorithms of an issuer, for a message.
 */
char *
rows_show_algorithms(const TrustIssuer *issuer)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < issuer->n_algorithms; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "" : ", ", issuer->algorithms[i]);
	return buf.data;
}

/*
 * The key of the current row of a scan of jwt_key, in the current memory
 * context. rows_check_key() checks it.
 */
void
rows_read_key(const RowScan *scan, KeyRow *key)
{
	bool		isnull;
	Datum		value;

	memset(key, 0, sizeof(*key));
	value = rows_column(scan, Anum_key_id, &isnull);
	if (!isnull)
		key->id = *DatumGetUUIDP(value);
	key->issuer = rows_text(scan, Anum_key_issuer);
	key->kid = rows_text(scan, Anum_key_kid);
	key->alg = rows_text(scan, Anum_key_alg);
	key->source = rows_text(scan, Anum_key_source);
	key->not_before = rows_time(scan, Anum_key_not_before, DT_NOBEGIN);
	key->not_after = rows_time(scan, Anum_key_not_after, DT_NOEND);
	key->retired_at = rows_time(scan, Anum_key_retired_at, DT_NOEND);
	key->created_at = rows_time(scan, Anum_key_created_at, DT_NOBEGIN);
	value = rows_column(scan, Anum_key_jwk, &isnull);
	if (!isnull)
		key->jsonb = DatumGetJsonbPCopy(value);
}

/*
 * Check whether a key can verify, and if not, set the reason.  Window and
 * revocations are not checked. issuer is the issuer of the key, or NULL if it
 * has no row. rows_try_key() does the checks that need OpenSSL.
 */
void
rows_check_key(KeyRow *key, const TrustIssuer *issuer)
{
	if (key->jsonb == NULL)
		key->unusable = pstrdup("The row has no JWK.");
	else if (jwk_read(key->jsonb, &key->jwk, &key->unusable))
		key->jwk_read = true;

	if (key->jwk_read && key->alg == NULL)
		key->unusable = pstrdup("The row has no algorithm.");
	else if (key->jwk_read &&
			 jwk_fits(&key->jwk, key->alg, (int) strlen(key->alg), &key->algorithm, &key->unusable))
	{
		if (key->algorithm->family == FAMILY_HMAC &&
			!jwk_check_key(&key->jwk, key->algorithm, &key->unusable))
			return;
		if (issuer == NULL)
			key->unusable = pstrdup("Its issuer has no row in jwt_issuer.");
		else if (issuer->unusable != NULL)
			key->unusable = psprintf("Its issuer's policy cannot be used. %s", issuer->unusable);
		else if (!rows_issuer_allows(issuer, key->algorithm))
		{
			key->disallowed = true;
			key->unusable = psprintf("The algorithm %s is not one of the issuer \"%s\", which are %s.",
									 key->algorithm->name, quote_string(issuer->policy.issuer),
									 rows_show_algorithms(issuer));
		}
	}
}

/*
 * Do the checks that need OpenSSL, after rows_check_key(): is the point on its
 * curve, and does this OpenSSL have the algorithm?  This is for callers that
 * do not make a verifier anyway.  Its memory is freed with the current memory
 * context.
 */
void
rows_try_key(KeyRow *key)
{
	if (key->unusable == NULL)
		(void) jws_verifier_create(&key->jwk, key->algorithm, CurrentMemoryContext, &key->unusable);
}

/*
 * Do all checks of a key, with the current row of its issuer.
 */
void
rows_check_key_fully(KeyRow *key)
{
	rows_check_key(key, key->issuer == NULL ? NULL :
				   rows_find_issuer(key->issuer, (int) strlen(key->issuer)));
	rows_try_key(key);
}

/*
 * The authority of a URL: host, port and user.  *len is 0 if it is not an HTTP
 * URL.
 */
static const char *
authority(const char *uri, int *len)
{
	const char *start = strncmp(uri, "https://", 8) == 0 ? uri + 8 :
	strncmp(uri, "http://", 7) == 0 ? uri + 7 : "";

	*len = (int) strcspn(start, "/?#");
	return start;
}

/*
 * Does a URL contain a user, perhaps with a password?
 */
bool
rows_uri_has_user(const char *uri)
{
	int			len;
	const char *host = authority(uri, &len);

	return memchr(host, '@', len) != NULL;
}

/*
 * The thumbprint of a JWK, by which its key can be revoked.  Raises an error
 * if OpenSSL cannot compute it, because that is not the key's fault.
 */
char *
rows_thumbprint(const Jwk *jwk)
{
	char	   *thumbprint = jwk_thumbprint(jwk);

	if (thumbprint == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not compute a SHA-256 digest"),
				 errhidesecret()));
	return thumbprint;
}

/*
 * The reason why a source cannot be fetched, or is fetched with other
 * intervals than its row has; NULL if it is valid.  A null uri means
 * discovery.
 */
char *
rows_check_source(const char *uri, const Interval *refresh_interval, const Interval *grace)
{
	int			len = 0;

	if (uri != NULL && strlen(uri) > MAX_URI)
		return psprintf("The \"uri\" is longer than %d bytes.", MAX_URI);
	if (uri != NULL && (authority(uri, &len), len == 0))
		return pstrdup("The \"uri\" is not an HTTP URL.");
	if (uri != NULL && rows_uri_has_user(uri))
		return pstrdup("The \"uri\" has a user name, with which nothing is fetched.");
	for (const char *p = uri; p != NULL && *p; p++)
		if ((unsigned char) *p <= ' ' || *p == 0x7f || *p == '#')
			return pstrdup("The \"uri\" has a space, a control character or a fragment.");
	if (refresh_interval == NULL ||
		interval_to_usec(refresh_interval) < USECS_PER_MINUTE ||
		interval_to_usec(refresh_interval) > MAX_INTERVAL)
		return pstrdup("The \"refresh_interval\" is not between 1 minute and 30 days; the nearest of them is used.");
	if (grace == NULL || interval_to_usec(grace) < 0 || interval_to_usec(grace) > MAX_INTERVAL)
		return pstrdup("The \"grace\" is not between 0 and 30 days; the nearest of them is used.");
	return NULL;
}

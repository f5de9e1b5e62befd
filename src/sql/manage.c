/*-------------------------------------------------------------------------
 *
 * manage.c
 *	  The SQL functions that manage issuers, keys and key sets, and the triggers
 *	  on their tables.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "extension/row.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sql/functions.h"
#include "token/base64url.h"
#include "token/json.h"
#include "token/jwk.h"
#include "token/key_text.h"
#include "trust/key_set.h"
#include "trust/new_key.h"
#include "trust/refresh.h"
#include "trust/revocation.h"
#include "trust/triggers.h"
#include "trust/write.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_thumbprint);
JWT_SQL_FUNCTION(jwt_sql_jwk);
JWT_SQL_FUNCTION(jwt_sql_add_issuer);
JWT_SQL_FUNCTION(jwt_sql_add_key);
JWT_SQL_FUNCTION(jwt_sql_add_secret);
JWT_SQL_FUNCTION(jwt_sql_jwks);
JWT_SQL_FUNCTION(jwt_sql_jwks_members);
JWT_SQL_FUNCTION(jwt_sql_refresh_jwks);
JWT_SQL_FUNCTION(jwt_sql_issuer_check);
JWT_SQL_FUNCTION(jwt_sql_key_check);
JWT_SQL_FUNCTION(jwt_sql_denylist_check);
JWT_SQL_FUNCTION(jwt_sql_jwks_source_check);
JWT_SQL_FUNCTION(jwt_sql_trust_changed);
JWT_SQL_FUNCTION(jwt_sql_denylist_changed);
JWT_SQL_FUNCTION(jwt_sql_jwks_source_changed);
JWT_SQL_FUNCTION(jwt_sql_warn_of_inert_rows);
JWT_SQL_FUNCTION(jwt_sql_issuer_cascade);

/*
 * The row of an issuer.  Raises an error if there is none.
 */
TrustIssuer *
require_issuer(const Slice *name)
{
	TrustIssuer *issuer = name->len > TRUST_MAX_NAME ? NULL : rows_find_issuer(name->data, name->len);

	if (issuer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("issuer \"%s\" does not exist", quote_untrusted(name->data, name->len)),
				 errhidesecret()));
	return issuer;
}

/*
 * jwt_thumbprint(jwk): RFC 7638.
 */
Datum
jwt_sql_thumbprint(PG_FUNCTION_ARGS)
{
	Jsonb	   *jsonb = PG_GETARG_JSONB_P(0);
	Jwk			jwk;
	char	   *reason;

	if (!jwk_read(jsonb, &jwk, &reason))
		raise_bad_key(reason);
	PG_RETURN_TEXT_P(cstring_to_text(rows_thumbprint(&jwk)));
}

/*
 * A text argument, converted to UTF-8 and terminated.
 */
static char *
utf8_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *str = text_to_cstring(PG_GETARG_TEXT_PP(n));

	return json_from_server(str, (int) strlen(str));
}

/*
 * Convert a JWK, a PEM public key or a PEM certificate to a JWK.  Raises an
 * error if it is none of them.
 */
static Jsonb *
key_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *key = utf8_argument(fcinfo, n);
	Jsonb	   *jsonb;
	char	   *reason;

	if (!key_text_to_jwk(key, (int) strlen(key), &jsonb, &reason))
		raise_bad_key(reason);
	return jsonb;
}

/*
 * jwt_jwk(key)
 */
Datum
jwt_sql_jwk(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(key_argument(fcinfo, 0));
}

/*
 * jwt_add_issuer(…): its arguments are the columns of jwt_issuer.
 */
Datum
jwt_sql_add_issuer(PG_FUNCTION_ARGS)
{
	Datum		values[Natts_issuer];
	bool		nulls[Natts_issuer];
	Slice		name = required_argument(fcinfo, 0, "issuer");
	TrustIssuer *issuer;
	char	   *missing;

	row_require_write("jwt_add_issuer()");
	for (int i = 0; i < Natts_issuer; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	issuer = rows_read_issuer(values, nulls);
	if (name.len > TRUST_MAX_NAME)
		issuer->unusable = psprintf("The column \"issuer\" is %d bytes long; at most %d are accepted.",
									name.len, TRUST_MAX_NAME);
	if (issuer->unusable != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy of issuer \"%s\" is not acceptable", quote_untrusted(name.data, name.len)),
				 errdetail_internal("%s", issuer->unusable)));
	write_insert(TRUST_ISSUER, values, nulls);
	missing = rows_missing_roles(issuer);
	if (missing != NULL)
		ereport(WARNING,
				(errmsg("issuer \"%s\" may give roles that do not exist", quote_untrusted(name.data, name.len)),
				 errdetail_internal("%s", missing)));
	PG_RETURN_VOID();
}

/*
 * Refuse a second key of an issuer with the same kid.  Rows may share a kid,
 * but for a call of a function it is most likely a mistake.
 */
void
require_new_kid(const char *issuer, const Slice *kid)
{
	Slice		name = slice_of(issuer);
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, &name, Anum_key_kid, kid);
	bool		found = rows_next(&scan);

	rows_end(&scan);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("issuer \"%s\" already has a key \"%s\"", quote_untrusted(name.data, name.len),
						quote_untrusted(kid->data, kid->len)),
				 errhidesecret()));
}

/*
 * Check a JWK as a key of an issuer, and insert it.  Strings with null data
 * were not given.  Returns the id of the row.
 */
static Datum
add_key(const Slice *issuer_name, const Jsonb *jsonb, const Slice *alg, const Slice *kid,
		TimestampTz not_before, TimestampTz not_after)
{
	TrustIssuer *issuer = require_issuer(issuer_name);
	Datum		values[Natts_key] = {0};
	bool		nulls[Natts_key];
	NewKey		key;
	char	   *reason;
	Slice		new_kid = *kid;

	if (!new_key_read(jsonb, alg->data ? pnstrdup(alg->data, alg->len) : NULL, issuer, &key, &reason) ||
		!new_key_check(&key, &reason))
		raise_bad_key(reason);
	if (not_before >= not_after)
		raise_bad_key("The end of its window is not later than the beginning.");

	if (new_kid.data == NULL)
		new_kid = (Slice)
	{
		key.jwk.kid, key.jwk.kid_len
	};
	if (new_kid.data != NULL)
		require_new_kid(issuer->policy.issuer, &new_kid);

	memset(nulls, true, sizeof(nulls));
#define SET(column, datum) (values[Anum_key_##column - 1] = (datum), nulls[Anum_key_##column - 1] = false)
	SET(id, row_new_id());
	SET(issuer, CStringGetTextDatum(issuer->policy.issuer));
	if (new_kid.data != NULL)
		SET(kid, PointerGetDatum(cstring_to_text_with_len(new_kid.data, new_kid.len)));
	SET(alg, CStringGetTextDatum(key.alg));
	SET(source, CStringGetTextDatum("manual"));
	if (not_before != DT_NOBEGIN)
		SET(not_before, TimestampTzGetDatum(not_before));
	if (not_after != DT_NOEND)
		SET(not_after, TimestampTzGetDatum(not_after));
	SET(created_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	SET(jwk, JsonbPGetDatum(jwk_normal_form(&key.jwk, false)));
	write_insert(TRUST_KEY, values, nulls);
	return values[Anum_key_id - 1];
#undef SET
}

/*
 * jwt_add_key(issuer, key, alg, kid, not_before, not_after)
 */
Datum
jwt_sql_add_key(PG_FUNCTION_ARGS)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		alg = text_argument(fcinfo, 2);
	Slice		kid = text_argument(fcinfo, 3);

	(void) required_argument(fcinfo, 1, "key");
	row_require_write("jwt_add_key()");
	return add_key(&issuer, key_argument(fcinfo, 1), &alg, &kid,
				   PG_ARGISNULL(4) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(4),
				   PG_ARGISNULL(5) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(5));
}

/*
 * jwt_add_secret(issuer, secret, alg, kid)
 */
Datum
jwt_sql_add_secret(PG_FUNCTION_ARGS)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		alg = required_argument(fcinfo, 2, "algorithm");
	Slice		kid = text_argument(fcinfo, 3);
	bytea	   *secret;
	int			len;
	char	   *encoded;
	JsonbParseState *state = NULL;
	JsonbValue *jwk;

	(void) required_argument(fcinfo, 1, "secret");
	row_require_write("jwt_add_secret()");
	secret = PG_GETARG_BYTEA_PP(1);
	if (VARSIZE_ANY_EXHDR(secret) > JWK_MAX_PART_SIZE)
		raise_bad_key(psprintf("The HMAC secret is longer than %d bytes.", JWK_MAX_PART_SIZE));
	encoded = palloc(base64url_encoded_size((int) VARSIZE_ANY_EXHDR(secret)) + 1);
	len = base64url_encode((const uint8 *) VARDATA_ANY(secret), (int) VARSIZE_ANY_EXHDR(secret), encoded);
	encoded[len] = '\0';
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "kty", "oct");
	push_text(&state, "k", encoded);
	jwk = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return add_key(&issuer, JsonbValueToJsonb(jwk), &alg, &kid, DT_NOBEGIN, DT_NOEND);
}

/*
 * The order of the keys in jwt_jwks().
 */
static int
compare_keys(const void *a, const void *b)
{
	const KeyRow *x = a;
	const KeyRow *y = b;

	if (x->created_at != y->created_at)
		return x->created_at < y->created_at ? -1 : 1;
	return memcmp(&x->id, &y->id, sizeof(x->id));
}

/*
 * jwt_jwks(issuer): the public keys as a JWK Set.  It includes standby keys,
 * so that other verifiers have them before they sign.
 */
Datum
jwt_sql_jwks(PG_FUNCTION_ARGS)
{
	Slice		name = text_argument(fcinfo, 0);
	TimestampTz now = GetCurrentStatementStartTimestamp();
	TrustIssuer *issuer = name.len > TRUST_MAX_NAME ? NULL : rows_find_issuer(name.data, name.len);
	RowScan		scan;
	KeyRow	   *keys = palloc(sizeof(KeyRow) * 8);
	int			n = 0;
	JsonbParseState *state = NULL;
	JsonbValue *result;
	JsonbValue	v = {.type = jbvString};

	if (issuer == NULL)
		PG_RETURN_NULL();
	catalog_accept_changes();
	scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, &name, InvalidAttrNumber, NULL);
	while (rows_next(&scan))
	{
		KeyRow	   *row = &keys[n];
		TimestampTz revoked_at;

		rows_read_key(&scan, row);
		rows_check_key(row, issuer);
		rows_try_key(row);
		if (row->algorithm == NULL || row->algorithm->family == FAMILY_HMAC || row->unusable != NULL ||
			row->not_after <= now || revocation_of_key(rows_thumbprint(&row->jwk), &revoked_at))
			continue;
		n++;
		if (n >= 8 && (n & (n - 1)) == 0)
			keys = repalloc(keys, sizeof(KeyRow) * n * 2);
	}
	rows_end(&scan);
	qsort(keys, n, sizeof(KeyRow), compare_keys);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.val.string.val = "keys";
	v.val.string.len = 4;
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		Jsonb	   *jwk = jwk_normal_form(&keys[i].jwk, false);
		JsonbIterator *it = JsonbIteratorInit(&jwk->root);
		JsonbIteratorToken token;
		JsonbValue	member;

		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		while ((token = JsonbIteratorNext(&it, &member, true)) != WJB_DONE)
			if (token == WJB_KEY || token == WJB_VALUE)
				(void) pushJsonbValue(&state, token, &member);
		push_text(&state, "alg", keys[i].alg);
		push_text(&state, "use", "sig");
		if (keys[i].kid != NULL)
			push_text(&state, "kid", keys[i].kid);
		(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(result));
}

/*
 * jwt_jwks_members(issuer, jwks): a row for each member of a JWK Set, in its
 * order.  Raises an error if there is no such issuer, or the set is not
 * usable.
 */
Datum
jwt_sql_jwks_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Slice		name = required_argument(fcinfo, 0, "issuer");
	char	   *document;
	TrustIssuer *issuer;
	KeySetMember *members;
	int			n;
	char	   *reason;

	(void) required_argument(fcinfo, 1, "JWK Set");
	document = utf8_argument(fcinfo, 1);
	issuer = require_issuer(&name);
	if (!key_set_read(document, (int) strlen(document), issuer, &members, &n, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("JWK Set is not acceptable"),
				 errdetail_internal("%s", reason),
				 errhidesecret()));

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		const KeySetMember *member = &members[i];
		Datum		values[5] = {Int32GetDatum(i + 1)};
		bool		nulls[5] = {false, true, true, true, true};

#define SET(column, pointer, datum) \
		((pointer) == NULL ? (void) 0 : (void) (nulls[column] = false, values[column] = (datum)))
		SET(1, member->kid, CStringGetTextDatum(member->kid));
		SET(2, member->alg, CStringGetTextDatum(member->alg));
		SET(3, member->jwk, JsonbPGetDatum(member->jwk));
		SET(4, member->reason, CStringGetTextDatum(member->reason));
#undef SET
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jwt_refresh_jwks(issuer): the numbers of changed keys.
 */
Datum
jwt_sql_refresh_jwks(PG_FUNCTION_ARGS)
{
	Slice		issuer = text_argument(fcinfo, 0);
	RefreshCounts counts;
	Datum		values[5];
	bool		nulls[5] = {false};

	refresh_now(fcinfo->flinfo->fn_oid, &issuer, &counts);
	values[0] = Int32GetDatum(counts.added);
	values[1] = Int32GetDatum(counts.changed);
	values[2] = Int32GetDatum(counts.retired);
	values[3] = Int32GetDatum(counts.unchanged);
	values[4] = Int32GetDatum(counts.skipped);
	PG_RETURN_DATUM(row_result(fcinfo, lengthof(values), values, nulls));
}

/*
 * The trigger data of a call.  Raises an error if the function was not called
 * as this kind of trigger.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called as a trigger")));
	return (TriggerData *) fcinfo->context;
}

/*
 * The triggers that check a row of one table.  They also invalidate before the
 * row is written, because a function of the same statement may read the table.
 */
static Datum
check_row(FunctionCallInfo fcinfo, TrustTable table, void (*invalidate) (void))
{
	TriggerData *trigger = trigger_data(fcinfo);
	HeapTuple	tuple;

	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!catalog_is_table(RelationGetRelid(trigger->tg_relation), table))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called before a row of its own table is written")));
	tuple = trigger_check_row(trigger, table);
	if (invalidate != NULL)
		invalidate();
	return PointerGetDatum(tuple);
}

Datum
jwt_sql_issuer_check(PG_FUNCTION_ARGS)
{
	return check_row(fcinfo, TRUST_ISSUER, catalog_trust_changed);
}

Datum
jwt_sql_key_check(PG_FUNCTION_ARGS)
{
	return check_row(fcinfo, TRUST_KEY, catalog_trust_changed);
}

Datum
jwt_sql_denylist_check(PG_FUNCTION_ARGS)
{
	return check_row(fcinfo, TRUST_DENYLIST, catalog_denylist_changed);
}

Datum
jwt_sql_jwks_source_check(PG_FUNCTION_ARGS)
{
	return check_row(fcinfo, TRUST_SOURCE, NULL);
}

/*
 * The triggers that invalidate after a statement.
 */
Datum
jwt_sql_trust_changed(PG_FUNCTION_ARGS)
{
	catalog_trust_statement(TRIGGER_FIRED_BY_TRUNCATE(trigger_data(fcinfo)->tg_event));
	return PointerGetDatum(NULL);
}

Datum
jwt_sql_denylist_changed(PG_FUNCTION_ARGS)
{
	catalog_denylist_statement(TRIGGER_FIRED_BY_TRUNCATE(trigger_data(fcinfo)->tg_event));
	return PointerGetDatum(NULL);
}

/*
 * The trigger on jwt_jwks_source: it wakes the workers at commit.
 */
Datum
jwt_sql_jwks_source_changed(PG_FUNCTION_ARGS)
{
	(void) trigger_data(fcinfo);
	refresh_wake_at_commit();
	return PointerGetDatum(NULL);
}

Datum
jwt_sql_warn_of_inert_rows(PG_FUNCTION_ARGS)
{
	trigger_warn(trigger_data(fcinfo));
	return PointerGetDatum(NULL);
}

Datum
jwt_sql_issuer_cascade(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!catalog_is_table(RelationGetRelid(trigger->tg_relation), TRUST_ISSUER))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called after its own table is written")));
	trigger_cascade(trigger);
	return PointerGetDatum(NULL);
}

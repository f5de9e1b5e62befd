/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL functions: arguments in, and failures into errors.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base64url.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "json.h"
#include "jwk.h"
#include "trust.h"
#include "trust_check.h"
#include "utils/builtins.h"
#include "verify.h"

JWT_SQL_FUNCTION(jwt_sql_verify);
JWT_SQL_FUNCTION(jwt_sql_try_verify);
JWT_SQL_FUNCTION(jwt_sql_inspect);
JWT_SQL_FUNCTION(jwt_sql_jws_verify);
JWT_SQL_FUNCTION(jwt_sql_header);
JWT_SQL_FUNCTION(jwt_sql_unverified_claims);
JWT_SQL_FUNCTION(jwt_sql_thumbprint);
JWT_SQL_FUNCTION(jwt_sql_jwk);
JWT_SQL_FUNCTION(jwt_sql_issuer_check);
JWT_SQL_FUNCTION(jwt_sql_key_check);
JWT_SQL_FUNCTION(jwt_sql_trust_changed);

/*
 * Raise the error of a failure.
 */
static void pg_attribute_noreturn()
raise_failure(const Failure *failure)
{
	const FailureKind *kind = failure_kind(failure->code);
	const char *s = kind->sqlstate;

	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
			 errmsg("%s", kind->message),
			 errdetail_internal("%s", failure->detail),
			 failure->hint ? errhint("%s", failure->hint) : 0));
}

/*
 * An argument or a key that is not acceptable, as opposed to a token.
 */
static void pg_attribute_noreturn()
raise_bad_key(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key is not acceptable"),
			 errdetail_internal("%s", reason)));
}

/*
 * A text argument; null data for null.
 */
static JwsString
text_argument(FunctionCallInfo fcinfo, int n)
{
	JwsString	string = {NULL, 0};

	if (!PG_ARGISNULL(n))
	{
		text	   *t = PG_GETARG_TEXT_PP(n);

		string.data = VARDATA_ANY(t);
		string.len = (int) VARSIZE_ANY_EXHDR(t);
	}
	return string;
}

/*
 * Verify by the four arguments that the verifying functions share.  The first,
 * the token, is not null.
 */
static bool
verify_arguments(FunctionCallInfo fcinfo, Verdict *verdict)
{
	JwsString	token = text_argument(fcinfo, 0);
	VerifyRequest request = {
		.token = token.data,
		.token_len = token.len,
		.audience = text_argument(fcinfo, 1),
		.issuer = text_argument(fcinfo, 2),
		.at = PG_ARGISNULL(3) ? GetCurrentStatementStartTimestamp() : PG_GETARG_TIMESTAMPTZ(3)
	};

	if (TIMESTAMP_NOT_FINITE(request.at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the time of verification must be finite")));
	return verify_token(&request, verdict);
}

/*
 * jwt_verify(token, audience, issuer, at): the claims, or an error.
 */
Datum
jwt_sql_verify(PG_FUNCTION_ARGS)
{
	Verdict		verdict;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!verify_arguments(fcinfo, &verdict))
		raise_failure(&verdict.failure);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&verdict.claims));
}

/*
 * jwt_try_verify(token, audience, issuer, at): the claims, or NULL.
 */
Datum
jwt_sql_try_verify(PG_FUNCTION_ARGS)
{
	Verdict		verdict;

	if (PG_ARGISNULL(0) || !verify_arguments(fcinfo, &verdict))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&verdict.claims));
}

/*
 * jwt_inspect(token, audience, issuer, at): one row that says why.  Header,
 * issuer, kid and alg are shown as far as they are known; the issuer is the
 * key's.
 */
Datum
jwt_sql_inspect(PG_FUNCTION_ARGS)
{
	enum
	{
		VALID, SQLSTATE, ERROR_MESSAGE, DETAIL, HEADER, CLAIMS, ISSUER, KID, ALG, EXPIRES_AT, N_COLUMNS
	};
	Verdict		verdict;
	TupleDesc	desc;
	Datum		values[N_COLUMNS];
	bool		nulls[N_COLUMNS];
	bool		valid;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != N_COLUMNS)
		elog(ERROR, "return type must be a row type");
	valid = verify_arguments(fcinfo, &verdict);

	memset(nulls, true, sizeof(nulls));
#define SET(column, datum) (values[column] = (datum), nulls[column] = false)
	SET(VALID, BoolGetDatum(valid));
	if (!valid)
	{
		const Failure *failure = &verdict.failure;

		SET(SQLSTATE, CStringGetTextDatum(failure_kind(failure->code)->sqlstate));
		SET(ERROR_MESSAGE, CStringGetTextDatum(failure_kind(failure->code)->message));
		SET(DETAIL, CStringGetTextDatum(failure->hint ?
										psprintf("%s %s", failure->detail, failure->hint) :
										failure->detail));
	}
	if (verdict.header_read)
	{
		const Jws  *jws = &verdict.jws;

		SET(HEADER, JsonbPGetDatum(JsonbValueToJsonb(&verdict.jws.header)));
		if (jws->kid.data != NULL)
			SET(KID, PointerGetDatum(cstring_to_text_with_len(jws->kid.data, jws->kid.len)));
		if (jws->alg.data != NULL)
			SET(ALG, PointerGetDatum(cstring_to_text_with_len(jws->alg.data, jws->alg.len)));
	}
	if (verdict.key != NULL)
		SET(ISSUER, CStringGetTextDatum(verdict.key->issuer->policy.issuer));
	if (verdict.claims_read)
	{
		SET(CLAIMS, JsonbPGetDatum(JsonbValueToJsonb(&verdict.claims)));
		if (verdict.times.has_expires)
		{
			TimestampTz t = verdict.times.expires;

			if (!IS_VALID_TIMESTAMP(t))
				t = t < 0 ? DT_NOBEGIN : DT_NOEND;
			SET(EXPIRES_AT, TimestampTzGetDatum(t));
		}
	}
#undef SET
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * jws_verify(token, jwk, alg): the payload, or an error.
 */
Datum
jwt_sql_jws_verify(PG_FUNCTION_ARGS)
{
	JwsString	token = text_argument(fcinfo, 0);
	Jsonb	   *jwk_jsonb = PG_GETARG_JSONB_P(1);
	JwsString	alg = text_argument(fcinfo, 2);
	Jwk			jwk;
	const Algorithm *algorithm;
	JwsVerifier *verifier;
	char	   *reason;
	Jws			jws;
	Failure		failure;
	bytea	   *payload;

	if (!jwk_read(jwk_jsonb, &jwk, &reason) ||
		!jwk_fits(&jwk, alg.data, alg.len, &algorithm, &reason))
		raise_bad_key(reason);
	verifier = jws_verifier_create(&jwk, algorithm, CurrentMemoryContext, &reason);
	if (verifier == NULL)
		raise_bad_key(reason);

	if (!jws_split(token.data, token.len, verify_max_token_size(), &jws, &failure) ||
		!jws_check_header(&jws, &failure))
		raise_failure(&failure);
	if (!algorithm_is(algorithm, jws.alg.data, jws.alg.len))
		(void) fail(&failure, FAILURE_ALGORITHM,
					psprintf("The header's \"alg\" is \"%s\", not %s.",
							 quote_untrusted(jws.alg.data, jws.alg.len), algorithm->name));
	else if (!jws_signature_is_good(verifier, jws.signing_input, jws.signing_input_len,
									jws.signature, jws.signature_len))
		(void) fail(&failure, FAILURE_SIGNATURE, "The key has not signed this token.");
	else
	{
		payload = palloc(VARHDRSZ + jws.payload_len);
		SET_VARSIZE(payload, VARHDRSZ + jws.payload_len);
		memcpy(VARDATA(payload), jws.payload, jws.payload_len);
		PG_RETURN_BYTEA_P(payload);
	}
	raise_failure(&failure);
}

/*
 * jwt_header(token): the header, whatever it says.
 */
Datum
jwt_sql_header(PG_FUNCTION_ARGS)
{
	JwsString	token = text_argument(fcinfo, 0);
	Jws			jws;
	Failure		failure;

	if (!jws_split(token.data, token.len, verify_max_token_size(), &jws, &failure))
		raise_failure(&failure);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&jws.header));
}

/*
 * jwt_unverified_claims(token): the claims, whoever wrote them.
 */
Datum
jwt_sql_unverified_claims(PG_FUNCTION_ARGS)
{
	JwsString	token = text_argument(fcinfo, 0);
	Jws			jws;
	Failure		failure;
	JsonbValue	claims;
	const char *reason;

	if (!jws_split(token.data, token.len, verify_max_token_size(), &jws, &failure))
		raise_failure(&failure);
	reason = json_read_object((const char *) jws.payload, jws.payload_len, &claims);
	if (reason != NULL)
	{
		(void) fail(&failure, FAILURE_MALFORMED, psprintf("The payload of the token %s.", reason));
		raise_failure(&failure);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&claims));
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
	char	   *thumbprint;

	if (!jwk_read(jsonb, &jwk, &reason))
		raise_bad_key(reason);
	thumbprint = jwk_thumbprint(&jwk);
	if (thumbprint == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not compute a SHA-256 digest")));
	PG_RETURN_TEXT_P(cstring_to_text(thumbprint));
}

/*
 * jwt_jwk(key): a JWK from a JWK, a PEM public key or a PEM certificate.
 */
Datum
jwt_sql_jwk(PG_FUNCTION_ARGS)
{
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(key, (int) strlen(key), PG_UTF8);
	Jsonb	   *jsonb;
	char	   *reason;

	if (!jwk_from_text(utf8, (int) strlen(utf8), &jsonb, &reason))
		raise_bad_key(reason);
	PG_RETURN_JSONB_P(jsonb);
}

/*
 * What the triggers were called for; an error when they were called otherwise.
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
 * The same for the triggers that check a row of a certain table.
 */
static TriggerData *
row_trigger_data(FunctionCallInfo fcinfo, bool (*is_table) (Oid))
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)) ||
		!is_table(RelationGetRelid(trigger->tg_relation)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called before insert or update of its own table, for each row")));
	return trigger;
}

/*
 * The trigger that checks jwt_issuer.
 */
Datum
jwt_sql_issuer_check(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(trust_check_issuer(row_trigger_data(fcinfo, trust_is_issuer_table)));
}

/*
 * The trigger that checks jwt_key.
 */
Datum
jwt_sql_key_check(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(trust_check_key(row_trigger_data(fcinfo, trust_is_key_table)));
}

/*
 * The trigger that invalidates, on both.
 */
Datum
jwt_sql_trust_changed(PG_FUNCTION_ARGS)
{
	trust_table_changed(RelationGetRelid(trigger_data(fcinfo)->tg_relation));
	return PointerGetDatum(NULL);
}

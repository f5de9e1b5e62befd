/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The SQL functions that verify. They read arguments and turn failures
 *	  into errors.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "session/session.h"
#include "session/verify.h"
#include "sql/functions.h"
#include "token/json.h"
#include "token/jwk.h"
#include "utils/builtins.h"
#include "utils/datum.h"

JWT_SQL_FUNCTION(jwt_sql_verify);
JWT_SQL_FUNCTION(jwt_sql_try_verify);
JWT_SQL_FUNCTION(jwt_sql_inspect);
JWT_SQL_FUNCTION(jwt_sql_jws_verify);
JWT_SQL_FUNCTION(jwt_sql_header);
JWT_SQL_FUNCTION(jwt_sql_unverified_claims);
JWT_SQL_FUNCTION(jwt_sql_authenticate);
JWT_SQL_FUNCTION(jwt_sql_cache);

/*
 * Raise the error of a failure.  The server log gets neither the statement nor
 * the context, because both may show the token.  The client gets the context,
 * unless hide is true: then the arguments had another secret.
 */
pg_noreturn static void
report_failure(const Failure *failure, bool hide)
{
	const FailureKind *kind = failure_kind(failure->code);
	const char *s = kind->sqlstate;

	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
			 errmsg("%s", kind->message),
			 errdetail_internal("%s", failure->detail),
			 failure->hint ? errhint("%s", failure->hint) : 0,
			 hide ? errhidesecret() : errhidestmt(true),
			 errhidecontext(true)));
}

void
raise_failure(const Failure *failure)
{
	report_failure(failure, false);
}

/*
 * Raise the error for an invalid argument or key.
 */
void
raise_bad_key(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key is not acceptable"),
			 errdetail_internal("%s", reason),
			 errhidesecret()));
}

/*
 * Read the four common arguments of the verifying functions.  The first, the
 * token, is not null.
 */
static VerifyRequest
request_arguments(FunctionCallInfo fcinfo)
{
	VerifyRequest request = {
		.token = text_argument(fcinfo, 0),
		.audience = text_argument(fcinfo, 1),
		.issuer = text_argument(fcinfo, 2),
		.at = PG_ARGISNULL(3) ? verify_now() : PG_GETARG_TIMESTAMPTZ(3)
	};

	if (TIMESTAMP_NOT_FINITE(request.at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the time of verification must be finite")));
	return request;
}

/*
 * Verify the token of the arguments, which is not null.
 */
static inline bool
verify_arguments(FunctionCallInfo fcinfo, VerifiedClaims *verified, Failure *failure)
{
	VerifyRequest request = request_arguments(fcinfo);

	return verify_claims(&request, verified, failure);
}

/*
 * jwt_verify(token, audience, issuer, at): the claims, or an error.
 */
Datum
jwt_sql_verify(PG_FUNCTION_ARGS)
{
	VerifiedClaims verified;
	Failure		failure;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!verify_arguments(fcinfo, &verified, &failure))
		raise_failure(&failure);
	PG_RETURN_JSONB_P(verified.claims);
}

/*
 * jwt_try_verify(token, audience, issuer, at): the claims, or NULL.
 */
Datum
jwt_sql_try_verify(PG_FUNCTION_ARGS)
{
	VerifiedClaims verified;
	Failure		failure;

	if (PG_ARGISNULL(0) || !verify_arguments(fcinfo, &verified, &failure))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(verified.claims);
}

/*
 * jwt_inspect(token, audience, issuer, at): one row with the reason.  It shows
 * header, issuer, kid and alg as far as they are known.  The issuer is that of
 * the key.
 */
Datum
jwt_sql_inspect(PG_FUNCTION_ARGS)
{
	enum
	{
		VALID, SQLSTATE, ERROR_MESSAGE, DETAIL, HEADER, CLAIMS, ISSUER, KID, ALG, EXPIRES_AT, N_COLUMNS
	};
	VerifyRequest request;
	Verdict		verdict;
	Datum		values[N_COLUMNS];
	bool		nulls[N_COLUMNS];
	bool		valid;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	request = request_arguments(fcinfo);
	valid = verify_token(&request, &verdict);

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
	PG_RETURN_DATUM(row_result(fcinfo, N_COLUMNS, values, nulls));
}

/*
 * jws_verify(token, jwk, alg): the payload, or an error.
 */
Datum
jwt_sql_jws_verify(PG_FUNCTION_ARGS)
{
	Slice		token = text_argument(fcinfo, 0);
	Jsonb	   *jwk_jsonb = PG_GETARG_JSONB_P(1);
	Slice		alg = text_argument(fcinfo, 2);
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
		report_failure(&failure, true);
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
	report_failure(&failure, true);
}

/*
 * jwt_header(token): the header, not verified.
 */
Datum
jwt_sql_header(PG_FUNCTION_ARGS)
{
	Slice		token = text_argument(fcinfo, 0);
	Jws			jws;
	Failure		failure;

	if (!jws_split(token.data, token.len, verify_max_token_size(), &jws, &failure))
		raise_failure(&failure);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&jws.header));
}

/*
 * jwt_unverified_claims(token): the claims, not verified.
 */
Datum
jwt_sql_unverified_claims(PG_FUNCTION_ARGS)
{
	Slice		token = text_argument(fcinfo, 0);
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
 * jwt_authenticate(token, is_local, issuer, proof, method, uri, nonce): the claims,
 * or an error.  A null token removes the current token.  Without a proof, the last
 * three are not used.
 */
Datum
jwt_sql_authenticate(PG_FUNCTION_ARGS)
{
	Slice		token = text_argument(fcinfo, 0);
	bool		is_local = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	Slice		issuer = text_argument(fcinfo, 2);
	DpopProof	proof = {
		.text = text_argument(fcinfo, 3), .method = text_argument(fcinfo, 4),
		.uri = text_argument(fcinfo, 5), .nonce = text_argument(fcinfo, 6),
		.max_size = verify_max_token_size()
	};
	const Jsonb *claims;
	Failure		failure;

	if (token.len == 0)
	{
		session_remove_token(is_local);
		PG_RETURN_NULL();
	}
	if (proof.text.data != NULL && !is_local)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a DPoP proof is for one request"),
				 errhint("Begin a transaction, and call jwt_authenticate() with is_local => true in it."),
				 errhidestmt(true)));
	if (proof.text.data != NULL && (proof.method.len == 0 || proof.uri.len == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a DPoP proof needs the method and the URI of its request"),
				 errhidestmt(true)));
	if (!session_authenticate(&token, is_local, &issuer, proof.text.data != NULL ? &proof : NULL,
							  &claims, &failure))
		raise_failure(&failure);
	PG_RETURN_JSONB_P(claims);
}

/*
 * jwt_cache()
 */
Datum
jwt_sql_cache(PG_FUNCTION_ARGS)
{
	CacheStatistics statistics;
	Datum		values[6];
	bool		nulls[6] = {false};

	verify_cache_statistics(&statistics);
	values[0] = Int64GetDatum(statistics.entries);
	values[1] = Int64GetDatum(statistics.bytes);
	values[2] = Int64GetDatum(statistics.hits);
	values[3] = Int64GetDatum(statistics.misses);
	values[4] = Int64GetDatum(statistics.evictions);
	values[5] = Int64GetDatum(statistics.invalidations);
	PG_RETURN_DATUM(row_result(fcinfo, lengthof(values), values, nulls));
}

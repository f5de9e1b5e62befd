/*-------------------------------------------------------------------------
 *
 * jws_function.c
 *	  jws_sign(): a signature under a key in hand.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "extension/arguments.h"
#include "token/failure.h"
#include "token/jws.h"
#include "token/jws_sign.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

JWT_SQL_FUNCTION(jwt_sql_jws_sign);

pg_noreturn static void
raise_bad_argument(const char *message, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errdetail_internal("%s", reason)));
}

/*
 * Raise the error for a JWS that would be longer than jws_verify() accepts.
 */
pg_noreturn static void
raise_too_long(void)
{
	raise_bad_argument("header and payload are too long",
					   psprintf("A token has at most %d bytes.", JWS_MAX_SIZE));
}

static Datum
sign_payload(FunctionCallInfo fcinfo)
{
	bytea	   *payload = PG_GETARG_BYTEA_PP(0);
	Jsonb	   *jwk = PG_GETARG_JSONB_P(1);
	char	   *alg = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Jsonb	   *members = PG_GETARG_JSONB_P(3);
	int			payload_len = (int) VARSIZE_ANY_EXHDR(payload);
	PrivateKey *key;
	JwsSigner  *signer = NULL;
	char	   *header;
	char	   *reason;

	if (payload_len > JWS_MAX_SIZE || VARSIZE(members) > JWS_MAX_SIZE)
		raise_too_long();
	key = private_key_from_jwk(jwk, alg, CurrentMemoryContext, &reason);
	if (key != NULL)
		signer = jws_signer_create(key, CurrentMemoryContext, &reason);
	if (signer == NULL)
		raise_bad_argument("key is not acceptable", reason);
	if (!jws_header_merge(members, alg, &header, &reason))
		raise_bad_argument("header is not acceptable", reason);
	if (jws_sign_size(signer, (int) strlen(header), payload_len) > JWS_MAX_SIZE)
		raise_too_long();
	PG_RETURN_TEXT_P(jws_sign(signer, header, (int) strlen(header), VARDATA_ANY(payload), payload_len));
}

/*
 * jws_sign(payload, jwk, alg, header): a compact JWS, or an error.
 */
Datum
jwt_sql_jws_sign(PG_FUNCTION_ARGS)
{
	return call_with_secret(sign_payload, fcinfo);
}

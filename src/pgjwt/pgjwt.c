/*-------------------------------------------------------------------------
 *
 * pgjwt.c
 *	  jwt_pgjwt: the functions of the extension pgjwt 0.2.0, with its results.
 *
 * pgjwt is written in SQL.  Where its results follow from functions of
 * PostgreSQL, such as decode() and ->>, this file calls these functions.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "access/xact.h"
#include "extension/arguments.h"
#include "lib/stringinfo.h"
#include READ_FLOAT8_HEADER
#include "token/algorithm.h"
#include "token/base64url.h"
#include "token/openssl_errors.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* before the macro, which does not export it in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt_pgjwt");

static NameData utf8 = {"UTF8"};

/*
 * Append the base64url of bytes.
 */
static void
append_base64url(StringInfo buf, const void *data, int len)
{
	enlargeStringInfo(buf, base64url_encoded_size(len));
	buf->len += base64url_encode(data, len, buf->data + buf->len);
	buf->data[buf->len] = '\0';
}

/*
 * Append the base64url of a text in UTF-8.
 */
static void
append_text(StringInfo buf, Datum text_datum)
{
	bytea	   *data = DatumGetByteaPP(DirectFunctionCall2(pg_convert_to, text_datum, NameGetDatum(&utf8)));

	append_base64url(buf, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
}

/*
 * Append the base64url of the HMAC of a message.  A null algorithm is unknown,
 * as an empty one is.  The message of the error is pgcrypto's.
 */
static void
append_signature(StringInfo buf, const char *message, int len, const Slice *secret, const Slice *algorithm)
{
	const Algorithm *found = NULL;
	uint8		mac[EVP_MAX_MD_SIZE];

	if (algorithm->data != NULL)
		found = algorithm_by_name(algorithm->data, algorithm->len);
	if (found == NULL || found->family != FAMILY_HMAC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("Cannot use \"\": No such hash algorithm")));
	if (!openssl_retry(EVP_Q_mac(NULL, "HMAC", NULL, found->digest, NULL,
								 secret->data, secret->len,
								 (const unsigned char *) message, len, mac, sizeof(mac), NULL) != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not compute the HMAC")));
	append_base64url(buf, mac, found->digest_size);
}

/*
 * url_encode(data)
 */
static Datum
pgjwt_url_encode(PG_FUNCTION_ARGS)
{
	bytea	   *data = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;

	initStringInfo(&buf);
	append_base64url(&buf, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}

/*
 * url_decode(data): what decode() gives for the standard alphabet, after the
 * text is padded to a multiple of four characters.  Bytes count as characters,
 * as decode() reaches a character that is not ASCII before the padding.
 */
static Datum
pgjwt_url_decode(PG_FUNCTION_ARGS)
{
	text	   *data = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(data);
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(data), len);
	if (len % 4 != 0)
		appendBinaryStringInfo(&buf, "===", 4 - len % 4);

	for (int i = 0; i < len; i++)
		if (buf.data[i] == '-')
			buf.data[i] = '+';
		else if (buf.data[i] == '_')
			buf.data[i] = '/';
	return DirectFunctionCall2(binary_decode, PointerGetDatum(cstring_to_text_with_len(buf.data, buf.len)),
							   CStringGetTextDatum("base64"));
}

/*
 * algorithm_sign(signables, secret, algorithm)
 */
static Datum
pgjwt_algorithm_sign(PG_FUNCTION_ARGS)
{
	Slice		signables = text_argument(fcinfo, 0);
	Slice		secret = text_argument(fcinfo, 1);
	Slice		algorithm = text_argument(fcinfo, 2);
	StringInfoData buf;

	if (signables.data == NULL || secret.data == NULL)
		PG_RETURN_NULL();
	initStringInfo(&buf);
	append_signature(&buf, signables.data, signables.len, &secret, &algorithm);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}

/*
 * sign(payload, secret, algorithm)
 */
static Datum
pgjwt_sign(PG_FUNCTION_ARGS)
{
	Slice		secret = text_argument(fcinfo, 1);
	Slice		algorithm = text_argument(fcinfo, 2);
	StringInfoData header;
	StringInfoData token;
	int			signed_len;

	if (PG_ARGISNULL(0) || secret.data == NULL || algorithm.data == NULL)
		PG_RETURN_NULL();
	initStringInfo(&header);
	appendStringInfo(&header, "{\"alg\":\"%.*s\",\"typ\":\"JWT\"}", algorithm.len, algorithm.data);

	initStringInfo(&token);
	append_text(&token, CStringGetTextDatum(header.data));
	appendStringInfoChar(&token, '.');
	append_text(&token, PG_GETARG_DATUM(0));
	signed_len = token.len;
	appendStringInfoChar(&token, '.');
	append_signature(&token, token.data, signed_len, &secret, &algorithm);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(token.data, token.len));
}

/*
 * Read a number as a cast does; false where the cast raises an error.
 */
static bool
read_double(const text *input, double *value)
{
	char	   *string = text_to_cstring(input);
	bool		failed = false;

	*value = read_float8(string, &failed);
	return !failed;
}

/*
 * try_cast_double(inp)
 */
static Datum
pgjwt_try_cast_double(PG_FUNCTION_ARGS)
{
	double		value;

	if (!read_double(PG_GETARG_TEXT_PP(0), &value))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(value);
}

/*
 * pgjwt_json(part): a header or payload as json.  The message of the error is
 * that of json_in(), whose context has a piece of the payload.
 */
static Datum
pgjwt_json(PG_FUNCTION_ARGS)
{
	text	   *result = DatumGetTextPP(DirectFunctionCall2(pg_convert_from, PG_GETARG_DATUM(0), NameGetDatum(&utf8)));
	const char *string = VARDATA_ANY(result);

	JSON_LEXER(lex);

	json_lexer_init(lex, string, VARSIZE_ANY_EXHDR(result));
	if (pg_parse_json(lex, &nullSemAction) != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s", "json")));
	PG_RETURN_TEXT_P(result);
}

/*
 * pgjwt_equal(a, b), in constant time
 */
static Datum
pgjwt_equal(PG_FUNCTION_ARGS)
{
	text	   *a = PG_GETARG_TEXT_PP(0);
	text	   *b = PG_GETARG_TEXT_PP(1);

	PG_RETURN_BOOL(VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
				   CRYPTO_memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0);
}

/*
 * Read a claim that is a time; false if there is none.  A string may be one, and
 * what does not cast is none.
 */
static bool
read_time(Datum payload, const char *name, TimestampTz *time)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		value;
	double		seconds;

	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = payload;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum(name);
	fcinfo->args[1].isnull = false;
	value = json_object_field_text(fcinfo);
	if (fcinfo->isnull || !read_double(DatumGetTextPP(value), &seconds))
		return false;
	*time = DatumGetTimestampTz(DirectFunctionCall1(float8_timestamptz, Float8GetDatum(seconds)));
	return true;
}

/*
 * pgjwt_in_time(payload): is CURRENT_TIMESTAMP in the range from nbf to exp?
 * The message of the error is that of tstzrange().
 */
static Datum
pgjwt_in_time(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	TimestampTz nbf;
	TimestampTz exp;
	bool		has_nbf;
	bool		has_exp;

	has_nbf = read_time(PG_GETARG_DATUM(0), "nbf", &nbf);
	has_exp = read_time(PG_GETARG_DATUM(0), "exp", &exp);
	if (has_nbf && has_exp && nbf > exp)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("range lower bound must be less than or equal to range upper bound")));
	PG_RETURN_BOOL((!has_nbf || nbf <= now) && (!has_exp || now < exp));
}

/*
 * PostgreSQL calls pgjwt_NAME as jwt_sql_pgjwt_NAME.
 */
#define EXPORT_FUNCTION(name) \
	extern JWT_EXPORT Datum jwt_sql_##name(PG_FUNCTION_ARGS); \
	Datum jwt_sql_##name(PG_FUNCTION_ARGS) \
	{ \
		return call_with_secret(name, fcinfo); \
	} \
	JWT_SQL_FUNCTION(jwt_sql_##name)

EXPORT_FUNCTION(pgjwt_url_encode);
EXPORT_FUNCTION(pgjwt_url_decode);
EXPORT_FUNCTION(pgjwt_algorithm_sign);
EXPORT_FUNCTION(pgjwt_sign);
EXPORT_FUNCTION(pgjwt_try_cast_double);
EXPORT_FUNCTION(pgjwt_json);
EXPORT_FUNCTION(pgjwt_equal);
EXPORT_FUNCTION(pgjwt_in_time);

/*-------------------------------------------------------------------------
 *
 * sign.c
 *	  Access tokens: claims, completed by the issuer's policy, and signed.
 *
 * The only bytes that a stored key signs are those that sign_claims() makes.
 * They are read again by the reader of tokens, and checked as jwt_verify()
 * checks them, so that no token is issued that is refused here.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <math.h>

#include "auth/sign.h"
#include "auth/signing_key.h"
#include "auth/tables.h"
#include "extension/arguments.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "token/json.h"
#include "token/jws_sign.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

JWT_SQL_FUNCTION(jwt_sql_sign);

#define UNIX_EPOCH_SECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/*
 * Raise the error for claims that are not signed.
 */
pg_noreturn static void
refuse_claims(const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot sign these claims"),
			 errdetail_internal("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*
 * The seconds since the Unix epoch, rounded down.
 */
static int64
unix_seconds(TimestampTz t)
{
	int64		seconds = t / USECS_PER_SEC;

	if (t % USECS_PER_SEC < 0)
		seconds--;
	return seconds + UNIX_EPOCH_SECS;
}

static TimestampTz
from_unix_seconds(int64 seconds)
{
	return (seconds - UNIX_EPOCH_SECS) * USECS_PER_SEC;
}

/*
 * Do the caller's claims have a member of this name?
 */
static bool
has_claim(const TokenRequest *request, const char *name)
{
	JsonbValue	value;

	return request->claims != NULL && jsonb_member(request->claims, name, &value);
}

/*
 * Append the name of a member and a colon.
 */
static void
append_name(StringInfo json, const char *name)
{
	if (json->len > 1)
		appendStringInfoChar(json, ',');
	escape_json(json, name);
	appendStringInfoChar(json, ':');
}

/*
 * Append a string to JSON in the server encoding.
 */
static void
append_string(StringInfo json, const char *name, const char *value)
{
	append_name(json, name);
	escape_json(json, value);
}

static void
append_time(StringInfo json, const char *name, int64 seconds)
{
	append_name(json, name);
	appendStringInfo(json, "%lld", (long long) seconds);
}

/*
 * Append a claim that the caller's claims must not have.
 */
static void
append_own(StringInfo json, const TokenRequest *request, const char *name, const Slice *value)
{
	if (value->data == NULL)
		return;
	if (has_claim(request, name))
		refuse_claims(psprintf("The claim \"%s\" is not one of the caller's.", quote_string(name)), NULL);
	append_string(json, name, pnstrdup(value->data, value->len));
}

/*
 * Append the policy's audiences: a string if there is only one (RFC 7519 section
 * 4.1.3).
 */
static void
append_audience(StringInfo json, const TokenPolicy *policy)
{
	append_name(json, "aud");
	if (policy->n_audience > 1)
		appendStringInfoChar(json, '[');
	for (int i = 0; i < policy->n_audience; i++)
	{
		if (i > 0)
			appendStringInfoChar(json, ',');
		escape_json(json, policy->audience[i]);
	}
	if (policy->n_audience > 1)
		appendStringInfoChar(json, ']');
}

/*
 * A string of the caller's claims; absent if the value is not a string.
 */
static Slice
string_of(const JsonbValue *value)
{
	Slice		string = {NULL, 0};

	if (value->type == jbvString)
	{
		string.data = value->val.string.val;
		string.len = value->val.string.len;
	}
	return string;
}

/*
 * Is this one of the policy's audiences?
 */
static bool
is_audience(const TokenPolicy *policy, const JsonbValue *value)
{
	Slice		name = string_of(value);

	for (int i = 0; i < policy->n_audience; i++)
		if (slice_is(&name, policy->audience[i]))
			return true;
	return false;
}

/*
 * Check that the caller's iss and aud are the policy's, or some of it.
 */
static void
check_names(const TokenPolicy *policy, const TokenRequest *request)
{
	static const char *const aud_hint = "Name only elements of jwt_token_policy.audience.";
	JsonbValue	value;
	Slice		issuer;

	if (request->claims == NULL)
		return;
	if (jsonb_member(request->claims, "iss", &value))
	{
		issuer = string_of(&value);
		if (!slice_is(&issuer, policy->issuer))
			refuse_claims(psprintf("Their \"iss\" is not \"%s\", the issuer that signs.", quote_string(policy->issuer)), NULL);
	}
	if (jsonb_member(request->claims, "aud", &value))
	{
		if (value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data) &&
			JsonContainerSize(value.val.binary.data) > 0)
		{
			for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
				if (!is_audience(policy, getIthJsonbValueFromContainer(value.val.binary.data, i)))
					refuse_claims("Their \"aud\" has an element that is not an audience of the issuer's token policy.", aud_hint);
		}
		else if (!is_audience(policy, &value))
			refuse_claims("Their \"aud\" is not an audience of the issuer's token policy.", aud_hint);
	}
}

/*
 * Check that there is a subject (RFC 9068 section 2.2).
 */
static void
check_subject(const TokenRequest *request)
{
	JsonbValue	value;

	if (request->sub.data != NULL ? request->sub.len > 0 :
		(request->claims != NULL && jsonb_member(request->claims, "sub", &value) &&
		 value.type == jbvString && value.val.string.len > 0))
		return;
	refuse_claims("They have no \"sub\" that is a string and not empty.", NULL);
}

/*
 * Get the time of a claim of the caller, in whole seconds, or the given one.  A claim that is
 * not a number, or outside of what a timestamp can be, is left to the check
 * of all claims.
 */
static int64
claimed_time(const TokenRequest *request, const char *name, int64 otherwise)
{
	JsonbValue	value;
	double		seconds;

	if (request->claims == NULL || !jsonb_member(request->claims, name, &value) || value.type != jbvNumeric)
		return otherwise;
	seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.val.numeric)));
	return fabs(seconds) < 1e12 ? (int64) floor(seconds) : otherwise;
}

/*
 * Make the JSON of the token's claims, in UTF-8.  Our members come first.
 */
static char *
make_claims(const TokenPolicy *policy, const TokenRequest *request, int64 issued, int64 expires, int *len)
{
	const ClaimsPolicy *accepted = policy->terms->policy;
	StringInfoData own;
	StringInfoData all;
	const char *converted;
	char	   *others;

	initStringInfo(&own);
	appendStringInfoChar(&own, '{');
	if (!has_claim(request, "iss"))
		append_string(&own, "iss", policy->issuer);
	append_own(&own, request, "sub", &request->sub);
	if (!has_claim(request, "aud"))
		append_audience(&own, policy);
	append_own(&own, request, "client_id", &request->client_id);
	append_own(&own, request, "scope", &request->scope);
	append_own(&own, request, accepted->session_claim, &request->sid);
	if (!has_claim(request, "iat"))
		append_time(&own, "iat", issued);
	if (!has_claim(request, "nbf"))
		append_time(&own, "nbf", issued);
	if (!has_claim(request, "exp"))
		append_time(&own, "exp", expires);
	if (!has_claim(request, "jti"))
		append_string(&own, "jti", DatumGetCString(DirectFunctionCall1(uuid_out, DirectFunctionCall1(gen_random_uuid, (Datum) 0))));

	/*
	 * else a revocation of the subject would not match the token, or the
	 * session
	 */
	converted = json_from_server(own.data, own.len);
	if (converted != own.data && strcmp(pg_any_to_server(converted, (int) strlen(converted), PG_UTF8), own.data) != 0)
		refuse_claims("They have a character for which the server encoding has two codes, of which a verifier would read the other one.", NULL);

	initStringInfo(&all);
	appendStringInfoString(&all, converted);
	others = request->claims != NULL ? jws_json_text(request->claims) : NULL;
	if (others != NULL && strcmp(others, "{}") != 0)
	{
		if (all.len > 1)
			appendStringInfoChar(&all, ',');
		appendStringInfoString(&all, others + 1);
	}
	else
		appendStringInfoChar(&all, '}');
	*len = all.len;
	return all.data;
}

/*
 * Check the times of the token, which are those of the caller where it has given
 * some.
 */
static void
check_times(const TokenRequest *request, const ClaimsTimes *times, int64 lifetime)
{
	if (!times->has_issued || !times->has_expires)
		refuse_claims("They have no \"iat\" or no \"exp\".", NULL);
	if (times->issued > request->now)
		refuse_claims("Their \"iat\" is later than now.", "Omit it.");
	if (times->issued < request->now - POLICY_MAX_ACCESS_LIFETIME - POLICY_MAX_LEEWAY || times->expires <= request->now)
		refuse_claims("Their \"exp\" is not later than now.", NULL);
	if (times->expires - times->issued > lifetime)
		refuse_claims(psprintf("Their \"exp\" is more than %lld seconds after \"iat\".",
							   (long long) (lifetime / USECS_PER_SEC)),
					  "The limit is the argument lifetime, or else jwt_token_policy.access_lifetime.");
	if (times->expires > request->not_later_than)
		refuse_claims("Their \"exp\" is later than the end of the session.", NULL);
}

/*
 * Check that jwt_verify() would accept the token.  Returns the key that signs it:
 * if the given one has been revoked, the one that signs now.
 */
static SigningKey *
check_draft(const TokenPolicy *policy, SigningKey *key, DraftToken *draft, TimestampTz now, ClaimsTimes *times)
{
	const JwtEntries *jwt = tables_jwt();
	Failure		failure;

	for (;;)
	{
		int64		size = jws_sign_size(key->signer, key->header_len, draft->claims_len);

		if (size > jwt->max_token_size())
			refuse_claims(psprintf("The token would have %lld bytes, and jwt.max_token_size is %d.",
								   (long long) size, jwt->max_token_size()), NULL);
		draft->thumbprint = key->thumbprint;
		if (jwt->check_claims(policy->terms, draft, now, &key->not_revoked, times, &failure))
			return key;
		if (failure.code != FAILURE_REVOKED || !jwt->key_is_revoked(key->thumbprint))
			refuse_claims(psprintf("jwt_verify() would refuse the token: %s", failure.detail),
						  failure.code == FAILURE_REVOKED ? "If it was revoked in this second, try again in the next." : failure.hint);
		signing_key_forget(key);
		key = signing_key_current(policy, now);
	}
}

/*
 * See sign.h.
 */
text *
sign_claims(const TokenPolicy *policy, const TokenRequest *request, TimestampTz *expires)
{
	SigningKey *key = signing_key_current(policy, request->now);
	int64		lifetime = request->lifetime > 0 ? Min(request->lifetime, policy->access_lifetime) : policy->access_lifetime;
	int64		issued = claimed_time(request, "iat", unix_seconds(request->now));
	int64		expiry = issued + lifetime / USECS_PER_SEC;
	DraftToken	draft = {.typ = signing_key_type(policy)};
	ClaimsTimes times;

	if (from_unix_seconds(expiry) > request->not_later_than)
		expiry = unix_seconds(request->not_later_than);
	check_subject(request);
	check_names(policy, request);
	draft.claims = make_claims(policy, request, issued, expiry, &draft.claims_len);
	key = check_draft(policy, key, &draft, request->now, &times);
	check_times(request, &times, lifetime);
	*expires = times.expires;
	return jws_sign(key->signer, key->header, key->header_len, draft.claims, draft.claims_len);
}

/*
 * jwt_sign(claims, issuer, lifetime): sign an access token now.
 */
Datum
jwt_sql_sign(PG_FUNCTION_ARGS)
{
	Slice		issuer = text_argument(fcinfo, 1);
	TokenRequest request = {.now = GetCurrentTimestamp(), .not_later_than = DT_NOEND};
	const TokenPolicy *policy;
	TimestampTz expires;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("claims must not be null")));
	request.claims = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(request.claims))
		refuse_claims("They are not a JSON object.", NULL);
	policy = policy_require(&issuer);
	if (!PG_ARGISNULL(2))
		request.lifetime = policy_lifetime(policy, PG_GETARG_INTERVAL_P(2));
	PG_RETURN_TEXT_P(sign_claims(policy, &request, &expires));
}

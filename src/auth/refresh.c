/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  The SQL functions that start, refresh and end sessions.
 *
 * Answers have the forms of RFC 6749 sections 5.1 and 5.2.  All refusals of a
 * refresh token have one description, and the reason is in the server's log.
 * An answer must be committed even if it is an error, because it may end a
 * session.  Only wrong arguments and settings raise an error.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/refresh_token.h"
#include "auth/session.h"
#include "auth/sign.h"
#include "extension/arguments.h"
#include "extension/row.h"
#include "fmgr.h"
#include "token/claims.h"
#include "token/json.h"
#include "token/secret.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_start_session);
JWT_SQL_FUNCTION(jwt_sql_refresh);
JWT_SQL_FUNCTION(jwt_sql_refresh_session);
JWT_SQL_FUNCTION(jwt_sql_refresh_with);
JWT_SQL_FUNCTION(jwt_sql_end_session);
JWT_SQL_FUNCTION(jwt_sql_end_sessions);

/* A request to redeem a refresh token.  Strings with null data were not given. */
typedef struct RefreshRequest
{
	Slice		token;
	Slice		client_id;
	Slice		scope;
	bool		with_claims;	/* the caller gave claims, maybe none */
	Jsonb	   *claims;			/* or NULL: the subject gets no token any more */
} RefreshRequest;

/*
 * Raise an error unless these claims of a caller can be in a token of a
 * session.  The functions make the other claims themselves.
 */
static void
require_free_claims(const Jsonb *claims)
{
	static const char *const reserved[] = {
		"iss", "aud", "exp", "nbf", "iat", "jti", "sid", "sub", "cnf", "client_id", "scope", "events", "nonce"
	};
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(claims))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("claims must be a JSON object")));
	for (int i = 0; i < (int) lengthof(reserved); i++)
		if (jsonb_member(claims, reserved[i], &value))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("claims must not have a member \"%s\"", reserved[i]),
					 errdetail("The function gives this claim its value.")));
}

/*
 * Get the next value of a scope (RFC 6749 section 3.3) from *rest.  Returns
 * false at its end, or if it is malformed; then rest->len is not 0.
 */
static bool
next_scope(Slice *rest, Slice *value)
{
	int			n = 0;

	while (n < rest->len && rest->data[n] > ' ' && rest->data[n] < 0x7f &&
		   rest->data[n] != '"' && rest->data[n] != '\\')
		n++;
	if (n == 0 || (n < rest->len && (rest->data[n] != ' ' || n + 1 == rest->len)))
		return false;
	value->data = rest->data;
	value->len = n;
	n += n < rest->len ? 1 : 0;
	rest->data += n;
	rest->len -= n;
	return true;
}

static bool
scope_has(Slice scope, const Slice *wanted)
{
	Slice		value;

	while (next_scope(&scope, &value))
		if (slice_equal(&value, wanted))
			return true;
	return false;
}

static bool
scope_is_well_formed(Slice scope)
{
	Slice		value;

	if (scope.len == 0)
		return false;
	while (next_scope(&scope, &value))
		;
	return scope.len == 0;
}

/*
 * Is a scope well-formed, and is each of its values in the other one?  A longer one
 * repeats a value, and is refused, so this takes little time.
 */
static bool
scope_is_within(Slice scope, const Slice *outer)
{
	Slice		value;

	if (scope.len == 0 || scope.len > outer->len)
		return false;
	while (next_scope(&scope, &value))
		if (!scope_has(*outer, &value))
			return false;
	return scope.len == 0;
}

/*
 * An error answer (RFC 6749 section 5.2).
 */
static Datum
error_answer(const char *error, const char *description)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "error", error);
	push_text(&state, "error_description", description);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Datum
invalid_grant(void)
{
	return error_answer("invalid_grant", "The refresh token is not valid, or not any more.");
}

/*
 * The answer with tokens (RFC 6749 section 5.1).  scope is that of the access
 * token.
 */
static Datum
token_answer(const Session *session, const TokenPolicy *policy, const Slice *scope, const DerivedKey *key,
			 TimestampTz now)
{
	TokenRequest request = {
		.claims = session->claims,
		.sub = session->sub,
		.sid = slice_of(session_show_sid(session)),
		.client_id = session->client_id,
		.scope = *scope,
		.now = now,
		.not_later_than = session->expires_at
	};
	TimestampTz expires;
	text	   *token = sign_claims(policy, &request, &expires);
	Slice		access_token = {VARDATA_ANY(token), (int) VARSIZE_ANY_EXHDR(token)};
	JsonbParseState *state = NULL;
	JsonbValue	seconds = {.type = jbvNumeric};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, "access_token", &access_token);
	push_text(&state, "token_type", "Bearer");
	push_key(&state, "expires_in");
	seconds.val.numeric = int64_to_numeric((expires - now) / USECS_PER_SEC);
	(void) pushJsonbValue(&state, WJB_VALUE, &seconds);
	push_text(&state, "refresh_token", refresh_token_make(key, &session->sid, session->counter));
	if (scope->data != NULL)
		push_string(&state, "scope", scope);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * jwt_start_session(issuer, sub, claims, client_id, scope)
 */
Datum
jwt_sql_start_session(PG_FUNCTION_ARGS)
{
	Session		session = {
		.issuer = required_argument(fcinfo, 0, "issuer"),
		.sub = required_argument(fcinfo, 1, "subject"),
		.claims = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2),
		.client_id = text_argument(fcinfo, 3),
		.scope = text_argument(fcinfo, 4),
		.started_at = GetCurrentTimestamp()
	};
	const TokenPolicy *policy;
	KeyFailure	failure;
	DerivedKey *key;
	Datum		answer;

	row_require_write("jwt_start_session()");
	if (session.claims != NULL)
		require_free_claims(session.claims);
	if (session.scope.data != NULL && !scope_is_well_formed(session.scope))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope is malformed"),
				 errdetail("A scope is a list of printable ASCII words, with one space in between.")));
	policy = policy_require(&session.issuer);
	session.rotated_at = session.started_at;
	session.expires_at = session.started_at + Min(policy->session_lifetime, policy->terms->session_lifetime);
	session_init_secrets(&session);
	key = refresh_key_derive(NULL, session.seed, SESSION_SEED_SIZE, session.issuer, &failure);
	if (key == NULL)
		key_file_raise(&failure);
	answer = token_answer(&session, policy, &session.scope, key, session.started_at);
	secret_cleanse(key);
	session_insert(&session);
	return answer;
}

/*
 * Why a refresh token is refused, for the log.  No client sees it, even if
 * client_min_messages is log.
 */
static void
log_refusal(const Session *session, const char *why)
{
	ereport(LOG_SERVER_ONLY,
			(errmsg("a refresh token of session %s was refused: %s", session_show_sid(session), why),
			 errhidestmt(true), errhidecontext(true)));
}

/*
 * A line of the key file is missing for a refresh token.  It may be forged, so
 * each backend logs this at most once a minute.
 */
static void
log_missing_line(const Session *session, const char *why)
{
	static TimestampTz next = DT_NOBEGIN;
	TimestampTz now = GetCurrentTimestamp();

	if (now < next)
		return;
	next = now + USECS_PER_MINUTE;
	log_refusal(session, why);
}

/*
 * Is a refresh token genuine?  *current becomes the key for new refresh tokens
 * of the session.  Without a session the same work is done.  Raises an error if
 * the key file cannot be used.
 */
static bool
is_genuine(const RefreshToken *token, const Session *session, DerivedKey **current)
{
	Slice		issuer = session->issuer.data != NULL ? session->issuer : slice_of("");
	KeyFailure	failure;
	DerivedKey *key;
	bool		genuine;

	*current = refresh_key_derive(NULL, session->seed, SESSION_SEED_SIZE, issuer, &failure);
	if (*current == NULL)
		key_file_raise(&failure);
	if (strcmp((*current)->name, token->key_name) == 0)
		return refresh_token_is_genuine(token, *current) && session->has_seed;

	key = refresh_key_derive(token->key_name, session->seed, SESSION_SEED_SIZE, issuer, &failure);
	if (key == NULL)
	{
		if (session->has_seed)
			log_missing_line(session, failure.message);
		return false;
	}
	genuine = refresh_token_is_genuine(token, key) && session->has_seed;
	secret_cleanse(key);
	return genuine;
}

/*
 * Decide on a genuine refresh token of a session that is locked.
 */
static Datum
redeem(const RefreshRequest *request, uint64 counter, Session *session, const DerivedKey *key, SessionRow *row)
{
	const TokenPolicy *policy;
	const Slice *scope = &session->scope;
	TimestampTz now = GetCurrentTimestamp();
	RefreshVerdict verdict;
	const char *why;
	Datum		answer;

	if (!slice_equal(&request->client_id, &session->client_id))
	{
		log_refusal(session, "it belongs to another client");
		return invalid_grant();
	}
	policy = policy_require(&session->issuer);
	verdict = session_judge(session, policy, counter, now, &why);
	if (verdict != REFRESH_OVER && verdict != REFRESH_REUSED && request->with_claims && request->claims == NULL)
	{
		verdict = REFRESH_REUSED;
		why = "the application gave no claims for it";
	}
	if (verdict == REFRESH_OVER || verdict == REFRESH_REUSED)
	{
		log_refusal(session, why);
		if (verdict == REFRESH_REUSED)
			session_end(session, why, now, row);
		return invalid_grant();
	}
	if (request->scope.data != NULL)
	{
		if (session->scope.data == NULL || !scope_is_within(request->scope, &session->scope))
			return error_answer("invalid_scope", "The session does not have this scope.");
		scope = &request->scope;
	}
	if (request->with_claims)
		session->claims = request->claims;
	session_redeem(session, verdict, now);
	answer = token_answer(session, policy, scope, key, now);
	session_update(session, row);
	return answer;
}

/*
 * Redeem a refresh token.  A forged one leaves no row, no lock, and no message
 * but that of log_missing_line().
 */
static Datum
refresh(const RefreshRequest *request)
{
	RefreshToken token;
	Session		session = {0};
	Session		locked;
	SessionRow	row;
	DerivedKey *key;
	Datum		answer;

	if (request->token.data == NULL || !refresh_token_parse(request->token.data, request->token.len, &token))
		return error_answer("invalid_request", "There is no refresh token of the right form.");
	(void) session_find(&token.sid, RowExclusiveLock, &session, &row);

	/* somebody may have written another session into the row meanwhile */
	if (!is_genuine(&token, &session, &key) || !session_lock(&row, &locked) ||
		(locked.has_seed &&
		 (memcmp(locked.seed, session.seed, SESSION_SEED_SIZE) != 0 || !slice_equal(&locked.issuer, &session.issuer))))
		answer = invalid_grant();
	else
		answer = redeem(request, token.counter, &locked, key, &row);
	secret_cleanse(key);
	session_close(&row);
	return answer;
}

static Datum
refresh_with_stored_claims(FunctionCallInfo fcinfo)
{
	RefreshRequest request = {
		.token = text_argument(fcinfo, 0),
		.client_id = text_argument(fcinfo, 1),
		.scope = text_argument(fcinfo, 2)
	};

	row_require_write("jwt_refresh()");
	return refresh(&request);
}

/*
 * jwt_refresh(refresh_token, client_id, scope)
 */
Datum
jwt_sql_refresh(PG_FUNCTION_ARGS)
{
	return call_with_secret(refresh_with_stored_claims, fcinfo);
}

static Datum
refresh_with(FunctionCallInfo fcinfo)
{
	RefreshRequest request = {
		.token = text_argument(fcinfo, 0),
		.with_claims = true,
		.claims = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1),
		.client_id = text_argument(fcinfo, 2),
		.scope = text_argument(fcinfo, 3)
	};

	row_require_write("jwt_refresh_with()");
	if (request.claims != NULL)
		require_free_claims(request.claims);
	return refresh(&request);
}

/*
 * jwt_refresh_with(refresh_token, claims, client_id, scope): null claims end
 * the session.
 */
Datum
jwt_sql_refresh_with(PG_FUNCTION_ARGS)
{
	return call_with_secret(refresh_with, fcinfo);
}

static Datum
refresh_session(FunctionCallInfo fcinfo)
{
	Slice		text = text_argument(fcinfo, 0);
	Slice		client_id = text_argument(fcinfo, 1);
	RefreshToken token;
	Session		session = {0};
	SessionRow	row;
	DerivedKey *key;
	RefreshVerdict verdict;
	const char *why;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (text.data == NULL || !refresh_token_parse(text.data, text.len, &token))
		PG_RETURN_NULL();
	(void) session_find(&token.sid, AccessShareLock, &session, &row);
	session_close(&row);
	if (!is_genuine(&token, &session, &key) || !slice_equal(&client_id, &session.client_id))
		PG_RETURN_NULL();
	secret_cleanse(key);
	verdict = session_judge(&session, policy_require(&session.issuer), token.counter, GetCurrentTimestamp(), &why);
	if (verdict == REFRESH_OVER || verdict == REFRESH_REUSED)
		PG_RETURN_NULL();
	values[0] = UUIDPGetDatum(&session.sid);
	values[1] = PointerGetDatum(cstring_to_text_with_len(session.issuer.data, session.issuer.len));
	values[2] = PointerGetDatum(cstring_to_text_with_len(session.sub.data, session.sub.len));
	values[3] = JsonbPGetDatum(session.claims);
	nulls[3] = session.claims == NULL;
	PG_RETURN_DATUM(row_result(fcinfo, 4, values, nulls));
}

/*
 * jwt_refresh_session(refresh_token, client_id): whose session a refresh token
 * would refresh now; null if jwt_refresh() would refuse it.
 */
Datum
jwt_sql_refresh_session(PG_FUNCTION_ARGS)
{
	return call_with_secret(refresh_session, fcinfo);
}

/*
 * jwt_end_session(sid): false if it had ended before, or never was.
 */
Datum
jwt_sql_end_session(PG_FUNCTION_ARGS)
{
	Session		session;
	SessionRow	row;
	bool		ended;

	row_require_write("jwt_end_session()");
	ended = session_find(PG_GETARG_UUID_P(0), RowExclusiveLock, &session, &row) &&
		session_lock(&row, &session) && session.has_seed;
	if (ended)
		session_end(&session, "jwt_end_session", GetCurrentTimestamp(), &row);
	session_close(&row);
	PG_RETURN_BOOL(ended);
}

/*
 * jwt_end_sessions(issuer, sub): how many have ended.
 */
Datum
jwt_sql_end_sessions(PG_FUNCTION_ARGS)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		sub = text_argument(fcinfo, 1);

	row_require_write("jwt_end_sessions()");
	PG_RETURN_INT64(session_end_all(&issuer, sub.data != NULL ? &sub : NULL, "jwt_end_sessions"));
}

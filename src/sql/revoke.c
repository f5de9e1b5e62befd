/*-------------------------------------------------------------------------
 *
 * revoke.c
 *	  The SQL functions that revoke: each inserts a row into jwt_denylist.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/int.h"
#include "extension/row.h"
#include "miscadmin.h"
#include "session/session.h"
#include "sql/functions.h"
#include "token/claims.h"
#include "token/json.h"
#include "trust/rows.h"
#include "trust/write.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_revoke);
JWT_SQL_FUNCTION(jwt_sql_logout);
JWT_SQL_FUNCTION(jwt_sql_revoke_id);
JWT_SQL_FUNCTION(jwt_sql_revoke_session);
JWT_SQL_FUNCTION(jwt_sql_revoke_subject);
JWT_SQL_FUNCTION(jwt_sql_revoke_issuer);
JWT_SQL_FUNCTION(jwt_sql_revoke_key);

/* Adds an interval to a time, both finite; saturates at infinity. */
static TimestampTz
add_usec(TimestampTz t, int64 usec)
{
	int64		sum;

	if (TIMESTAMP_NOT_FINITE(t) || pg_add_s64_overflow(t, usec, &sum) || !IS_VALID_TIMESTAMP(sum))
		return DT_NOEND;
	return sum;
}

/*
 * Does jwt_auth issue tokens of this issuer here?
 */
static bool
signs_here(const TrustIssuer *issuer)
{
	Slice		name = slice_of(issuer->policy.issuer);
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, &name, InvalidAttrNumber, NULL);
	bool		found = false;

	while (!found && rows_next(&scan))
	{
		const char *source = rows_text(&scan, Anum_key_source);

		found = source != NULL && strcmp(source, "signing") == 0;
	}
	rows_end(&scan);
	return found;
}

/*
 * When a revocation of tokens that were issued until a time can be pruned:
 * when the last of them has expired, if the issuer limits their lifetime, else
 * never.  It also ends the sessions of jwt_auth, which live longer.  An unusable
 * policy can be corrected later, so under such a policy nothing can be pruned.
 */
TimestampTz
expiry_of_issued(const TrustIssuer *issuer, TimestampTz issued_before)
{
	int64		lifetime = issuer->policy.max_lifetime;

	if (lifetime == CLAIMS_NO_LIMIT || issuer->unusable != NULL)
		return DT_NOEND;
	if (lifetime < issuer->session_lifetime && signs_here(issuer))
		lifetime = issuer->session_lifetime;
	return add_usec(add_usec(issued_before, lifetime), issuer->policy.leeway);
}

/*
 * When the revocation of a session that ended at a time can be pruned: after the
 * longest lifetime of a session.
 */
TimestampTz
expiry_of_session(const TrustIssuer *issuer, TimestampTz ended)
{
	if (issuer->unusable != NULL)
		return DT_NOEND;
	return add_usec(ended, issuer->session_lifetime);
}

/*
 * Check the size of a value.  Raises an error if the table cannot hold it.
 */
static void
check_value(const Slice *value)
{
	if (value->len > TRUST_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value to be revoked is longer than %d bytes", TRUST_MAX_NAME)));
}

/*
 * The argument issued_before.  Infinity revokes all tokens, also later ones.
 */
static TimestampTz
issued_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("time must not be null")));
	return PG_GETARG_TIMESTAMPTZ(n);
}

/*
 * Revoke the tokens that were issued until a time.  Returns that time.
 */
static Datum
revoke_issued(RevocationKind kind, const Slice *issuer, const Slice *value,
			  TimestampTz issued_before, const Slice *reason)
{
	write_revocation(kind, issuer, value, issued_before,
					 expiry_of_issued(require_issuer(issuer), issued_before), reason);
	return TimestampTzGetDatum(issued_before);
}

/*
 * A time in verified claims.  From the year 9999 on it is infinity.
 */
static TimestampTz
time_claim(const Jsonb *claims, const char *name, TimestampTz absent)
{
	JsonbValue	value;
	double		seconds;

	if (!jsonb_member(claims, name, &value) || value.type != jbvNumeric)
		return absent;
	seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												 NumericGetDatum(value.val.numeric)));
	if (seconds >= 253402300800.0)
		return DT_NOEND;
	return time_t_to_timestamptz(0) + (TimestampTz) (Max(seconds, 0) * USECS_PER_SEC);
}

/*
 * Revoke the token of verified claims by its session or by its jti.  The
 * caller chooses which of them is tried first.  Returns how long the
 * revocation is kept.
 */
static TimestampTz
revoke_claims(const Jsonb *claims, bool session_first, const Slice *reason)
{
	Slice		name = claims_string(claims, "iss", 3);
	Slice		jti = claims_string(claims, "jti", 3);
	Slice		sid;
	TrustIssuer *issuer;
	const char *session_claim;
	TimestampTz expires_at;

	if (name.data == NULL)
		name.data = "";
	issuer = require_issuer(&name);
	session_claim = issuer->policy.session_claim ? issuer->policy.session_claim : CLAIMS_SESSION;
	sid = claims_string(claims, session_claim, (int) strlen(session_claim));
	if (sid.data != NULL && (session_first || jti.data == NULL))
	{
		/*
		 * this token may expire later than the session_lifetime of its issuer
		 */
		expires_at = Max(expiry_of_session(issuer, GetCurrentTimestamp()),
						 add_usec(time_claim(claims, "exp", DT_NOEND), USECS_PER_SEC));
		write_revocation(REVOKED_SESSION, &name, &sid, DT_NOEND, expires_at, reason);
	}
	else if (jti.data != NULL)
	{
		expires_at = add_usec(time_claim(claims, "exp", DT_NOEND), USECS_PER_SEC);
		write_revocation(REVOKED_ID, &name, &jti, DT_NOEND, expires_at, reason);
	}
	else
	{
		Failure		failure;

		(void) fail_hint(&failure, FAILURE_CLAIM,
						 psprintf("The token has neither a \"jti\" nor a \"%s\", by which it could be revoked.",
								  quote_string(session_claim)),
						 "Use jwt_revoke_subject() or jwt_logout(everywhere => true) for all tokens of its subject.");
		raise_failure(&failure);
	}
	return expires_at;
}

/*
 * jwt_revoke(token, reason): returns how long the revocation is kept.
 */
Datum
jwt_sql_revoke(PG_FUNCTION_ARGS)
{
	/* the finder of a lost token does not have the key that it is bound to */
	VerifyRequest request = {
		.token = text_argument(fcinfo, 0), .at = verify_now(), .sender = SENDER_IRRELEVANT
	};
	Slice		reason = text_argument(fcinfo, 1);
	VerifiedClaims verified;
	Failure		failure;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	row_require_write("jwt_revoke()");
	if (!verify_claims(&request, &verified, &failure))
		raise_failure(&failure);
	PG_RETURN_TIMESTAMPTZ(revoke_claims(verified.claims, false, &reason));
}

/*
 * jwt_logout(everywhere): false without a current token.
 */
Datum
jwt_sql_logout(PG_FUNCTION_ARGS)
{
	bool		everywhere = PG_GETARG_BOOL(0);
	const Jsonb *claims;
	uint64		stamp;
	Failure		failure;

	row_require_write("jwt_logout()");
	if (!session_claims(&claims, &stamp, &failure))
		raise_failure(&failure);
	if (claims == NULL)
		PG_RETURN_BOOL(false);
	if (everywhere)
	{
		static const Slice reason = {"logout everywhere", 17};
		Slice		name = claims_string(claims, "iss", 3);
		Slice		sub = claims_string(claims, "sub", 3);
		TimestampTz issued_before = GetCurrentTimestamp();

		if (sub.data == NULL)
		{
			(void) fail_hint(&failure, FAILURE_CLAIM,
							 "The token has no \"sub\", by which it could be revoked.",
							 "Use jwt_revoke() or jwt_logout() for this token alone.");
			raise_failure(&failure);
		}
		if (name.data == NULL)
			name.data = "";

		/*
		 * by our clock, or by the token's iat if the issuer's clock is ahead
		 */
		issued_before = Max(issued_before, time_claim(claims, "iat", issued_before));
		(void) revoke_issued(REVOKED_SUBJECT, &name, &sub, issued_before, &reason);
	}
	else
	{
		static const Slice reason = {"logout", 6};

		(void) revoke_claims(claims, true, &reason);
	}
	PG_RETURN_BOOL(true);
}

/*
 * jwt_revoke_id(issuer, jti, expires_at, reason)
 */
Datum
jwt_sql_revoke_id(PG_FUNCTION_ARGS)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		jti = required_argument(fcinfo, 1, "jti");
	TimestampTz expires_at = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	Slice		reason = text_argument(fcinfo, 3);

	row_require_write("jwt_revoke_id()");
	(void) require_issuer(&issuer);
	check_value(&jti);
	write_revocation(REVOKED_ID, &issuer, &jti, DT_NOEND, expires_at, &reason);
	PG_RETURN_TIMESTAMPTZ(expires_at);
}

/*
 * jwt_revoke_session(issuer, sid, expires_at, reason)
 */
Datum
jwt_sql_revoke_session(PG_FUNCTION_ARGS)
{
	Slice		name = required_argument(fcinfo, 0, "issuer");
	Slice		sid = required_argument(fcinfo, 1, "session");
	Slice		reason = text_argument(fcinfo, 3);
	TrustIssuer *issuer;
	TimestampTz expires_at;

	row_require_write("jwt_revoke_session()");
	issuer = require_issuer(&name);
	check_value(&sid);
	expires_at = PG_ARGISNULL(2) ? expiry_of_session(issuer, GetCurrentTimestamp()) : PG_GETARG_TIMESTAMPTZ(2);
	write_revocation(REVOKED_SESSION, &name, &sid, DT_NOEND, expires_at, &reason);
	PG_RETURN_TIMESTAMPTZ(expires_at);
}

/*
 * jwt_revoke_subject(issuer, sub, issued_before, reason)
 */
Datum
jwt_sql_revoke_subject(PG_FUNCTION_ARGS)
{
	Slice		name = required_argument(fcinfo, 0, "issuer");
	Slice		sub = required_argument(fcinfo, 1, "subject");
	TimestampTz issued_before = issued_argument(fcinfo, 2);
	Slice		reason = text_argument(fcinfo, 3);

	row_require_write("jwt_revoke_subject()");
	check_value(&sub);
	return revoke_issued(REVOKED_SUBJECT, &name, &sub, issued_before, &reason);
}

/*
 * jwt_revoke_issuer(issuer, issued_before, reason)
 */
Datum
jwt_sql_revoke_issuer(PG_FUNCTION_ARGS)
{
	Slice		name = required_argument(fcinfo, 0, "issuer");
	TimestampTz issued_before = issued_argument(fcinfo, 1);
	Slice		reason = text_argument(fcinfo, 2);

	row_require_write("jwt_revoke_issuer()");
	return revoke_issued(REVOKED_ISSUER, &name, &name, issued_before, &reason);
}

/*
 * jwt_revoke_key(issuer, kid, reason): revoke the keys by thumbprint, so under
 * every kid and issuer.
 */
Datum
jwt_sql_revoke_key(PG_FUNCTION_ARGS)
{
	Slice		name = required_argument(fcinfo, 0, "issuer");
	Slice		kid = text_argument(fcinfo, 1);
	Slice		reason = text_argument(fcinfo, 2);
	List	   *thumbprints = NIL;
	ListCell   *lc;
	RowScan		scan;
	bool		found = false;

	row_require_write("jwt_revoke_key()");
	scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, &name, Anum_key_kid, &kid);
	while (rows_next(&scan))
	{
		KeyRow		row;
		Jwk			jwk;
		char	   *why_not;

		rows_read_key(&scan, &row);
		if (kid.data == NULL && row.kid != NULL)
			continue;
		found = true;
		/* a key that cannot be read verifies nothing anyway */
		if (row.jsonb != NULL && jwk_read(row.jsonb, &jwk, &why_not))
			thumbprints = lappend(thumbprints, rows_thumbprint(&jwk));
	}
	rows_end(&scan);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("issuer \"%s\" has no key %s", quote_untrusted(name.data, name.len),
						kid.data == NULL ? "without kid" :
						psprintf("\"%s\"", quote_untrusted(kid.data, kid.len)))));
	if (thumbprints == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key has no thumbprint, as it is none"),
				 errhint("It verifies nothing; delete it.")));
	foreach(lc, thumbprints)
	{
		Slice		value = slice_of(lfirst(lc));

		write_revocation(REVOKED_KEY, &name, &value, DT_NOEND, DT_NOEND, &reason);
	}
	PG_RETURN_TIMESTAMPTZ(GetCurrentTransactionStartTimestamp());
}

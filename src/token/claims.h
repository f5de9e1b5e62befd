/*-------------------------------------------------------------------------
 *
 * claims.h
 *	  The check of registered claims against a policy and a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_CLAIMS_H
#define JWT_CLAIMS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "token/failure.h"
#include "token/jws.h"
#include "utils/jsonb.h"

/* No limit, for the intervals of a policy. */
#define CLAIMS_NO_LIMIT	(-1)

/*
 * The maximal size of jti, sub and session in bytes: the limit of the
 * denylist.
 */
#define CLAIMS_MAX_ID	1024

/* The default claim for the session (OpenID). */
#define CLAIMS_SESSION	"sid"

/*
 * The policy of an issuer: a row of jwt_issuer, ready to use.  Strings are
 * terminated; intervals are in microseconds.
 */
typedef struct ClaimsPolicy
{
	char	   *issuer;
	bool		accepts_none;	/* the audience is null */
	bool		accept_id_tokens;
	bool		any_audience;	/* {*} */
	int			n_audience;		/* 0: only tokens without aud */
	char	  **audience;
	int			n_required;
	char	  **required;
	char	   *token_type;		/* or NULL */
	char	   *session_claim;	/* or NULL: CLAIMS_SESSION */
	int64		leeway;
	int64		max_lifetime;	/* or CLAIMS_NO_LIMIT */
	int64		max_age;		/* or CLAIMS_NO_LIMIT */
} ClaimsPolicy;

/*
 * Times of a token as timestamps.  They are saturated, and infinite if absent.
 * So issued is the same for a token without iat and for an iat before all
 * timestamps; has_issued distinguishes these cases.
 */
typedef struct ClaimsTimes
{
	TimestampTz expires;		/* exp, or DT_NOEND */
	TimestampTz not_before;		/* nbf, or DT_NOBEGIN */
	TimestampTz issued;			/* iat, or DT_NOBEGIN */
	bool		has_expires;
	bool		has_issued;
} ClaimsTimes;

/*
 * The claims by which a token can be revoked.  Their data is NULL if absent.
 */
typedef struct ClaimsIds
{
	Slice		sub;
	Slice		sid;			/* the claim that the policy names */
	Slice		jti;
} ClaimsIds;

extern bool claims_type_is(const Slice *typ, const char *type);
extern const char *claims_other_purpose(const Slice *typ);
extern const char *claims_shared_audience(const ClaimsPolicy *a, const ClaimsPolicy *b);
extern bool claims_issuer_is(const JsonbValue *claims, const char *issuer);
extern bool claims_check(const JsonbValue *claims, const char *text, const Jws *jws,
						 const ClaimsPolicy *policy, const Slice *audience,
						 TimestampTz at, ClaimsIds *ids, ClaimsTimes *times, Failure *failure);
extern bool claims_check_event(const JsonbValue *claims, const char *text, const ClaimsPolicy *policy,
							   TimestampTz at, ClaimsTimes *times, Failure *failure);
extern bool claims_time(const char *text, const JsonbPair *member, TimestampTz *t);
extern Slice claims_string(const Jsonb *claims, const char *name, int len);
extern bool claims_check_time(const ClaimsTimes *times, const ClaimsPolicy *policy,
							  TimestampTz at, Failure *failure);

#endif							/* JWT_CLAIMS_H */

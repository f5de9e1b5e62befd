/*-------------------------------------------------------------------------
 *
 * policy.h
 *	  On which terms an issuer signs here: a row of jwt_token_policy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_POLICY_H
#define JWT_AUTH_POLICY_H

#include "postgres.h"

#include "entries.h"
#include "token/slice.h"
#include "utils/timestamp.h"

/*
 * The longest lifetime of an access token, and the largest leeway of an issuer,
 * in microseconds.
 */
#define POLICY_MAX_ACCESS_LIFETIME	USECS_PER_DAY
#define POLICY_MAX_LEEWAY			(5 * USECS_PER_MINUTE)

/*
 * A row, ready to use.  Strings are terminated; intervals are in microseconds.
 */
typedef struct TokenPolicy
{
	char	   *issuer;
	int			n_audience;
	char	  **audience;
	int64		access_lifetime;
	int64		session_lifetime;
	int64		idle_lifetime;
	int64		grace;
	int64		publish_ahead;
	int64		rotate_every;	/* 0: never */
	const IssuerTerms *terms;	/* on which its tokens are accepted here */
	char	   *unusable;		/* why it signs nothing: a sentence, or NULL */
} TokenPolicy;

extern const TokenPolicy *policy_find(const Slice *issuer);
extern const TokenPolicy *policy_require(const Slice *issuer);
extern int64 policy_lifetime(const TokenPolicy *policy, const Interval *interval);

#endif							/* JWT_AUTH_POLICY_H */

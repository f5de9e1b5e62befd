/*-------------------------------------------------------------------------
 *
 * jwks.h
 *	  JWK Sets: which keys of an issuer one publishes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_H
#define JWT_JWKS_H

#include "postgres.h"

#include "trust/trust.h"
#include "utils/jsonb.h"

/* Members of a set at most. */
#define JWKS_MAX_MEMBERS	5000

/*
 * A member of a set.  One with a reason is not usable.  If it has a jwk all the
 * same, then it has been revoked, or all that it lacks is its algorithm.
 */
typedef struct JwksMember
{
	char	   *kid;			/* or NULL */
	char	   *alg;			/* NULL when it is not known */
	Jsonb	   *jwk;			/* normal form, or NULL */
	const char *reason;			/* a sentence, or NULL */
} JwksMember;

extern bool jwks_read(const Jsonb *set, const TrustIssuer *issuer,
					  const TrustRevokedKeys *revoked, JwksMember **members, int *n, char **reason);

#endif							/* JWT_JWKS_H */

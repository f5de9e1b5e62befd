/*-------------------------------------------------------------------------
 *
 * key_set.h
 *	  The members of a JWK Set as keys of an issuer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_KEY_SET_H
#define JWT_KEY_SET_H

#include "postgres.h"

#include "trust/rows.h"

/*
 * A member of a set.  One with a reason is not usable.  If it has a jwk all the
 * same, then it has been revoked, or all that it lacks is its algorithm.
 */
typedef struct KeySetMember
{
	char	   *kid;			/* or NULL */
	char	   *alg;			/* NULL when it is not known */
	Jsonb	   *jwk;			/* normal form, or NULL */
	const char *reason;			/* a sentence, or NULL */
} KeySetMember;

extern bool key_set_read(const char *text, int len, const TrustIssuer *issuer,
						 KeySetMember **members, int *n, char **reason);

#endif							/* JWT_KEY_SET_H */

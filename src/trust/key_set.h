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
 * A member of a set.  It is not usable if it has a reason.  A member with both
 * a reason and a jwk is revoked, or lacks only its algorithm.
 */
typedef struct KeySetMember
{
	char	   *kid;			/* or NULL */
	char	   *alg;			/* NULL if unknown */
	Jsonb	   *jwk;			/* normal form, or NULL */
	const char *reason;			/* a sentence, or NULL */
} KeySetMember;

extern bool key_set_read(const char *text, int len, const TrustIssuer *issuer,
						 KeySetMember **members, int *n, char **reason);

#endif							/* JWT_KEY_SET_H */

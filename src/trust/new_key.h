/*-------------------------------------------------------------------------
 *
 * new_key.h
 *	  Whether a JWK can become a key of an issuer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_NEW_KEY_H
#define JWT_NEW_KEY_H

#include "postgres.h"

#include "trust/rows.h"

/* A JWK on its way into jwt_key. */
typedef struct NewKey
{
	Jwk			jwk;
	bool		jwk_read;		/* jwk has been filled in */
	char	   *alg;			/* what it is pinned to, as it is written; or
								 * NULL */
	const Algorithm *algorithm; /* what that means for this key */
	bool		lacks_alg;		/* all that it lacks is its algorithm */
} NewKey;

extern bool new_key_read(const Jsonb *jwk, const char *alg, const TrustIssuer *issuer,
						 NewKey *key, char **reason);
extern bool new_key_check(const NewKey *key, char **reason);

#endif							/* JWT_NEW_KEY_H */

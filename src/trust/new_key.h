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

/* A JWK that will be written into jwt_key. */
typedef struct NewKey
{
	Jwk			jwk;
	bool		jwk_read;		/* jwk has been filled in */
	char	   *alg;			/* the name of its algorithm, or NULL */
	const Algorithm *algorithm; /* the algorithm of that name for this key */
	bool		lacks_alg;		/* it lacks only its algorithm */
} NewKey;

extern bool new_key_read(const Jsonb *jwk, const char *alg, const TrustIssuer *issuer,
						 NewKey *key, char **reason);
extern bool new_key_check(const NewKey *key, char **reason);

#endif							/* JWT_NEW_KEY_H */

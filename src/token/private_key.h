/*-------------------------------------------------------------------------
 *
 * private_key.h
 *	  Private keys: JWK, PEM and PKCS#8, to and from OpenSSL's EVP_PKEY.
 *
 * Only the library jwt_auth links this file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_PRIVATE_KEY_H
#define JWT_PRIVATE_KEY_H

#include "postgres.h"

#include <openssl/types.h>

#include "token/algorithm.h"
#include "token/jwk.h"
#include "utils/jsonb.h"

/*
 * A private key or an HMAC secret, for one algorithm.  It belongs to the memory
 * context that its function was given, and is freed and cleansed with it.
 */
typedef struct PrivateKey
{
	const Algorithm *algorithm;
	EVP_PKEY   *pkey;			/* NULL for an HMAC secret */
	Jwk			half;			/* the public half, or the HMAC secret; the
								 * kid of the JWK, but no alg */
	MemoryContextCallback free_callback;
} PrivateKey;

/*
 * Each of these returns NULL with a reason if there is no such key. alg is the
 * name of an algorithm, or NULL: then the key itself must imply one.
 */
extern PrivateKey *private_key_generate(const char *alg, MemoryContext context, char **reason);
extern PrivateKey *private_key_from_text(const char *text, int len, const char *alg,
										 MemoryContext context, char **reason);
extern PrivateKey *private_key_from_jwk(const Jsonb *jwk, const char *alg,
										MemoryContext context, char **reason);
extern PrivateKey *private_key_from_der(const uint8 *der, int len, const char *alg,
										MemoryContext context, char **reason);

extern uint8 *private_key_to_der(const PrivateKey *key, MemoryContext context, int *len);
extern Jsonb *private_key_public_jwk(const PrivateKey *key);
extern char *private_key_thumbprint(const PrivateKey *key);

#endif							/* JWT_PRIVATE_KEY_H */

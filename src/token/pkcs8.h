/*-------------------------------------------------------------------------
 *
 * pkcs8.h
 *	  Private keys in PKCS#8, from PEM and DER and to DER.
 *
 * Only the library jwt_auth links this file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_PKCS8_H
#define JWT_PKCS8_H

#include "postgres.h"

#include <openssl/core_names.h>
#include <openssl/types.h>

#include "token/algorithm.h"
#include "token/jwk.h"

/* The size of the seed of ML-DSA, of which RFC 9964 makes the private key. */
#define ML_DSA_SEED_SIZE	32

/* OpenSSL 3.5 and later; older headers have no name for it. */
#define PARAM_ML_DSA_SEED	"seed"

/* The numbers of an RSA key, in the order of RSAPrivateKey (RFC 8017). */
enum
{
	RSA_N, RSA_E, RSA_D, RSA_P, RSA_Q, RSA_DP, RSA_DQ, RSA_QI, RSA_NUMBERS
};

extern const char *const rsa_number_params[RSA_NUMBERS];

/*
 * A key as it was read.  "stated" is its public half, whose parts may be
 * absent except for RSA.  A private key of another type than RSA is only one
 * number or string: d, or the seed.
 */
typedef struct KeyParts
{
	Jwk			stated;
	JwkBytes	private_part;	/* not RSA */
	JwkBytes	rsa[RSA_NUMBERS];	/* RSA: len is 0 for an absent number */
} KeyParts;

extern bool pkcs8_from_pem(const char *text, int len, JwkBytes *der, char **reason);
extern bool pkcs8_read(const JwkBytes *der, KeyParts *parts, char **reason);
extern bool pkcs8_write(const EVP_PKEY *pkey, const Algorithm *algorithm, uint8 *end, uint8 **start);

#endif							/* JWT_PKCS8_H */

/*-------------------------------------------------------------------------
 *
 * algorithm.h
 *	  The table of signature algorithms (RFC 7518 section 3, RFC 8037,
 *	  RFC 8812, RFC 9864, RFC 9964).
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_ALGORITHM_H
#define JWT_ALGORITHM_H

#include "postgres.h"

typedef enum AlgorithmFamily
{
	FAMILY_HMAC,
	FAMILY_RSA_PKCS1,
	FAMILY_RSA_PSS,
	FAMILY_ECDSA,
	FAMILY_EDDSA,
	FAMILY_ML_DSA
} AlgorithmFamily;

/*
 * The constants of an algorithm.  Names of OpenSSL are strings, so that this
 * file does not depend on OpenSSL.  Sizes are in bytes.
 */
typedef struct Algorithm
{
	const char *name;			/* in a header's alg and in jwt_key.alg */
	AlgorithmFamily family;
	const char *kty;			/* key type of its keys */
	const char *crv;			/* their curve, or NULL */
	const char *key_name;		/* OpenSSL: type of the key, or its group */
	const char *digest;			/* OpenSSL: name of the digest, or NULL */
	int			digest_size;
	int			part_size;		/* EC coordinate, or raw OKP or AKP key */
	int			signature_size; /* 0: the size of the RSA modulus */
} Algorithm;

/* The name that RFC 8037 gives to both curves, and RFC 9864 deprecates. */
#define ALGORITHM_EDDSA	"EdDSA"

extern const Algorithm *algorithm_by_name(const char *name, int len);
extern const Algorithm *algorithm_by_curve(const char *kty, const char *crv, int len);
extern const Algorithm *algorithm_at(int i);
extern bool algorithm_known(const char *name, int len);
extern bool algorithm_is(const Algorithm *algorithm, const char *name, int len);
extern const char *algorithm_names(void);

#endif							/* JWT_ALGORITHM_H */

/*-------------------------------------------------------------------------
 *
 * jwk.h
 *	  Keys: JWK, PEM, certificate and secret, to and from OpenSSL's EVP_PKEY.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWK_H
#define JWT_JWK_H

#include "postgres.h"

#include <openssl/types.h>

#include "token/algorithm.h"
#include "utils/jsonb.h"

/* Bytes of a secret, or of any part of a key, at most. */
#define JWK_MAX_PART_SIZE	4096

/* A member of a JWK that is decoded bytes. */
typedef struct JwkBytes
{
	uint8	   *data;
	int			len;
} JwkBytes;

/*
 * A JWK whose form has been checked.  Strings point into the jsonb it was read
 * from; alg and kid are NULL where the JWK has none.
 */
typedef struct Jwk
{
	const char *kty;			/* one of the key types of algorithm.c */
	const Algorithm *only;		/* the one it is for; NULL for RSA and oct */
	const char *alg;
	int			alg_len;
	const char *kid;
	int			kid_len;
	JwkBytes	part[2];		/* n, e; x, y; x; pub; or k */
} Jwk;

extern const char *jwk_private_member(const Jsonb *jsonb);
extern bool jwk_read(const Jsonb *jsonb, Jwk *jwk, char **reason);
extern bool jwk_fits(const Jwk *jwk, const char *alg, int alg_len,
					 const Algorithm **algorithm, char **reason);
extern bool jwk_check_point(const Jwk *jwk, char **reason);
extern bool jwk_check_key(const Jwk *jwk, const Algorithm *algorithm, char **reason);
extern bool jwk_make_key(const Jwk *jwk, const Algorithm *algorithm,
						 EVP_PKEY **pkey, char **reason);
extern Jsonb *jwk_normal_form(const Jwk *jwk, bool with_alg);
extern char *jwk_thumbprint(const Jwk *jwk);

#endif							/* JWT_JWK_H */

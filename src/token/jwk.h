/*-------------------------------------------------------------------------
 *
 * jwk.h
 *	  JSON Web Keys: the checks of a key, and its conversion to an OpenSSL key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWK_H
#define JWT_JWK_H

#include "postgres.h"

#include <openssl/types.h>

#include "token/algorithm.h"
#include "utils/jsonb.h"

/* The maximal size of a secret or of a part of a key, in bytes. */
#define JWK_MAX_PART_SIZE	4096

/* A decoded base64url member of a JWK. */
typedef struct JwkBytes
{
	uint8	   *data;
	int			len;
} JwkBytes;

/*
 * A JWK whose form has been checked.  Strings point into its jsonb. alg and
 * kid are NULL if the JWK has none.
 */
typedef struct Jwk
{
	const char *kty;			/* a key type of algorithm.c */
	const Algorithm *implied_algorithm; /* by its curve or, for AKP, its alg;
										 * NULL for RSA and oct */
	const char *alg;
	int			alg_len;
	const char *kid;
	int			kid_len;
	JwkBytes	part[2];		/* n, e; x, y; x; pub; or k */
} Jwk;

extern const char *jwk_private_member(const Jsonb *jsonb);
extern bool jwk_is_private_member(const char *name, int len);
extern bool jwk_read(const Jsonb *jsonb, Jwk *jwk, char **reason);
extern bool jwk_read_half(const Jsonb *jsonb, const char *operation, Jwk *jwk, char **reason);
extern bool jwk_decode(const JsonbValue *value, const char *name, JwkBytes *bytes, char **reason);
extern bool jwk_fits(const Jwk *jwk, const char *alg, int alg_len,
					 const Algorithm **algorithm, char **reason);
extern bool jwk_check_point(const Jwk *jwk, char **reason);
extern bool jwk_check_key(const Jwk *jwk, const Algorithm *algorithm, char **reason);
extern bool jwk_make_key(const Jwk *jwk, const Algorithm *algorithm,
						 EVP_PKEY **pkey, char **reason);
extern bool jwk_from_pkey(const EVP_PKEY *pkey, Jwk *jwk);
extern Jsonb *jwk_normal_form(const Jwk *jwk, bool with_alg);
extern char *jwk_thumbprint(const Jwk *jwk);

#endif							/* JWT_JWK_H */

/*-------------------------------------------------------------------------
 *
 * jws.h
 *	  Compact JSON Web Signatures: form, header and signature.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWS_H
#define JWT_JWS_H

#include "postgres.h"

#include <openssl/types.h>

#include "token/algorithm.h"
#include "token/failure.h"
#include "token/jwk.h"
#include "token/slice.h"
#include "utils/jsonb.h"

/* Largest token that the setting jwt.max_token_size can allow, in bytes. */
#define JWS_MAX_SIZE	(1024 * 1024)

/* The maximal size of a digest and of a MAC, in bytes. */
#define JWS_DIGEST_MAX_SIZE	64

/*
 * The maximal size of an ECDSA signature in DER: two integers of up to 66
 * bytes, and their headers.
 */
#define JWS_ECDSA_DER_MAX_SIZE	160

/*
 * A compact JWS taken apart.  All of it lives in the memory context of
 * jws_split() and in the token, which must live as long.
 */
typedef struct Jws
{
	const uint8 *signing_input; /* the token up to its second dot */
	int			signing_input_len;
	JsonbValue	header;			/* an object; its text is not kept */
	Slice		alg;
	Slice		kid;
	Slice		typ;
	Slice		cty;
	const uint8 *payload;		/* decoded, not verified, not parsed */
	int			payload_len;
	const uint8 *signature;
	int			signature_len;
} Jws;

/* A key ready to verify: opaque, owned by a memory context. */
typedef struct JwsVerifier JwsVerifier;

/*
 * The number of errors that were raised while verifying or signing.  Each of them
 * leaves a verifier or signer in an unknown state.
 */
extern uint64 jws_errors;

extern void jws_init(void);
extern void jws_warm_up(void);
extern bool jws_split(const char *token, int len, int max_size, Jws *jws, Failure *failure);
extern bool jws_check_header(Jws *jws, Failure *failure);
extern JwsVerifier *jws_verifier_create(const Jwk *jwk, const Algorithm *algorithm,
										MemoryContext context, char **reason);
extern bool jws_signature_is_good(JwsVerifier *verifier,
								  const uint8 *input, int input_len,
								  const uint8 *signature, int signature_len);

/* for jws_sign.c */
extern const EVP_MD *jws_digest(const Algorithm *algorithm);
extern bool jws_prepare_pkey_ctx(EVP_PKEY_CTX *ctx, int (*init) (EVP_PKEY_CTX *ctx),
								 const Algorithm *algorithm);
extern void jws_compute_mac(JwsVerifier *verifier, const uint8 *input, int input_len, uint8 *mac);

#endif							/* JWT_JWS_H */

/*-------------------------------------------------------------------------
 *
 * jws_sign.h
 *	  Making compact JSON Web Signatures.
 *
 * Only the library jwt_auth links this file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWS_SIGN_H
#define JWT_JWS_SIGN_H

#include "postgres.h"

#include "token/private_key.h"
#include "utils/jsonb.h"

/* A key ready to sign: opaque, owned by a memory context. */
typedef struct JwsSigner JwsSigner;

extern char *jws_json_text(const Jsonb *object);
extern char *jws_header_text(const char *alg, const char *kid, const char *typ);
extern bool jws_header_merge(const Jsonb *members, const char *alg, char **header, char **reason);
extern JwsSigner *jws_signer_create(const PrivateKey *key, MemoryContext context, char **reason);
extern int64 jws_sign_size(const JwsSigner *signer, int header_len, int payload_len);
extern text *jws_sign(JwsSigner *signer, const char *header, int header_len,
					   const char *payload, int payload_len);

#endif							/* JWT_JWS_SIGN_H */

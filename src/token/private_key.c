/*-------------------------------------------------------------------------
 *
 * private_key.c
 *	  Private keys: JWK, PEM and PKCS#8, to and from OpenSSL's EVP_PKEY.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/private_key.h"

#define STUB(name, ...) name(__VA_ARGS__) { elog(ERROR, #name " is not written yet"); }

/* *INDENT-OFF* */
PrivateKey * STUB(private_key_generate, const char *alg pg_attribute_unused(), MemoryContext context pg_attribute_unused(), char **reason pg_attribute_unused())
PrivateKey * STUB(private_key_from_text, const char *text pg_attribute_unused(), int len pg_attribute_unused(), const char *alg pg_attribute_unused(), MemoryContext context pg_attribute_unused(), char **reason pg_attribute_unused())
PrivateKey * STUB(private_key_from_jwk, const Jsonb *jwk pg_attribute_unused(), const char *alg pg_attribute_unused(), MemoryContext context pg_attribute_unused(), char **reason pg_attribute_unused())
PrivateKey * STUB(private_key_from_der, const uint8 *der pg_attribute_unused(), int len pg_attribute_unused(), const char *alg pg_attribute_unused(), MemoryContext context pg_attribute_unused(), char **reason pg_attribute_unused())
uint8 * STUB(private_key_to_der, const PrivateKey *key pg_attribute_unused(), MemoryContext context pg_attribute_unused(), int *len pg_attribute_unused())
Jsonb * STUB(private_key_public_jwk, const PrivateKey *key pg_attribute_unused())
char * STUB(private_key_thumbprint, const PrivateKey *key pg_attribute_unused())
/* *INDENT-ON* */

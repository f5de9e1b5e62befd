/*-------------------------------------------------------------------------
 *
 * jws_sign.c
 *	  Making compact JSON Web Signatures (RFC 7515 section 5.1).
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/jws_sign.h"

#define STUB(name, ...) name(__VA_ARGS__) { elog(ERROR, #name " is not written yet"); }

/* *INDENT-OFF* */
char * STUB(jws_json_text, const Jsonb *object pg_attribute_unused())
char * STUB(jws_header_text, const char *alg pg_attribute_unused(), const char *kid pg_attribute_unused(), const char *typ pg_attribute_unused())
bool STUB(jws_header_merge, const Jsonb *members pg_attribute_unused(), const char *alg pg_attribute_unused(), const Algorithm *algorithm pg_attribute_unused(), char **header pg_attribute_unused(), char **reason pg_attribute_unused())
JwsSigner * STUB(jws_signer_create, const PrivateKey *key pg_attribute_unused(), MemoryContext context pg_attribute_unused(), char **reason pg_attribute_unused())
text * STUB(jws_sign, JwsSigner *signer pg_attribute_unused(), const char *header pg_attribute_unused(), int header_len pg_attribute_unused(), const char *payload pg_attribute_unused(), int payload_len pg_attribute_unused())
/* *INDENT-ON* */

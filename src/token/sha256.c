/*-------------------------------------------------------------------------
 *
 * sha256.c
 *	  SHA-256 in one call.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/evp.h>

#include "token/openssl_errors.h"
#include "token/sha256.h"

static bool
compute(const void *data, int len, uint8 *digest)
{
	/* fetched once per process: a fetch costs as much as a signature */
	static EVP_MD *md = NULL;

	if (md == NULL)
		md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	return md != NULL && EVP_Digest(data, len, digest, NULL, md, NULL) == 1;
}

/*
 * Compute the digest.  Returns false if OpenSSL cannot.  Raises an error if
 * memory is lacking.
 */
bool
sha256(const void *data, int len, uint8 *digest)
{
	return openssl_retry(compute(data, len, digest));
}

/*
 * The same in base64url: SHA256_TEXT_SIZE characters, and no terminator.
 */
bool
sha256_text(const void *data, int len, char *text)
{
	uint8		digest[SHA256_SIZE];

	if (!sha256(data, len, digest))
		return false;
	(void) base64url_encode(digest, SHA256_SIZE, text);
	return true;
}

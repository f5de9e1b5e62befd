/*-------------------------------------------------------------------------
 *
 * sha256.h
 *	  SHA-256 in one call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SHA256_H
#define JWT_SHA256_H

#include "postgres.h"

#include "token/base64url.h"

#define SHA256_SIZE	32

/* The size of a digest in base64url, as in a thumbprint. */
#define SHA256_TEXT_SIZE	base64url_encoded_size(SHA256_SIZE)

extern bool sha256(const void *data, int len, uint8 *digest);
extern bool sha256_text(const void *data, int len, char *text);

#endif							/* JWT_SHA256_H */

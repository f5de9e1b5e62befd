/*-------------------------------------------------------------------------
 *
 * base64url.h
 *	  base64url without padding (RFC 4648 section 5, RFC 7515 section 2).
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_BASE64URL_H
#define JWT_BASE64URL_H

#include "postgres.h"

/* The exact size of len decoded characters. No base64 has len % 4 == 1. */
#define base64url_decoded_size(len)	((len) / 4 * 3 + ((len) % 4 ? (len) % 4 - 1 : 0))
#define base64url_encoded_size(len)	((len) / 3 * 4 + ((len) % 3 ? (len) % 3 + 1 : 0))

extern int	base64url_decode(const char *src, int len, uint8 *dst);
extern int	base64url_encode(const uint8 *src, int len, char *dst);

#endif							/* JWT_BASE64URL_H */

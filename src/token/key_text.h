/*-------------------------------------------------------------------------
 *
 * key_text.h
 *	  Conversion of a JWK, PEM public key or PEM certificate to a JWK.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_KEY_TEXT_H
#define JWT_KEY_TEXT_H

#include "postgres.h"

#include "utils/jsonb.h"

extern bool key_text_to_jwk(const char *text, int len, Jsonb **jsonb, char **reason);

#endif							/* JWT_KEY_TEXT_H */

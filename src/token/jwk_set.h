/*-------------------------------------------------------------------------
 *
 * jwk_set.h
 *	  JWK Sets (RFC 7517 section 5): the members of a document.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWK_SET_H
#define JWT_JWK_SET_H

#include "postgres.h"

#include "utils/jsonb.h"

/* The maximal number of keys in a set. */
#define JWK_SET_MAX_MEMBERS	5000

extern bool jwk_set_read(const char *text, int len, JsonbValue **members, int *n, char **reason);

#endif							/* JWT_JWK_SET_H */

/*-------------------------------------------------------------------------
 *
 * refresh_token.h
 *	  The form of refresh tokens, and their MAC.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_REFRESH_TOKEN_H
#define JWT_AUTH_REFRESH_TOKEN_H

#include "postgres.h"

#include "auth/seal.h"
#include "utils/uuid.h"

/* The bytes before the MAC: version, length of the name, name, sid, counter. */
#define REFRESH_TOKEN_MAX_SIGNED	(2 + KEY_NAME_MAX + UUID_LEN + 8)

/* A refresh token of the right form.  Nothing of it is authentic. */
typedef struct RefreshToken
{
	char		key_name[KEY_NAME_MAX + 1];
	pg_uuid_t	sid;
	uint64		counter;
	uint8		signed_part[REFRESH_TOKEN_MAX_SIGNED];
	int			signed_len;
	uint8		mac[REFRESH_MAC_SIZE];
} RefreshToken;

extern bool refresh_token_parse(const char *text, int len, RefreshToken *token);
extern bool refresh_token_is_genuine(const RefreshToken *token, const DerivedKey *key);
extern char *refresh_token_make(const DerivedKey *key, const pg_uuid_t *sid, uint64 counter);

#endif							/* JWT_AUTH_REFRESH_TOKEN_H */

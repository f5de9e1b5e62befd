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

#include "auth/key_file.h"
#include "token/slice.h"
#include "utils/uuid.h"

#define REFRESH_MAC_SIZE	32

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

extern DerivedKey *refresh_key_derive(const char *name, const uint8 *seed, int seed_len,
									  Slice issuer, KeyFailure *failure);
extern void refresh_mac(const DerivedKey *key, const void *data, int len,
						uint8 mac[REFRESH_MAC_SIZE]);
extern bool refresh_token_parse(const char *text, int len, RefreshToken *token);
extern bool refresh_token_is_genuine(const RefreshToken *token, const DerivedKey *key);
extern char *refresh_token_make(const DerivedKey *key, const pg_uuid_t *sid, uint64 counter);

#endif							/* JWT_AUTH_REFRESH_TOKEN_H */

/*-------------------------------------------------------------------------
 *
 * refresh_token.c
 *	  The form of refresh tokens, and their MAC.
 *
 * A refresh token is the base64url form, without padding, of
 *
 *		version (1) | length of the name (1) | name of the key of the key file |
 *		sid (16) | counter (8) | MAC (32)
 *
 * The counter's first byte is the most significant.  The MAC is of all bytes
 * before it.  Its key is derived from the key of the key file, the session's
 * seed and the issuer, so a token is good for its own session only.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>

#include "auth/refresh_token.h"
#include "port/pg_bswap.h"
#include "token/base64url.h"

#define REFRESH_TOKEN_VERSION	1

#define MAX_SIZE	(REFRESH_TOKEN_MAX_SIGNED + REFRESH_MAC_SIZE)

/*
 * Fill in the bytes before the MAC.
 */
static void
write_signed_part(RefreshToken *token)
{
	uint64		counter = pg_hton64(token->counter);
	int			name_len = (int) strlen(token->key_name);
	uint8	   *p = token->signed_part;

	*p++ = REFRESH_TOKEN_VERSION;
	*p++ = (uint8) name_len;
	memcpy(p, token->key_name, name_len);
	p += name_len;
	memcpy(p, token->sid.data, UUID_LEN);
	p += UUID_LEN;
	memcpy(p, &counter, sizeof(counter));
	token->signed_len = (int) (p + sizeof(counter) - token->signed_part);
}

/*
 * Take a refresh token apart.  Returns false for any other text.  A token has
 * one spelling.
 */
bool
refresh_token_parse(const char *text, int len, RefreshToken *token)
{
	uint8		bytes[MAX_SIZE + 2];
	uint64		counter;
	int			name_len;
	int			n;

	if (len > base64url_encoded_size(MAX_SIZE))
		return false;
	n = base64url_decode(text, len, bytes);
	if (n < 2 || bytes[0] != REFRESH_TOKEN_VERSION)
		return false;
	name_len = bytes[1];
	if (n != 2 + name_len + UUID_LEN + (int) sizeof(counter) + REFRESH_MAC_SIZE ||
		!key_name_is_valid((const char *) bytes + 2, name_len))
		return false;
	memcpy(token->key_name, bytes + 2, name_len);
	token->key_name[name_len] = '\0';
	memcpy(token->sid.data, bytes + 2 + name_len, UUID_LEN);
	memcpy(&counter, bytes + 2 + name_len + UUID_LEN, sizeof(counter));
	token->counter = pg_ntoh64(counter);
	memcpy(token->mac, bytes + n - REFRESH_MAC_SIZE, REFRESH_MAC_SIZE);
	write_signed_part(token);
	return true;
}

/*
 * Was the token made here, for the session whose key this is?
 */
bool
refresh_token_is_genuine(const RefreshToken *token, const DerivedKey *key)
{
	uint8		mac[REFRESH_MAC_SIZE];

	refresh_mac(key, token->signed_part, token->signed_len, mac);
	return CRYPTO_memcmp(mac, token->mac, REFRESH_MAC_SIZE) == 0;
}

/*
 * Make the refresh token with this counter for the session whose key this is.
 */
char *
refresh_token_make(const DerivedKey *key, const pg_uuid_t *sid, uint64 counter)
{
	RefreshToken token = {.sid = *sid, .counter = counter};
	uint8		bytes[MAX_SIZE];
	char	   *text = palloc(base64url_encoded_size(MAX_SIZE) + 1);

	strlcpy(token.key_name, key->name, sizeof(token.key_name));
	write_signed_part(&token);
	memcpy(bytes, token.signed_part, token.signed_len);
	refresh_mac(key, token.signed_part, token.signed_len, bytes + token.signed_len);
	text[base64url_encode(bytes, token.signed_len + REFRESH_MAC_SIZE, text)] = '\0';
	return text;
}

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

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "auth/refresh_token.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "token/base64url.h"
#include "token/json.h"
#include "token/openssl_errors.h"

#define REFRESH_TOKEN_VERSION	1
#define REFRESH_INFO			"jwt_auth refresh 1"

#define MAX_SIZE	(REFRESH_TOKEN_MAX_SIGNED + REFRESH_MAC_SIZE)

/*
 * Derive the key of refresh_mac() for a session with this seed.  The name is as
 * for key_file_derive(): null for a new token, which then contains the name in
 * the result.  Returns NULL and the failure if there is no such key.  Call
 * secret_cleanse() on the result once it has been used.
 */
DerivedKey *
refresh_key_derive(const char *name, const uint8 *seed, int seed_len,
				   Slice issuer, KeyFailure *failure)
{
	StringInfoData info;

	/*
	 * so that it is the same after a restore into a database of another
	 * encoding
	 */
	issuer = json_slice_from_server(issuer);
	initStringInfo(&info);
	appendStringInfoString(&info, REFRESH_INFO);
	appendBinaryStringInfo(&info, issuer.data, issuer.len);
	return key_file_try_derive(name, seed, seed_len, info.data, info.len, failure);
}

static bool
compute_mac(const DerivedKey *key, const void *data, int len, uint8 *mac)
{
	static EVP_MAC *hmac = NULL;
	char		digest[] = "SHA2-256";
	OSSL_PARAM	params[] = {
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_END
	};
	EVP_MAC_CTX *ctx;
	size_t		mac_len;
	bool		good;

	if (hmac == NULL)
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	good = ctx != NULL &&
		EVP_MAC_init(ctx, key->bytes, DERIVED_KEY_SIZE, params) == 1 &&
		EVP_MAC_update(ctx, data, len) == 1 &&
		EVP_MAC_final(ctx, mac, &mac_len, REFRESH_MAC_SIZE) == 1;
	EVP_MAC_CTX_free(ctx);
	return good;
}

/*
 * Compute the MAC of a refresh token: HMAC-SHA256 of all bytes before it.
 */
void
refresh_mac(const DerivedKey *key, const void *data, int len, uint8 mac[REFRESH_MAC_SIZE])
{
	if (!openssl_retry(compute_mac(key, data, len, mac)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this OpenSSL cannot compute HMAC-SHA256")));
}

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

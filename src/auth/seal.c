/*-------------------------------------------------------------------------
 *
 * seal.c
 *	  Sealed private keys, and the MAC of refresh tokens.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/seal.h"
#include "auth/secret.h"

/*
 * Seal the PKCS#8 form of a private key for a row, under the first key of the
 * key file that fits this database.  Gives what the row stores, in the current
 * memory context.  Raises an error if there is no such key.
 */
bytea *
seal_close(const SealBinding *binding, const uint8 *der, int len, bytea **salt)
{
	(void) binding;
	(void) der;
	(void) len;
	(void) salt;
	elog(ERROR, "not implemented");
}

/*
 * Open what seal_close() gave.  The result is memory of secret_alloc() in the
 * current memory context; call secret_cleanse() once it has been used.  Returns
 * false and the failure if it does not open.  Raises only a lack of memory.
 */
bool
seal_open(const SealBinding *binding, const bytea *sealed, const bytea *salt,
		  uint8 **der, int *len, KeyFailure *failure)
{
	(void) binding;
	(void) sealed;
	(void) salt;
	(void) der;
	(void) len;
	memset(failure, 0, sizeof(*failure));
	return false;
}

/*
 * The name of the key of the key file that is needed to open this, terminated.
 * Returns false if this is not the format of a sealed key.
 */
bool
seal_key_name(const bytea *sealed, char name[KEY_NAME_MAX + 1])
{
	(void) sealed;
	(void) name;
	return false;
}

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
	(void) name;
	(void) seed;
	(void) seed_len;
	(void) issuer;
	memset(failure, 0, sizeof(*failure));
	return NULL;
}

/*
 * Compute the MAC of a refresh token: HMAC-SHA256 of all bytes before it.
 */
void
refresh_mac(const DerivedKey *key, const void *data, int len, uint8 mac[REFRESH_MAC_SIZE])
{
	(void) key;
	(void) data;
	(void) len;
	(void) mac;
	elog(ERROR, "not implemented");
}

/*-------------------------------------------------------------------------
 *
 * seal.h
 *	  Sealed private keys, and the MAC of refresh tokens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_SEAL_H
#define JWT_AUTH_SEAL_H

#include "postgres.h"

#include "auth/key_file.h"
#include "token/slice.h"
#include "utils/uuid.h"

#define SEAL_SALT_SIZE		32
#define REFRESH_MAC_SIZE	32

/*
 * The row that a sealed key belongs to.  It opens only with the same values.
 * No string may be absent.
 */
typedef struct SealBinding
{
	pg_uuid_t	id;
	Slice		issuer;
	Slice		kid;
	Slice		alg;
	Slice		thumbprint;
} SealBinding;

extern void seal_random_bytes(void *bytes, int len);
extern bytea *seal_close(const SealBinding *binding, const uint8 *der, int len, bytea **salt);
extern bool seal_open(const SealBinding *binding, const bytea *sealed, const bytea *salt,
					  uint8 **der, int *len, KeyFailure *failure);
extern bool seal_key_name(const bytea *sealed, char name[KEY_NAME_MAX + 1]);
extern DerivedKey *refresh_key_derive(const char *name, const uint8 *seed, int seed_len,
									  Slice issuer, KeyFailure *failure);
extern void refresh_mac(const DerivedKey *key, const void *data, int len,
						uint8 mac[REFRESH_MAC_SIZE]);

#endif							/* JWT_AUTH_SEAL_H */

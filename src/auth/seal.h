/*-------------------------------------------------------------------------
 *
 * seal.h
 *	  Sealed private keys.
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

#endif							/* JWT_AUTH_SEAL_H */

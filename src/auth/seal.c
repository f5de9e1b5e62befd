/*-------------------------------------------------------------------------
 *
 * seal.c
 *	  Sealed private keys.
 *
 * A sealed key is
 *
 *		version (1) | length of the name (1) | name of the key of the key file |
 *		nonce (12) | ciphertext | tag (16)
 *
 * under AES-256-GCM.  The key is derived from the key of the key file, with 32
 * random bytes as salt, which are new for each sealing.  The associated data are
 * the version, the name, and the values of the row (SealBinding) in UTF-8, each
 * after its length in four bytes, the first byte being the most significant.  So a
 * sealed key opens only in its own row.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "auth/seal.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "token/json.h"
#include "token/openssl_errors.h"
#include "token/secret.h"

#define SEAL_VERSION	1
#define NONCE_SIZE		12
#define TAG_SIZE		16

/* Larger than the largest private key of any algorithm. */
#define DER_MAX_SIZE	65536

#define SEAL_INFO		"jwt_auth seal 1"

/* The parts of a sealed key, in its own memory. */
typedef struct Sealed
{
	Slice		name;
	const uint8 *nonce;
	const uint8 *ciphertext;
	const uint8 *tag;
	int			len;			/* of the ciphertext, and of the key */
} Sealed;

/*
 * Fill memory with random bytes that nobody can guess.
 */
void
seal_random_bytes(void *bytes, int len)
{
	if (!pg_strong_random(bytes, len))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
}

static void
append_field(StringInfo data, const void *field, int len)
{
	uint32		size = pg_hton32((uint32) len);

	appendBinaryStringInfo(data, (const char *) &size, sizeof(size));
	appendBinaryStringInfo(data, field, len);
}

/*
 * Make the associated data.
 */
static void
make_associated_data(const SealBinding *binding, const char *name, StringInfo data)
{
	const Slice *const fields[] = {&binding->issuer, &binding->kid, &binding->alg, &binding->thumbprint};
	const uint8 version = SEAL_VERSION;

	initStringInfo(data);
	append_field(data, &version, sizeof(version));
	append_field(data, name, (int) strlen(name));
	append_field(data, binding->id.data, UUID_LEN);
	for (int i = 0; i < (int) lengthof(fields); i++)
	{
		Slice		field = json_slice_from_server(*fields[i]);

		Assert(field.data != NULL);
		append_field(data, field.data, field.len);
	}
}

static EVP_CIPHER *
cipher(void)
{
	static EVP_CIPHER *aes = NULL;

	if (aes == NULL)
		aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	return aes;
}

/*
 * Encrypt der into ciphertext, which has room for as many bytes.  OpenSSL
 * overwrites the key that a context holds when it frees the context.
 */
static bool
encrypt(const DerivedKey *key, const StringInfo data, const uint8 *nonce,
		const uint8 *der, int len, uint8 *ciphertext, uint8 *tag)
{
	EVP_CIPHER_CTX *ctx = cipher() ? EVP_CIPHER_CTX_new() : NULL;
	OSSL_PARAM	params[] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TAG_SIZE),
		OSSL_PARAM_END
	};
	int			n;
	bool		good;

	good = ctx != NULL &&
		EVP_EncryptInit_ex2(ctx, cipher(), key->bytes, nonce, NULL) == 1 &&
		EVP_EncryptUpdate(ctx, NULL, &n, (const uint8 *) data->data, data->len) == 1 &&
		EVP_EncryptUpdate(ctx, ciphertext, &n, der, len) == 1 && n == len &&
		EVP_EncryptFinal_ex(ctx, ciphertext + n, &n) == 1 && n == 0 &&
		EVP_CIPHER_CTX_get_params(ctx, params) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

/*
 * Decrypt into der.  It has the key only if this returns true.
 */
static bool
decrypt(const DerivedKey *key, const StringInfo data, const Sealed *sealed, uint8 *der)
{
	EVP_CIPHER_CTX *ctx = cipher() ? EVP_CIPHER_CTX_new() : NULL;
	OSSL_PARAM	params[] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, unconstify(uint8 *, sealed->tag), TAG_SIZE),
		OSSL_PARAM_END
	};
	int			n;
	bool		good;

	good = ctx != NULL &&
		EVP_DecryptInit_ex2(ctx, cipher(), key->bytes, sealed->nonce, params) == 1 &&
		EVP_DecryptUpdate(ctx, NULL, &n, (const uint8 *) data->data, data->len) == 1 &&
		EVP_DecryptUpdate(ctx, der, &n, sealed->ciphertext, sealed->len) == 1 && n == sealed->len &&
		EVP_DecryptFinal_ex(ctx, der + n, &n) == 1 && n == 0;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

/*
 * Seal the PKCS#8 form of a private key for a row, under the first key of the
 * key file that fits this database.  Gives what the row stores, in the current
 * memory context.  Raises an error if there is no such key.
 */
bytea *
seal_close(const SealBinding *binding, const uint8 *der, int len, bytea **salt)
{
	DerivedKey *key;
	StringInfoData data;
	bytea	   *sealed;
	uint8	   *p;
	Size		size;

	Assert(len > 0 && len <= DER_MAX_SIZE);
	*salt = palloc(VARHDRSZ + SEAL_SALT_SIZE);
	SET_VARSIZE(*salt, VARHDRSZ + SEAL_SALT_SIZE);
	seal_random_bytes(VARDATA(*salt), SEAL_SALT_SIZE);
	key = key_file_derive(NULL, (uint8 *) VARDATA(*salt), SEAL_SALT_SIZE, SEAL_INFO, strlen(SEAL_INFO));
	make_associated_data(binding, key->name, &data);

	size = VARHDRSZ + 2 + strlen(key->name) + NONCE_SIZE + len + TAG_SIZE;
	sealed = palloc(size);
	SET_VARSIZE(sealed, size);
	p = (uint8 *) VARDATA(sealed);
	*p++ = SEAL_VERSION;
	*p++ = (uint8) strlen(key->name);
	memcpy(p, key->name, strlen(key->name));
	p += strlen(key->name);
	seal_random_bytes(p, NONCE_SIZE);
	if (!openssl_retry(encrypt(key, &data, p, der, len, p + NONCE_SIZE, p + NONCE_SIZE + len)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this OpenSSL cannot encrypt with AES-256-GCM")));
	secret_cleanse(key);
	return sealed;
}

/*
 * Find the parts.  Returns false if this is not the format of a sealed key.
 */
static bool
find_parts(const bytea *bytes, Sealed *sealed)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(bytes);
	int			len = (int) VARSIZE_ANY_EXHDR(bytes);

	if (len < 2 || p[0] != SEAL_VERSION || p[1] > len - 2 || !key_name_is_valid((const char *) p + 2, p[1]))
		return false;
	sealed->name.data = (const char *) p + 2;
	sealed->name.len = p[1];
	sealed->nonce = p + 2 + sealed->name.len;
	sealed->ciphertext = sealed->nonce + NONCE_SIZE;
	sealed->len = len - 2 - sealed->name.len - NONCE_SIZE - TAG_SIZE;
	sealed->tag = sealed->ciphertext + sealed->len;
	return sealed->len > 0 && sealed->len <= DER_MAX_SIZE;
}

/*
 * The name of the key of the key file that is needed to open this, terminated.
 * Returns false if this is not the format of a sealed key.
 */
bool
seal_key_name(const bytea *sealed, char name[KEY_NAME_MAX + 1])
{
	Sealed		parts;

	if (!find_parts(sealed, &parts))
		return false;
	memcpy(name, parts.name.data, parts.name.len);
	name[parts.name.len] = '\0';
	return true;
}

static bool
fail_to_open(KeyFailure *failure, const char *detail)
{
	failure->sqlstate = ERRCODE_DATA_CORRUPTED;
	failure->message = "the sealed private key does not open";
	failure->detail = detail;
	failure->hint = NULL;
	return false;
}

/*
 * Open what seal_close() gave.  The arguments are detoasted.  The result is
 * memory of secret_alloc() in the current memory context; call secret_cleanse()
 * once it has been used.  Returns false and the failure if it does not open.
 * Raises only a lack of memory or of file descriptors.
 */
bool
seal_open(const SealBinding *binding, const bytea *sealed, const bytea *salt,
		  uint8 **der, int *len, KeyFailure *failure)
{
	char		name[KEY_NAME_MAX + 1];
	Sealed		parts;
	DerivedKey *key;
	StringInfoData data;
	bool		good;

	if (!find_parts(sealed, &parts) || !seal_key_name(sealed, name) ||
		VARSIZE_ANY_EXHDR(salt) != SEAL_SALT_SIZE)
		return fail_to_open(failure, "It is not in the format of a sealed key.");
	key = key_file_try_derive(name, (const uint8 *) VARDATA_ANY(salt), SEAL_SALT_SIZE,
							  SEAL_INFO, strlen(SEAL_INFO), failure);
	if (key == NULL)
		return false;
	make_associated_data(binding, name, &data);
	*len = parts.len;
	*der = secret_alloc(parts.len);
	good = openssl_retry(decrypt(key, &data, &parts, *der));
	secret_cleanse(key);
	if (good)
		return true;
	secret_cleanse(*der);
	return fail_to_open(failure, "It was sealed for another row or with another key of this name, or it has been changed.");
}

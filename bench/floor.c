/*-------------------------------------------------------------------------
 *
 * floor.c
 *	  The cost of a verification or a signature in OpenSSL alone, by which
 *	  the bench divides.
 *
 * The key is parsed once, and each verification has a new context, as in the
 * documentation of OpenSSL.  There is no base64, JSON, claims or database.
 * "check_ALG" is EVP_PKEY_public_check() of the key of ALG, and "sign_ALG" a
 * signature with its private key.
 *
 *	  floor FOLDER ROUNDS NAME SHORT LONG ...
 *
 * NAME is an algorithm, or check_ or sign_ and an algorithm.  For each algorithm
 * FOLDER has ALG.key (a PEM public key, or the secret for HS256), ALG.private
 * (a PEM private key, if there is sign_ALG), ALG.input (the
 * signed bytes) and ALG.signature (in OpenSSL's form: DER for ECDSA).  For
 * each NAME the work is done SHORT times to warm up.  Then there are ROUNDS
 * rounds of SHORT times and LONG times, with a mark() before and after each.
 *
 *-------------------------------------------------------------------------
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned char input[65536];
static unsigned char signature[65536];
static unsigned char secret[4096];
static size_t input_len;
static size_t signature_len;
static size_t secret_len;
static EVP_PKEY *pkey;
static const EVP_MD *md;
static EVP_MAC *hmac;
static bool is_pss;

typedef int (*Work) (void);

extern void mark(void) __attribute__((noinline));

/*
 * Print the time. callgrind starts a new count here (--dump-before).
 */
void
mark(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	printf("%ld.%06ld\n", (long) t.tv_sec, t.tv_nsec / 1000);
}

static FILE *
open_file(const char *folder, const char *name, const char *kind)
{
	char		path[4096];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s.%s", folder, name, kind);
	file = fopen(path, "rb");
	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	return file;
}

static size_t
read_file(const char *folder, const char *name, const char *kind, unsigned char *buf, size_t size)
{
	FILE	   *file = open_file(folder, name, kind);
	size_t		len = fread(buf, 1, size, file);

	fclose(file);
	return len;
}

static int
verify_mac(void)
{
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string("digest", (char *) "SHA2-256", 0),
		OSSL_PARAM_construct_end()
	};
	unsigned char mac[EVP_MAX_MD_SIZE];
	size_t		mac_len = 0;
	int			good = EVP_MAC_init(ctx, secret, secret_len, params) == 1;

	good = good && EVP_MAC_update(ctx, input, input_len) == 1;
	good = good && EVP_MAC_final(ctx, mac, &mac_len, sizeof(mac)) == 1;
	good = good && mac_len == signature_len && CRYPTO_memcmp(mac, signature, mac_len) == 0;
	EVP_MAC_CTX_free(ctx);
	return good;
}

static int
verify_signature(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pkey_ctx = NULL;
	int			good = EVP_DigestVerifyInit(ctx, &pkey_ctx, md, NULL, pkey) == 1;

	if (good && is_pss)
		good = EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
			EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
	good = good && EVP_DigestVerify(ctx, signature, signature_len, input, input_len) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

static int
sign(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t		len = sizeof(signature);
	int			good = EVP_DigestSignInit(ctx, NULL, md, NULL, pkey) == 1;

	good = good && EVP_DigestSign(ctx, signature, &len, input, input_len) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

static int
check_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	int			good = EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

/*
 * Read the files for the work with this name, and return its function.
 */
static Work
prepare(const char *folder, const char *name)
{
	bool		is_check = strncmp(name, "check_", 6) == 0;
	bool		is_sign = strncmp(name, "sign_", 5) == 0;

	if (is_sign)
		name += 5;
	if (strcmp(name, "HS256") == 0)
		secret_len = read_file(folder, name, "key", secret, sizeof(secret));
	else
	{
		FILE	   *file = open_file(folder, is_check ? name + 6 : name, is_sign ? "private" : "key");

		EVP_PKEY_free(pkey);
		pkey = is_sign ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : PEM_read_PUBKEY(file, NULL, NULL, NULL);
		fclose(file);
		if (is_check)
			return check_key;
	}
	input_len = read_file(folder, name, "input", input, sizeof(input));
	signature_len = read_file(folder, name, "signature", signature, sizeof(signature));
	if (strcmp(name, "HS256") == 0)
	{
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
		return verify_mac;
	}
	md = strcmp(name, "EdDSA") == 0 ? NULL : EVP_MD_fetch(NULL, strcmp(name, "ES384") == 0 ? "SHA2-384" : "SHA2-256", NULL);
	is_pss = strcmp(name, "PS256") == 0;
	return is_sign ? sign : verify_signature;
}

static void
repeat(const char *name, Work work, int n)
{
	while (n-- > 0)
		if (!work())
		{
			fprintf(stderr, "floor: %s: OpenSSL refuses the key or the signature\n", name);
			exit(1);
		}
}

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	for (int i = 3; i + 2 < argc; i += 3)
	{
		Work		work = prepare(argv[1], argv[i]);

		repeat(argv[i], work, atoi(argv[i + 1]));
		for (int round = 0; round < atoi(argv[2]); round++)
			for (int length = 1; length <= 2; length++)
			{
				mark();
				repeat(argv[i], work, atoi(argv[i + length]));
				mark();
			}
	}
	return 0;
}

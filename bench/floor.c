/*-------------------------------------------------------------------------
 *
 * floor.c
 *	  What a verification costs in OpenSSL alone: the floor that the bench
 *	  divides by.
 *
 * The key is cached and there is a new context for each verification, as the
 * documentation of OpenSSL does it.  No base64, no JSON, no claims, no database.
 *
 *	  floor ALG KEY INPUT SIGNATURE SECONDS
 *
 * KEY is a PEM public key, or the secret for HS256; INPUT is what was signed;
 * SIGNATURE is as OpenSSL wants it (DER for ECDSA).  Prints nanoseconds for one
 * verification, the best of ten rounds.
 *
 *-------------------------------------------------------------------------
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
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
static int	is_pss;

static size_t
read_file(const char *name, unsigned char *buf, size_t size)
{
	FILE	   *file = fopen(name, "rb");
	size_t		len;

	if (file == NULL)
	{
		perror(name);
		exit(1);
	}
	len = fread(buf, 1, size, file);
	fclose(file);
	return len;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
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
	int			good = EVP_MAC_init(ctx, secret, secret_len, params) == 1 &&
		EVP_MAC_update(ctx, input, input_len) == 1 &&
		EVP_MAC_final(ctx, mac, &mac_len, sizeof(mac)) == 1 &&
		mac_len == signature_len && CRYPTO_memcmp(mac, signature, mac_len) == 0;

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

int
main(int argc, char **argv)
{
	const char *alg = argv[1];
	int			(*verify) (void) = verify_signature;
	double		round_ns;
	double		best = 1e18;

	if (argc != 6)
		return 2;
	round_ns = atof(argv[5]) * 1e9 / 10;
	input_len = read_file(argv[3], input, sizeof(input));
	signature_len = read_file(argv[4], signature, sizeof(signature));
	if (strncmp(alg, "HS", 2) == 0)
	{
		secret_len = read_file(argv[2], secret, sizeof(secret));
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
		verify = verify_mac;
	}
	else
	{
		FILE	   *file = fopen(argv[2], "r");

		pkey = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;
		if (pkey == NULL)
			return 2;
		fclose(file);
		if (strcmp(alg + 2, "384") == 0)
			md = EVP_MD_fetch(NULL, "SHA2-384", NULL);
		else if (strcmp(alg + 2, "256") == 0)
			md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
		is_pss = strncmp(alg, "PS", 2) == 0;
	}

	for (int round = 0; round < 10; round++)
	{
		double		start = now();
		double		end;
		long		n = 0;

		do
		{
			for (int i = 0; i < 20; i++)
				if (!verify())
				{
					fprintf(stderr, "%s: the signature is not good\n", alg);
					return 1;
				}
			n += 20;
			end = now();
		} while (end - start < round_ns);
		if ((end - start) / (double) n < best)
			best = (end - start) / (double) n;
	}
	printf("%.1f\n", best);
	return 0;
}

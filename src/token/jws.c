/*-------------------------------------------------------------------------
 *
 * jws.c
 *	  Compact JWS (RFC 7515): its form, its header, its signature.
 *
 * This file reads no table and no claim, and raises no error for any token.
 * The header's "alg" selects no code: a verifier is made for one key and one
 * algorithm, and uses only that algorithm.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "token/base64url.h"
#include "token/json.h"
#include "token/jws.h"
#include "token/openssl_errors.h"
#include "utils/memutils.h"

/*
 * OpenSSL's objects for one key.  They are initialised once: a reused context
 * verifies RS256 15 % faster than a new one.  A second initialisation would
 * reset the padding and the salt length of a PSS context.
 */
struct JwsVerifier
{
	const Algorithm *algorithm;
	int			signature_size;
	const EVP_MD *digest;		/* shared; NULL for EdDSA and ML-DSA */
	EVP_PKEY   *pkey;
	EVP_PKEY_CTX *pkey_ctx;		/* RSA, ECDSA: initialised to verify */
	EVP_MD_CTX *md_ctx;			/* EdDSA, ML-DSA */
	EVP_MAC_CTX *mac_ctx;		/* HMAC: has the secret */
	MemoryContextCallback free_callback;
};

/*
 * The digests, fetched once per process and never freed: a fetch takes locks
 * and costs as much as a signature.
 */
static struct
{
	const char *name;
	EVP_MD	   *md;
}			digests[] = {
	{"SHA2-256", NULL},
	{"SHA2-384", NULL},
	{"SHA2-512", NULL},
};
static EVP_MAC *hmac = NULL;

/*
 * Does EVP_MAC_init() without a key start a new message?  See hmac_is_good().
 */
static bool hmac_restarts;

uint64		jws_errors;

static bool hmac_can_restart(void);
static bool get_string(const Jws *jws, const char *name, Slice *string, Failure *failure);

/*
 * Fetch the objects for every verification.  With shared_preload_libraries
 * this is done before the fork.
 */
void
jws_init(void)
{
	for (int i = 0; i < (int) lengthof(digests); i++)
		if (digests[i].md == NULL)
			digests[i].md = EVP_MD_fetch(NULL, digests[i].name, NULL);
	if (hmac == NULL)
	{
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
		hmac_restarts = hmac != NULL && hmac_can_restart();
	}
	openssl_check_memory();
}

/*
 * Verify once with a key of each family, so that OpenSSL has initialised
 * everything.  This takes a millisecond, so it is done at server start and not
 * in sessions.  The keys are those of RFC 7515 appendices A.2 and A.3 and of
 * RFC 8037 appendix A.2.  The signatures are invalid.
 */
void
jws_warm_up(void)
{
	static const char *const keys[][2] = {
		{"RS256", "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}"},
		{"ES256", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"},
		{"Ed25519", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"},
		{"HS256", "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}"},
	};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jwt warm-up",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < (int) lengthof(keys); i++)
	{
		const char *alg = keys[i][0];
		uint8		signature[512] = {1};
		const Algorithm *algorithm;
		JwsVerifier *verifier;
		JsonbValue	object;
		Jwk			jwk;
		char	   *reason;

		if (json_read_object(keys[i][1], (int) strlen(keys[i][1]), &object) == NULL &&
			jwk_read(JsonbValueToJsonb(&object), &jwk, &reason) &&
			jwk_fits(&jwk, alg, (int) strlen(alg), &algorithm, &reason) &&
			(verifier = jws_verifier_create(&jwk, algorithm, context, &reason)) != NULL)
			(void) jws_signature_is_good(verifier, signature, 1, signature,
										 verifier->signature_size);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * Split a compact JWS (RFC 7515 section 7.1).  Checks the size, exactly two
 * dots, base64url in each part, and that the header is a strict JSON object.
 * jws_check_header() checks the header's members.  The payload is decoded, but
 * not read.
 */
bool
jws_split(const char *token, int len, int max_size, Jws *jws, Failure *failure)
{
	const char *dot[2] = {NULL, NULL};
	const char *end = token + len;
	int			dots = 0;
	const char *reason;
	uint8	   *buf;
	int			header_len;
	int			part_len[3];
	const char *part[3];

	memset(jws, 0, sizeof(*jws));
	if (len > max_size)
		return fail_hint(failure, FAILURE_MALFORMED,
						 psprintf("The token is %d bytes long; at most %d are accepted.", len, max_size),
						 "The setting jwt.max_token_size is the limit.");
	for (const char *p = token; (p = memchr(p, '.', end - p)) != NULL; p++)
	{
		if (dots < 2)
			dot[dots] = p;
		dots++;
	}
	if (dots != 2)
	{
		if (len == 0)
			return fail(failure, FAILURE_MALFORMED, "The token is empty.");
		if (token[0] == '{')
			return fail(failure, FAILURE_MALFORMED,
						"The token is in a JSON serialization; only the compact form is accepted.");
		if (dots == 4)
			return fail(failure, FAILURE_MALFORMED,
						"The token has five parts, so it is encrypted (JWE); only signed tokens are accepted.");
		return fail(failure, FAILURE_MALFORMED,
					psprintf("The token has %d part%s separated by dots; a signed token has three.",
							 dots + 1, dots == 0 ? "" : "s"));
	}

	part[0] = token;
	part_len[0] = (int) (dot[0] - token);
	part[1] = dot[0] + 1;
	part_len[1] = (int) (dot[1] - part[1]);
	part[2] = dot[1] + 1;
	part_len[2] = (int) (end - part[2]);

	buf = palloc(base64url_decoded_size(len) + 3);
	header_len = base64url_decode(part[0], part_len[0], buf);
	jws->payload = buf + Max(header_len, 0);
	jws->payload_len = base64url_decode(part[1], part_len[1], unconstify(uint8 *, jws->payload));
	jws->signature = jws->payload + Max(jws->payload_len, 0);
	jws->signature_len = base64url_decode(part[2], part_len[2], unconstify(uint8 *, jws->signature));
	if (header_len < 0 || jws->payload_len < 0 || jws->signature_len < 0)
	{
		if (len > 7 && pg_strncasecmp(token, "Bearer ", 7) == 0)
			return fail_hint(failure, FAILURE_MALFORMED,
							 "The token begins with the scheme of an Authorization header.",
							 "Pass what follows \"Bearer \".");
		return fail(failure, FAILURE_MALFORMED,
					psprintf("The %s of the token is not base64url without padding.",
							 header_len < 0 ? "header" : jws->payload_len < 0 ? "payload" : "signature"));
	}

	reason = json_read_object((const char *) buf, header_len, &jws->header);
	if (reason != NULL)
		return fail(failure, FAILURE_MALFORMED, psprintf("The header of the token %s.", reason));

	jws->signing_input = (const uint8 *) token;
	jws->signing_input_len = (int) (dot[1] - token);
	return true;
}

/*
 * Check the known members of the header, and refuse critical extensions (RFC
 * 7515 section 4.1.11, RFC 7797 section 3). jwk, jku, x5u and x5c are never
 * read.
 */
bool
jws_check_header(Jws *jws, Failure *failure)
{
	const JsonbPair *b64;

	if (json_member(&jws->header, "crit") != NULL)
		return fail(failure, FAILURE_MALFORMED,
					"The header has \"crit\": it requires an extension that is not understood.");
	b64 = json_member(&jws->header, "b64");
	if (b64 != NULL && !(b64->value.type == jbvBool && b64->value.val.boolean))
		return fail(failure, FAILURE_MALFORMED,
					"The header has \"b64\": payloads that are not base64url are not accepted.");

	if (!get_string(jws, "alg", &jws->alg, failure) ||
		!get_string(jws, "kid", &jws->kid, failure) ||
		!get_string(jws, "typ", &jws->typ, failure) ||
		!get_string(jws, "cty", &jws->cty, failure))
		return false;
	if (jws->alg.data == NULL)
		return fail(failure, FAILURE_MALFORMED, "The header has no \"alg\".");
	if (!algorithm_known(jws->alg.data, jws->alg.len))
		return fail(failure, FAILURE_ALGORITHM,
					psprintf("The header's \"alg\" is \"%s\", which is no algorithm that a key can have here.",
							 quote_untrusted(jws->alg.data, jws->alg.len)));
	return true;
}

/*
 * Read an optional header member that must be a string.
 */
static bool
get_string(const Jws *jws, const char *name, Slice *string, Failure *failure)
{
	const JsonbPair *member = json_member(&jws->header, name);

	if (member == NULL)
		return true;
	string->data = json_string(&member->value, &string->len);
	if (string->data == NULL)
		return fail(failure, FAILURE_MALFORMED,
					psprintf("The header's \"%s\" is not a string.", name));
	return true;
}

static void
free_contexts(JwsVerifier *verifier)
{
	EVP_MD_CTX_free(verifier->md_ctx);
	EVP_PKEY_CTX_free(verifier->pkey_ctx);
	EVP_MAC_CTX_free(verifier->mac_ctx);
	verifier->md_ctx = NULL;
	verifier->pkey_ctx = NULL;
	verifier->mac_ctx = NULL;
}

static void
free_verifier(void *arg)
{
	JwsVerifier *verifier = arg;

	free_contexts(verifier);
	EVP_PKEY_free(verifier->pkey);
}

/*
 * Set the secret of a new HMAC context.
 */
static bool
set_secret(EVP_MAC_CTX *ctx, const char *digest, const uint8 *secret, int len)
{
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, unconstify(char *, digest), 0),
		OSSL_PARAM_construct_end()
	};

	return EVP_MAC_init(ctx, secret, len, params) == 1;
}

/*
 * Compute a MAC with a context that has its secret.
 */
static bool
compute_hmac(EVP_MAC_CTX *ctx, bool restart, const uint8 *input, int input_len,
			 uint8 *mac, size_t *mac_len)
{
	return (!restart || EVP_MAC_init(ctx, NULL, 0, NULL) == 1) &&
		EVP_MAC_update(ctx, input, input_len) == 1 &&
		EVP_MAC_final(ctx, mac, mac_len, JWS_DIGEST_MAX_SIZE) == 1;
}

/*
 * Does a restarted context compute the same MAC again?  If memory is lacking,
 * the answer is no, which is safe.
 */
static bool
hmac_can_restart(void)
{
	static const uint8 secret[32] = {1};
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
	uint8		mac[2][JWS_DIGEST_MAX_SIZE];
	size_t		mac_len[2];
	bool		good = ctx != NULL && set_secret(ctx, "SHA2-256", secret, sizeof(secret));

	for (int i = 0; i < 2 && good; i++)
		good = compute_hmac(ctx, true, secret, sizeof(secret), mac[i], &mac_len[i]);
	EVP_MAC_CTX_free(ctx);
	return good && mac_len[0] == mac_len[1] && memcmp(mac[0], mac[1], mac_len[0]) == 0;
}

static bool
prepare_hmac(JwsVerifier *verifier, const Jwk *jwk)
{
	verifier->signature_size = verifier->algorithm->digest_size;
	verifier->mac_ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	return verifier->mac_ctx != NULL &&
		set_secret(verifier->mac_ctx, verifier->algorithm->digest,
				   jwk->part[0].data, jwk->part[0].len);
}

/*
 * The digest of an algorithm, or NULL if it or OpenSSL has none.
 */
const EVP_MD *
jws_digest(const Algorithm *algorithm)
{
	jws_init();
	for (int i = 0; i < (int) lengthof(digests); i++)
		if (algorithm->digest != NULL && strcmp(digests[i].name, algorithm->digest) == 0)
			return digests[i].md;
	return NULL;
}

/*
 * Set up a context of an RSA or EC key for an algorithm.  init is
 * EVP_PKEY_verify_init() or EVP_PKEY_sign_init().
 */
bool
jws_prepare_pkey_ctx(EVP_PKEY_CTX *ctx, int (*init) (EVP_PKEY_CTX *ctx), const Algorithm *algorithm)
{
	const EVP_MD *digest = jws_digest(algorithm);

	if (ctx == NULL || digest == NULL || init(ctx) <= 0)
		return false;
	if (algorithm->family == FAMILY_RSA_PKCS1)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
			EVP_PKEY_CTX_set_signature_md(ctx, digest) > 0;
	if (algorithm->family == FAMILY_RSA_PSS)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
			EVP_PKEY_CTX_set_signature_md(ctx, digest) > 0 &&
			EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, digest) > 0 &&
			EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
	return EVP_PKEY_CTX_set_signature_md(ctx, digest) > 0;
}

/*
 * Set up the contexts of a verifier that has its key.
 */
static bool
prepare(JwsVerifier *verifier, const Jwk *jwk)
{
	const Algorithm *algorithm = verifier->algorithm;

	free_contexts(verifier);	/* from a previous attempt */
	verifier->digest = jws_digest(algorithm);

	if (algorithm->family == FAMILY_HMAC)
		return prepare_hmac(verifier, jwk);
	if (algorithm->digest != NULL)
	{
		verifier->signature_size = algorithm->signature_size ?
			algorithm->signature_size : EVP_PKEY_get_size(verifier->pkey);
		verifier->pkey_ctx = EVP_PKEY_CTX_new_from_pkey(NULL, verifier->pkey, NULL);
		return jws_prepare_pkey_ctx(verifier->pkey_ctx, EVP_PKEY_verify_init, algorithm);
	}
	verifier->signature_size = algorithm->signature_size;
	return (verifier->md_ctx = EVP_MD_CTX_new()) != NULL;
}

/*
 * Make a verifier for a key that fits the algorithm; see jwk_fits().  It lives
 * in the given memory context and is freed with it.  Returns NULL with a
 * reason if the loaded OpenSSL lacks the algorithm or refuses the key.
 */
JwsVerifier *
jws_verifier_create(const Jwk *jwk, const Algorithm *algorithm,
					MemoryContext context, char **reason)
{
	JwsVerifier *verifier = MemoryContextAllocZero(context, sizeof(JwsVerifier));

	verifier->algorithm = algorithm;
	verifier->free_callback.func = free_verifier;
	verifier->free_callback.arg = verifier;
	MemoryContextRegisterResetCallback(context, &verifier->free_callback);

	if (!jwk_make_key(jwk, algorithm, &verifier->pkey, reason))
		return NULL;
	if (!openssl_retry(prepare(verifier, jwk)))
	{
		*reason = psprintf("The algorithm %s is not available in the OpenSSL that is loaded (%s).",
						   algorithm->name, OpenSSL_version(OPENSSL_VERSION_STRING));
		return NULL;
	}
	return verifier;
}

/*
 * Raise an error for a failure that no token can cause.
 */
pg_noreturn static void
fail_to_compute(void)
{
	jws_errors++;
	openssl_check_memory();
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("OpenSSL could not compute what a signature is compared with")));
}

/*
 * Compute a MAC, of JWS_DIGEST_MAX_SIZE at most, by a verifier for an HMAC secret.
 *
 * EVP_MAC_init() with a null key keeps the secret and starts a new message.
 * In OpenSSL 3.0.0 to 3.0.2, and in a FIPS provider of these versions under a
 * later OpenSSL, it does nothing.  Then each message uses a copy of the
 * context.
 */
void
jws_compute_mac(JwsVerifier *verifier, const uint8 *input, int input_len, uint8 *mac)
{
	size_t		mac_len;
	bool		computed;

	if (hmac_restarts)
		computed = compute_hmac(verifier->mac_ctx, true, input, input_len, mac, &mac_len);
	else
	{
		EVP_MAC_CTX *copy = EVP_MAC_CTX_dup(verifier->mac_ctx);

		computed = copy != NULL && compute_hmac(copy, false, input, input_len, mac, &mac_len);
		EVP_MAC_CTX_free(copy);
	}
	if (!computed || mac_len != (size_t) verifier->signature_size)
		fail_to_compute();
}

/*
 * Convert a raw ECDSA signature r || s (RFC 7518 section 3.4) to DER.  Returns
 * its length, or -1.  OpenSSL checks that both numbers are in range.
 */
static int
ecdsa_to_der(const uint8 *raw, int part_size, uint8 *der)
{
	ECDSA_SIG  *sig = ECDSA_SIG_new();
	BIGNUM	   *r = BN_bin2bn(raw, part_size, NULL);
	BIGNUM	   *s = BN_bin2bn(raw + part_size, part_size, NULL);
	int			len = -1;

	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s))
	{
		r = s = NULL;			/* sig owns them now */
		len = i2d_ECDSA_SIG(sig, NULL);
		if (len > 0 && len <= JWS_ECDSA_DER_MAX_SIZE)
			len = i2d_ECDSA_SIG(sig, &der);
		else
			len = -1;
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return len;
}

/*
 * OpenSSL's result for the signature of a digest: 1 if it is good.
 */
static int
verify_digest(JwsVerifier *verifier, const uint8 *input, int input_len, const uint8 *signature)
{
	uint8		digest[JWS_DIGEST_MAX_SIZE];
	uint8		der[JWS_ECDSA_DER_MAX_SIZE];
	unsigned int digest_len;
	int			signature_len = verifier->signature_size;

	if (verifier->algorithm->family == FAMILY_ECDSA)
	{
		signature_len = ecdsa_to_der(signature, verifier->algorithm->part_size, der);
		if (signature_len < 0)
			fail_to_compute();
		signature = der;
	}
	if (EVP_Digest(input, input_len, digest, &digest_len, verifier->digest, NULL) != 1)
		fail_to_compute();
	return EVP_PKEY_verify(verifier->pkey_ctx, signature, signature_len, digest, digest_len);
}

/*
 * Is the signature good?  If not, *conclusive is false if OpenSSL may have
 * failed for another reason: before 3.2 it does not always report a lack of
 * memory.
 */
static bool
verify_once(JwsVerifier *verifier, const uint8 *input, int input_len,
			const uint8 *signature, bool *conclusive)
{
	int			result;
	unsigned long first_error;
	bool		silent;

	if (verifier->mac_ctx != NULL)
	{
		uint8		mac[JWS_DIGEST_MAX_SIZE];

		*conclusive = true;
		jws_compute_mac(verifier, input, input_len, mac);
		return CRYPTO_memcmp(mac, signature, verifier->signature_size) == 0;
	}
	if (verifier->pkey_ctx != NULL)
		result = verify_digest(verifier, input, input_len, signature);
	else if (EVP_DigestVerifyInit(verifier->md_ctx, NULL, NULL, NULL, verifier->pkey) != 1)
		result = -1;
	else
		result = EVP_DigestVerify(verifier->md_ctx, signature, verifier->signature_size, input, input_len);

	first_error = ERR_peek_error();
	silent = result == 1 ? first_error == 0 : !openssl_has_errors();
	if (!silent)
	{
		jws_errors++;			/* in case an error is raised */
		openssl_check_memory();
		jws_errors--;
	}

	/*
	 * Each family has its own result that means only a bad signature.  An
	 * ECDSA signature that leads to the point at infinity is bad, but OpenSSL
	 * does not report it in this way.
	 */
	if (verifier->algorithm->family == FAMILY_ECDSA)
		*conclusive = result >= 0;
	else if (verifier->pkey_ctx != NULL)
		*conclusive = ERR_GET_LIB(first_error) == ERR_LIB_RSA;
	else
		*conclusive = result == 0 && silent && OpenSSL_version_num() >= 0x30200000L;
	return result == 1;
}

/*
 * Is this a signature of the input by the verifier's key and algorithm?
 * Raises an error if memory is lacking.  Then jws_errors has increased, and
 * the verifier must not be used again.
 */
bool
jws_signature_is_good(JwsVerifier *verifier, const uint8 *input, int input_len,
					  const uint8 *signature, int signature_len)
{
	bool		conclusive;

	if (signature_len != verifier->signature_size)
		return false;

	if (verify_once(verifier, input, input_len, signature, &conclusive))
		return true;
	if (conclusive)
		return false;

	/* a second attempt may succeed */
	if (verify_once(verifier, input, input_len, signature, &conclusive))
		return true;

	/* a result that is still inconclusive is bad if memory is available */
	if (!conclusive)
	{
		jws_errors++;			/* in case an error is raised */
		openssl_require_memory();
		jws_errors--;
	}
	return false;
}

/*-------------------------------------------------------------------------
 *
 * jws_sign.c
 *	  Making compact JSON Web Signatures (RFC 7515 section 5.1).
 *
 * A signature of RSA, EdDSA or ML-DSA is verified before it leaves.  A bit that
 * flips while one of RSA or EdDSA is computed can reveal the whole private key:
 * by one faulty signature with the factors of an RSA key, or by one next to a
 * good one of the same message by EdDSA, which has no random nonce.  Of an RSA
 * signature that is 5 % of the instructions, and of EdDSA 2.5 times as many.
 *
 * A signature of ECDSA is not verified.  Each has a nonce of its own, so no two
 * can be compared; a bit of the key that has flipped in memory reveals that bit.
 * Verifying one by ES256 takes 867,000 instructions, next to 281,000 for signing
 * (make bench, OpenSSL 3.0), and jwt_sign() would take four times as long.
 *
 * OpenSSL 3.2 could derive the nonce of ECDSA from the message (RFC 6979).  Its
 * default is better: it hashes random bytes together with the private key and
 * the message.  So bad random bytes do not reveal the key, and a message that
 * is signed twice has two nonces, which makes faults useless.  ML-DSA is
 * hedged in the same way by default.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include "lib/stringinfo.h"
#include "token/base64url.h"
#include "token/failure.h"
#include "token/json.h"
#include "token/jws.h"
#include "token/jws_sign.h"
#include "token/openssl_errors.h"
#include "token/secret.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

/* The largest signatures are those of ML-DSA-87. */
#define SIGNATURE_MAX_SIZE	4627

/* Set the reason why a header is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * OpenSSL's objects for one key, which are initialised once.
 */
struct JwsSigner
{
	const Algorithm *algorithm;
	int			signature_size;
	const EVP_MD *digest;		/* shared; NULL for EdDSA and ML-DSA */
	EVP_PKEY   *pkey;			/* NULL for HMAC */
	EVP_PKEY_CTX *pkey_ctx;		/* RSA, ECDSA: initialised to sign */
	EVP_MD_CTX *md_ctx;			/* EdDSA, ML-DSA */
	JwsVerifier *verifier;		/* the MAC of HMAC; NULL for ECDSA */
	MemoryContextCallback free_callback;
};

/*
 * ---- header ----
 */

/*
 * An object as compact JSON in UTF-8.  The members are in the order of jsonb,
 * so equal objects have the same text.
 */
char *
jws_json_text(const Jsonb *object)
{
	char	   *json = JsonbToCString(NULL, unconstify(JsonbContainer *, &object->root), VARSIZE(object));
	char	   *to = json;
	bool		in_string = false;

	/* PostgreSQL adds spaces after commas and colons */
	for (const char *p = json; *p != '\0'; p++)
	{
		if (*p == '"')
			in_string = !in_string;
		else if (*p == '\\')
			*to++ = *p++;
		else if (*p == ' ' && !in_string)
			continue;
		*to++ = *p;
	}
	*to = '\0';
	return json_from_server(json, (int) (to - json));
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(json, "%c\"%s\":", json->len == 0 ? '{' : ',', name);
	escape_json(json, value);
}

/*
 * A header. kid and typ may be NULL.
 */
char *
jws_header_text(const char *alg, const char *kid, const char *typ)
{
	StringInfoData json;

	initStringInfo(&json);
	append_member(&json, "alg", alg);
	append_member(&json, "kid", kid);
	append_member(&json, "typ", typ);
	appendStringInfoChar(&json, '}');
	return json_from_server(json.data, json.len);
}

/*
 * A header with further members, which must be one that jws_check_header()
 * accepts, and must not contain a private key.
 */
bool
jws_header_merge(const Jsonb *members, const char *alg, char **header, char **reason)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	Jws			jws;
	Failure		failure;
	const char *not_object;

	if (!JB_ROOT_IS_OBJECT(members))
		return refuse(reason, "The header is not a JSON object.");
	if (jsonb_member(members, "alg", &value) &&
		(value.type != jbvString || value.val.string.len != (int) strlen(alg) ||
		 memcmp(value.val.string.val, alg, value.val.string.len) != 0))
		return refuse(reason, "The header's \"alg\" is not %s.", quote_string(alg));
	if (jsonb_member(members, "b64", &value))
		return refuse(reason, "The header has \"b64\": only payloads that are base64url can be signed.");
	if (jsonb_member(members, "jwk", &value) && value.type == jbvBinary &&
		JsonContainerIsObject(value.val.binary.data) &&
		jwk_private_member(JsonbValueToJsonb(&value)) != NULL)
		return refuse(reason, "The header's \"jwk\" is a private key, and a header can be read by anybody.");

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	iterator = JsonbIteratorInit(unconstify(JsonbContainer *, &members->root));
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_KEY || token == WJB_VALUE)
		(void) pushJsonbValue(&state, token, &value);
	value.type = jbvString;
	value.val.string.val = "alg";
	value.val.string.len = 3;
	(void) pushJsonbValue(&state, WJB_KEY, &value);
	value.val.string.val = unconstify(char *, alg);
	value.val.string.len = (int) strlen(alg);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	*header = jws_json_text(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));

	memset(&jws, 0, sizeof(jws));
	not_object = json_read_object(*header, (int) strlen(*header), &jws.header);
	if (not_object != NULL)
		return refuse(reason, "The header %s.", not_object);
	if (!jws_check_header(&jws, &failure))
		return refuse(reason, "%s", failure.detail);
	return true;
}

/*
 * ---- signature ----
 */

static void
free_signer(void *arg)
{
	JwsSigner  *signer = arg;

	EVP_PKEY_CTX_free(signer->pkey_ctx);
	EVP_MD_CTX_free(signer->md_ctx);
	EVP_PKEY_free(signer->pkey);
}

/*
 * Set up the contexts of a signer that has its key.
 */
static bool
prepare(JwsSigner *signer)
{
	const Algorithm *algorithm = signer->algorithm;

	signer->signature_size = algorithm->signature_size ?
		algorithm->signature_size : EVP_PKEY_get_size(signer->pkey);
	if (algorithm->digest == NULL)
		return (signer->md_ctx = EVP_MD_CTX_new()) != NULL;
	signer->digest = jws_digest(algorithm);
	EVP_PKEY_CTX_free(signer->pkey_ctx);	/* from a previous attempt */
	signer->pkey_ctx = EVP_PKEY_CTX_new_from_pkey(NULL, signer->pkey, NULL);
	return jws_prepare_pkey_ctx(signer->pkey_ctx, EVP_PKEY_sign_init, algorithm);
}

/*
 * Make a signer.  It lives in the given memory context and is freed with it;
 * the key need not live as long.  Returns NULL with a reason if the loaded
 * OpenSSL lacks the algorithm.
 */
JwsSigner *
jws_signer_create(const PrivateKey *key, MemoryContext context, char **reason)
{
	JwsSigner  *signer = MemoryContextAllocZero(context, sizeof(JwsSigner));

	signer->algorithm = key->algorithm;
	signer->free_callback.func = free_signer;
	signer->free_callback.arg = signer;
	MemoryContextRegisterResetCallback(context, &signer->free_callback);

	if (key->algorithm->family != FAMILY_ECDSA)
	{
		signer->verifier = jws_verifier_create(&key->half, key->algorithm, context, reason);
		if (signer->verifier == NULL)
			return NULL;
	}
	if (key->algorithm->family == FAMILY_HMAC)
	{
		signer->signature_size = key->algorithm->signature_size;
		return signer;
	}
	if (EVP_PKEY_up_ref(key->pkey))
		signer->pkey = key->pkey;
	if (signer->pkey == NULL || !openssl_retry(prepare(signer)))
	{
		*reason = psprintf("The algorithm %s is not available in the OpenSSL that is loaded (%s).",
						   key->algorithm->name, OpenSSL_version(OPENSSL_VERSION_STRING));
		return NULL;
	}
	return signer;
}

/*
 * Convert an ECDSA signature to r || s (RFC 7518 section 3.4).
 */
static bool
ecdsa_from_der(const uint8 *der, size_t len, int part_size, uint8 *raw)
{
	ECDSA_SIG  *sig = d2i_ECDSA_SIG(NULL, &der, (long) len);
	bool		good = sig != NULL &&
	BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, part_size) == part_size &&
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + part_size, part_size) == part_size;

	ECDSA_SIG_free(sig);
	return good;
}

static bool
sign_digest(JwsSigner *signer, const uint8 *input, int input_len, uint8 *signature, size_t *len)
{
	uint8		digest[JWS_DIGEST_MAX_SIZE];
	uint8		der[JWS_ECDSA_DER_MAX_SIZE];
	size_t		der_len = sizeof(der);
	unsigned int digest_len;

	if (EVP_Digest(input, input_len, digest, &digest_len, signer->digest, NULL) != 1)
		return false;
	if (signer->algorithm->family != FAMILY_ECDSA)
		return EVP_PKEY_sign(signer->pkey_ctx, signature, len, digest, digest_len) == 1;
	*len = signer->signature_size;
	return EVP_PKEY_sign(signer->pkey_ctx, der, &der_len, digest, digest_len) == 1 &&
		ecdsa_from_der(der, der_len, signer->algorithm->part_size, signature);
}

static bool
make_signature(JwsSigner *signer, const uint8 *input, int input_len, uint8 *signature)
{
	size_t		len = SIGNATURE_MAX_SIZE;
	bool		made;

	if (signer->pkey_ctx != NULL)
		made = sign_digest(signer, input, input_len, signature, &len);
	else
		made = EVP_DigestSignInit(signer->md_ctx, NULL, NULL, NULL, signer->pkey) == 1 &&
			EVP_DigestSign(signer->md_ctx, signature, &len, input, input_len) == 1;
	secret_cleanse_stack();
	return made && len == (size_t) signer->signature_size;
}

/*
 * The size of the compact JWS that jws_sign() would make.
 */
int64
jws_sign_size(const JwsSigner *signer, int header_len, int payload_len)
{
	return (int64) base64url_encoded_size(header_len) + base64url_encoded_size(payload_len) +
		base64url_encoded_size(signer->signature_size) + 2;
}

/*
 * Sign a payload under a header, which is JSON in UTF-8.  Returns the compact
 * JWS.  The caller has bounded its size.  Raises an error if OpenSSL cannot
 * sign, or memory is lacking.  Then jws_errors has increased, and the signer
 * must not be used again.
 */
text *
jws_sign(JwsSigner *signer, const char *header, int header_len, const char *payload, int payload_len)
{
	uint8		signature[SIGNATURE_MAX_SIZE];
	text	   *token;
	char	   *p;
	const uint8 *input;
	int			input_len;

	token = palloc(VARHDRSZ + jws_sign_size(signer, header_len, payload_len));
	p = VARDATA(token);
	input = (const uint8 *) p;
	p += base64url_encode((const uint8 *) header, header_len, p);
	*p++ = '.';
	p += base64url_encode((const uint8 *) payload, payload_len, p);
	input_len = (int) (p - VARDATA(token));

	if (signer->pkey == NULL)
		jws_compute_mac(signer->verifier, input, input_len, signature);
	else
	{
		jws_errors++;			/* in case an error is raised */
		if (!openssl_retry(make_signature(signer, input, input_len, signature)))
			ereport(ERROR,
					(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					 errmsg("OpenSSL could not sign by the algorithm %s", signer->algorithm->name)));
		if (signer->verifier != NULL &&
			!jws_signature_is_good(signer->verifier, input, input_len, signature, signer->signature_size))
			ereport(ERROR,
					(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					 errmsg("OpenSSL made a signature by the algorithm %s that is not valid", signer->algorithm->name),
					 errhint("The memory or the processor of the server may be faulty.")));
		jws_errors--;
	}
	*p++ = '.';
	p += base64url_encode(signature, signer->signature_size, p);
	SET_VARSIZE(token, p - (char *) token);
	return token;
}

/*-------------------------------------------------------------------------
 *
 * jwk.c
 *	  JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037, RFC 9964): the
 *	  checks of a key, and its conversion to an OpenSSL key.
 *
 * Only public keys and HMAC secrets are accepted.  On failure a function
 * returns false and a reason: a palloc'd sentence that names the wrong member
 * and the accepted values.  It never contains a byte of the key.
 *
 * EVP_PKEY_fromdata() makes the OpenSSL key.  Parsing PEM would cost more than
 * ten RSA verifications.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "lib/stringinfo.h"
#include "token/base64url.h"
#include "token/edwards.h"
#include "token/failure.h"
#include "token/json.h"
#include "token/jwk.h"
#include "token/openssl_errors.h"
#include "token/secret.h"
#include "token/sha256.h"

#define RSA_MIN_BITS	2048
#define RSA_MAX_BITS	8192
#define RSA_MAX_EXPONENT_SIZE	8

/*
 * The key types. "members" are the members that RFC 7638 section 3.2 hashes,
 * in its order.  Only these members are stored. "parts" are those of them that
 * contain the key itself.
 */
typedef struct KeyType
{
	const char *kty;
	const char *members[5];
	const char *parts[3];
} KeyType;

static const KeyType key_types[] = {
	{"RSA", {"e", "kty", "n"}, {"n", "e"}},
	{"EC", {"crv", "kty", "x", "y"}, {"x", "y"}},
	{"OKP", {"crv", "kty", "x"}, {"x"}},
	{"AKP", {"alg", "kty", "pub"}, {"pub"}},
	{"oct", {"k", "kty"}, {"k"}},
};

/* RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2, RFC 9964 section 3. */
static const char *const private_members[] = {
	"d", "p", "q", "dp", "dq", "qi", "oth", "priv",
};

static void normalise_integer(JwkBytes *bytes, int size);
static bool read_implied_algorithm(const Jsonb *jsonb, Jwk *jwk, char **reason);
static bool read_bytes(const Jsonb *jsonb, const char *name, JwkBytes *bytes, char **reason);
static bool check_sizes(const Jwk *jwk, const KeyType *type, char **reason);
static bool check_rsa(const Jwk *jwk, char **reason);
static bool check_secret(const Jwk *jwk, const Algorithm *algorithm, char **reason);

/* Set the reason why a key is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

static const KeyType *
key_type(const char *kty, int len)
{
	for (int i = 0; i < (int) lengthof(key_types); i++)
		if ((int) strlen(key_types[i].kty) == len && memcmp(key_types[i].kty, kty, len) == 0)
			return &key_types[i];
	return NULL;
}

/*
 * Read an optional member that must be a string.
 */
static bool
read_optional_string(const Jsonb *jsonb, const char *name,
					 const char **str, int *len, char **reason)
{
	JsonbValue	value;

	*str = NULL;
	*len = 0;
	if (!jsonb_member(jsonb, name, &value))
		return true;
	*str = json_string(&value, len);
	if (*str == NULL)
		return refuse(reason, "The member \"%s\" of the JWK is not a string.", name);
	return true;
}

/*
 * Refuse a key that is published for another purpose than signatures (RFC 7517
 * sections 4.2 and 4.3).
 */
static bool
check_purpose(const Jsonb *jsonb, const char *operation, char **reason)
{
	JsonbValue	value;
	const char *use;
	int			use_len;
	bool		allowed = false;

	if (!read_optional_string(jsonb, "use", &use, &use_len, reason))
		return false;
	if (use != NULL && !(use_len == 3 && memcmp(use, "sig", 3) == 0))
		return refuse(reason, "The member \"use\" of the JWK is \"%s\"; a key that verifies has \"sig\" or none.",
					  quote_untrusted(use, use_len));

	if (!jsonb_member(jsonb, "key_ops", &value))
		return true;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		return refuse(reason, "The member \"key_ops\" of the JWK is not an array.");
	for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
	{
		JsonbValue *op = getIthJsonbValueFromContainer(value.val.binary.data, i);
		int			op_len;
		const char *op_str = json_string(op, &op_len);

		if (op_str == NULL)
			return refuse(reason, "The member \"key_ops\" of the JWK has an element that is not a string.");
		if (op_len == (int) strlen(operation) && memcmp(op_str, operation, op_len) == 0)
			allowed = true;
	}
	if (!allowed)
		return refuse(reason, "The member \"key_ops\" of the JWK does not name \"%s\".", operation);
	return true;
}

/*
 * Is this the name of a private member?
 */
bool
jwk_is_private_member(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(private_members); i++)
		if ((int) strlen(private_members[i]) == len && memcmp(private_members[i], name, len) == 0)
			return true;
	return false;
}

/*
 * The name of a private member of an object, or NULL.
 */
const char *
jwk_private_member(const Jsonb *jsonb)
{
	JsonbValue	value;

	for (int i = 0; i < (int) lengthof(private_members); i++)
		if (jsonb_member(jsonb, private_members[i], &value))
			return private_members[i];
	return NULL;
}

/*
 * Check the form of a JWK: its type, the members that the type requires, that
 * it has no private member, and its purpose. jwk_fits() checks strength and
 * algorithm.
 */
bool
jwk_read(const Jsonb *jsonb, Jwk *jwk, char **reason)
{
	if (JB_ROOT_IS_OBJECT(jsonb) && jwk_private_member(jsonb) != NULL)
		return refuse(reason, "The JWK has the private member \"%s\"; a database that verifies needs the public key only.",
					  jwk_private_member(jsonb));
	return jwk_read_half(jsonb, "verify", jwk, reason);
}

/*
 * The same for the public half of a JWK that may have private members, and for
 * an operation of RFC 7517 section 4.3.
 */
bool
jwk_read_half(const Jsonb *jsonb, const char *operation, Jwk *jwk, char **reason)
{
	const char *kty;
	int			kty_len;
	const KeyType *type;
	JsonbValue	value;

	memset(jwk, 0, sizeof(*jwk));
	if (!JB_ROOT_IS_OBJECT(jsonb))
		return refuse(reason, "The JWK is not a JSON object.");

	if (!read_optional_string(jsonb, "kty", &kty, &kty_len, reason))
		return false;
	if (kty == NULL)
		return refuse(reason, "The JWK has no member \"kty\".");
	type = key_type(kty, kty_len);
	if (type == NULL)
		return refuse(reason, "The key type \"%s\" of the JWK is not known; accepted are RSA, EC, OKP, AKP and oct.",
					  quote_untrusted(kty, kty_len));
	jwk->kty = type->kty;

	if (!check_purpose(jsonb, operation, reason) ||
		!read_optional_string(jsonb, "alg", &jwk->alg, &jwk->alg_len, reason) ||
		!read_optional_string(jsonb, "kid", &jwk->kid, &jwk->kid_len, reason))
		return false;
	for (int i = 0; type->members[i] != NULL; i++)
		if (!jsonb_member(jsonb, type->members[i], &value))
			return refuse(reason, "The JWK has no member \"%s\", which the key type %s requires.",
						  type->members[i], type->kty);
	if (!read_implied_algorithm(jsonb, jwk, reason))
		return false;
	for (int i = 0; type->parts[i] != NULL; i++)
		if (!read_bytes(jsonb, type->parts[i], &jwk->part[i], reason))
			return false;

	if (strcmp(type->kty, "RSA") == 0 || strcmp(type->kty, "EC") == 0)
		for (int i = 0; i < 2; i++)
			normalise_integer(&jwk->part[i], jwk->implied_algorithm ? jwk->implied_algorithm->part_size : 1);
	return check_sizes(jwk, type, reason);
}

/*
 * Normalise an integer to at least the given size.  A modulus has no leading
 * zeros, and a coordinate has all of them (RFC 7518 sections 2 and 6.2.1.2).
 * Some issuers publish one zero more or less, which does not change the
 * integer.
 */
static void
normalise_integer(JwkBytes *bytes, int size)
{
	while (bytes->len > size && bytes->data[0] == 0)
	{
		bytes->data++;
		bytes->len--;
	}
	if (bytes->len < size && bytes->len > 0)
	{
		uint8	   *padded = palloc0(size);

		memcpy(padded + size - bytes->len, bytes->data, bytes->len);
		bytes->data = padded;
		bytes->len = size;
	}
}

/*
 * Set the algorithm of a key that can have only one: that of its curve, or for
 * AKP that of its "alg" (RFC 9964 section 3).
 */
static bool
read_implied_algorithm(const Jsonb *jsonb, Jwk *jwk, char **reason)
{
	const char *crv;
	int			crv_len;

	if (strcmp(jwk->kty, "AKP") == 0)
	{
		jwk->implied_algorithm = algorithm_by_name(jwk->alg, jwk->alg_len);
		if (jwk->implied_algorithm == NULL || strcmp(jwk->implied_algorithm->kty, jwk->kty) != 0)
			return refuse(reason, "The member \"alg\" of the JWK is \"%s\"; accepted for the key type AKP are ML-DSA-44, ML-DSA-65 and ML-DSA-87.",
						  quote_untrusted(jwk->alg, jwk->alg_len));
		return true;
	}
	if (strcmp(jwk->kty, "EC") != 0 && strcmp(jwk->kty, "OKP") != 0)
		return true;

	if (!read_optional_string(jsonb, "crv", &crv, &crv_len, reason))
		return false;
	jwk->implied_algorithm = algorithm_by_curve(jwk->kty, crv, crv_len);
	if (jwk->implied_algorithm == NULL)
		return refuse(reason, "The curve \"%s\" of the JWK is not known; accepted for the key type %s are %s.",
					  quote_untrusted(crv, crv_len), jwk->kty,
					  strcmp(jwk->kty, "EC") == 0 ? "P-256, P-384, P-521 and secp256k1" : "Ed25519 and Ed448");
	return true;
}

/*
 * Check that coordinates and raw keys have exactly the size of their
 * algorithm.
 */
static bool
check_sizes(const Jwk *jwk, const KeyType *type, char **reason)
{
	for (int i = 0; jwk->implied_algorithm != NULL && type->parts[i] != NULL; i++)
		if (jwk->part[i].len != jwk->implied_algorithm->part_size)
			return refuse(reason, "The member \"%s\" of the JWK has a length of %d, not %d as in keys for %s.",
						  type->parts[i], jwk->part[i].len, jwk->implied_algorithm->part_size, jwk->implied_algorithm->name);
	return true;
}

static bool
read_bytes(const Jsonb *jsonb, const char *name, JwkBytes *bytes, char **reason)
{
	JsonbValue	value;

	return jsonb_member(jsonb, name, &value) &&
		jwk_decode(&value, name, bytes, reason);
}

/*
 * Decode the base64url value of a member, into cleansed memory if it is
 * secret.
 */
bool
jwk_decode(const JsonbValue *value, const char *name, JwkBytes *bytes, char **reason)
{
	int			len;
	const char *text = json_string(value, &len);
	bool		is_secret = strcmp(name, "k") == 0 || jwk_is_private_member(name, (int) strlen(name));
	Size		size;

	if (text == NULL)
		return refuse(reason, "The member \"%s\" of the JWK is not a string.", name);
	if (len > base64url_encoded_size(JWK_MAX_PART_SIZE))
		return refuse(reason, "The member \"%s\" of the JWK is longer than any key.", name);
	size = base64url_decoded_size(len) + 1;
	bytes->data = is_secret ? secret_alloc(size) : palloc(size);
	bytes->len = base64url_decode(text, len, bytes->data);
	if (bytes->len < 0)
		return refuse(reason, "The member \"%s\" of the JWK is not base64url without padding.", name);
	return true;
}

/*
 * The possible algorithms of a key, for a message.
 */
static char *
fitting_names(const Jwk *jwk)
{
	StringInfoData buf;
	const Algorithm *algorithm;

	if (jwk->implied_algorithm != NULL)
		return pstrdup(jwk->implied_algorithm->name);
	initStringInfo(&buf);
	for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
		if (strcmp(algorithm->kty, jwk->kty) == 0)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", algorithm->name);
	return buf.data;
}

/*
 * Can the key be pinned to this algorithm?  Checks type, strength, and the
 * JWK's own "alg".  Returns the algorithm that the name means for this key:
 * for EdDSA the algorithm of its curve.
 */
bool
jwk_fits(const Jwk *jwk, const char *alg, int alg_len,
		 const Algorithm **algorithm, char **reason)
{
	const Algorithm *meant = jwk->implied_algorithm;

	if (!algorithm_known(alg, alg_len))
		return refuse(reason, "The algorithm \"%s\" is not known; accepted are %s.",
					  quote_untrusted(alg, alg_len), algorithm_names());
	if (meant == NULL)
		meant = algorithm_by_name(alg, alg_len);
	if (meant == NULL || strcmp(meant->kty, jwk->kty) != 0 || !algorithm_is(meant, alg, alg_len))
		return refuse(reason, "A key of type %s does not fit the algorithm %s; this one fits %s.",
					  jwk->kty, quote_untrusted(alg, alg_len), fitting_names(jwk));
	if (jwk->alg != NULL && !algorithm_is(meant, jwk->alg, jwk->alg_len))
		return refuse(reason, "The member \"alg\" of the JWK is \"%s\", not %s.",
					  quote_untrusted(jwk->alg, jwk->alg_len), meant->name);
	*algorithm = meant;

	if (meant->family == FAMILY_HMAC)
		return check_secret(jwk, meant, reason);
	if (meant->family == FAMILY_EDDSA)
		return jwk_check_point(jwk, reason);
	if (meant->family == FAMILY_RSA_PKCS1 || meant->family == FAMILY_RSA_PSS)
		return check_rsa(jwk, reason);
	return true;
}

/*
 * Check an RSA key: a modulus of 2048 to 8192 bits, and an odd exponent of at
 * least 3.
 */
static bool
check_rsa(const Jwk *jwk, char **reason)
{
	const JwkBytes *n = &jwk->part[0];
	const JwkBytes *e = &jwk->part[1];
	int			bits = n->len * 8;

	for (int mask = 0x80; n->len > 0 && mask > 0 && !(n->data[0] & mask); mask >>= 1)
		bits--;
	if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
		return refuse(reason, "The RSA modulus has %d bits; accepted are %d to %d.",
					  bits, RSA_MIN_BITS, RSA_MAX_BITS);
	if (!(n->data[n->len - 1] & 1))
		return refuse(reason, "The RSA modulus is even.");
	if (e->len == 0 || !(e->data[e->len - 1] & 1) ||
		(e->len == 1 && e->data[0] < 3) || e->len > RSA_MAX_EXPONENT_SIZE)
		return refuse(reason, "The RSA exponent is not accepted; it must be odd, at least 3, and at most %d bytes long.",
					  RSA_MAX_EXPONENT_SIZE);
	return true;
}

/*
 * Check that a key of type OKP is a point for which only the owner of its
 * private key can sign.  Other types pass: OpenSSL checks the points of type
 * EC.  This takes a tenth of the time of a verification.
 */
bool
jwk_check_point(const Jwk *jwk, char **reason)
{
	const Algorithm *algorithm = jwk->implied_algorithm;
	const char *fault = NULL;

	if (algorithm == NULL || strcmp(jwk->kty, "OKP") != 0 ||
		openssl_retry((fault = edwards_fault(algorithm->crv, jwk->part[0].data, jwk->part[0].len)) == NULL))
		return true;
	return refuse(reason, "The public key for %s %s.", algorithm->crv, fault);
}

static bool
starts_with(const JwkBytes *bytes, const char *prefix)
{
	int			len = (int) strlen(prefix);

	return bytes->len >= len && memcmp(bytes->data, prefix, len) == 0;
}

static bool
is_der_public_key(const JwkBytes *secret)
{
	const unsigned char *p = secret->data;
	EVP_PKEY   *pkey = d2i_PUBKEY(NULL, &p, secret->len);

	EVP_PKEY_free(pkey);
	return pkey != NULL;
}

/*
 * Is the secret an encoding of a public key?  Such a secret is known to
 * everybody (key confusion).
 */
static bool
is_public_key(const JwkBytes *secret)
{
	JsonbValue	object;

	for (int i = 0; i + 11 <= secret->len; i++)
		if (memcmp(secret->data + i, "-----BEGIN ", 11) == 0)
			return true;
	if (starts_with(secret, "ssh-") || starts_with(secret, "ecdsa-sha2-"))
		return true;
	if (json_read_object((const char *) secret->data, secret->len, &object) == NULL &&
		(json_member(&object, "kty") != NULL || json_member(&object, "keys") != NULL))
		return true;
	return openssl_retry(is_der_public_key(secret));
}

/*
 * Check an HMAC secret: at least as long as the digest (RFC 7518 section 3.2),
 * and not a public key.
 */
static bool
check_secret(const Jwk *jwk, const Algorithm *algorithm, char **reason)
{
	const JwkBytes *k = &jwk->part[0];

	if (k->len < algorithm->digest_size || k->len > JWK_MAX_PART_SIZE)
		return refuse(reason, "The HMAC secret is %d bytes long; %s accepts %d to %d.",
					  k->len, algorithm->name, algorithm->digest_size, JWK_MAX_PART_SIZE);
	if (is_public_key(k))
		return refuse(reason, "The HMAC secret is a public key in disguise: a PEM, a JWK, an SSH or a DER key is no secret.");
	return true;
}

/*
 * The OpenSSL context for making keys of a type, or NULL if OpenSSL has none.
 * Contexts are cached, because making the first one in a backend costs as much
 * as two verifications.
 */
static EVP_PKEY_CTX **
key_maker(const char *type)
{
	static struct
	{
		const char *type;
		EVP_PKEY_CTX *ctx;
	}			makers[8];
	int			i = 0;

	while (makers[i].type != NULL && strcmp(makers[i].type, type) != 0)
		i++;
	Assert(i + 1 < (int) lengthof(makers));
	makers[i].type = type;
	if (makers[i].ctx == NULL)
		makers[i].ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (makers[i].ctx != NULL && EVP_PKEY_fromdata_init(makers[i].ctx) <= 0)
	{
		EVP_PKEY_CTX_free(makers[i].ctx);
		makers[i].ctx = NULL;
	}
	return &makers[i].ctx;
}

/*
 * Make an OpenSSL key; see jwk_make_key().
 */
static bool
make_key(const Jwk *jwk, const Algorithm *algorithm, EVP_PKEY **pkey, char **reason)
{
	OSSL_PARAM_BLD *builder = NULL;
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX **maker;
	BIGNUM	   *n = NULL;
	BIGNUM	   *e = NULL;
	uint8		point[1 + 2 * 66];
	bool		available;
	bool		complete = false;

	*pkey = NULL;
	if (algorithm->family == FAMILY_HMAC)
		return true;

	maker = key_maker(algorithm->family == FAMILY_ECDSA ? "EC" : algorithm->key_name);
	available = *maker != NULL;
	builder = OSSL_PARAM_BLD_new();
	if (builder != NULL)
		switch (algorithm->family)
		{
			case FAMILY_HMAC:
				break;

			case FAMILY_EDDSA:
			case FAMILY_ML_DSA:
				complete = OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY,
															jwk->part[0].data, jwk->part[0].len);
				break;

			case FAMILY_RSA_PKCS1:
			case FAMILY_RSA_PSS:
				n = BN_bin2bn(jwk->part[0].data, jwk->part[0].len, NULL);
				e = BN_bin2bn(jwk->part[1].data, jwk->part[1].len, NULL);
				complete = n != NULL && e != NULL &&
					OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
					OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e);
				break;

			case FAMILY_ECDSA:
				point[0] = POINT_CONVERSION_UNCOMPRESSED;
				memcpy(point + 1, jwk->part[0].data, algorithm->part_size);
				memcpy(point + 1 + algorithm->part_size, jwk->part[1].data, algorithm->part_size);
				complete = OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME,
														   algorithm->key_name, 0) &&
					OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY,
													 point, 1 + 2 * algorithm->part_size);
				break;
		}
	if (available && complete && (params = OSSL_PARAM_BLD_to_param(builder)) != NULL)
		(void) EVP_PKEY_fromdata(*maker, pkey, EVP_PKEY_PUBLIC_KEY, params);

	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(builder);
	BN_free(n);
	BN_free(e);

	/* if memory is lacking, OpenSSL can make a key without a size */
	if (*pkey != NULL && EVP_PKEY_get_size(*pkey) <= 0)
	{
		EVP_PKEY_free(*pkey);
		*pkey = NULL;
	}
	if (*pkey != NULL)
		return true;

	/* its state is unknown after the failure */
	EVP_PKEY_CTX_free(*maker);
	*maker = NULL;
	if (!available)
		return refuse(reason, "The algorithm %s is not available in the OpenSSL that is loaded (%s).",
					  algorithm->name, OpenSSL_version(OPENSSL_VERSION_STRING));
	if (algorithm->family == FAMILY_ECDSA)
		return refuse(reason, "The members \"x\" and \"y\" of the JWK are not a point on %s.", algorithm->crv);
	return refuse(reason, "OpenSSL does not accept the key as one for %s.", algorithm->name);
}

/*
 * Make an OpenSSL key from a JWK that fits the algorithm.  The caller owns
 * *pkey and frees it by EVP_PKEY_free().  For an HMAC secret *pkey is NULL.
 */
bool
jwk_make_key(const Jwk *jwk, const Algorithm *algorithm, EVP_PKEY **pkey, char **reason)
{
	return openssl_retry(make_key(jwk, algorithm, pkey, reason));
}

/*
 * The algorithm to which a key of type RSASSA-PSS is restricted (RFC 4055
 * section 3.1), or NULL.  A JWK can name one algorithm, but not PSS in
 * general, so an unrestricted key cannot be converted.  OpenSSL omits the
 * default digest, which is SHA-1.
 */
static const Algorithm *
pss_algorithm(const EVP_PKEY *pkey)
{
	const Algorithm *algorithm;
	char		digest[64];
	char		mgf1_digest[64];
	int			salt_len;

	if (!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_RSA_DIGEST,
										digest, sizeof(digest), NULL) ||
		!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_RSA_MGF1_DIGEST,
										mgf1_digest, sizeof(mgf1_digest), NULL) ||
		!EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_RSA_PSS_SALTLEN, &salt_len) ||
		strcmp(digest, mgf1_digest) != 0)
		return NULL;
	for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
		if (algorithm->family == FAMILY_RSA_PSS && salt_len <= algorithm->digest_size &&
			(strcmp(digest, algorithm->digest) == 0 ||
			 (strncmp(digest, "SHA", 3) == 0 && strcmp(digest + 3, algorithm->digest + 5) == 0)))
			return algorithm;
	return NULL;
}

/*
 * Make a Jwk from the public half of an OpenSSL key.  The caller has allocated
 * its parts, of JWK_MAX_PART_SIZE each, because no error may be raised while
 * an OpenSSL handle is open.  Returns false for a type or curve of no known
 * algorithm.
 */
bool
jwk_from_pkey(const EVP_PKEY *pkey, Jwk *jwk)
{
	static const char *const bn_params[][2] = {
		{OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E},
		{OSSL_PKEY_PARAM_EC_PUB_X, OSSL_PKEY_PARAM_EC_PUB_Y},
	};
	bool		is_rsa = EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_is_a(pkey, "RSA-PSS");
	char		name[64];

	if (is_rsa)
	{
		jwk->kty = "RSA";
		if (EVP_PKEY_is_a(pkey, "RSA-PSS"))
		{
			const Algorithm *algorithm = pss_algorithm(pkey);

			if (algorithm == NULL)
				return false;
			jwk->alg = algorithm->name;
			jwk->alg_len = (int) strlen(algorithm->name);
		}
	}
	else
	{
		const Algorithm *algorithm;
		int			explicit_curve;

		/*
		 * only named curves are allowed (RFC 5480 section 2.1.1)
		 */
		if (EVP_PKEY_is_a(pkey, "EC") &&
			(!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof(name), NULL) ||
			 !EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &explicit_curve) ||
			 explicit_curve))
			return false;
		for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
		{
			if (algorithm->family == FAMILY_ECDSA ?
				(EVP_PKEY_is_a(pkey, "EC") && strcmp(algorithm->key_name, name) == 0) :
				(algorithm->part_size > 0 && EVP_PKEY_is_a(pkey, algorithm->key_name)))
				break;
		}
		if (algorithm == NULL)
			return false;
		jwk->implied_algorithm = algorithm;
		jwk->kty = algorithm->kty;
		if (algorithm->family != FAMILY_ECDSA)
		{
			size_t		len = JWK_MAX_PART_SIZE;

			if (EVP_PKEY_get_raw_public_key(pkey, jwk->part[0].data, &len) <= 0)
				return false;
			jwk->part[0].len = (int) len;
			return true;
		}
	}

	for (int i = 0; i < 2; i++)
	{
		BIGNUM	   *bn = NULL;
		int			len;

		if (!EVP_PKEY_get_bn_param(pkey, bn_params[is_rsa ? 0 : 1][i], &bn))
			return false;
		len = is_rsa ? BN_num_bytes(bn) : jwk->implied_algorithm->part_size;
		if (len <= JWK_MAX_PART_SIZE)
			len = BN_bn2binpad(bn, jwk->part[i].data, len);
		else
			len = -1;
		BN_free(bn);
		if (len < 0)
			return false;
		jwk->part[i].len = len;
	}
	return true;
}

static bool
passes_public_check(EVP_PKEY *pkey)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	bool		good = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good;
}

/*
 * Additional checks for a key before it is written: OpenSSL's full check of a
 * public key, which takes milliseconds for RSA, and that a secret is not all
 * zero.
 */
bool
jwk_check_key(const Jwk *jwk, const Algorithm *algorithm, char **reason)
{
	EVP_PKEY   *pkey;
	bool		good;

	if (algorithm->family == FAMILY_HMAC)
	{
		for (int i = 0; i < jwk->part[0].len; i++)
			if (jwk->part[0].data[i] != 0)
				return true;
		return refuse(reason, "The HMAC secret is all zero.");
	}
	if (!jwk_make_key(jwk, algorithm, &pkey, reason))
		return false;
	good = passes_public_check(pkey) || passes_public_check(pkey);
	EVP_PKEY_free(pkey);
	if (!openssl_verdict(good))
		return refuse(reason, "OpenSSL finds that the key is not a valid public key for %s.", algorithm->name);
	return true;
}

/*
 * The normalised value of a member, palloc'd and terminated.
 */
static char *
member_text(const Jwk *jwk, const KeyType *type, const char *name)
{
	if (strcmp(name, "kty") == 0)
		return pstrdup(jwk->kty);
	if (strcmp(name, "crv") == 0)
		return pstrdup(jwk->implied_algorithm->crv);
	if (strcmp(name, "alg") == 0)
		return jwk->implied_algorithm ? pstrdup(jwk->implied_algorithm->name) : pnstrdup(jwk->alg, jwk->alg_len);
	for (int i = 0; type->parts[i] != NULL; i++)
		if (strcmp(name, type->parts[i]) == 0)
		{
			const JwkBytes *bytes = &jwk->part[i];
			char	   *text = palloc(base64url_encoded_size(bytes->len) + 1);

			text[base64url_encode(bytes->data, bytes->len, text)] = '\0';
			return text;
		}
	pg_unreachable();
}

/*
 * The normal form of a JWK, which is stored: only the required members, with
 * normalised values. with_alg adds the "alg" of a key that is restricted to
 * one algorithm.
 */
Jsonb *
jwk_normal_form(const Jwk *jwk, bool with_alg)
{
	const KeyType *type = key_type(jwk->kty, (int) strlen(jwk->kty));
	const char *names[lengthof(type->members) + 1];
	JsonbPair	pairs[lengthof(names)];
	JsonbValue	object;
	int			n_names = 0;
	int			n = 0;

	if (with_alg && jwk->alg != NULL && jwk->implied_algorithm == NULL)
		names[n_names++] = "alg";
	for (int i = 0; type->members[i] != NULL; i++)
		names[n_names++] = type->members[i];

	/* jsonb sorts names by length, then bytewise; this is that order */
	for (int len = 1; len <= 3; len++)
		for (int i = 0; i < n_names; i++)
		{
			JsonbPair  *pair = &pairs[n];

			if ((int) strlen(names[i]) != len)
				continue;
			n++;
			pair->order = 0;
			pair->key.type = jbvString;
			pair->key.val.string.val = unconstify(char *, names[i]);
			pair->key.val.string.len = len;
			pair->value.type = jbvString;
			pair->value.val.string.val = member_text(jwk, type, names[i]);
			pair->value.val.string.len = (int) strlen(pair->value.val.string.val);
		}
	object.type = jbvObject;
	object.val.object.nPairs = n;
	object.val.object.pairs = pairs;
	return JsonbValueToJsonb(&object);
}

/*
 * The SHA-256 thumbprint (RFC 7638 section 3) in base64url, or NULL if OpenSSL
 * cannot compute it.
 */
char *
jwk_thumbprint(const Jwk *jwk)
{
	const KeyType *type = key_type(jwk->kty, (int) strlen(jwk->kty));
	StringInfoData json;
	char	   *text;

	/* no value needs escaping: it is base64url or a known name */
	initStringInfo(&json);
	for (int i = 0; type->members[i] != NULL; i++)
		appendStringInfo(&json, "%c\"%s\":\"%s\"", i == 0 ? '{' : ',',
						 type->members[i], member_text(jwk, type, type->members[i]));
	appendStringInfoChar(&json, '}');
	text = palloc(SHA256_TEXT_SIZE + 1);
	if (!sha256_text(json.data, json.len, text))
		return NULL;
	text[SHA256_TEXT_SIZE] = '\0';
	return text;
}

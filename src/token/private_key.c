/*-------------------------------------------------------------------------
 *
 * private_key.c
 *	  Private keys: JWK, PEM and PKCS#8, to and from OpenSSL's EVP_PKEY.
 *
 * As in jwk.c, a bad key is data: a function returns NULL and a reason, a
 * palloc'd sentence without a byte of the key.  Only a lack of memory raises
 * an error.
 *
 * A key is read into its parts, of which EVP_PKEY_fromdata() makes the OpenSSL
 * key.  Each copy of a part is cleansed, also after an error.
 *
 * Except for RSA, the public half is computed from the private one and never
 * believed: with a wrong public half, two Ed25519 signatures reveal the
 * private key.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/params.h>
#include <openssl/rsa.h>

#include "miscadmin.h"
#include "token/failure.h"
#include "token/json.h"
#include "token/openssl_errors.h"
#include "token/pkcs8.h"
#include "token/private_key.h"
#include "token/secret.h"
#include "utils/memutils.h"

#define TEXT_MAX_SIZE	65536

/* The size of RSA keys that are generated: 128 bits of strength. */
#define RSA_BITS	3072

/* The names of the numbers of an RSA key in a JWK. */
static const char *const rsa_members[RSA_NUMBERS] = {"n", "e", "d", "p", "q", "dp", "dq", "qi"};

/* Set the reason why a key is refused; gives NULL or false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)
#define refuse_key(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), (PrivateKey *) NULL)

/*
 * Memory for a secret in another context.
 */
static void *
secret_in(MemoryContext context, Size size)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	void	   *secret = secret_alloc(size);

	MemoryContextSwitchTo(old);
	return secret;
}

static void
free_private_key(void *arg)
{
	PrivateKey *key = arg;

	EVP_PKEY_free(key->pkey);
}

static PrivateKey *
new_private_key(MemoryContext context)
{
	PrivateKey *key = MemoryContextAllocZero(context, sizeof(PrivateKey));

	key->free_callback.func = free_private_key;
	key->free_callback.arg = key;
	MemoryContextRegisterResetCallback(context, &key->free_callback);
	return key;
}

/*
 * ---- RSA ----
 */

static bool
is_one_modulo(const BIGNUM *a, const BIGNUM *b, const BIGNUM *m, BIGNUM *scratch, BN_CTX *ctx)
{
	return BN_mod_mul(scratch, a, b, m, ctx) && BN_is_one(scratch);
}

/*
 * Find the factors of n from e and d (NIST SP 800-56B, appendix C).  If n is the
 * product of two primes, each base succeeds with a probability of at least one
 * half.  If n is a prime, none does, which can take long: so a cancellation of
 * the query ends the search.
 */
static bool
find_factors(BIGNUM **bn, BN_CTX *ctx)
{
	BIGNUM	   *r = BN_CTX_get(ctx);
	BIGNUM	   *minus_one = BN_CTX_get(ctx);
	BIGNUM	   *base = BN_CTX_get(ctx);
	BIGNUM	   *x = BN_CTX_get(ctx);
	BIGNUM	   *y = BN_CTX_get(ctx);
	int			twos = 0;
	bool		found = false;

	if (y == NULL || !BN_mul(r, bn[RSA_D], bn[RSA_E], ctx) || !BN_sub_word(r, 1) || BN_is_zero(r) ||
		!BN_sub(minus_one, bn[RSA_N], BN_value_one()))
		return false;
	while (!BN_is_bit_set(r, twos))
		twos++;
	if (twos == 0 || !BN_rshift(r, r, twos))
		return false;

	for (int tries = 0; tries < 32 && !found && !QueryCancelPending && !ProcDiePending; tries++)
	{
		if (!BN_set_word(base, 2 + tries) || !BN_mod_exp(y, base, r, bn[RSA_N], ctx))
			return false;
		for (int i = 0; i < twos && !BN_is_one(y) && BN_cmp(y, minus_one) != 0; i++)
		{
			if (!BN_mod_sqr(x, y, bn[RSA_N], ctx))
				return false;
			if (BN_is_one(x))
			{
				/* y is a root of 1 that is neither 1 nor -1 */
				found = BN_sub_word(y, 1) && BN_gcd(bn[RSA_P], y, bn[RSA_N], ctx) &&
					BN_div(bn[RSA_Q], NULL, bn[RSA_N], bn[RSA_P], ctx);
				break;
			}
			if (!BN_copy(y, x))
				return false;
		}
	}
	return found;
}

/*
 * Compute the numbers that a JWK may omit (RFC 7518 section 6.3.2).
 */
static bool
complete_rsa(BIGNUM **bn, BN_CTX *ctx)
{
	BIGNUM	   *two = BN_CTX_get(ctx);
	BIGNUM	   *x = BN_CTX_get(ctx);
	BIGNUM	   *swap;

	/* do e and d fit? */
	if (x == NULL || !BN_set_word(two, 2) ||
		!BN_mod_exp(x, two, bn[RSA_D], bn[RSA_N], ctx) ||
		!BN_mod_exp(x, x, bn[RSA_E], bn[RSA_N], ctx) || BN_cmp(x, two) != 0 ||
		!find_factors(bn, ctx))
		return false;
	if (BN_cmp(bn[RSA_P], bn[RSA_Q]) < 0)
	{
		swap = bn[RSA_P];
		bn[RSA_P] = bn[RSA_Q];
		bn[RSA_Q] = swap;
	}
	for (int i = 0; i < 2; i++)
		if (!BN_sub(x, bn[RSA_P + i], BN_value_one()) || !BN_mod(bn[RSA_DP + i], bn[RSA_D], x, ctx))
			return false;
	return BN_mod_inverse(bn[RSA_QI], bn[RSA_Q], bn[RSA_P], ctx) != NULL;
}

/*
 * Do the numbers of an RSA key fit each other?  Whether p and q are prime takes
 * longer: see check_fully().  A short d or a short prime can be computed
 * from the public half.
 */
static bool
rsa_fits(BIGNUM **bn, BN_CTX *ctx)
{
	int			bits = BN_num_bits(bn[RSA_N]);
	BIGNUM	   *x = BN_CTX_get(ctx);
	BIGNUM	   *y = BN_CTX_get(ctx);

	if (y == NULL || !BN_mul(x, bn[RSA_P], bn[RSA_Q], ctx) || BN_cmp(x, bn[RSA_N]) != 0 ||
		BN_cmp(bn[RSA_D], bn[RSA_N]) >= 0 || BN_num_bits(bn[RSA_D]) <= bits / 2)
		return false;
	for (int i = 0; i < 2; i++)
		if (BN_num_bits(bn[RSA_P + i]) < bits / 2 - 64 ||
			!BN_sub(x, bn[RSA_P + i], BN_value_one()) ||
			!BN_mod(y, bn[RSA_D], x, ctx) || BN_cmp(y, bn[RSA_DP + i]) != 0 ||
			!is_one_modulo(y, bn[RSA_E], x, y, ctx))
			return false;
	return BN_cmp(bn[RSA_QI], bn[RSA_P]) < 0 &&
		is_one_modulo(bn[RSA_QI], bn[RSA_Q], bn[RSA_P], x, ctx);
}

/*
 * Make an RSA key.  scratch has room for RSA_NUMBERS numbers of the size of n.
 */
static bool
make_rsa(const KeyParts *parts, uint8 *scratch, EVP_PKEY_CTX *maker, EVP_PKEY **pkey)
{
	int			size = parts->rsa[RSA_N].len;
	BN_CTX	   *ctx = BN_CTX_new();
	BIGNUM	   *bn[RSA_NUMBERS] = {NULL};
	OSSL_PARAM	params[RSA_NUMBERS + 1];
	bool		good = ctx != NULL;

	for (int i = 0; i < RSA_NUMBERS; i++)
	{
		bn[i] = BN_bin2bn(parts->rsa[i].data, parts->rsa[i].len, NULL);
		good = good && bn[i] != NULL;
		if (bn[i] != NULL)
			BN_set_flags(bn[i], BN_FLG_CONSTTIME);
	}
	if (good)
		BN_CTX_start(ctx);
	good = good &&
		(parts->rsa[RSA_P].len > 0 || complete_rsa(bn, ctx)) &&
		rsa_fits(bn, ctx);
	for (int i = 0; i < RSA_NUMBERS && good; i++)
	{
		good = BN_bn2nativepad(bn[i], scratch + i * size, size) == size;
		params[i] = OSSL_PARAM_construct_BN(rsa_number_params[i], scratch + i * size, size);
	}
	params[RSA_NUMBERS] = OSSL_PARAM_construct_end();
	if (good)
		(void) EVP_PKEY_fromdata(maker, pkey, EVP_PKEY_KEYPAIR, params);

	for (int i = 0; i < RSA_NUMBERS; i++)
		BN_clear_free(bn[i]);
	BN_CTX_free(ctx);
	return *pkey != NULL;
}

/*
 * ---- EC, OKP, AKP ----
 */

/*
 * Make an EC key: d must be in range, and the public half is computed from it.
 */
static bool
make_ec(const KeyParts *parts, const Algorithm *algorithm, uint8 *scratch, EVP_PKEY_CTX *maker, EVP_PKEY **pkey)
{
	uint8		encoded[1 + 2 * 66];
	EC_GROUP   *group = EC_GROUP_new_by_curve_name(OBJ_sn2nid(algorithm->key_name));
	EC_POINT   *point = group ? EC_POINT_new(group) : NULL;
	BIGNUM	   *d = BN_bin2bn(parts->private_part.data, parts->private_part.len, NULL);
	int			size = algorithm->part_size;

	if (d != NULL)
		BN_set_flags(d, BN_FLG_CONSTTIME);
	if (point != NULL && d != NULL && !BN_is_zero(d) &&
		BN_cmp(d, EC_GROUP_get0_order(group)) < 0 &&
		EC_POINT_mul(group, point, d, NULL, NULL, NULL) &&
		EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED,
						   encoded, sizeof(encoded), NULL) == 1 + 2 * (size_t) size &&
		BN_bn2nativepad(d, scratch, size) == size)
	{
		OSSL_PARAM	params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, unconstify(char *, algorithm->key_name), 0),
			OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, encoded, 1 + 2 * size),
			OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, scratch, size),
			OSSL_PARAM_construct_end()
		};

		(void) EVP_PKEY_fromdata(maker, pkey, EVP_PKEY_KEYPAIR, params);
	}
	BN_clear_free(d);
	EC_POINT_clear_free(point);
	EC_GROUP_free(group);
	return *pkey != NULL;
}

/*
 * Make a key whose private half is a string, of which OpenSSL computes the
 * public half.
 */
static bool
make_from_string(const KeyParts *parts, const char *param, EVP_PKEY_CTX *maker, EVP_PKEY **pkey)
{
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_octet_string(param, parts->private_part.data, parts->private_part.len),
		OSSL_PARAM_construct_end()
	};

	(void) EVP_PKEY_fromdata(maker, pkey, EVP_PKEY_KEYPAIR, params);
	return *pkey != NULL;
}

/*
 * Make the EVP_PKEY of a key as it was read, and read its public half from
 * that.  *available is false if OpenSSL has no such keys.
 */
static bool
make_pkey(const KeyParts *parts, const Algorithm *algorithm, uint8 *scratch, bool *available,
		  EVP_PKEY **pkey, Jwk *half)
{
	EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, algorithm->family == FAMILY_ECDSA ? "EC" :
													 algorithm->key_name, NULL);
	bool		made = false;

	*available = maker != NULL && EVP_PKEY_fromdata_init(maker) > 0;
	if (*available)
		switch (algorithm->family)
		{
			case FAMILY_HMAC:
				break;
			case FAMILY_RSA_PKCS1:
			case FAMILY_RSA_PSS:
				made = make_rsa(parts, scratch, maker, pkey);
				break;
			case FAMILY_ECDSA:
				made = make_ec(parts, algorithm, scratch, maker, pkey);
				break;
			case FAMILY_EDDSA:
				made = make_from_string(parts, OSSL_PKEY_PARAM_PRIV_KEY, maker, pkey);
				break;
			case FAMILY_ML_DSA:
				made = make_from_string(parts, PARAM_ML_DSA_SEED, maker, pkey);
				break;
		}
	EVP_PKEY_CTX_free(maker);
	secret_cleanse_stack();
	/* if memory is lacking, OpenSSL can make a key without a size */
	if (made && EVP_PKEY_get_size(*pkey) > 0 && jwk_from_pkey(*pkey, half))
		return true;
	EVP_PKEY_free(*pkey);
	*pkey = NULL;
	return false;
}

/*
 * ---- from the parts to a key ----
 */

/*
 * The name of the algorithm of a key: the given one, or that of its JWK, or
 * the only possible one.  Returns NULL with a reason if there is none.
 */
static const char *
choose_alg(const Jwk *jwk, const char *alg, char **reason)
{
	if (alg != NULL)
		return alg;
	if (jwk->alg != NULL)
		return pnstrdup(jwk->alg, jwk->alg_len);
	if (jwk->implied_algorithm != NULL)
		return jwk->implied_algorithm->name;
	*reason = psprintf("The algorithm must be given, as the key does not say what a key of type %s is for.", jwk->kty);
	return NULL;
}

static bool
bytes_equal(const JwkBytes *a, const JwkBytes *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void
allocate_half(Jwk *half, MemoryContext context)
{
	for (int i = 0; i < (int) lengthof(half->part); i++)
		half->part[i].data = MemoryContextAlloc(context, JWK_MAX_PART_SIZE);
}

static PrivateKey *
refuse_unavailable(const Algorithm *algorithm, char **reason)
{
	return refuse_key(reason, "The algorithm %s is not available in the OpenSSL that is loaded (%s).",
					  algorithm->name, OpenSSL_version(OPENSSL_VERSION_STRING));
}

/*
 * Make the EVP_PKEY of a key, which must have the stated public half.
 */
static bool
add_pkey(PrivateKey *key, const KeyParts *parts, MemoryContext context, char **reason)
{
	bool		is_rsa = strcmp(parts->stated.kty, "RSA") == 0;
	Size		scratch_size = is_rsa ? RSA_NUMBERS * parts->rsa[RSA_N].len : key->algorithm->part_size;
	uint8	   *scratch = secret_alloc(scratch_size);
	bool		available;
	bool		made;

	allocate_half(&key->half, context);
	made = openssl_retry(make_pkey(parts, key->algorithm, scratch, &available, &key->pkey, &key->half));
	secret_cleanse(scratch);
	if (!made)
	{
		CHECK_FOR_INTERRUPTS();
		if (!available)
			return refuse_unavailable(key->algorithm, reason) != NULL;
		if (is_rsa)
			return refuse(reason, "The numbers of the RSA key do not fit each other, or one of them is too short; accepted are keys of two primes of the same size.");
		return refuse(reason, "The private half of the key is not one for %s.", key->algorithm->name);
	}
	for (int i = 0; i < (int) lengthof(key->half.part); i++)
		if (parts->stated.part[i].len > 0 && !bytes_equal(&parts->stated.part[i], &key->half.part[i]))
			return refuse(reason, "The private and the public half of the key do not fit each other.");
	return true;
}

/*
 * Make a key for an algorithm: the given one, or the one that the key implies.
 */
static PrivateKey *
key_from_parts(const KeyParts *parts, const char *given_alg, MemoryContext context, char **reason)
{
	const Jwk  *stated = &parts->stated;
	const char *alg = choose_alg(stated, given_alg, reason);
	PrivateKey *key = new_private_key(context);
	Jwk			fitting;

	if (alg == NULL)
		return NULL;
	/* a modulus and a secret are checked before they are used */
	key->algorithm = stated->implied_algorithm;
	if (key->algorithm == NULL && !jwk_fits(stated, alg, (int) strlen(alg), &key->algorithm, reason))
		return NULL;

	if (key->algorithm->family == FAMILY_HMAC)
	{
		if (!jwk_check_key(stated, key->algorithm, reason))
			return NULL;
		key->half.part[0].len = stated->part[0].len;
		key->half.part[0].data = secret_in(context, stated->part[0].len);
		memcpy(key->half.part[0].data, stated->part[0].data, stated->part[0].len);
		key->half.kty = stated->kty;
	}
	else
	{
		if (!add_pkey(key, parts, context, reason))
			return NULL;
		fitting = key->half;
		fitting.alg = stated->alg;
		fitting.alg_len = stated->alg_len;
		if (!jwk_fits(&fitting, alg, (int) strlen(alg), &key->algorithm, reason))
			return NULL;
	}
	if (stated->kid != NULL)
	{
		char	   *kid = MemoryContextAlloc(context, stated->kid_len + 1);

		memcpy(kid, stated->kid, stated->kid_len);
		kid[stated->kid_len] = '\0';
		key->half.kid = kid;
		key->half.kid_len = stated->kid_len;
	}
	return key;
}

static bool
passes_pairwise_check(EVP_PKEY *pkey)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	bool		good = ctx != NULL && EVP_PKEY_pairwise_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	secret_cleanse_stack();
	return good;
}

/*
 * OpenSSL's full checks of a key from outside.  Those of RSA take up to a
 * second: are its factors prime?  OpenSSL has none for the others before 3.4.
 */
static PrivateKey *
check_fully(PrivateKey *key, char **reason)
{
	if (key == NULL || !jwk_check_key(&key->half, key->algorithm, reason))
		return NULL;
	if ((key->algorithm->family == FAMILY_RSA_PKCS1 || key->algorithm->family == FAMILY_RSA_PSS ||
		 key->algorithm->family == FAMILY_ECDSA) && !openssl_retry(passes_pairwise_check(key->pkey)))
		return refuse_key(reason, "OpenSSL finds that the key is not a valid private key for %s.", key->algorithm->name);
	return key;
}

/*
 * ---- JWK ----
 */

/*
 * A member of an object that is a tree of json_read_object() or jsonb.
 */
static bool
find_member(const JsonbValue *object, const char *name, JsonbValue *value)
{
	const JsonbPair *pair;

	if (object->type == jbvBinary)
		return getKeyJsonValueFromContainer(object->val.binary.data, name, (int) strlen(name), value) != NULL;
	pair = json_member(object, name);
	if (pair != NULL)
		*value = pair->value;
	return pair != NULL;
}

/*
 * Decode a private member that must be there.
 */
static bool
read_private(const JsonbValue *object, const char *name, JwkBytes *bytes, char **reason)
{
	JsonbValue	value;

	if (!find_member(object, name, &value))
		return refuse(reason, "The JWK has no member \"%s\", so it is no complete private key.", name);
	if (!jwk_decode(&value, name, bytes, reason))
		return false;
	if (bytes->len == 0)
		return refuse(reason, "The member \"%s\" of the JWK is empty.", name);
	return true;
}

/*
 * Decode the private members of an RSA key: d alone, or all (RFC 7518 section
 * 6.3.2).
 */
static bool
read_rsa_members(const JsonbValue *object, KeyParts *parts, char **reason)
{
	JsonbValue	value;
	bool		has_factors = false;

	parts->rsa[RSA_N] = parts->stated.part[0];
	parts->rsa[RSA_E] = parts->stated.part[1];
	if (find_member(object, "oth", &value))
		return refuse(reason, "The JWK has the member \"oth\"; accepted are RSA keys of two primes.");
	for (int i = RSA_P; i < RSA_NUMBERS; i++)
		has_factors = has_factors || find_member(object, rsa_members[i], &value);
	for (int i = RSA_D; i < (has_factors ? RSA_NUMBERS : RSA_P); i++)
		if (!read_private(object, rsa_members[i], &parts->rsa[i], reason))
			return false;
		else if (parts->rsa[i].len > parts->rsa[RSA_N].len)
			return refuse(reason, "The member \"%s\" of the JWK is longer than the modulus.", rsa_members[i]);
	return true;
}

/*
 * Read a JWK: its public half from jsonb, and its private members from an
 * object.
 */
static PrivateKey *
key_from_members(const Jsonb *public_half, const JsonbValue *object, const char *alg,
				 MemoryContext context, char **reason)
{
	KeyParts	parts = {0};
	const Algorithm *algorithm;

	if (!jwk_read_half(public_half, "sign", &parts.stated, reason))
		return NULL;
	algorithm = parts.stated.implied_algorithm;
	if (strcmp(parts.stated.kty, "RSA") == 0)
	{
		if (!read_rsa_members(object, &parts, reason))
			return NULL;
	}
	else if (algorithm != NULL)
	{
		const char *name = algorithm->family == FAMILY_ML_DSA ? "priv" : "d";
		int			size = algorithm->family == FAMILY_ML_DSA ? ML_DSA_SEED_SIZE : algorithm->part_size;
		int			len;

		if (!read_private(object, name, &parts.private_part, reason))
			return NULL;
		/* some issuers omit leading zeros of an integer */
		len = parts.private_part.len;
		if (len > size || (len < size && algorithm->family != FAMILY_ECDSA))
			return refuse_key(reason, "The member \"%s\" of the JWK has a length of %d, not %d as in keys for %s.",
							  name, len, size, algorithm->name);
	}
	return key_from_parts(&parts, alg, context, reason);
}

/*
 * A key from a private JWK, or from one of type oct.  Omits the checks that
 * take long.
 */
PrivateKey *
private_key_from_jwk(const Jsonb *jwk, const char *alg, MemoryContext context, char **reason)
{
	JsonbValue	object;

	object.type = jbvBinary;
	object.val.binary.data = unconstify(JsonbContainer *, &jwk->root);
	object.val.binary.len = (int) VARSIZE(jwk) - VARHDRSZ;
	return key_from_members(jwk, &object, alg, context, reason);
}

/*
 * A key from the text of a private JWK.  Only its public half becomes jsonb.
 */
static PrivateKey *
key_from_jwk_text(const char *text, int len, const char *alg, MemoryContext context, char **reason)
{
	JsonbValue	object;
	JsonbValue	public_half;
	const char *not_object = json_read_object(text, len, &object);
	PrivateKey *key;
	int			n = 0;

	if (not_object != NULL)
		return refuse_key(reason, "The JWK %s.", not_object);
	public_half = object;
	public_half.val.object.pairs = palloc(sizeof(JsonbPair) * Max(object.val.object.nPairs, 1));
	for (int i = 0; i < object.val.object.nPairs; i++)
	{
		const JsonbPair *pair = &object.val.object.pairs[i];

		if (!jwk_is_private_member(pair->key.val.string.val, pair->key.val.string.len))
			public_half.val.object.pairs[n++] = *pair;
	}
	public_half.val.object.nPairs = n;
	key = key_from_members(JsonbValueToJsonb(&public_half), &object, alg, context, reason);

	/* the reader copies a string that has an escape */
	for (int i = 0; i < object.val.object.nPairs; i++)
	{
		JsonbValue *value = &object.val.object.pairs[i].value;

		if (value->type == jbvString && (value->val.string.val < text || value->val.string.val >= text + len))
			OPENSSL_cleanse(value->val.string.val, value->val.string.len);
	}
	return key;
}

/*
 * A key from unencrypted PKCS#8, which private_key_to_der() has made.  Omits
 * the checks that take long.
 */
PrivateKey *
private_key_from_der(const uint8 *der, int len, const char *alg, MemoryContext context, char **reason)
{
	KeyParts	parts = {0};
	JwkBytes	bytes = {unconstify(uint8 *, der), len};

	if (!pkcs8_read(&bytes, &parts, reason))
		return NULL;
	return key_from_parts(&parts, alg, context, reason);
}

/*
 * The key as unencrypted PKCS#8, in memory of secret_alloc().
 */
uint8	   *
private_key_to_der(const PrivateKey *key, MemoryContext context, int *len)
{
	/* RSA: numbers up to the size of n; each element has a header */
	int			size = (RSA_NUMBERS + 1) * (key->half.part[0].len + 8) + 64;
	uint8	   *buf;
	uint8	   *start;

	Assert(key->pkey != NULL);
	buf = secret_in(context, size);
	if (!openssl_retry(pkcs8_write(key->pkey, key->algorithm, buf + size, &start)))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not export a private key")));
	*len = (int) (buf + size - start);
	return start;
}

/*
 * A key from the text of a private JWK, or of unencrypted PKCS#8 in PEM, after
 * all checks.  The text is UTF-8, whatever the server encoding.
 */
PrivateKey *
private_key_from_text(const char *text, int len, const char *alg, MemoryContext context, char **reason)
{
	PrivateKey *key;
	JwkBytes	der;

	if (len > TEXT_MAX_SIZE)
		return refuse_key(reason, "The key is longer than %d bytes.", TEXT_MAX_SIZE);
	while (len > 0 && (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r'))
	{
		text++;
		len--;
	}
	if (len > 0 && *text == '{')
		return check_fully(key_from_jwk_text(text, len, alg, context, reason), reason);
	if (len == 0 || *text != '-')
		return refuse_key(reason, "The key is neither a JWK nor a PEM block.");
	if (!pkcs8_from_pem(text, len, &der, reason))
		return NULL;
	key = private_key_from_der(der.data, der.len, alg, context, reason);
	secret_cleanse(der.data);
	return check_fully(key, reason);
}

/*
 * ---- new keys, and the public half ----
 */

static bool
generate(const Algorithm *algorithm, bool *available, EVP_PKEY **pkey, Jwk *half)
{
	bool		is_ec = algorithm->family == FAMILY_ECDSA;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, is_ec ? "EC" : algorithm->key_name, NULL);
	bool		good;

	*available = ctx != NULL;
	good = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0 &&
		(!is_ec || EVP_PKEY_CTX_set_group_name(ctx, algorithm->key_name) > 0) &&
		(strcmp(algorithm->kty, "RSA") != 0 || EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, RSA_BITS) > 0) &&
		EVP_PKEY_generate(ctx, pkey) > 0 && jwk_from_pkey(*pkey, half);
	EVP_PKEY_CTX_free(ctx);
	secret_cleanse_stack();
	if (!good)
	{
		EVP_PKEY_free(*pkey);
		*pkey = NULL;
	}
	return good;
}

/*
 * A new key.  EdDSA gives one on Ed25519.
 */
PrivateKey *
private_key_generate(const char *alg, MemoryContext context, char **reason)
{
	const Algorithm *algorithm = algorithm_by_name(alg, (int) strlen(alg));
	PrivateKey *key;
	bool		available;

	if (algorithm == NULL && strcmp(alg, ALGORITHM_EDDSA) == 0)
		algorithm = algorithm_by_curve("OKP", "Ed25519", 7);
	if (algorithm == NULL)
		return refuse_key(reason, "The algorithm \"%s\" is not known; accepted are %s.", quote_string(alg), algorithm_names());
	if (algorithm->family == FAMILY_HMAC)
		return refuse_key(reason, "The algorithm %s has a secret that every verifier must know, and no key pair.", algorithm->name);

	key = new_private_key(context);
	key->algorithm = algorithm;
	allocate_half(&key->half, context);
	if (!openssl_retry(generate(algorithm, &available, &key->pkey, &key->half)))
	{
		if (!available)
			return refuse_unavailable(algorithm, reason);
		return refuse_key(reason, "OpenSSL could not generate a key for %s.", algorithm->name);
	}
	return key;
}

/*
 * The public half in the normal form of jwk.c.
 */
Jsonb *
private_key_public_jwk(const PrivateKey *key)
{
	Assert(key->pkey != NULL);
	return jwk_normal_form(&key->half, false);
}

/*
 * Its thumbprint, or NULL if OpenSSL cannot compute it.
 */
char *
private_key_thumbprint(const PrivateKey *key)
{
	return jwk_thumbprint(&key->half);
}

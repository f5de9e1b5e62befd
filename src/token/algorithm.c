/*-------------------------------------------------------------------------
 *
 * algorithm.c
 *	  The table of signature algorithms, and their names.
 *
 * The table does not contain "none".  It does not contain EdDSA either, which
 * is a second name of Ed25519 and Ed448.  The curve of the key decides which
 * one it means (RFC 9864 section 2.2).
 *
 * To add an algorithm, begin here; doc/architecture.md has the other steps.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "lib/stringinfo.h"
#include "token/algorithm.h"

static const Algorithm algorithms[] = {
	{"HS256", FAMILY_HMAC, "oct", NULL, NULL, "SHA2-256", 32, 0, 32},
	{"HS384", FAMILY_HMAC, "oct", NULL, NULL, "SHA2-384", 48, 0, 48},
	{"HS512", FAMILY_HMAC, "oct", NULL, NULL, "SHA2-512", 64, 0, 64},
	{"RS256", FAMILY_RSA_PKCS1, "RSA", NULL, "RSA", "SHA2-256", 32, 0, 0},
	{"RS384", FAMILY_RSA_PKCS1, "RSA", NULL, "RSA", "SHA2-384", 48, 0, 0},
	{"RS512", FAMILY_RSA_PKCS1, "RSA", NULL, "RSA", "SHA2-512", 64, 0, 0},
	{"PS256", FAMILY_RSA_PSS, "RSA", NULL, "RSA", "SHA2-256", 32, 0, 0},
	{"PS384", FAMILY_RSA_PSS, "RSA", NULL, "RSA", "SHA2-384", 48, 0, 0},
	{"PS512", FAMILY_RSA_PSS, "RSA", NULL, "RSA", "SHA2-512", 64, 0, 0},
	{"ES256", FAMILY_ECDSA, "EC", "P-256", "prime256v1", "SHA2-256", 32, 32, 64},
	{"ES384", FAMILY_ECDSA, "EC", "P-384", "secp384r1", "SHA2-384", 48, 48, 96},
	{"ES512", FAMILY_ECDSA, "EC", "P-521", "secp521r1", "SHA2-512", 64, 66, 132},
	{"ES256K", FAMILY_ECDSA, "EC", "secp256k1", "secp256k1", "SHA2-256", 32, 32, 64},
	{"Ed25519", FAMILY_EDDSA, "OKP", "Ed25519", "ED25519", NULL, 0, 32, 64},
	{"Ed448", FAMILY_EDDSA, "OKP", "Ed448", "ED448", NULL, 0, 57, 114},
	{"ML-DSA-44", FAMILY_ML_DSA, "AKP", NULL, "ML-DSA-44", NULL, 0, 1312, 2420},
	{"ML-DSA-65", FAMILY_ML_DSA, "AKP", NULL, "ML-DSA-65", NULL, 0, 1952, 3309},
	{"ML-DSA-87", FAMILY_ML_DSA, "AKP", NULL, "ML-DSA-87", NULL, 0, 2592, 4627},
};

static bool
equal(const char *name, const char *str, int len)
{
	return name != NULL && (int) strlen(name) == len && memcmp(name, str, len) == 0;
}

/*
 * The algorithm with this name, compared byte for byte, or NULL.  EdDSA gives
 * NULL, because only a key decides which algorithm it means.
 */
const Algorithm *
algorithm_by_name(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		if (equal(algorithms[i].name, name, len))
			return &algorithms[i];
	return NULL;
}

/*
 * The only algorithm for keys of this type on this curve, or NULL.
 */
const Algorithm *
algorithm_by_curve(const char *kty, const char *crv, int len)
{
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		if (strcmp(algorithms[i].kty, kty) == 0 && equal(algorithms[i].crv, crv, len))
			return &algorithms[i];
	return NULL;
}

/*
 * The i-th algorithm, or NULL after the last.
 */
const Algorithm *
algorithm_at(int i)
{
	return i < (int) lengthof(algorithms) ? &algorithms[i] : NULL;
}

/*
 * Is this the name of an algorithm, or EdDSA?
 */
bool
algorithm_known(const char *name, int len)
{
	return equal(ALGORITHM_EDDSA, name, len) || algorithm_by_name(name, len) != NULL;
}

/*
 * Does the name, from a header or a policy, mean this algorithm?  EdDSA means
 * both Ed25519 and Ed448.  No other algorithm has a second name.
 */
bool
algorithm_is(const Algorithm *algorithm, const char *name, int len)
{
	return equal(algorithm->name, name, len) ||
		(algorithm->family == FAMILY_EDDSA && equal(ALGORITHM_EDDSA, name, len));
}

/*
 * All names for a hint: a palloc'd list, separated by commas.
 */
const char *
algorithm_names(void)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < (int) lengthof(algorithms); i++)
		appendStringInfo(&buf, "%s, ", algorithms[i].name);
	appendStringInfoString(&buf, ALGORITHM_EDDSA);
	return buf.data;
}

/*-------------------------------------------------------------------------
 *
 * new_key.c
 *	  Whether a JWK can become a key of an issuer.
 *
 * SQL functions use this file.  They raise an error for a key that verifies
 * nothing, which an INSERT would store.  The functions of this file raise no
 * error.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "trust/new_key.h"

/* Set the reason why a key is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * Choose the algorithm of a key if the caller gave none: the JWK's own, or
 * that of its curve, or the only algorithm of its issuer that fits.
 */
static bool
choose_alg(const TrustIssuer *issuer, NewKey *key, char **reason)
{
	const Jwk  *jwk = &key->jwk;
	const char *only = NULL;

	if (jwk->alg != NULL)
	{
		key->alg = pnstrdup(jwk->alg, jwk->alg_len);
		return true;
	}
	if (jwk->implied_algorithm != NULL)
	{
		key->alg = pstrdup(jwk->implied_algorithm->name);
		return true;
	}
	key->lacks_alg = true;
	for (int i = 0; i < issuer->n_algorithms; i++)
	{
		const Algorithm *algorithm = algorithm_by_name(issuer->algorithms[i],
													   (int) strlen(issuer->algorithms[i]));

		if (algorithm == NULL || strcmp(algorithm->kty, jwk->kty) != 0)
			continue;
		if (only != NULL)
			return refuse(reason, "The algorithm must be given, as the issuer \"%s\" has more than one algorithm for a key of type %s.",
						  quote_string(issuer->policy.issuer), jwk->kty);
		only = algorithm->name;
	}
	if (only == NULL)
		return refuse(reason, "The algorithm must be given, as neither the JWK nor the issuer's algorithms say what a key of type %s is for.",
					  jwk->kty);
	key->lacks_alg = false;
	key->alg = pstrdup(only);
	return true;
}

/*
 * Read a JWK as a key of the issuer, pinned to alg, or for NULL to its only
 * possible algorithm.  Returns false with a reason, a sentence, if it cannot
 * be a key.  Does all checks except the expensive ones of new_key_check().
 */
bool
new_key_read(const Jsonb *jwk, const char *alg, const TrustIssuer *issuer, NewKey *key, char **reason)
{
	memset(key, 0, sizeof(*key));
	if (issuer->unusable != NULL)
		return refuse(reason, "The policy of the issuer \"%s\" cannot be used. %s",
					  quote_string(issuer->policy.issuer), issuer->unusable);
	if (!jwk_read(jwk, &key->jwk, reason))
		return false;
	key->jwk_read = true;
	if (alg != NULL)
		key->alg = pstrdup(alg);
	else if (!choose_alg(issuer, key, reason))
		return false;
	if (!jwk_fits(&key->jwk, key->alg, (int) strlen(key->alg), &key->algorithm, reason))
		return false;
	if (!rows_issuer_allows(issuer, key->algorithm))
		return refuse(reason, "The algorithm %s is not one of the issuer \"%s\", which are %s.",
					  key->alg, quote_string(issuer->policy.issuer), rows_show_algorithms(issuer));
	return true;
}

/*
 * Do OpenSSL's full check of the key, which takes milliseconds for RSA.
 */
bool
new_key_check(const NewKey *key, char **reason)
{
	return jwk_check_key(&key->jwk, key->algorithm, reason);
}

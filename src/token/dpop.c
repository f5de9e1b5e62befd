/*-------------------------------------------------------------------------
 *
 * dpop.c
 *	  DPoP proofs: the sender of a token has the key that it is bound to
 *	  (RFC 9449).
 *
 * The functions have the numbers of the checks in section 4.3 of the RFC.
 * Number 1, that there is only one proof, follows from the argument.  The caller
 * checks that a proof is used only once (section 11.1).
 *
 * The key is in the proof, so a good signature alone proves nothing.  The token
 * has the thumbprint of the key, and the issuer has signed the token.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/claims.h"
#include "token/dpop.h"
#include "token/json.h"
#include "token/jws.h"
#include "token/uri.h"
#include "utils/memutils.h"

#define PROOF_TYPE	"dpop+jwt"

static bool
refuse(Failure *failure, const char *detail)
{
	return fail(failure, FAILURE_CONFIRMATION, detail);
}

/*
 * Convert the failure of a check that tokens share to a failure of the proof.
 */
static bool
refuse_as_proof(Failure *failure)
{
	return refuse(failure, psprintf("The DPoP proof, which is a token itself, is refused: %s", failure->detail));
}

/*
 * Numbers 2, 4 and 5: the form, the type, and an asymmetric algorithm.
 */
static bool
check_header(const DpopProof *proof, Jws *jws, Failure *failure)
{
	const Algorithm *algorithm;

	if (!jws_split(proof->text.data, proof->text.len, proof->max_size, jws, failure) ||
		!jws_check_header(jws, failure))
		return refuse_as_proof(failure);
	if (!slice_is(&jws->typ, PROOF_TYPE))
		return refuse(failure, jws->typ.data == NULL ?
					  "The DPoP proof has no \"typ\"; it must be \"" PROOF_TYPE "\"." :
					  psprintf("The DPoP proof's \"typ\" is \"%s\", not \"" PROOF_TYPE "\".",
							   quote_untrusted(jws->typ.data, jws->typ.len)));
	algorithm = algorithm_by_name(jws->alg.data, jws->alg.len);
	if (algorithm != NULL && algorithm->family == FAMILY_HMAC)
		return refuse(failure, psprintf("The DPoP proof's \"alg\" is %s; a proof is signed by an asymmetric algorithm.",
										algorithm->name));
	return true;
}

/*
 * Numbers 6, 7 and 12 (the key): the header has a public key, the token is bound
 * to this key, and it has signed the proof.
 */
static bool
check_signature(const Jws *jws, const char *thumbprint, Failure *failure)
{
	const JsonbPair *member = json_member(&jws->header, "jwk");
	Jwk			jwk;
	const Algorithm *algorithm;
	char	   *reason;
	char	   *own;
	MemoryContext context;
	JwsVerifier *verifier;
	bool		good;

	if (member == NULL || member->value.type != jbvObject)
		return refuse(failure, "The DPoP proof's header has no \"jwk\" that is an object.");
	if (!jwk_read(JsonbValueToJsonb(unconstify(JsonbValue *, &member->value)), &jwk, &reason) ||
		!jwk_fits(&jwk, jws->alg.data, jws->alg.len, &algorithm, &reason))
		return refuse(failure, psprintf("The DPoP proof's key is refused: %s", reason));
	own = jwk_thumbprint(&jwk);
	if (own == NULL || memcmp(own, thumbprint, SHA256_TEXT_SIZE) != 0)
		return refuse(failure, "The DPoP proof's key is not the one that the token is bound to.");

	context = AllocSetContextCreate(CurrentMemoryContext, "jwt proof", ALLOCSET_SMALL_SIZES);
	verifier = jws_verifier_create(&jwk, algorithm, context, &reason);
	if (verifier == NULL)
		(void) refuse(failure, psprintf("The DPoP proof's key is refused: %s", reason));
	good = verifier != NULL &&
		jws_signature_is_good(verifier, jws->signing_input, jws->signing_input_len,
							  jws->signature, jws->signature_len);
	MemoryContextDelete(context);
	if (verifier != NULL && !good)
		return refuse(failure, "The DPoP proof's key has not signed it.");
	return good;
}

/*
 * Get a claim that must be a string.  An optional claim may be absent, which
 * gives null data.
 */
static bool
get_claim(const JsonbValue *claims, const char *name, bool optional, Slice *string, Failure *failure)
{
	const JsonbPair *member = json_member(claims, name);

	string->data = NULL;
	string->len = 0;
	if (member != NULL)
		string->data = json_string(&member->value, &string->len);
	if (string->data != NULL || (member == NULL && optional))
		return true;
	return refuse(failure, psprintf("The DPoP proof has no \"%s\" that is a string.", name));
}

/*
 * The same for a time.  If it is absent, *t stays as it is.
 */
static bool
get_time(const JsonbValue *claims, const char *text, const char *name, bool optional,
		 TimestampTz *t, Failure *failure)
{
	const JsonbPair *member = json_member(claims, name);

	if (member == NULL ? optional : claims_time(text, member, t))
		return true;
	return refuse(failure, psprintf("The DPoP proof has no \"%s\" that is a number.", name));
}

/*
 * Numbers 8 and 9: the proof is for this request.
 */
static bool
check_request(const DpopProof *proof, const JsonbValue *claims, Failure *failure)
{
	Slice		method;
	Slice		uri;
	char	   *normal;
	char	   *wanted;

	if (!get_claim(claims, "htm", false, &method, failure) ||
		!get_claim(claims, "htu", false, &uri, failure))
		return false;
	if (!slice_equal(&method, &proof->method))
		return refuse(failure, psprintf("The DPoP proof's \"htm\" is \"%s\"; the request's method is \"%s\".",
										quote_untrusted(method.data, method.len),
										quote_untrusted(proof->method.data, proof->method.len)));
	normal = uri_normal_form(&uri);
	wanted = uri_normal_form(&proof->uri);
	if (normal == NULL || wanted == NULL)
		return refuse(failure, normal == NULL ?
					  "The DPoP proof's \"htu\" is not an absolute URI of the scheme http or https." :
					  "The request's URI is not an absolute URI of the scheme http or https.");
	if (strcmp(normal, wanted) != 0)
		return refuse(failure, psprintf("The DPoP proof's \"htu\" is \"%s\"; the request's URI is \"%s\".",
										quote_string(normal),
										quote_string(wanted)));
	return true;
}

/*
 * Number 11: the proof was made just now.  It may have "exp" and "nbf", which are
 * checked, too.
 */
static bool
check_time(DpopProof *proof, const JsonbValue *claims, const char *text, TimestampTz now,
		   Failure *failure)
{
	TimestampTz expires = DT_NOEND;
	TimestampTz not_before = DT_NOBEGIN;

	if (!get_time(claims, text, "exp", true, &expires, failure) ||
		!get_time(claims, text, "nbf", true, &not_before, failure) ||
		!get_time(claims, text, "iat", false, &proof->issued, failure))
		return false;
	if (proof->issued < now - DPOP_MAX_AGE || expires <= now)
		return refuse(failure, psprintf("The DPoP proof is too old; accepted is an age of %d seconds.",
										(int) (DPOP_MAX_AGE / USECS_PER_SEC)));
	if (proof->issued > now + DPOP_MAX_AHEAD || not_before > now + DPOP_MAX_AHEAD)
		return refuse(failure, "The DPoP proof is from the future; the clocks differ.");
	return true;
}

/*
 * Numbers 10 and 12 (the token): the proof has the nonce of the server, and the
 * digest of the token.
 */
static bool
check_binding(const DpopProof *proof, const JsonbValue *claims, const Slice *token, Failure *failure)
{
	char		digest[SHA256_TEXT_SIZE];
	Slice		wanted = {digest, SHA256_TEXT_SIZE};
	Slice		nonce;
	Slice		ath;

	if (!get_claim(claims, "nonce", true, &nonce, failure) ||
		!get_claim(claims, "ath", false, &ath, failure))
		return false;
	if (proof->nonce.data != NULL && !slice_equal(&nonce, &proof->nonce))
		return fail_hint(failure, FAILURE_CONFIRMATION,
						 nonce.data == NULL ? "The DPoP proof has no \"nonce\"." :
						 "The DPoP proof's \"nonce\" is not the one that the server has given.",
						 "Answer with the error \"use_dpop_nonce\" and a nonce.");
	if (!sha256_text(token->data, token->len, digest) || !slice_equal(&ath, &wanted))
		return refuse(failure, "The DPoP proof's \"ath\" is not the digest of this token.");
	return true;
}

/*
 * Check a proof for a token and a request, by the key with this thumbprint. now
 * is the time of the clock, because a statement may take long.  Fills in the jti
 * and the time of a good proof.  The jti has the same bytes in every server
 * encoding.
 */
bool
dpop_check(DpopProof *proof, const Slice *token, const char *thumbprint,
		   TimestampTz now, Failure *failure)
{
	Jws			jws;
	JsonbValue	claims;
	const char *payload;
	const char *reason;

	if (!check_header(proof, &jws, failure) || !check_signature(&jws, thumbprint, failure))
		return false;

	payload = (const char *) jws.payload;
	reason = json_read_object(payload, jws.payload_len, &claims);
	if (reason != NULL)
		return refuse(failure, psprintf("The payload of the DPoP proof %s.", reason));
	if (!check_request(proof, &claims, failure) ||
		!check_time(proof, &claims, payload, now, failure) ||
		!check_binding(proof, &claims, token, failure) ||
		!get_claim(&claims, "jti", false, &proof->jti, failure))
		return false;
	if (proof->jti.len == 0)
		return refuse(failure, "The DPoP proof's \"jti\" is empty.");
	/* databases with other encodings share the list of used proofs */
	for (int i = 0; i < proof->jti.len; i++)
		if (IS_HIGHBIT_SET(proof->jti.data[i]))
			return refuse(failure, "The DPoP proof's \"jti\" has a character that is not of ASCII.");
	return true;
}

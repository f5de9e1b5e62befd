/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  The order of verification: form, header, keys, signature, claims,
 *	  revocation.
 *
 * Each step runs only if all steps before it have passed.  In particular, the
 * payload is not parsed before its signature is verified.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "session/confirmation.h"
#include "session/verify.h"
#include "token/json.h"
#include "trust/refresh.h"
#include "utils/acl.h"
#include "utils/guc.h"

/* jwt.max_token_size, in bytes */
static int	max_token_size;

static const KeyLookupResult *find_candidates(const VerifyRequest *request, Verdict *verdict);
static bool find_signer(const VerifyRequest *request, Verdict *verdict, const KeyLookupResult *candidates);
static void prefer_claimed_issuer(Verdict *verdict, const KeyLookupResult *candidates);

/*
 * Define the settings of this file.
 */
void
verify_init(void)
{
	DefineCustomIntVariable("jwt.max_token_size",
							"Sets the size of the largest token that is accepted.",
							NULL,
							&max_token_size,
							8192, 256, JWS_MAX_SIZE,
							PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
}

/*
 * The maximal size of a token in bytes.
 */
int
verify_max_token_size(void)
{
	return max_token_size;
}

/*
 * Verify a token, and return its claims if it is valid.  The claims are
 * read-only.  They are valid until both the transaction and the statement end,
 * or until the current memory context is reset, whichever comes first.
 */
bool
verify_claims(const VerifyRequest *request, VerifiedClaims *verified, Failure *failure)
{
	uint64		generation;
	Verdict		verdict;

	if (request->token.len <= max_token_size && verify_cache_find(request, verified))
		return confirmation_check(request, verified->binding, failure);

	generation = trust_generation;
	if (!verify_token(request, &verdict))
	{
		*failure = verdict.failure;
		return false;
	}
	verified->claims = json_to_jsonb(&verdict.claims);
	verified->switches_role = verdict.key->issuer->role_claim != NULL;
	verified->binding = verdict.binding;
	verify_cache_add(request, generation, verdict.key, &verdict.times, verdict.not_revoked, verified);
	return true;
}

/*
 * Check that a token with good claims is not revoked.
 */
static bool
check_revocation(Verdict *verdict)
{
	const TrustKey *key = verdict->key;
	const ClaimsPolicy *policy = &key->issuer->policy;
	RevocationQuery query = {
		.thumbprint = slice_of(key->thumbprint),
		.key_generation = verdict->key_not_revoked,
		.issuer = slice_of(policy->issuer),
		.sub = verdict->ids.sub,
		.sid = verdict->ids.sid,
		.jti = verdict->ids.jti,
		.has_issued = verdict->times.has_issued,
		.issued = verdict->times.issued
	};

	return revocation_check(&query, &verdict->not_revoked, &verdict->failure);
}

/*
 * Verify the signature of a token, and read its claims without checking them.
 * Returns whether the signature is good; the verdict has the details.  Raises an
 * error only for reasons that are not the token's fault.
 */
bool
verify_signature(const VerifyRequest *request, Verdict *verdict)
{
	Failure    *failure = &verdict->failure;
	Jws		   *jws = &verdict->jws;
	const KeyLookupResult *candidates;
	const char *payload;
	const char *reason;

	memset(verdict, 0, sizeof(*verdict));

	if (!jws_split(request->token.data, request->token.len, max_token_size, jws, failure))
		return false;
	verdict->header_read = true;
	if (!jws_check_header(jws, failure))
		return false;

	candidates = find_candidates(request, verdict);
	if (candidates == NULL || !find_signer(request, verdict, candidates))
		return false;

	payload = (const char *) jws->payload;
	reason = json_read_object(payload, jws->payload_len, &verdict->claims);
	if (reason != NULL)
		return fail(failure, FAILURE_MALFORMED, psprintf("The payload of the token %s.", reason));
	verdict->claims_read = true;
	verdict->key_not_revoked = candidates->denylist_generation;
	prefer_claimed_issuer(verdict, candidates);
	return true;
}

/*
 * Verify an access token.  Returns whether it is valid; see verify_signature().
 */
bool
verify_token(const VerifyRequest *request, Verdict *verdict)
{
	return verify_signature(request, verdict) &&
		claims_check(&verdict->claims, (const char *) verdict->jws.payload, &verdict->jws,
					 &verdict->key->issuer->policy, &request->audience, request->at,
					 &verdict->ids, &verdict->times, &verdict->failure) &&
		confirmation_read(&verdict->claims, !verdict->key->issuer->confirms_elsewhere,
						  &verdict->binding, &verdict->failure) &&
		confirmation_check(request, verdict->binding, &verdict->failure) &&
		check_revocation(verdict);
}

/*
 * May the user know the issuers and the number of keys?  A user who can read
 * jwt_key may.
 */
static bool
user_manages_trust(void)
{
	Relation	rel = catalog_open(TRUST_KEY, AccessShareLock);
	bool		result = pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK;

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * The description of a key for a message.  The signature of the token is not
 * verified, so only users who manage trust see the issuer of the key.
 */
static char *
show_key(const char *kid, const char *issuer)
{
	char	   *key = kid == NULL ? pstrdup("The key") :
	psprintf("The key \"%s\"", quote_string(kid));

	if (issuer == NULL || !user_manages_trust())
		return key;
	return psprintf("%s of the issuer \"%s\"", key, quote_string(issuer));
}

/*
 * Set the failure if there is no row for the token.
 */
static bool
fail_without_key(const VerifyRequest *request, Verdict *verdict)
{
	const Jws  *jws = &verdict->jws;
	Failure    *failure = &verdict->failure;
	char	   *wanted = jws->kid.data != NULL ?
	psprintf("kid \"%s\"", quote_untrusted(jws->kid.data, jws->kid.len)) :
	psprintf("algorithm %s, and the token names no kid",
			 quote_untrusted(jws->alg.data, jws->alg.len));
	char	   *issuer;
	char	   *count;
	int			n;

	if (!user_manages_trust())
		return fail(failure, FAILURE_NO_KEY, psprintf("No key has the %s.", wanted));

	issuer = request->issuer.data == NULL ? NULL : quote_untrusted(request->issuer.data, request->issuer.len);
	if (issuer != NULL && (request->issuer.len > TRUST_MAX_NAME ||
						   rows_find_issuer(request->issuer.data, request->issuer.len) == NULL))
		return fail(failure, FAILURE_NO_KEY, psprintf("There is no issuer \"%s\".", issuer));
	n = key_cache_count(&request->issuer, MAX_KEYS);
	count = psprintf("%s%d key%s", n == MAX_KEYS ? "at least " : "", n, n == 1 ? "" : "s");
	if (issuer != NULL)
		return fail(failure, FAILURE_NO_KEY,
					psprintf("The issuer \"%s\" has %s, none with the %s.", issuer, count, wanted));
	return fail(failure, FAILURE_NO_KEY, psprintf("Of %s, none has the %s.", count, wanted));
}

/*
 * Set the failure if there are rows for the token, but none that can verify
 * now.
 */
static bool
fail_by_fault(const KeyLookupResult *result, Verdict *verdict)
{
	const Jws  *jws = &verdict->jws;
	Failure    *failure = &verdict->failure;
	char	   *key = show_key(result->fault_kid, result->fault_issuer);

	switch (result->fault)
	{
		case KEY_NOT_YET:
			return fail(failure, FAILURE_NO_KEY,
						psprintf("%s is not valid before %s.", key, timestamptz_to_str(result->fault_time)));
		case KEY_NO_LONGER:
			return fail(failure, FAILURE_NO_KEY,
						psprintf("%s has not been valid since %s.", key, timestamptz_to_str(result->fault_time)));
		case KEY_OF_OTHER_ALGORITHM:
			return fail(failure, FAILURE_ALGORITHM,
						psprintf("The header's \"alg\" is \"%s\". %s is for %s only.",
								 quote_untrusted(jws->alg.data, jws->alg.len), key,
								 result->fault_algorithm->name));
		case KEY_NOT_ALLOWED:
			return fail(failure, FAILURE_ALGORITHM,
						psprintf("%s is for %s, which the issuer does not allow.", key,
								 result->fault_algorithm->name));
		default:
			return fail(failure, FAILURE_NO_KEY,
						!user_manages_trust() ? psprintf("%s cannot be used.", key) :
						psprintf("%s cannot be used. %s", key, result->fault_why));
	}
}

/*
 * Set the failure if a limit has excluded keys that may have signed the token.
 */
static bool
fail_too_many(const VerifyRequest *request, Verdict *verdict)
{
	return fail_hint(&verdict->failure, FAILURE_NO_KEY,
					 psprintf("More keys may have signed the token than are tried, which is %d of an issuer and %d in all.",
							  MAX_KEYS_OF_ISSUER, MAX_KEYS),
					 request->issuer.data == NULL ? "Name the issuer." : NULL);
}

/*
 * Find the keys that may have signed the token, by its header and the
 * arguments of the caller.  Returns NULL with the failure if there is none.
 */
static const KeyLookupResult *
find_candidates(const VerifyRequest *request, Verdict *verdict)
{
	const Jws  *jws = &verdict->jws;
	KeyLookup	lookup = {.issuer = request->issuer, .kid = jws->kid, .alg = jws->alg};
	const KeyLookupResult *result = key_cache_find(&lookup, request->at);

	if (result->n_keys > 0 || result->n_revoked > 0)
		return result;
	if (result->too_many)
	{
		(void) fail_too_many(request, verdict);
		return NULL;
	}

	/* the issuer may have rotated its keys, or restored one */
	if (result->fault <= KEY_UNUSABLE && !request->fetch_nothing)
		refresh_wake(&request->issuer);
	if (result->fault == KEY_ABSENT)
		(void) fail_without_key(request, verdict);
	else
		(void) fail_by_fault(result, verdict);
	return NULL;
}

static bool
has_signed(const TrustKey *key, const Jws *jws)
{
	CHECK_FOR_INTERRUPTS();
	return jws_signature_is_good(key->verifier, jws->signing_input, jws->signing_input_len,
								 jws->signature, jws->signature_len);
}

/*
 * Find the first candidate that has signed the token.  There is no fallback: a
 * key verifies only with its own algorithm.
 */
static bool
find_signer(const VerifyRequest *request, Verdict *verdict, const KeyLookupResult *candidates)
{
	Failure    *failure = &verdict->failure;
	const TrustKey *only = candidates->n_keys == 1 ? &candidates->keys[0] : NULL;
	bool		published = false;

	for (int i = 0; i < candidates->n_keys; i++)
	{
		if (has_signed(&candidates->keys[i], &verdict->jws))
		{
			verdict->key = &candidates->keys[i];
			return true;
		}
		published = published || candidates->keys[i].published;
	}

	/* the issuer may have a new key with the same kid, or without a kid */
	if ((published || candidates->n_keys == 0) && !request->fetch_nothing)
	{
		Slice		issuer = only != NULL ? slice_of(only->issuer->policy.issuer) : request->issuer;

		refresh_wake(&issuer);
	}

	/*
	 * a revoked key verifies nothing, but its tokens are reported as revoked
	 */
	for (int i = 0; i < candidates->n_revoked; i++)
	{
		const TrustKey *key = &candidates->revoked[i];

		if (has_signed(key, &verdict->jws))
			return fail(failure, FAILURE_REVOKED,
						psprintf("%s was revoked%s.", show_key(key->kid, key->issuer->policy.issuer),
								 key->revoked_at == DT_NOBEGIN ? "" :
								 psprintf(" at %s", timestamptz_to_str(key->revoked_at))));
	}
	if (candidates->too_many)
		return fail_too_many(request, verdict);
	if (only != NULL)
		return fail(failure, FAILURE_SIGNATURE,
					psprintf("%s has not signed this token.", show_key(only->kid, only->issuer->policy.issuer)));
	if (candidates->n_keys == 0 || !user_manages_trust())
		return fail(failure, FAILURE_SIGNATURE, "No key that may have has signed this token.");
	return fail(failure, FAILURE_SIGNATURE,
				psprintf("None of the %d keys that may have has signed this token.", candidates->n_keys));
}

/*
 * Several issuers may have the same key, as tenants of some providers do.
 * Then the token has the signature of each of them, and its claims decide
 * which issuer it belongs to.  The signature is verified already.
 */
static void
prefer_claimed_issuer(Verdict *verdict, const KeyLookupResult *candidates)
{
	if (candidates->n_keys == 1 ||
		claims_issuer_is(&verdict->claims, verdict->key->issuer->policy.issuer))
		return;
	for (int i = 0; i < candidates->n_keys; i++)
		if (claims_issuer_is(&verdict->claims, candidates->keys[i].issuer->policy.issuer) &&
			has_signed(&candidates->keys[i], &verdict->jws))
		{
			verdict->key = &candidates->keys[i];
			return;
		}
}

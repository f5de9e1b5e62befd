/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  The order of verification: form, header, keys, signature, claims,
 *	  revocation.
 *
 * A step is taken only when those before it have passed.  In particular no byte
 * of the payload is parsed before a key has vouched for it.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "session/verify.h"
#include "token/json.h"
#include "trust/refresh.h"
#include "utils/guc.h"

/* Keys that are tried for a token without a kid. */
#define MAX_KEYS_WITHOUT_KID	8

/* jwt.max_token_size, in bytes */
static int	max_token_size;

/* The keys that may have signed a token. */
typedef struct Candidates
{
	int			n;
	const TrustKey *keys[TRUST_MAX_KEYS];
} Candidates;

static bool find_candidates(const VerifyRequest *request, Verdict *verdict, Candidates *candidates);
static bool find_signer(const VerifyRequest *request, Verdict *verdict, const Candidates *candidates);
static void prefer_claimed_issuer(Verdict *verdict, const Candidates *candidates);

/*
 * Define the settings of this room.
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
 * The size of the largest token that is accepted, in bytes.
 */
int
verify_max_token_size(void)
{
	return max_token_size;
}

/*
 * The time of which tokens are judged: the statement's start, or that of the
 * transaction, which is later in a procedure that has committed.
 */
TimestampTz
verify_now(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	TimestampTz transaction = GetCurrentTransactionStartTimestamp();

	return Max(statement, transaction);
}

/*
 * The claims of a token, when it is valid.  They are to be read only, and may be
 * used until the end of the transaction and of the statement, or until the
 * current memory context is reset, whichever comes first.
 */
bool
verify_claims(const VerifyRequest *request, VerifiedClaims *verified, Failure *failure)
{
	uint64		generation;
	Verdict		verdict;

	if (request->token.len <= max_token_size && verify_cache_find(request, verified))
		return true;

	generation = trust_generation();
	if (!verify_token(request, &verdict))
	{
		*failure = verdict.failure;
		return false;
	}
	verified->claims = json_to_jsonb(&verdict.claims);
	verified->switches_role = verdict.key->issuer->role_claim != NULL;
	verify_cache_add(request, generation, verdict.key, &verdict.times, &verdict.not_revoked, verified);
	return true;
}

/*
 * A string claim; null data when there is none, or it is not wanted.
 */
static JwsString
string_claim(const JsonbValue *claims, const char *name, bool wanted)
{
	JwsString	string = {NULL, 0};
	const JsonbPair *member = wanted ? json_member(claims, name) : NULL;

	if (member != NULL)
		string.data = json_string(&member->value, &string.len);
	return string;
}

/*
 * Has the token, whose claims are good, not been revoked?
 */
static bool
check_revocation(Verdict *verdict)
{
	const TrustIssuer *issuer = verdict->key->issuer;
	bool		told = revocation_is_told();
	RevocationQuery query = {
		.issuer = {issuer->policy.issuer, (int) strlen(issuer->policy.issuer)},
		.jti = string_claim(&verdict->claims, "jti", issuer->has_revoked_ids || !told),
		.sub = string_claim(&verdict->claims, "sub", issuer->has_revoked_subjects || !told),
		.issued = verdict->times.issued
	};

	return revocation_check(&query, &verdict->not_revoked, &verdict->failure);
}

/*
 * Verify a token.  Returns whether it is valid; the verdict says more.  Raises
 * an error only for what is not the token's fault.
 */
bool
verify_token(const VerifyRequest *request, Verdict *verdict)
{
	Failure    *failure = &verdict->failure;
	Jws		   *jws = &verdict->jws;
	Candidates	candidates;
	const char *payload;
	const char *reason;

	memset(verdict, 0, sizeof(*verdict));

	if (!jws_split(request->token.data, request->token.len, max_token_size, jws, failure))
		return false;
	verdict->header_read = true;
	if (!jws_check_header(jws, failure))
		return false;

	if (!find_candidates(request, verdict, &candidates) ||
		!find_signer(request, verdict, &candidates))
		return false;

	payload = (const char *) jws->payload;
	reason = json_read_object(payload, jws->payload_len, &verdict->claims);
	if (reason != NULL)
		return fail(failure, FAILURE_MALFORMED, psprintf("The payload of the token %s.", reason));
	verdict->claims_read = true;
	prefer_claimed_issuer(verdict, &candidates);

	return claims_check(&verdict->claims, payload, jws, &verdict->key->issuer->policy,
						&request->audience, request->at, &verdict->times, failure) &&
		check_revocation(verdict);
}

/*
 * Which key a message speaks of.
 */
static char *
show_key(const TrustKey *key)
{
	if (key->kid == NULL)
		return psprintf("The key of the issuer \"%s\"", key->issuer->policy.issuer);
	return psprintf("The key \"%s\" of the issuer \"%s\"",
					quote_untrusted(key->kid, (int) strlen(key->kid)),
					key->issuer->policy.issuer);
}

/*
 * There is no row for the token at all.
 */
static bool
fail_without_key(const VerifyRequest *request, const TrustAnswer *answer, Verdict *verdict)
{
	const Jws  *jws = &verdict->jws;
	int			n = answer->n_other_keys;
	char	   *issuer = request->issuer.data == NULL ? NULL :
	quote_untrusted(request->issuer.data, request->issuer.len);
	char	   *count = psprintf("%s%d key%s", n == TRUST_MAX_KEYS ? "at least " : "",
								 n, n == 1 ? "" : "s");
	char	   *wanted = jws->kid.data != NULL ?
	psprintf("kid \"%s\"", quote_untrusted(jws->kid.data, jws->kid.len)) :
	psprintf("algorithm %s, and the token names no kid",
			 quote_untrusted(jws->alg.data, jws->alg.len));

	if (issuer != NULL && !answer->issuer_known)
		return fail(&verdict->failure, FAILURE_NO_KEY,
					psprintf("There is no issuer \"%s\".", issuer));
	if (issuer != NULL)
		return fail(&verdict->failure, FAILURE_NO_KEY,
					psprintf("The issuer \"%s\" has %s, none with the %s.", issuer, count, wanted));
	return fail(&verdict->failure, FAILURE_NO_KEY,
				psprintf("Of %s, none has the %s.", count, wanted));
}

/*
 * May this key have signed the token?  Its window is open, it is not revoked,
 * its pin equals the header's alg, and its issuer allows that.
 */
static bool
is_candidate(const TrustKey *key, const VerifyRequest *request, const Jws *jws, Failure *failure)
{
	if (key->revoked)
		return fail(failure, FAILURE_NO_KEY, psprintf("%s has been revoked.", show_key(key)));
	if (request->at < key->not_before)
		return fail(failure, FAILURE_NO_KEY,
					psprintf("%s is not valid before %s.", show_key(key),
							 timestamptz_to_str(key->not_before)));
	if (request->at >= key->not_after)
		return fail(failure, FAILURE_NO_KEY,
					psprintf("%s has not been valid since %s.", show_key(key),
							 timestamptz_to_str(key->not_after)));
	if (key->verifier == NULL)
		return fail(failure, FAILURE_NO_KEY,
					psprintf("%s cannot be used. %s", show_key(key), key->unusable));
	if (!algorithm_is(key->algorithm, jws->alg.data, jws->alg.len))
		return fail(failure, FAILURE_ALGORITHM,
					psprintf("The header's \"alg\" is \"%s\". %s is for %s only.",
							 quote_untrusted(jws->alg.data, jws->alg.len),
							 show_key(key), key->algorithm->name));
	if (!key->algorithm_allowed)
		return fail(failure, FAILURE_ALGORITHM,
					psprintf("%s is for %s, which the issuer no longer allows.",
							 show_key(key), key->algorithm->name));
	return true;
}

/*
 * Find the keys that may have signed the token, by what its header says and the
 * caller asked for.
 */
static bool
find_candidates(const VerifyRequest *request, Verdict *verdict, Candidates *candidates)
{
	const Jws  *jws = &verdict->jws;
	Failure    *failure = &verdict->failure;
	Failure		reason = {.code = FAILURE_NONE};
	TrustQuestion question = {.issuer = request->issuer, .kid = jws->kid};
	int			max_candidates = TRUST_MAX_KEYS;
	const TrustAnswer *answer;

	candidates->n = 0;
	if (jws->kid.data == NULL)
	{
		question.alg = jws->alg;
		max_candidates = MAX_KEYS_WITHOUT_KID;
	}
	answer = trust_find_keys(&question);
	if (answer->n_keys == 0)
	{
		refresh_wake(&request->issuer);
		return fail_without_key(request, answer, verdict);
	}

	for (int i = 0; i < answer->n_keys; i++)
	{
		Failure		why_not;

		if (is_candidate(&answer->keys[i], request, jws, &why_not))
			candidates->keys[candidates->n++] = &answer->keys[i];
		else if (reason.code != FAILURE_ALGORITHM)
			reason = why_not;	/* a key for another algorithm came furthest */
	}
	if (candidates->n == 0)
	{
		/* the issuer may use again what its key set had lost */
		if (reason.code == FAILURE_NO_KEY)
			refresh_wake(&request->issuer);
		*failure = reason;
		return false;
	}
	if (answer->too_many || candidates->n > max_candidates)
		return fail_hint(failure, FAILURE_NO_KEY,
						 psprintf("There are more keys that may have signed the token than are tried, which is %d.",
								  max_candidates),
						 request->issuer.data == NULL ? "Name the issuer." : NULL);
	return true;
}

static bool
has_signed(const TrustKey *key, const Jws *jws)
{
	CHECK_FOR_INTERRUPTS();
	return jws_signature_is_good(key->verifier, jws->signing_input, jws->signing_input_len,
								 jws->signature, jws->signature_len);
}

/*
 * Find the first candidate whose signature the token has.  No fallback of any
 * kind: a key verifies by its own algorithm or not at all.
 */
static bool
find_signer(const VerifyRequest *request, Verdict *verdict, const Candidates *candidates)
{
	bool		published = false;

	for (int i = 0; i < candidates->n; i++)
	{
		if (has_signed(candidates->keys[i], &verdict->jws))
		{
			verdict->key = candidates->keys[i];
			return true;
		}
		published = published || candidates->keys[i]->published;
	}

	/* the issuer may have another key under this kid now, or without one */
	if (published && candidates->n == 1)
	{
		const char *name = candidates->keys[0]->issuer->policy.issuer;
		JwsString	issuer = {name, (int) strlen(name)};

		refresh_wake(&issuer);
	}
	else if (published)
		refresh_wake(&request->issuer);
	if (candidates->n == 1)
		return fail(&verdict->failure, FAILURE_SIGNATURE,
					psprintf("%s has not signed this token.", show_key(candidates->keys[0])));
	return fail(&verdict->failure, FAILURE_SIGNATURE,
				psprintf("None of the %d keys that may have has signed this token.", candidates->n));
}

/*
 * One key may belong to several issuers, as the tenants of some providers share
 * theirs: then the token has the signature of each, and is the one's whose name
 * is in its claims.  They are known to be the signer's by now.
 */
static void
prefer_claimed_issuer(Verdict *verdict, const Candidates *candidates)
{
	if (claims_issuer_is(&verdict->claims, verdict->key->issuer->policy.issuer))
		return;
	for (int i = 0; i < candidates->n; i++)
		if (claims_issuer_is(&verdict->claims, candidates->keys[i]->issuer->policy.issuer) &&
			has_signed(candidates->keys[i], &verdict->jws))
		{
			verdict->key = candidates->keys[i];
			return;
		}
}

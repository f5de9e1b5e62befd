/*-------------------------------------------------------------------------
 *
 * jwks.c
 *	  JWK Sets (RFC 7517 section 5): which keys of an issuer one publishes.
 *
 * A set comes from outside.  A member that cannot be a key of the issuer is
 * left out with a reason and spoils nothing (section 5: implementations should
 * ignore what they do not understand); a set of which nothing is left is no set,
 * lest a broken document take an issuer's keys away.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "token/failure.h"
#include "token/json.h"
#include "trust/jwks.h"
#include "trust/trust_check.h"
#include "trust/trust_tables.h"
#include "utils/timestamp.h"

/*
 * Who publishes a set can make keys of which each takes OpenSSL seconds to check.
 * Nobody cancels a worker, and it is all issuers'.
 */
#define MAX_CHECK_MS	10000

/* Note why a set is refused; false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * The kid of a member that is an object, also of one that is no key; NULL when
 * it has none.
 */
static char *
member_kid(const Jsonb *jwk)
{
	JsonbValue	value;
	const char *kid;
	int			len;

	if (!JB_ROOT_IS_OBJECT(jwk) ||
		getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &jwk->root), "kid", 3, &value) == NULL ||
		(kid = json_string(&value, &len)) == NULL)
		return NULL;
	return pnstrdup(kid, len);
}

/*
 * Judge a member by itself.
 */
static void
read_member(const Jsonb *jwk, const TrustIssuer *issuer, JwksMember *member)
{
	KeyVerdict	verdict;

	member->kid = member_kid(jwk);
	if (member->kid != NULL && strlen(member->kid) > TRUST_MAX_NAME)
	{
		member->reason = psprintf("The member \"kid\" of the JWK is longer than %d bytes.", TRUST_MAX_NAME);
		member->kid = quote_untrusted(member->kid, (int) strlen(member->kid));
		return;
	}
	if (!trust_judge_key(jwk, NULL, issuer, &verdict))
	{
		member->reason = verdict.reason;
		if (verdict.alg != NULL)
			member->alg = quote_untrusted(verdict.alg, (int) strlen(verdict.alg));
		else if (verdict.column == Anum_jwt_key_alg && strcmp(verdict.jwk.kty, "oct") != 0)
			member->jwk = jwk_normal_form(&verdict.jwk, false);
		return;
	}
	member->alg = verdict.alg;
	if (verdict.algorithm->family == FAMILY_HMAC)
		member->reason = pstrdup("The key is a secret, and a published one is none.");
	else
		member->jwk = jwk_normal_form(&verdict.jwk, false);
}

/*
 * Normal forms are the same when their bytes are.
 */
static bool
same_key(const Jsonb *a, const Jsonb *b)
{
	return a != NULL && b != NULL && VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0;
}

/*
 * Does an earlier member stand for the same row: by its kid, or without one by
 * the key itself?
 */
static bool
is_repeated(const JwksMember *members, int n)
{
	const JwksMember *member = &members[n];

	for (int i = 0; i < n; i++)
		if (members[i].reason == NULL && same_text(members[i].kid, member->kid) &&
			(member->kid != NULL ||
			 (same_text(members[i].alg, member->alg) && same_key(members[i].jwk, member->jwk))))
			return true;
	return false;
}

/*
 * Has the key of a member been revoked, under whatever kid?
 */
static void
judge_revoked(JwksMember *member, const TrustRevokedKeys *revoked)
{
	for (int i = 0; i < revoked->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (compareJsonbContainers(&revoked->jwks[i]->root, &member->jwk->root) != 0)
			continue;
		member->reason = "The same key has been revoked under another kid.";
		if (same_text(revoked->kids[i], member->kid))
		{
			member->reason = "The key has been revoked.";
			return;
		}
	}
}

/*
 * Read a set.  Returns false with the reason when it is none, or has no usable
 * key.  Each member has the outcome of its own.  That one has been revoked makes
 * it usable no more, but the set no worse.
 */
bool
jwks_read(const Jsonb *set, const TrustIssuer *issuer, const TrustRevokedKeys *revoked,
		  JwksMember **members, int *n, char **reason)
{
	JsonbValue	keys;
	JsonbContainer *array;
	int			usable = 0;
	TimestampTz start = GetCurrentTimestamp();

	if (!JB_ROOT_IS_OBJECT(set))
		return refuse(reason, "The document is not a JSON object.");
	if (getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &set->root), "keys", 4, &keys) == NULL)
		return refuse(reason, "The document has no member \"keys\".");
	if (keys.type != jbvBinary || !JsonContainerIsArray(keys.val.binary.data) ||
		JsonContainerIsScalar(keys.val.binary.data))
		return refuse(reason, "The member \"keys\" of the document is not an array.");
	array = keys.val.binary.data;
	*n = (int) JsonContainerSize(array);
	if (*n == 0)
		return refuse(reason, "The member \"keys\" of the document is empty.");
	if (*n > JWKS_MAX_MEMBERS)
		return refuse(reason, "The document has %d keys; at most %d are accepted.", *n, JWKS_MAX_MEMBERS);

	*members = palloc0(sizeof(JwksMember) * *n);
	for (int i = 0; i < *n; i++)
	{
		JwksMember *member = &(*members)[i];

		CHECK_FOR_INTERRUPTS();
		if (MyBgworkerEntry != NULL && TimestampDifferenceExceeds(start, GetCurrentTimestamp(), MAX_CHECK_MS))
			return refuse(reason, "To check the first %d of its %d keys has taken more than %d s.",
						  i, *n, MAX_CHECK_MS / 1000);
		read_member(JsonbValueToJsonb(getIthJsonbValueFromContainer(array, i)), issuer, member);
		if (member->jwk != NULL && is_repeated(*members, i))
		{
			member->jwk = NULL;
			member->reason = psprintf("The set has %s twice.", member->kid ? "this kid" : "this key");
		}
		usable += member->jwk != NULL;
	}
	if (usable == 0)
		return refuse(reason, "None of its %d keys can be used. Of the first: %s", *n, (*members)[0].reason);
	for (int i = 0; i < *n; i++)
		if ((*members)[i].reason == NULL)
			judge_revoked(&(*members)[i], revoked);
	return true;
}

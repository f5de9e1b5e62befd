/*-------------------------------------------------------------------------
 *
 * key_set.c
 *	  The members of a JWK Set (RFC 7517 section 5) as keys of an issuer.
 *
 * A set comes from outside, so the strict reader reads it.  A member that
 * cannot be a key of the issuer is skipped with a reason, and does not affect
 * the others (section 5: implementations should ignore what they do not
 * understand).  A set without a usable member is refused, so that a broken
 * document removes no keys.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "token/json.h"
#include "token/jwk_set.h"
#include "trust/key_set.h"
#include "trust/new_key.h"
#include "trust/revocation.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/*
 * The maximal time for checking the keys of a set.  A hostile issuer can
 * publish keys that each take OpenSSL seconds to check, and the worker serves
 * all issuers.
 */
#define MAX_CHECK_MS	10000

/* Set the reason why a set is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/* A key that the issuer already has, by the hash of its normal form. */
typedef struct KnownKey
{
	uint64		hash;			/* must be first */
	Jsonb	   *jwk;
} KnownKey;

static uint64
hash_jwk(const Jsonb *jwk)
{
	return hash_bytes_extended((const unsigned char *) jwk, (int) VARSIZE(jwk), 0);
}

/* Two normal forms are equal if their bytes are. */
static bool
same_jwk(const Jsonb *a, const Jsonb *b)
{
	return a != NULL && b != NULL && VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0;
}

/*
 * The keys that the issuer already has from its key set.  They were checked
 * when they were imported and need no second check.  If two keys have the same
 * hash, either one suffices.
 */
static HTAB *
read_known_keys(const TrustIssuer *issuer)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(KnownKey), .hcxt = CurrentMemoryContext};
	HTAB	   *known = hash_create("jwt known keys", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Slice		name = slice_of(issuer->policy.issuer);
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, &name, InvalidAttrNumber, NULL);

	while (rows_next(&scan))
	{
		char	   *source = rows_text(&scan, Anum_key_source);
		bool		isnull;
		Datum		value = rows_column(&scan, Anum_key_jwk, &isnull);
		bool		found;

		if (!isnull && source != NULL && strcmp(source, "jwks") == 0)
		{
			Jsonb	   *jwk = DatumGetJsonbPCopy(value);
			uint64		hash = hash_jwk(jwk);
			KnownKey   *entry = hash_search(known, &hash, HASH_ENTER, &found);

			entry->jwk = jwk;
		}
	}
	rows_end(&scan);
	return known;
}

static bool
is_known(HTAB *known, const Jsonb *jwk)
{
	uint64		hash = hash_jwk(jwk);
	const KnownKey *entry = hash_search(known, &hash, HASH_FIND, NULL);

	return entry != NULL && same_jwk(entry->jwk, jwk);
}

/*
 * The kid of a member that is an object, also if it is not a usable key; NULL
 * if it has none.
 */
static char *
member_kid(JsonbValue *value)
{
	const JsonbPair *member = value->type == jbvObject ? json_member(value, "kid") : NULL;
	const char *kid;
	int			len;

	if (member == NULL || (kid = json_string(&member->value, &len)) == NULL)
		return NULL;
	return pnstrdup(kid, len);
}

/*
 * Check one member.
 */
static void
read_member(JsonbValue *value, const TrustIssuer *issuer, HTAB *known, bool revocations, KeySetMember *member)
{
	NewKey		key;
	Jsonb	   *normal;
	char	   *thumbprint;
	char	   *reason;
	TimestampTz revoked_at;

	member->kid = member_kid(value);
	if (member->kid != NULL && strlen(member->kid) > TRUST_MAX_NAME)
	{
		member->reason = psprintf("The member \"kid\" of the JWK is longer than %d bytes.", TRUST_MAX_NAME);
		member->kid = quote_string(member->kid);
		return;
	}
	if (value->type != jbvObject)
	{
		member->reason = "The JWK is not a JSON object.";
		return;
	}
	if (!new_key_read(JsonbValueToJsonb(value), NULL, issuer, &key, &reason))
	{
		member->reason = reason;
		if (key.alg != NULL)
			member->alg = quote_string(key.alg);
		else if (key.lacks_alg && strcmp(key.jwk.kty, "oct") != 0)
			member->jwk = jwk_normal_form(&key.jwk, false);
		return;
	}
	member->alg = key.alg;
	if (key.algorithm->family == FAMILY_HMAC)
	{
		member->reason = "The key is a secret, and a published one is none.";
		return;
	}
	normal = jwk_normal_form(&key.jwk, false);
	if (!is_known(known, normal) && !new_key_check(&key, &reason))
	{
		member->reason = reason;
		return;
	}
	member->jwk = normal;
	if (revocations)
	{
		thumbprint = rows_thumbprint(&key.jwk);
		if (revocation_of_key(thumbprint, &revoked_at))
			member->reason = "The key has been revoked.";
	}
}

/* The identity of a row: the kid, or without a kid the key itself. */
typedef struct MemberIdentity
{
	uint64		hash;			/* must be first */
	int			first;			/* index of the member, or -1 for several */
} MemberIdentity;

/*
 * Does an earlier member have the same identity: the same kid, or without a
 * kid the same key?
 */
static bool
is_repeated(HTAB *seen, const KeySetMember *members, int n)
{
	const KeySetMember *member = &members[n];
	uint64		hash = member->kid != NULL ?
	hash_bytes_extended((const unsigned char *) member->kid, (int) strlen(member->kid), 1) : hash_jwk(member->jwk);
	bool		found;
	MemberIdentity *entry = hash_search(seen, &hash, HASH_ENTER, &found);

	if (!found)
	{
		entry->first = n;
		return false;
	}
	for (int i = entry->first; i < n; i++)
		if (members[i].jwk != NULL && same_text(members[i].kid, member->kid) &&
			(member->kid != NULL ||
			 (same_text(members[i].alg, member->alg) && same_jwk(members[i].jwk, member->jwk))))
			return true;
	return false;
}

/*
 * Read a UTF-8 document as the key set of an issuer.  Returns false with the
 * reason if it is not a key set or has no usable key.  Each member has its own
 * result.  A revoked member is not usable, but counts as usable for the set as
 * a whole.
 */
bool
key_set_read(const char *text, int len, const TrustIssuer *issuer,
			 KeySetMember **members, int *n, char **reason)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(MemberIdentity), .hcxt = CurrentMemoryContext};
	JsonbValue *elements;
	HTAB	   *known;
	HTAB	   *seen;
	bool		revocations;
	int			usable = 0;
	TimestampTz start = GetCurrentTimestamp();

	if (!jwk_set_read(text, len, &elements, n, reason))
		return false;

	known = read_known_keys(issuer);
	seen = hash_create("jwt members", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	catalog_accept_changes();
	revocations = revocation_has_keys();
	*members = palloc0(sizeof(KeySetMember) * *n);
	for (int i = 0; i < *n; i++)
	{
		KeySetMember *member = &(*members)[i];

		CHECK_FOR_INTERRUPTS();
		if (MyBgworkerEntry != NULL && TimestampDifferenceExceeds(start, GetCurrentTimestamp(), MAX_CHECK_MS))
			return refuse(reason, "To check the first %d of its %d keys has taken more than %d s.",
						  i, *n, MAX_CHECK_MS / 1000);
		read_member(&elements[i], issuer, known, revocations, member);
		if (member->jwk != NULL && is_repeated(seen, *members, i))
		{
			member->jwk = NULL;
			member->reason = psprintf("The set has %s twice.", member->kid ? "this kid" : "this key");
		}
		usable += member->jwk != NULL;
	}
	if (usable == 0)
		return refuse(reason, "None of its %d keys can be used. Of the first: %s", *n, (*members)[0].reason);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * verify_cache.c
 *	  The tokens that this backend has verified, and their claims.
 *
 * An entry is for a token with a caller's audience and issuer; all three are
 * compared byte for byte.  Checks that do not depend on the time were done
 * when the entry was made.  The times of the token and the window of the key
 * are checked at every use, and the revocation after every change of the
 * denylist.  If such a check fails, the entry is not used and the token is
 * fully verified, which gives the reason.
 *
 * Entries are valid for one trust_generation (catalog.c), and all are dropped
 * when it changes.
 *
 * Callers get pointers to claims, not copies.  A plan may use a pointer until
 * its transaction ends, or in a procedure that commits, until its statement
 * ends.  So a dropped entry is retired, and freed when both the transaction
 * and the statement have ended.  Cached and retired entries together may use
 * twice the size of the cache.  If that is used up, nothing is added, and
 * further tokens of the transaction are verified without the cache.
 *
 * Only valid tokens are cached, so an attacker without a key cannot fill the
 * cache.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "session/verify_cache.h"
#include "token/json.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/*
 * The number of bytes at the end of the token, in the signature, that are
 * hashed.
 */
#define HASHED_BYTES	32

/* Words of a token that are compared at a time. */
#define BLOCK_WORDS		4

#define N_BUCKETS		1024	/* a power of two */

typedef struct VerifiedToken
{
	uint64		hash;
	struct VerifiedToken *next; /* in its bucket, or in the list of retired
								 * entries */
	dlist_node	lru;
	Slice		token;
	Slice		audience;
	Slice		issuer;
	ClaimsTimes times;
	ClaimsPolicy policy;		/* only its times */
	TimestampTz key_not_before;
	TimestampTz key_not_after;
	Slice		thumbprint;		/* of the key */
	Slice		session_claim;	/* its name */
	uint64		not_revoked;	/* denylist_generation in which it is not
								 * revoked */
	Size		size;
	VerifiedClaims verified;
} VerifiedToken;

static struct
{
	MemoryContext context;		/* NULL until first used */
	uint64		generation;
	VerifiedToken *buckets[N_BUCKETS];
	dlist_head	lru;			/* most recently used first */
	Size		size;

	VerifiedToken *retired;
	Size		retired_size;
	bool		transaction_over;	/* the transaction in which they were
									 * retired */
	TimestampTz retired_in;		/* start of the statement */

	CacheStatistics statistics;
}			cache;

/* jwt.cache_size, in kB */
static int	cache_size;

static void transaction_ended(XactEvent event, void *arg);
static void shrink(Size size);

/*
 * Define the settings of this file.
 */
void
verify_cache_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	DefineCustomIntVariable("jwt.cache_size",
							"Sets the memory that a backend uses for verified tokens.",
							"0 turns the cache off.",
							&cache_size,
							4096, 0, MAX_KILOBYTES / 4,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
}

/*
 * The end of the signature is sufficiently random for valid tokens.
 */
static uint64
hash_request(const VerifyRequest *request)
{
	const Slice *token = &request->token;
	uint64		hash = (uint64) token->len * UINT64CONST(0x9e3779b97f4a7c15);

	if (token->len >= HASHED_BYTES)
	{
		const char *end = token->data + token->len - HASHED_BYTES;

		for (int i = 0; i < HASHED_BYTES; i += 8)
		{
			uint64		word;

			memcpy(&word, end + i, 8);
			hash = (hash ^ word) * UINT64CONST(0x9e3779b97f4a7c15);
			hash ^= hash >> 32;
		}
	}
	return hash;
}

/*
 * Note in which bits the words of two blocks differ.
 */
static inline void
compare_block(const char *a, const char *b, uint64 *difference)
{
	for (int i = 0; i < BLOCK_WORDS; i++)
	{
		uint64		word_a;
		uint64		word_b;

		memcpy(&word_a, a + sizeof(uint64) * i, sizeof(uint64));
		memcpy(&word_b, b + sizeof(uint64) * i, sizeof(uint64));
		difference[i] |= word_a ^ word_b;
	}
}

/*
 * Are the bytes the same?  Takes constant time, because in a pooled session
 * the cached token may belong to another user.
 */
static bool
same_bytes(const char *a, const char *b, int len)
{
	const int	block = BLOCK_WORDS * sizeof(uint64);
	uint64		difference[BLOCK_WORDS] = {0};
	int			i;

	for (i = 0; i + block <= len; i += block)
		compare_block(a + i, b + i, difference);
	if (len >= block)			/* the rest, and some bytes once more */
		compare_block(a + len - block, b + len - block, difference);
	else
		for (; i < len; i++)
			difference[0] |= (uint64) (uint8) (a[i] ^ b[i]);
	return (difference[0] | difference[1] | difference[2] | difference[3]) == 0;
}

static void
start_cache(void)
{
	cache.context = AllocSetContextCreate(CacheMemoryContext, "jwt tokens",
										  ALLOCSET_DEFAULT_SIZES);
	dlist_init(&cache.lru);
}

/*
 * Remove an entry from the cache.  Its claims may still be in use.
 */
static void
retire(VerifiedToken *entry)
{
	VerifiedToken **link = &cache.buckets[entry->hash % N_BUCKETS];

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	dlist_delete(&entry->lru);
	cache.size -= entry->size;
	cache.statistics.entries--;

	entry->next = cache.retired;
	cache.retired = entry;
	cache.retired_size += entry->size;
	cache.transaction_over = false;
	cache.retired_in = GetCurrentStatementStartTimestamp();
}

static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE ||
		event == XACT_EVENT_PARALLEL_COMMIT || event == XACT_EVENT_PARALLEL_ABORT)
		cache.transaction_over = true;
}

static void
free_retired(void)
{
	if (cache.retired == NULL || !cache.transaction_over ||
		cache.retired_in == GetCurrentStatementStartTimestamp())
		return;
	while (cache.retired != NULL)
	{
		VerifiedToken *entry = cache.retired;

		cache.retired = entry->next;
		pfree(entry);
	}
	cache.retired_size = 0;
}

/*
 * Look up whether the token of an entry is not revoked.
 */
static pg_noinline bool
is_not_revoked(VerifiedToken *entry)
{
	const Jsonb *claims = entry->verified.claims;
	const char *name = entry->policy.issuer;
	RevocationQuery query = {
		.thumbprint = entry->thumbprint,
		.issuer = slice_of(name),
		.has_issued = entry->times.has_issued,
		.issued = entry->times.issued
	};
	Failure		failure;

	query.sub = claims_string(claims, "sub", 3);
	query.sid = claims_string(claims, entry->session_claim.data, entry->session_claim.len);
	query.jti = claims_string(claims, "jti", 3);
	return revocation_check(&query, &entry->not_revoked, &failure);
}

/*
 * Find a token in the cache that is valid at the time of the request.  Its
 * claims belong to the cache, and are valid until both the transaction and the
 * statement end.
 */
bool
verify_cache_find(const VerifyRequest *request, VerifiedClaims *verified)
{
	uint64		hash = hash_request(request);
	VerifiedToken *entry;
	Failure		failure;

	catalog_accept_changes();
	if (cache.retired != NULL)
		free_retired();
	if (cache.generation != trust_generation)
	{
		if (cache.context != NULL && !dlist_is_empty(&cache.lru))
		{
			while (!dlist_is_empty(&cache.lru))
				retire(dlist_head_element(VerifiedToken, lru, &cache.lru));
			cache.statistics.invalidations++;
		}
		cache.generation = trust_generation;
	}

	/* the setting may be lower now */
	shrink((Size) cache_size * 1024);

	for (entry = cache.buckets[hash % N_BUCKETS]; entry != NULL; entry = entry->next)
	{
		if (entry->hash != hash || entry->token.len != request->token.len ||
			!slice_equal(&entry->audience, &request->audience) ||
			!slice_equal(&entry->issuer, &request->issuer) ||
			!same_bytes(entry->token.data, request->token.data, entry->token.len))
			continue;
		if (request->at < entry->key_not_before || request->at >= entry->key_not_after ||
			!claims_check_time(&entry->times, &entry->policy, request->at, &failure) ||
			(entry->not_revoked != denylist_generation && !is_not_revoked(entry)))
		{
			/* a new entry may replace it */
			retire(entry);
			break;
		}
		if (cache.lru.head.next != &entry->lru)
			dlist_move_head(&cache.lru, &entry->lru);
		cache.statistics.hits++;
		*verified = entry->verified;
		return true;
	}
	cache.statistics.misses++;
	return false;
}

/*
 * Retire the least recently used entries until the cache has at most this
 * size.
 */
static void
shrink(Size size)
{
	while (cache.size > size)
	{
		retire(dlist_tail_element(VerifiedToken, lru, &cache.lru));
		cache.statistics.evictions++;
	}
}

/*
 * Make room for an entry, if possible.
 */
static bool
make_room(Size size)
{
	Size		limit = (Size) cache_size * 1024;

	if (size > limit / 4 || cache.size + cache.retired_size + size > 2 * limit)
		return false;
	shrink(limit - size);
	return true;
}

/* Append bytes, and advance the position. */
static Slice
append_string(char **to, const Slice *string)
{
	Slice		copy = {NULL, 0};

	if (string->data != NULL)
	{
		copy.data = memcpy(*to, string->data, string->len);
		copy.len = string->len;
		*to += string->len;
	}
	return copy;
}

/*
 * Add a valid token. generation was read before the keys were.  The claims of
 * the result then point into the cache, unless the cache has no room.
 */
void
verify_cache_add(const VerifyRequest *request, uint64 generation, const TrustKey *key,
				 const ClaimsTimes *times, uint64 not_revoked, VerifiedClaims *verified)
{
	Size		claims_size = VARSIZE(verified->claims);
	const ClaimsPolicy *policy = &key->issuer->policy;
	Slice		name = {policy->issuer, (int) strlen(policy->issuer) + 1};
	Slice		thumbprint = slice_of(key->thumbprint);
	Slice		session_claim = slice_of(policy->session_claim);
	Slice		binding = {(const char *) verified->binding, verified->binding ? sizeof(Binding) : 0};
	Size		size = MAXALIGN(sizeof(VerifiedToken)) + MAXALIGN(claims_size) +
	request->token.len + request->audience.len + request->issuer.len + name.len +
	thumbprint.len + session_claim.len + binding.len;
	VerifiedToken *entry;
	VerifiedToken **bucket;
	char	   *rest;

	if (cache.context == NULL)
		start_cache();
	if (generation != cache.generation || !catalog_is_reliable() || !make_room(size))
		return;

	entry = MemoryContextAllocExtended(cache.context, size, MCXT_ALLOC_NO_OOM);
	if (entry == NULL)
	{
		/* other code needs the remaining memory more urgently */
		shrink(0);
		return;
	}
	entry->hash = hash_request(request);
	rest = (char *) entry + MAXALIGN(sizeof(VerifiedToken));
	verified->claims = memcpy(rest, verified->claims, claims_size);
	rest += MAXALIGN(claims_size);
	/* Binding has only bytes, so it needs no alignment */
	verified->binding = (const Binding *) append_string(&rest, &binding).data;
	entry->verified = *verified;
	entry->token = append_string(&rest, &request->token);
	entry->audience = append_string(&rest, &request->audience);
	entry->issuer = append_string(&rest, &request->issuer);
	entry->times = *times;
	memset(&entry->policy, 0, sizeof(entry->policy));
	entry->policy.issuer = unconstify(char *, append_string(&rest, &name).data);
	entry->policy.leeway = policy->leeway;
	entry->policy.max_lifetime = policy->max_lifetime;
	entry->policy.max_age = policy->max_age;
	entry->key_not_before = key->not_before;
	entry->key_not_after = key->not_after;
	entry->thumbprint = append_string(&rest, &thumbprint);
	entry->session_claim = append_string(&rest, &session_claim);
	entry->not_revoked = not_revoked;
	entry->size = size;

	bucket = &cache.buckets[entry->hash % N_BUCKETS];
	entry->next = *bucket;
	*bucket = entry;
	dlist_push_head(&cache.lru, &entry->lru);
	cache.size += size;
	cache.statistics.entries++;
}

/*
 * The statistics for jwt_cache().
 */
void
verify_cache_statistics(CacheStatistics *statistics)
{
	*statistics = cache.statistics;
	statistics->bytes = cache.size + cache.retired_size;
}

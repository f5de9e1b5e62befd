/*-------------------------------------------------------------------------
 *
 * key_cache.c
 *	  The keys that may have signed a token, ready to verify.
 *
 * The cache contains the results of lookups ("which keys have this kid and
 * this algorithm?").  Each result has its keys, ready to verify, and the
 * policies of their issuers, in its own memory context.  The result "none" is
 * cached in a separate list, so many unknown kids evict only unknown kids.
 *
 * A result is valid for a range of time in which no window of its keys opens
 * or closes, and for one trust_generation (catalog.c).  Revocations of its
 * keys are looked up again after each change of denylist_generation.  If
 * OpenSSL refused a key, the result is valid for a second only, because the
 * reason may be temporary.  It is cached at all so that a flood of tokens for
 * such a key does not load it for each token.
 *
 * Only keys that can verify at the time count towards the limits.  If an
 * issuer exceeds its limit, all its keys are excluded.  So a verdict does not
 * depend on the order of rows, and the rows of one issuer cannot block tokens
 * of another.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "trust/key_cache.h"
#include "trust/revocation.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * The memory that OpenSSL allocates for a key, outside of memory contexts;
 * rounded up.
 */
#define OPENSSL_KEY_SIZE	(8 * 1024)

/* The maximal number of cached results without a key. */
#define MAX_EMPTY_RESULTS	256

/* The validity of a result with a key that OpenSSL refused, in microseconds. */
#define REFUSAL_LIFETIME	USECS_PER_SEC

/* The maximal number of loads of one result if invalidations keep arriving. */
#define MAX_LOADS	5

typedef struct CacheEntry
{
	KeyLookup	lookup;
	KeyLookupResult result;
	TimestampTz valid_from;		/* start of validity */
	TimestampTz valid_until;	/* end of validity, exclusive */
	TimestampTz retry_at;		/* by the clock, if OpenSSL refused a key */
	MemoryContext context;		/* owns all of the entry */
	Size		size;
	dlist_node	lru;
} CacheEntry;

typedef struct CacheSlot
{
	KeyLookup	lookup;			/* points into the entry */
	CacheEntry *entry;
	uint32		hash;
	char		status;
} CacheSlot;

static uint32 hash_lookup(const KeyLookup *lookup);
static bool same_lookup(const KeyLookup *a, const KeyLookup *b);

#define SH_PREFIX		slots
#define SH_ELEMENT_TYPE	CacheSlot
#define SH_KEY_TYPE		KeyLookup
#define SH_KEY			lookup
#define SH_HASH_KEY(tb, key)	hash_lookup(&(key))
#define SH_EQUAL(tb, a, b)		same_lookup(&(a), &(b))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)		((a)->hash)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static struct
{
	MemoryContext context;		/* NULL until first used */
	uint64		generation;		/* for which the cache is valid */
	uint64		jws_errors;		/* the same */
	slots_hash *slots;
	dlist_head	found;			/* least recently used last */
	dlist_head	empty;
	Size		found_size;
	int			n_empty;
}			cache;

/* jwt.key_cache_size, in kB */
static int	key_cache_size;

/*
 * Define the settings of this file.
 */
void
key_cache_init(void)
{
	DefineCustomIntVariable("jwt.key_cache_size",
							"Sets the memory that a backend uses for keys ready to verify.",
							NULL,
							&key_cache_size,
							4096, 64, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
}

static uint32
hash_string(const Slice *string)
{
	return string->data == NULL ? 0 :
		hash_bytes((const unsigned char *) string->data, string->len);
}

static uint32
hash_lookup(const KeyLookup *lookup)
{
	return hash_combine(hash_combine(hash_string(&lookup->issuer),
									 hash_string(&lookup->kid)),
						hash_string(&lookup->alg));
}

static bool
same_lookup(const KeyLookup *a, const KeyLookup *b)
{
	return slice_equal(&a->kid, &b->kid) &&
		slice_equal(&a->issuer, &b->issuer) &&
		slice_equal(&a->alg, &b->alg);
}

/*
 * Empty the cache.
 */
static void
reset_cache(void)
{
	if (cache.context == NULL)
		cache.context = AllocSetContextCreate(CacheMemoryContext, "jwt keys",
											  ALLOCSET_DEFAULT_SIZES);

	/* the cache stays invalid if this function raises an error */
	cache.generation = 0;
	MemoryContextReset(cache.context);
	cache.slots = NULL;
	dlist_init(&cache.found);
	dlist_init(&cache.empty);
	cache.found_size = 0;
	cache.n_empty = 0;
	cache.slots = slots_create(cache.context, 64, NULL);
	cache.generation = trust_generation;
	cache.jws_errors = jws_errors;
}

static void
make_current(void)
{
	if (cache.context == NULL || cache.generation != trust_generation || cache.jws_errors != jws_errors)
		reset_cache();
}

/*
 * Does an entry have keys, or had it too many?  Such entries count by their
 * size; the others are small.
 */
static bool
holds_keys(const CacheEntry *entry)
{
	return entry->result.n_keys > 0 || entry->result.n_revoked > 0 || entry->result.too_many;
}

static void
drop(CacheEntry *entry)
{
	dlist_delete(&entry->lru);
	if (!slots_delete(cache.slots, entry->lookup))
		elog(ERROR, "key cache of jwt is corrupted");
	if (holds_keys(entry))
		cache.found_size -= entry->size;
	else
		cache.n_empty--;
	MemoryContextDelete(entry->context);
}

/*
 * Drop the least recently used entries of a list that is too long, but never
 * the entry that was just used.
 */
static void
evict(void)
{
	while (cache.found_size > (Size) key_cache_size * 1024 &&
		   dlist_has_next(&cache.found, dlist_head_node(&cache.found)))
		drop(dlist_tail_element(CacheEntry, lru, &cache.found));
	while (cache.n_empty > MAX_EMPTY_RESULTS)
		drop(dlist_tail_element(CacheEntry, lru, &cache.empty));
}

static Slice
copy_string(const Slice *string)
{
	Slice		copy = {NULL, 0};

	if (string->data != NULL)
	{
		copy.data = pnstrdup(string->data, string->len);
		copy.len = string->len;
	}
	return copy;
}

/*
 * An issuer that a load has found, and the number of its keys that can verify.
 */
typedef struct LoadedIssuer
{
	char	   *name;
	TrustIssuer *issuer;		/* NULL: there is no row */
	int			n_keys;
	struct LoadedIssuer *next;
} LoadedIssuer;

/*
 * A load of one result.  The result is allocated in its own context.  All
 * other memory is freed after each row.
 */
typedef struct Load
{
	const KeyLookup *lookup;
	TimestampTz at;
	CacheEntry *entry;
	LoadedIssuer *issuers;
	int			n_verifiers;	/* that were made, in all */
} Load;

static char *
copy_name(const Load *load, const char *name)
{
	return name == NULL ? NULL : MemoryContextStrdup(load->entry->context, name);
}

static LoadedIssuer *
load_issuer(Load *load, const char *name)
{
	LoadedIssuer *loaded;
	MemoryContext old;

	if (name == NULL)
		return NULL;
	for (loaded = load->issuers; loaded != NULL; loaded = loaded->next)
		if (strcmp(loaded->name, name) == 0)
			return loaded;
	old = MemoryContextSwitchTo(load->entry->context);
	loaded = palloc0(sizeof(LoadedIssuer));
	loaded->name = pstrdup(name);
	loaded->issuer = rows_find_issuer(name, (int) strlen(name));
	loaded->next = load->issuers;
	load->issuers = loaded;
	MemoryContextSwitchTo(old);
	return loaded;
}

/*
 * A row cannot verify.  Keep the most helpful fault.
 */
static void
note_fault(Load *load, KeyFault fault, const KeyRow *row, TimestampTz time)
{
	KeyLookupResult *result = &load->entry->result;

	if (fault <= result->fault)
		return;
	result->fault = fault;
	result->fault_issuer = copy_name(load, row->issuer);
	result->fault_kid = copy_name(load, row->kid);
	result->fault_why = copy_name(load, row->unusable);
	result->fault_algorithm = row->algorithm;
	result->fault_time = time;
}

/*
 * Is the key's window open?  Also limits the validity of the result by the
 * ends of the window.
 */
static bool
window_is_open(Load *load, const KeyRow *row)
{
	CacheEntry *entry = load->entry;
	const TimestampTz ends[] = {row->not_before, row->not_after};

	for (int i = 0; i < (int) lengthof(ends); i++)
		if (ends[i] <= load->at)
			entry->valid_from = Max(entry->valid_from, ends[i]);
		else
			entry->valid_until = Min(entry->valid_until, ends[i]);
	if (load->at < row->not_before)
		note_fault(load, KEY_NOT_YET, row, row->not_before);
	else if (load->at >= row->not_after)
		note_fault(load, KEY_NO_LONGER, row, row->not_after);
	else
		return true;
	return false;
}

/*
 * Make the key of a row ready to verify, and add it to a growing array.
 * Returns false if that fails; row->unusable has the reason.
 */
static bool
add_key(Load *load, TrustKey *key, KeyRow *row, int *n, TrustKey **keys)
{
	MemoryContext context = load->entry->context;

	key->verifier = jws_verifier_create(&row->jwk, row->algorithm, context, &row->unusable);
	if (key->verifier == NULL)
		return false;
	load->n_verifiers++;
	key->kid = copy_name(load, row->kid);
	key->thumbprint = copy_name(load, key->thumbprint);
	if (*n == 0)
		*keys = MemoryContextAlloc(context, sizeof(TrustKey) * 4);
	else if (*n >= 4 && (*n & (*n - 1)) == 0)
		*keys = repalloc(*keys, sizeof(TrustKey) * *n * 2);
	(*keys)[(*n)++] = *key;
	return true;
}

/*
 * Check a row, and add its key to the result if it can verify.
 */
static void
load_row(Load *load, const RowScan *scan)
{
	KeyLookupResult *result = &load->entry->result;
	LoadedIssuer *issuer;
	KeyRow		row;
	TrustKey	key = {0};

	rows_read_key(scan, &row);
	if (!window_is_open(load, &row))
		return;
	issuer = load_issuer(load, row.issuer);
	rows_check_key(&row, issuer ? issuer->issuer : NULL);
	if (row.algorithm != NULL && !algorithm_is(row.algorithm, load->lookup->alg.data, load->lookup->alg.len))
	{
		note_fault(load, KEY_OF_OTHER_ALGORITHM, &row, 0);
		return;
	}
	if (row.unusable != NULL)
	{
		note_fault(load, row.disallowed ? KEY_NOT_ALLOWED : KEY_UNUSABLE, &row, 0);
		return;
	}

	key.issuer = issuer->issuer;
	key.algorithm = row.algorithm;
	key.published = row.source != NULL && strcmp(row.source, "jwks") == 0;
	key.not_before = row.not_before;
	key.not_after = row.not_after;
	key.thumbprint = rows_thumbprint(&row.jwk);
	if (revocation_has_keys() && revocation_of_key(key.thumbprint, &key.revoked_at))
	{
		if (result->n_revoked < MAX_KEYS_OF_ISSUER)
			(void) add_key(load, &key, &row, &result->n_revoked, &result->revoked);
		return;
	}

	/* no more keys are made if the issuer has too many */
	if (issuer->n_keys > MAX_KEYS_OF_ISSUER)
		return;
	if (!add_key(load, &key, &row, &result->n_keys, &result->keys))
	{
		load->entry->retry_at = GetCurrentTimestamp() + REFUSAL_LIFETIME;
		note_fault(load, KEY_UNUSABLE, &row, 0);
		return;
	}
	issuer->n_keys++;
}

/*
 * Load the rows in which these columns have these values.
 */
static void
load_rows(Load *load, TrustIndex index, AttrNumber first, const Slice *first_value,
		  AttrNumber second, const Slice *second_value)
{
	RowScan		scan = rows_begin(TRUST_KEY, index, first, first_value, second, second_value);
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jwt key row", ALLOCSET_SMALL_SIZES);
	MemoryContext old;

	while (rows_next(&scan))
	{
		old = MemoryContextSwitchTo(each);
		load_row(load, &scan);
		MemoryContextSwitchTo(old);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
	rows_end(&scan);
}

/*
 * Load the rows for a token without a kid: those with its algorithm, under
 * each name of the algorithm.
 */
static void
load_rows_of_algorithm(Load *load)
{
	const KeyLookup *lookup = load->lookup;
	const Slice *alg = &lookup->alg;
	Slice		eddsa = slice_of(ALGORITHM_EDDSA);
	const Algorithm *algorithm = algorithm_by_name(alg->data, alg->len);

	load_rows(load, INDEX_KEY_ALG_ISSUER, Anum_key_alg, alg, Anum_key_issuer, &lookup->issuer);
	if (algorithm != NULL && algorithm_is(algorithm, eddsa.data, eddsa.len))
		load_rows(load, INDEX_KEY_ALG_ISSUER, Anum_key_alg, &eddsa, Anum_key_issuer, &lookup->issuer);
	else if (algorithm == NULL)
		for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
			if (algorithm_is(algorithm, alg->data, alg->len))
			{
				Slice		name = slice_of(algorithm->name);

				load_rows(load, INDEX_KEY_ALG_ISSUER, Anum_key_alg, &name, Anum_key_issuer, &lookup->issuer);
			}
}

/*
 * Exclude the keys of issuers with too many keys, and all keys if there are
 * still too many.
 */
static void
apply_limits(Load *load)
{
	KeyLookupResult *result = &load->entry->result;
	int			n = 0;

	for (int i = 0; i < result->n_keys; i++)
	{
		const TrustKey *key = &result->keys[i];

		if (load_issuer(load, key->issuer->policy.issuer)->n_keys <= MAX_KEYS_OF_ISSUER)
			result->keys[n++] = *key;
		else
			result->too_many = true;
	}
	if (n > MAX_KEYS)
	{
		result->too_many = true;
		n = 0;
	}
	result->n_keys = n;
}

/*
 * Load the result of a lookup into a new memory context below the current one,
 * so that an error frees it.
 */
static CacheEntry *
load_entry(const KeyLookup *lookup, TimestampTz at)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jwt key",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CacheEntry *entry = palloc0(sizeof(CacheEntry));
	Load		load = {.lookup = lookup, .at = at, .entry = entry};

	entry->context = context;
	entry->lookup.issuer = copy_string(&lookup->issuer);
	entry->lookup.kid = copy_string(&lookup->kid);
	entry->lookup.alg = copy_string(&lookup->alg);
	entry->valid_from = DT_NOBEGIN;
	entry->valid_until = DT_NOEND;
	entry->retry_at = DT_NOEND;

	if (lookup->kid.data == NULL)
		load_rows_of_algorithm(&load);
	else
		load_rows(&load, lookup->issuer.data ? INDEX_KEY_ISSUER_KID : INDEX_KEY_KID,
				  Anum_key_issuer, &lookup->issuer, Anum_key_kid, &lookup->kid);
	apply_limits(&load);
	MemoryContextSwitchTo(old);
	entry->size = MemoryContextMemAllocated(context, true) + (Size) load.n_verifiers * OPENSSL_KEY_SIZE;
	return entry;
}

/*
 * Is an entry still right after a change of the denylist?  Returns false if
 * the entry must be loaded again: if one of its keys is revoked now, if it has
 * revoked keys, or if a limit excluded keys.
 */
static bool
revocations_still_hold(CacheEntry *entry)
{
	KeyLookupResult *result = &entry->result;
	uint64		generation = denylist_generation;
	TimestampTz revoked_at;

	if (result->denylist_generation == generation)
		return true;
	if (result->n_revoked > 0 || result->too_many)
		return false;
	if (revocation_has_keys())
		for (int i = 0; i < result->n_keys; i++)
			if (revocation_of_key(result->keys[i].thumbprint, &revoked_at))
				return false;
	result->denylist_generation = generation;
	return true;
}

/*
 * Find the keys that may have signed a token at a time.  The result is valid
 * until the next call.  Raises an error only for reasons that are not the
 * token's fault.
 */
const KeyLookupResult *
key_cache_find(const KeyLookup *lookup, TimestampTz at)
{
	static const KeyLookupResult none = {.fault = KEY_ABSENT};
	CacheSlot  *slot;
	CacheEntry *entry;
	bool		found;

	/* no row can have such a long name, so it is not cached */
	if (lookup->issuer.len > TRUST_MAX_NAME || lookup->kid.len > TRUST_MAX_NAME)
		return &none;

	catalog_accept_changes();
	make_current();
	slot = slots_lookup(cache.slots, *lookup);
	if (slot != NULL)
	{
		entry = slot->entry;
		found = at >= entry->valid_from && at < entry->valid_until &&
			(entry->retry_at == DT_NOEND || GetCurrentTimestamp() < entry->retry_at) &&
			revocations_still_hold(entry);
		/* looking up revocations accepts invalidations */
		if (found && cache.generation == trust_generation)
		{
			dlist_move_head(holds_keys(entry) ? &cache.found : &cache.empty, &entry->lru);
			return &entry->result;
		}
		make_current();
		slot = slots_lookup(cache.slots, *lookup);
		if (slot != NULL)
			drop(slot->entry);
	}

	for (int loads = 1;; loads++)
	{
		uint64		before;
		uint64		denylist_before;

		make_current();
		before = trust_generation;
		denylist_before = denylist_generation;
		entry = load_entry(lookup, at);
		entry->result.denylist_generation = denylist_before;
		AcceptInvalidationMessages();
		if (before == trust_generation)
			break;

		/*
		 * The result was true when the load began, which is after the
		 * statement began.  If the tables change faster than they can be
		 * read, it is used once.  The next call finds another generation and
		 * drops it.
		 */
		if (loads == MAX_LOADS)
			break;
		MemoryContextDelete(entry->context);
		CHECK_FOR_INTERRUPTS();
	}

	slot = slots_insert(cache.slots, entry->lookup, &found);
	Assert(!found);
	slot->entry = entry;
	MemoryContextSetParent(entry->context, cache.context);
	if (holds_keys(entry))
	{
		dlist_push_head(&cache.found, &entry->lru);
		cache.found_size += entry->size;
	}
	else
	{
		dlist_push_head(&cache.empty, &entry->lru);
		cache.n_empty++;
	}
	evict();
	return &entry->result;
}

/*
 * Count the keys of an issuer, or with null data all keys, up to a limit.
 */
int
key_cache_count(const Slice *issuer, int limit)
{
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, issuer,
								  InvalidAttrNumber, NULL);
	int			n = 0;

	while (n < limit && rows_next(&scan))
		n++;
	rows_end(&scan);
	return n;
}

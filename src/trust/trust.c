/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  What a backend remembers of the tables of issuers and keys, and when it
 *	  forgets.
 *
 * What is cached: the answers to questions ("which keys have this kid?"), each
 * with its keys ready to verify and their issuers' policies, in a memory
 * context of its own.  The answer "none" is cached too, apart from the others,
 * so that a flood of unknown kids pushes out nothing but unknown kids.
 *
 * Who invalidates: a trigger on each table, enabled ALWAYS, for rows and for
 * TRUNCATE, sends a relcache invalidation of its table.  PostgreSQL delivers it
 * to every backend at commit, through WAL to every hot standby, to the writer
 * itself at its next command, and takes it back on rollback.
 *
 * What the callback may do: it runs wherever PostgreSQL accepts invalidations,
 * also while an answer is in use or being loaded, and also when no catalog can
 * be read.  So it counts, and nothing else.
 *
 * Who looks: trust_find_keys() accepts pending invalidations, which within an
 * open transaction nothing else might do, and drops everything when the count
 * has moved.  An answer during whose loading the count moved is loaded again.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "trust/trust.h"
#include "trust/trust_read.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* What OpenSSL allocates for a key, outside of any memory context; rounded up. */
#define OPENSSL_KEY_SIZE	(8 * 1024)

/* Answers without a key that are remembered. */
#define MAX_EMPTY_ANSWERS	256

/* Loads of one answer, when invalidations keep coming in. */
#define MAX_LOADS	5

typedef struct CacheEntry
{
	TrustQuestion question;
	TrustAnswer answer;
	MemoryContext context;		/* owns all of the entry */
	Size		size;
	dlist_node	lru;
} CacheEntry;

typedef struct CacheSlot
{
	TrustQuestion question;		/* points into the entry */
	CacheEntry *entry;
	uint32		hash;
	char		status;
} CacheSlot;

static uint32 hash_question(const TrustQuestion *question);
static bool same_question(const TrustQuestion *a, const TrustQuestion *b);

#define SH_PREFIX		slots
#define SH_ELEMENT_TYPE	CacheSlot
#define SH_KEY_TYPE		TrustQuestion
#define SH_KEY			question
#define SH_HASH_KEY(tb, key)	hash_question(&(key))
#define SH_EQUAL(tb, a, b)		same_question(&(a), &(b))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)		((a)->hash)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static struct
{
	MemoryContext context;		/* NULL until first used */
	uint64		generation;		/* for which the rest is true */
	uint64		doubts;			/* and this */
	slots_hash *slots;
	dlist_head	found;			/* least recently used last */
	dlist_head	empty;
	Size		found_size;
	int			n_empty;
}			cache;

/* jwt.key_cache_size, in kB */
static int	key_cache_size;

static void invalidate(Datum arg, Oid relid);
static void make_current(void);
static void reset_cache(void);
static CacheEntry *load_entry(const TrustQuestion *question);
static void drop(CacheEntry *entry);
static void evict(void);

/*
 * Register the callback and the settings of this room.
 */
void
trust_init(void)
{
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	DefineCustomIntVariable("jwt.key_cache_size",
							"Sets the memory that a backend uses for keys ready to verify.",
							NULL,
							&key_cache_size,
							4096, 64, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
}

/*
 * The relcache callback.  InvalidOid stands for every table, and as long as we
 * do not know our tables, any may be one of them.
 */
static void
invalidate(Datum arg, Oid relid)
{
	(void) arg;
	if (!OidIsValid(relid) || !trust_read_knows_tables() ||
		trust_read_is_key_table(relid) || trust_read_is_issuer_table(relid))
		trust_last_generation++;
}

/*
 * Tell every backend, when this transaction commits, to forget what it has
 * cached of a table.
 */
void
trust_table_changed(Oid relid)
{
	CacheInvalidateRelcacheByRelid(relid);
}

/*
 * trust_last_generation, after listening for news.
 */
uint64
trust_generation(void)
{
	AcceptInvalidationMessages();

	/* who is not told of changes remembers nothing */
	if (unlikely(trust_read_knows_tables() && !trust_read_is_invalidated()))
		trust_last_generation++;
	return trust_last_generation;
}

/*
 * The keys that may have signed a token.  The answer is valid until the next
 * call.  Raises an error only for what is not the token's fault.
 */
const TrustAnswer *
trust_find_keys(const TrustQuestion *question)
{
	CacheSlot  *slot;
	CacheEntry *entry;
	bool		found;

	(void) trust_generation();
	make_current();

	if (question->issuer.len > TRUST_MAX_NAME || question->kid.len > TRUST_MAX_NAME)
	{
		/* no row can have it, and nobody shall make us remember it */
		static TrustAnswer none;

		none.n_other_keys = question->issuer.len > TRUST_MAX_NAME ? 0 :
			trust_read_count(&question->issuer);
		none.issuer_known = question->issuer.data != NULL &&
			question->issuer.len <= TRUST_MAX_NAME && trust_read_issuer_row(&question->issuer) != NULL;
		return &none;
	}

	slot = slots_lookup(cache.slots, *question);
	if (slot != NULL && slot->entry->answer.doubtful)
		drop(slot->entry);
	else if (slot != NULL)
	{
		entry = slot->entry;
		dlist_move_head(entry->answer.n_keys > 0 ? &cache.found : &cache.empty, &entry->lru);
		return &entry->answer;
	}

	for (int loads = 1;; loads++)
	{
		uint64		before;

		make_current();
		before = trust_last_generation;
		entry = load_entry(question);
		AcceptInvalidationMessages();
		if (before == trust_last_generation)
			break;

		/*
		 * What was read was true when the load began, which is after this
		 * statement did; it only cannot be known to be true later.  When the
		 * tables change faster than they can be read, we use it this once:
		 * the next call finds the generation moved and drops it.
		 */
		if (loads == MAX_LOADS)
			break;
		MemoryContextDelete(entry->context);
		CHECK_FOR_INTERRUPTS();
	}

	slot = slots_insert(cache.slots, entry->question, &found);
	Assert(!found);
	slot->entry = entry;
	MemoryContextSetParent(entry->context, cache.context);
	if (entry->answer.n_keys > 0)
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
	return &entry->answer;
}

static uint32
hash_string(const JwsString *string)
{
	return string->data == NULL ? 0 :
		hash_bytes((const unsigned char *) string->data, string->len);
}

static uint32
hash_question(const TrustQuestion *question)
{
	return hash_combine(hash_combine(hash_string(&question->issuer),
									 hash_string(&question->kid)),
						hash_string(&question->alg));
}

static bool
same_question(const TrustQuestion *a, const TrustQuestion *b)
{
	return jws_string_equal(&a->kid, &b->kid) &&
		jws_string_equal(&a->issuer, &b->issuer) &&
		jws_string_equal(&a->alg, &b->alg);
}

/*
 * Forget everything, and find the tables anew.
 */
static void
reset_cache(void)
{
	if (cache.context == NULL)
		cache.context = AllocSetContextCreate(CacheMemoryContext, "jwt keys",
											  ALLOCSET_DEFAULT_SIZES);

	/* nothing is valid until the end of this function, should it raise */
	cache.generation = 0;
	MemoryContextReset(cache.context);
	cache.slots = NULL;
	dlist_init(&cache.found);
	dlist_init(&cache.empty);
	cache.found_size = 0;
	cache.n_empty = 0;
	trust_read_forget_tables();

	cache.slots = slots_create(cache.context, 64, NULL);
	for (;;)
	{
		uint64		before = trust_last_generation;

		trust_read_find_tables();
		if (before == trust_last_generation)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	cache.generation = trust_last_generation;
	cache.doubts = jws_doubts;
}

/*
 * Let nothing be cached that has been invalidated.
 */
static void
make_current(void)
{
	if (cache.context == NULL || cache.generation != trust_last_generation ||
		cache.doubts != jws_doubts)
		reset_cache();
}

static void
drop(CacheEntry *entry)
{
	dlist_delete(&entry->lru);
	if (!slots_delete(cache.slots, entry->question))
		elog(ERROR, "key cache of jwt is corrupted");
	if (entry->answer.n_keys > 0)
		cache.found_size -= entry->size;
	else
		cache.n_empty--;
	MemoryContextDelete(entry->context);
}

/*
 * Drop the least recently used entries of whichever list is too long, but not
 * the one that was just used.
 */
static void
evict(void)
{
	while (cache.found_size > (Size) key_cache_size * 1024 &&
		   dlist_has_next(&cache.found, dlist_head_node(&cache.found)))
		drop(dlist_tail_element(CacheEntry, lru, &cache.found));
	while (cache.n_empty > MAX_EMPTY_ANSWERS)
		drop(dlist_tail_element(CacheEntry, lru, &cache.empty));
}

static JwsString
copy_string(const JwsString *string)
{
	JwsString	copy = {NULL, 0};

	if (string->data != NULL)
	{
		copy.data = pnstrdup(string->data, string->len);
		copy.len = string->len;
	}
	return copy;
}

/*
 * Read the answer to a question into a new memory context, below the current
 * one, so that an error leaves nothing behind.
 */
static CacheEntry *
load_entry(const TrustQuestion *question)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jwt key",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CacheEntry *entry = palloc0(sizeof(CacheEntry));
	TrustAnswer *answer = &entry->answer;

	entry->context = context;
	entry->question.issuer = copy_string(&question->issuer);
	entry->question.kid = copy_string(&question->kid);
	entry->question.alg = copy_string(&question->alg);
	answer->keys = palloc(sizeof(TrustKey) * TRUST_MAX_KEYS);

	trust_read_answer(question, answer);
	answer->keys = repalloc(answer->keys, sizeof(TrustKey) * Max(answer->n_keys, 1));
	if (answer->n_keys == 0)
	{
		answer->issuer_known = question->issuer.data != NULL &&
			trust_read_issuer_row(&question->issuer) != NULL;
		answer->n_other_keys = trust_read_count(&question->issuer);
	}
	MemoryContextSwitchTo(old);
	entry->size = MemoryContextMemAllocated(context, true) +
		(Size) answer->n_keys * OPENSSL_KEY_SIZE;
	return entry;
}

/*
 * The row of an issuer as it is now, not cached, in the current memory context;
 * NULL when there is none.
 */
TrustIssuer *
trust_read_issuer(const char *name, int len)
{
	JwsString	string = {name, len};

	make_current();
	return trust_read_issuer_row(&string);
}

/*
 * The keys of an issuer that have been revoked as it is now, in the current
 * memory context.
 */
TrustRevokedKeys
trust_read_revoked_keys(const TrustIssuer *issuer)
{
	JwsString	string = {issuer->policy.issuer, (int) strlen(issuer->policy.issuer)};

	make_current();
	return trust_read_revoked_rows(&string);
}

/*
 * Is this our table, as opposed to another to which somebody has attached our
 * trigger?
 */
bool
trust_is_issuer_table(Oid relid)
{
	make_current();
	return trust_read_is_issuer_table(relid);
}

bool
trust_is_key_table(Oid relid)
{
	make_current();
	return trust_read_is_key_table(relid);
}

/*
 * A function of ours, by its exact signature; InvalidOid when this version has
 * none.
 */
Oid
trust_find_function(const char *name, int n, const Oid *types)
{
	make_current();
	return trust_read_find_function(name, n, types);
}

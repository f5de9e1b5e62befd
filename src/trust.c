/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  The tables of issuers and keys, and what a backend remembers of them.
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
 * What is read: the latest committed state and our own transaction's changes,
 * whatever the isolation level, because systable_beginscan() takes a new
 * snapshot for a table that is no catalog.  A key that was revoked is revoked
 * in a REPEATABLE READ transaction too.
 *
 * The tables are read by OID, found through the extension's membership, so no
 * search_path matters; and below the privilege checks, so the caller needs
 * none.  Keys go to C only.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "trust.h"
#include "trust_tables.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

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

/* The tables and the indexes that we read by. */
typedef struct TrustTables
{
	Oid			issuer;
	Oid			issuer_index;	/* (issuer) */
	Oid			key;
	Oid			key_by_issuer;	/* (issuer, kid) */
	Oid			key_by_kid;		/* (kid) */
	Oid			key_by_alg;		/* (alg, issuer) */
} TrustTables;

uint64		trust_last_generation = 1;	/* counted by the callback */

static struct
{
	MemoryContext context;		/* NULL until first used */
	uint64		generation;		/* for which the rest is true */
	TrustTables tables;
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
static void find_tables(void);
static TrustIssuer *read_issuer(const JwsString *name);
static int	count_keys(const JwsString *issuer);
static CacheEntry *load_entry(const TrustQuestion *question);
static void evict(void);

/*
 * Register the callback and the settings of this room.
 */
void
trust_init(void)
{
	DefineCustomIntVariable("jwt.key_cache_size",
							"Sets the memory that a backend uses for keys ready to verify.",
							NULL,
							&key_cache_size,
							4096, 64, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
}

/*
 * The relcache callback.  InvalidOid stands for every table, and as long as we
 * do not know our tables, any may be one of them.
 */
static void
invalidate(Datum arg, Oid relid)
{
	(void) arg;
	if (!OidIsValid(relid) || !OidIsValid(cache.tables.key) ||
		relid == cache.tables.key || relid == cache.tables.issuer)
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

	AcceptInvalidationMessages();
	make_current();

	if (question->issuer.len > TRUST_MAX_NAME || question->kid.len > TRUST_MAX_NAME)
	{
		/* no row can have it, and nobody shall make us remember it */
		static TrustAnswer none;

		none.n_other_keys = question->issuer.len > TRUST_MAX_NAME ? 0 :
			count_keys(&question->issuer);
		none.issuer_known = question->issuer.data != NULL &&
			question->issuer.len <= TRUST_MAX_NAME && read_issuer(&question->issuer) != NULL;
		return &none;
	}

	slot = slots_lookup(cache.slots, *question);
	if (slot != NULL)
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
same_string(const JwsString *a, const JwsString *b)
{
	if (a->data == NULL || b->data == NULL)
		return a->data == b->data;
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool
same_question(const TrustQuestion *a, const TrustQuestion *b)
{
	return same_string(&a->kid, &b->kid) &&
		same_string(&a->issuer, &b->issuer) &&
		same_string(&a->alg, &b->alg);
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
	memset(&cache.tables, 0, sizeof(cache.tables));

	cache.slots = slots_create(cache.context, 64, NULL);
	for (;;)
	{
		uint64		before = trust_last_generation;

		find_tables();
		if (before == trust_last_generation)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	cache.generation = trust_last_generation;
}

/*
 * Let nothing be cached that has been invalidated.
 */
static void
make_current(void)
{
	if (cache.context == NULL || cache.generation != trust_last_generation)
		reset_cache();
}

/*
 * Drop the least recently used entries of whichever list is too long, but not
 * the one that was just used.
 */
static void
drop_last(dlist_head *list)
{
	CacheEntry *entry = dlist_tail_element(CacheEntry, lru, list);

	dlist_delete(&entry->lru);
	if (!slots_delete(cache.slots, entry->question))
		elog(ERROR, "key cache of jwt is corrupted");
	if (list == &cache.found)
		cache.found_size -= entry->size;
	else
		cache.n_empty--;
	MemoryContextDelete(entry->context);
}

static void
evict(void)
{
	while (cache.found_size > (Size) key_cache_size * 1024 &&
		   dlist_has_next(&cache.found, dlist_head_node(&cache.found)))
		drop_last(&cache.found);
	while (cache.n_empty > MAX_EMPTY_ANSWERS)
		drop_last(&cache.empty);
}

/*
 * The OID of a table of ours.  A name is not enough: the tables may live in a
 * schema where others create objects, so it must be a member of the extension.
 */
static Oid
find_table(Oid extension, Oid schema, const char *name)
{
	Oid			relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid) || getExtensionOfObject(RelationRelationId, relid) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of extension \"jwt\" does not exist", name)));
	return relid;
}

/*
 * The index of a table whose key is these one or two columns, or InvalidOid,
 * with which the table is read from end to end.
 */
static Oid
find_index(Relation rel, AttrNumber first, AttrNumber second)
{
	List	   *indexes = RelationGetIndexList(rel);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_index) GETSTRUCT(tuple);
		if (form->indisvalid &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
			form->indnkeyatts == (second != InvalidAttrNumber ? 2 : 1) &&
			form->indkey.values[0] == first &&
			(second == InvalidAttrNumber || form->indkey.values[1] == second))
			result = form->indexrelid;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return result;
}

/*
 * The extension and its schema, in one look at pg_extension.
 */
static void
find_extension(Oid *extension, Oid *schema)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("jwt"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "jwt")));
	*extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
	*schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
find_tables(void)
{
	Oid			extension;
	Oid			schema;
	TrustTables tables;
	Relation	rel;

	find_extension(&extension, &schema);
	tables.issuer = find_table(extension, schema, "jwt_issuer");
	tables.key = find_table(extension, schema, "jwt_key");

	rel = table_open(tables.issuer, AccessShareLock);
	tables.issuer_index = find_index(rel, Anum_jwt_issuer_issuer, InvalidAttrNumber);
	table_close(rel, AccessShareLock);

	rel = table_open(tables.key, AccessShareLock);
	tables.key_by_issuer = find_index(rel, Anum_jwt_key_issuer, Anum_jwt_key_kid);
	tables.key_by_kid = find_index(rel, Anum_jwt_key_kid, InvalidAttrNumber);
	tables.key_by_alg = find_index(rel, Anum_jwt_key_alg, Anum_jwt_key_issuer);
	table_close(rel, AccessShareLock);

	cache.tables = tables;
}

/*
 * Begin to read the rows of a table in which one or two text columns have these
 * values; a string with null data leaves its column out.
 */
static SysScanDesc
begin_scan(Relation rel, Oid index,
		   AttrNumber first, const JwsString *first_value,
		   AttrNumber second, const JwsString *second_value)
{
	ScanKeyData keys[2];
	int			n = 0;

	if (first_value->data != NULL)
		ScanKeyInit(&keys[n++], first, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(first_value->data, first_value->len)));
	if (second_value->data != NULL)
		ScanKeyInit(&keys[n++], second, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(second_value->data, second_value->len)));
	return systable_beginscan(rel, index, OidIsValid(index) && n > 0, NULL, n, keys);
}

/*
 * The elements of a text array without nulls, as terminated strings in the
 * current memory context.
 */
char **
trust_text_array(ArrayType *array, int *n)
{
	Datum	   *elements;
	char	  **strings;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, n);
	strings = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		strings[i] = TextDatumGetCString(elements[i]);
	pfree(elements);
	return strings;
}

/*
 * An interval in microseconds, a month being 30 days as elsewhere.  Saturates.
 */
int64
trust_interval_usec(const Interval *interval)
{
	double		usec = (double) interval->time +
		((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	if (usec >= (double) PG_INT64_MAX)
		return PG_INT64_MAX;
	if (usec <= (double) PG_INT64_MIN)
		return PG_INT64_MIN;
	return interval->time +
		((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

static TrustIssuer *
read_issuer_row(HeapTuple tuple, TupleDesc desc)
{
	TrustIssuer *issuer = palloc0(sizeof(TrustIssuer));
	ClaimsPolicy *policy = &issuer->policy;
	Datum		values[Natts_jwt_issuer];
	bool		nulls[Natts_jwt_issuer];

	heap_deform_tuple(tuple, desc, values, nulls);
	policy->issuer = TextDatumGetCString(values[Anum_jwt_issuer_issuer - 1]);
	policy->audience = trust_text_array(DatumGetArrayTypeP(values[Anum_jwt_issuer_audience - 1]),
										&policy->n_audience);
	policy->any_audience = policy->n_audience == 1 && strcmp(policy->audience[0], "*") == 0;
	issuer->algorithms = trust_text_array(DatumGetArrayTypeP(values[Anum_jwt_issuer_algorithms - 1]),
										  &issuer->n_algorithms);
	policy->required = trust_text_array(DatumGetArrayTypeP(values[Anum_jwt_issuer_required_claims - 1]),
										&policy->n_required);
	if (!nulls[Anum_jwt_issuer_token_type - 1])
		policy->token_type = TextDatumGetCString(values[Anum_jwt_issuer_token_type - 1]);
	policy->leeway = trust_interval_usec(DatumGetIntervalP(values[Anum_jwt_issuer_leeway - 1]));
	policy->max_lifetime = nulls[Anum_jwt_issuer_max_lifetime - 1] ? CLAIMS_NO_LIMIT :
		trust_interval_usec(DatumGetIntervalP(values[Anum_jwt_issuer_max_lifetime - 1]));
	policy->max_age = nulls[Anum_jwt_issuer_max_age - 1] ? CLAIMS_NO_LIMIT :
		trust_interval_usec(DatumGetIntervalP(values[Anum_jwt_issuer_max_age - 1]));
	if (!nulls[Anum_jwt_issuer_role_claim - 1])
		issuer->role_claim = TextDatumGetCString(values[Anum_jwt_issuer_role_claim - 1]);
	issuer->roles = trust_text_array(DatumGetArrayTypeP(values[Anum_jwt_issuer_roles - 1]),
									 &issuer->n_roles);
	return issuer;
}

static TrustIssuer *
read_issuer(const JwsString *name)
{
	static const JwsString nothing = {NULL, 0};
	Relation	rel = table_open(cache.tables.issuer, AccessShareLock);
	SysScanDesc scan = begin_scan(rel, cache.tables.issuer_index,
								  Anum_jwt_issuer_issuer, name,
								  InvalidAttrNumber, &nothing);
	HeapTuple	tuple = systable_getnext(scan);
	TrustIssuer *issuer = NULL;

	if (HeapTupleIsValid(tuple))
		issuer = read_issuer_row(tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return issuer;
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
	return read_issuer(&string);
}

/*
 * Is this our table, as opposed to another to which somebody has attached our
 * trigger?
 */
bool
trust_is_issuer_table(Oid relid)
{
	make_current();
	return relid == cache.tables.issuer;
}

bool
trust_is_key_table(Oid relid)
{
	make_current();
	return relid == cache.tables.key;
}

/*
 * May keys of this issuer be pinned to this algorithm?
 */
bool
trust_issuer_allows(const TrustIssuer *issuer, const Algorithm *algorithm)
{
	for (int i = 0; i < issuer->n_algorithms; i++)
		if (algorithm_is(algorithm, issuer->algorithms[i], (int) strlen(issuer->algorithms[i])))
			return true;
	return false;
}

/*
 * Make a key of a row.  A row that cannot be one, such as an ML-DSA key restored
 * where OpenSSL has none, becomes a key that is not usable and says why.
 */
static void
read_key_row(HeapTuple tuple, TupleDesc desc, const TrustIssuer *issuer, TrustKey *key)
{
	Datum		values[Natts_jwt_key];
	bool		nulls[Natts_jwt_key];
	Jwk			jwk;
	char	   *alg;

	heap_deform_tuple(tuple, desc, values, nulls);
	memset(key, 0, sizeof(*key));
	key->issuer = issuer;
	if (!nulls[Anum_jwt_key_kid - 1])
		key->kid = TextDatumGetCString(values[Anum_jwt_key_kid - 1]);
	key->revoked = !nulls[Anum_jwt_key_revoked_at - 1];
	key->not_before = nulls[Anum_jwt_key_not_before - 1] ? DT_NOBEGIN :
		DatumGetTimestampTz(values[Anum_jwt_key_not_before - 1]);
	key->not_after = nulls[Anum_jwt_key_not_after - 1] ? DT_NOEND :
		DatumGetTimestampTz(values[Anum_jwt_key_not_after - 1]);

	alg = TextDatumGetCString(values[Anum_jwt_key_alg - 1]);
	if (jwk_read(DatumGetJsonbP(values[Anum_jwt_key_jwk - 1]), &jwk, &key->unusable) &&
		jwk_fits(&jwk, alg, (int) strlen(alg), &key->algorithm, &key->unusable))
		key->verifier = jws_verifier_create(&jwk, key->algorithm, CurrentMemoryContext, &key->unusable);
	if (key->algorithm != NULL)
		key->algorithm_allowed = trust_issuer_allows(issuer, key->algorithm);
}

/*
 * Read the keys in which these columns have these values.  Revoked keys are
 * left out when there are no more facts to tell about them than that.
 */
static void
read_keys(Oid index, AttrNumber first, const JwsString *first_value,
		  AttrNumber second, const JwsString *second_value,
		  bool skip_revoked, TrustAnswer *answer)
{
	Relation	rel = table_open(cache.tables.key, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = begin_scan(rel, index, first, first_value, second, second_value);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		text	   *name;
		JwsString	issuer_name;
		const TrustIssuer *issuer;

		CHECK_FOR_INTERRUPTS();
		if (skip_revoked && !heap_attisnull(tuple, Anum_jwt_key_revoked_at, desc))
			continue;
		if (answer->n_keys == TRUST_MAX_KEYS)
		{
			answer->too_many = true;
			break;
		}
		name = DatumGetTextPP(heap_getattr(tuple, Anum_jwt_key_issuer, desc, &isnull));
		issuer_name.data = VARDATA_ANY(name);
		issuer_name.len = (int) VARSIZE_ANY_EXHDR(name);
		issuer = read_issuer(&issuer_name);

		/* replication may bring a key before its issuer */
		if (issuer != NULL)
			read_key_row(tuple, desc, issuer, &answer->keys[answer->n_keys++]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Count the keys of an issuer, or all, as far as a message needs it.
 */
static int
count_keys(const JwsString *issuer)
{
	static const JwsString nothing = {NULL, 0};
	Relation	rel = table_open(cache.tables.key, AccessShareLock);
	SysScanDesc scan = begin_scan(rel, cache.tables.key_by_issuer,
								  Anum_jwt_key_issuer, issuer, InvalidAttrNumber, &nothing);
	int			n = 0;

	while (n < TRUST_MAX_KEYS && HeapTupleIsValid(systable_getnext(scan)))
		n++;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

/*
 * Read the keys for a token without a kid: those of its algorithm, under each
 * name that the algorithm has.
 */
static void
read_keys_of_algorithm(const TrustQuestion *question, TrustAnswer *answer)
{
	const JwsString *alg = &question->alg;
	JwsString	eddsa = {ALGORITHM_EDDSA, (int) strlen(ALGORITHM_EDDSA)};
	const Algorithm *algorithm = algorithm_by_name(alg->data, alg->len);

	read_keys(cache.tables.key_by_alg, Anum_jwt_key_alg, alg,
			  Anum_jwt_key_issuer, &question->issuer, true, answer);
	if (algorithm != NULL && algorithm_is(algorithm, eddsa.data, eddsa.len))
		read_keys(cache.tables.key_by_alg, Anum_jwt_key_alg, &eddsa,
				  Anum_jwt_key_issuer, &question->issuer, true, answer);
	else if (algorithm == NULL)
		for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
			if (algorithm_is(algorithm, alg->data, alg->len))
			{
				JwsString	name = {algorithm->name, (int) strlen(algorithm->name)};

				read_keys(cache.tables.key_by_alg, Anum_jwt_key_alg, &name,
						  Anum_jwt_key_issuer, &question->issuer, true, answer);
			}
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

	if (question->kid.data == NULL)
		read_keys_of_algorithm(question, answer);
	else
		read_keys(question->issuer.data ? cache.tables.key_by_issuer : cache.tables.key_by_kid,
				  Anum_jwt_key_issuer, &question->issuer,
				  Anum_jwt_key_kid, &question->kid, false, answer);

	answer->keys = repalloc(answer->keys, sizeof(TrustKey) * Max(answer->n_keys, 1));
	if (answer->n_keys == 0)
	{
		answer->issuer_known = question->issuer.data != NULL &&
			read_issuer(&question->issuer) != NULL;
		answer->n_other_keys = count_keys(&question->issuer);
	}
	MemoryContextSwitchTo(old);
	entry->size = MemoryContextMemAllocated(context, true) +
		(Size) answer->n_keys * OPENSSL_KEY_SIZE;
	return entry;
}

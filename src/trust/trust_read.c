/*-------------------------------------------------------------------------
 *
 * trust_read.c
 *	  Finding the tables of issuers and keys, and reading their rows.
 *
 * The tables are read by OID, found through the extension's membership, so no
 * search_path matters; and below the privilege checks, so the caller needs
 * none.  Keys go to C only.
 *
 * What is read: the latest committed state and our own transaction's changes,
 * whatever the isolation level, because systable_beginscan() takes a new
 * snapshot for a table that is no catalog.  A key that was revoked is revoked
 * in a REPEATABLE READ transaction too.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "storage/bufmgr.h"
#include "trust/extension_function.h"
#include "trust/trust_read.h"
#include "trust/trust_tables.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * Tables of so many blocks are read from end to end: a new backend would spend
 * more time on its first look at an index.
 */
#define SMALL_TABLE		8

/* The index of one or two columns. */
typedef struct TableIndex
{
	AttrNumber	first;
	AttrNumber	second;			/* or InvalidAttrNumber */
	Oid			oid;			/* InvalidOid when there is none */
	uint64		generation;		/* for which that is so */
} TableIndex;

/* What pg_extension says of us. */
typedef struct Extension
{
	Oid			oid;
	Oid			schema;
	Oid			owner;
} Extension;

/* The tables and the indexes that we read by. */
typedef struct TrustTables
{
	Oid			issuer;
	TableIndex	issuer_by_name;
	Oid			key;
	TableIndex	key_by_issuer;
	TableIndex	key_by_kid;
	TableIndex	key_by_alg;
	bool		invalidated;	/* by triggers that always fire */
	bool		knows_revocations;	/* jwt_issuer has the flags */
	Extension	extension;
} TrustTables;

uint64		trust_last_generation = 1;	/* counted by the callback of trust.c */

static TrustTables tables;		/* all InvalidOid until they are found */

/*
 * Do we know our tables?  This and the next two are for the relcache callback,
 * so they look at no catalog.
 */
bool
trust_read_knows_tables(void)
{
	return OidIsValid(tables.key);
}

bool
trust_read_is_issuer_table(Oid relid)
{
	return relid == tables.issuer;
}

bool
trust_read_is_key_table(Oid relid)
{
	return relid == tables.key;
}

/*
 * Will every write to the tables be told to us?  Not if somebody has disabled a
 * trigger, or has it fire in ordinary sessions only, as what pg_restore
 * --disable-triggers leaves behind does.
 */
bool
trust_read_is_invalidated(void)
{
	return tables.invalidated;
}

/*
 * Has jwt_issuer the columns that say whether there are revocations?
 */
bool
trust_read_knows_revocations(void)
{
	return tables.knows_revocations;
}

/*
 * The tables may have been dropped.
 */
void
trust_read_forget_tables(void)
{
	memset(&tables, 0, sizeof(tables));
}

/*
 * The row of the extension.
 */
static void
find_extension(Extension *extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("jwt"));
	/* few rows: see SMALL_TABLE */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "jwt")));
	extension->oid = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
	extension->schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	extension->owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * The OID of a table of ours.  A name is not enough: the tables may live in a
 * schema where others create objects.  So it must be a member of the extension,
 * or belong to somebody who could have made it one: the extension's owner, or the
 * superuser as whom scripts of trusted extensions run.  Most do, and asking
 * pg_depend costs a new backend as much as a signature.
 */
static Oid
find_table(const Extension *extension, const char *name, bool missing_ok)
{
	HeapTuple	tuple = SearchSysCache2(RELNAMENSP, CStringGetDatum(name),
										ObjectIdGetDatum(extension->schema));
	Oid			relid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_RELATION &&
			(form->relowner == BOOTSTRAP_SUPERUSERID || form->relowner == extension->owner ||
			 getExtensionOfObject(RelationRelationId, form->oid) == extension->oid))
			relid = form->oid;
		ReleaseSysCache(tuple);
	}
	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of extension \"jwt\" does not exist", name)));
	return relid;
}

/*
 * A table of ours that few need, by its name; InvalidOid when this version of the
 * extension has none.
 */
Oid
trust_read_find_table(const char *name)
{
	Extension	extension = tables.extension;

	if (!trust_read_knows_tables())
		find_extension(&extension);
	return find_table(&extension, name, true);
}

/*
 * A function of ours; see extension_function().
 */
Oid
trust_read_find_function(const char *name, int n, const Oid *types)
{
	return extension_function(tables.extension.oid, tables.extension.schema, name, n, types);
}

/*
 * Is the index's predicate that this column is not null?
 */
static bool
leaves_out_nulls(Oid index, AttrNumber column)
{
	Relation	rel = index_open(index, AccessShareLock);
	List	   *predicate = RelationGetIndexPredicate(rel);
	bool		result = false;

	if (list_length(predicate) == 1 && IsA(linitial(predicate), NullTest))
	{
		NullTest   *test = linitial_node(NullTest, predicate);

		result = test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) &&
			((Var *) test->arg)->varattno == column;
	}
	index_close(rel, AccessShareLock);
	return result;
}

/*
 * Are the columns of an index, of which all are text, in the order in which we
 * look for them: byte for byte, in a btree?
 */
static bool
is_in_our_order(HeapTuple tuple, int columns)
{
	bool		isnull;
	oidvector  *collations = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indcollation, &isnull));
	oidvector  *opclasses = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull));

	for (int i = 0; i < columns; i++)
		if (collations->values[i] != C_COLLATION_OID ||
			get_opclass_family(opclasses->values[i]) != TEXT_BTREE_FAM_OID)
			return false;
	return true;
}

/*
 * The index of a table whose key is these one or two columns, or InvalidOid,
 * with which the table is read from end to end.  It may leave out rows in which
 * the first of them is null.
 */
Oid
trust_read_find_index(Relation rel, AttrNumber first, AttrNumber second)
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
			form->indnkeyatts == (second != InvalidAttrNumber ? 2 : 1) &&
			form->indkey.values[0] == first &&
			(second == InvalidAttrNumber || form->indkey.values[1] == second) &&
			is_in_our_order(tuple, form->indnkeyatts) &&
			(heap_attisnull(tuple, Anum_pg_index_indpred, NULL) ||
			 leaves_out_nulls(form->indexrelid, first)))
			result = form->indexrelid;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return result;
}

/*
 * Does a table's trigger of this name fire in whatever session?  missing_ok: or
 * is there none, as in earlier versions of the extension?
 */
static bool
always_fires(Relation rel, const char *name, bool missing_ok)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const		Trigger *trigger = &rel->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, name) == 0)
			return trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	}
	return missing_ok;
}

/*
 * The same of a table that nobody has opened, which costs a new backend more than
 * to ask the catalog.
 */
bool
trust_read_always_fires(Oid table, const char *name)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	result = HeapTupleIsValid(tuple) &&
		((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled == TRIGGER_FIRES_ALWAYS;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Find the tables and their indexes.  Raises an error when they are not there.
 */
void
trust_read_find_tables(void)
{
	TrustTables found = {
		.issuer_by_name = {.first = Anum_jwt_issuer_issuer},
		.key_by_issuer = {.first = Anum_jwt_key_issuer, .second = Anum_jwt_key_kid},
		.key_by_kid = {.first = Anum_jwt_key_kid},
		.key_by_alg = {.first = Anum_jwt_key_alg, .second = Anum_jwt_key_issuer},
	};
	AttrNumber	flags[2];
	Relation	rel;

	find_extension(&found.extension);
	found.issuer = find_table(&found.extension, "jwt_issuer", false);
	found.key = find_table(&found.extension, "jwt_key", false);

	rel = table_open(found.issuer, AccessShareLock);
	found.invalidated = always_fires(rel, "jwt_issuer_changed", false) &&
		always_fires(rel, "jwt_issuer_truncated", false) &&
		always_fires(rel, "jwt_issuer_changing", true);
	found.knows_revocations = trust_find_flags(RelationGetDescr(rel), flags);
	table_close(rel, AccessShareLock);

	rel = table_open(found.key, AccessShareLock);
	found.invalidated = found.invalidated && always_fires(rel, "jwt_key_changed", false) &&
		always_fires(rel, "jwt_key_truncated", false) &&
		always_fires(rel, "jwt_key_changing", true);
	table_close(rel, AccessShareLock);

	tables = found;
}

/*
 * Begin to read the rows of a table in which one or two text columns have these
 * values; a string with null data leaves its column out.
 */
static SysScanDesc
begin_scan(Relation rel, TableIndex *index,
		   AttrNumber first, const JwsString *first_value,
		   AttrNumber second, const JwsString *second_value)
{
	ScanKeyData keys[2];
	int			n = 0;
	bool		use_index;

	if (first_value->data != NULL)
		ScanKeyInit(&keys[n++], first, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(first_value->data, first_value->len)));
	if (second_value->data != NULL)
		ScanKeyInit(&keys[n++], second, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(second_value->data, second_value->len)));
	use_index = n > 0 && RelationGetNumberOfBlocks(rel) > SMALL_TABLE;
	/* it may have been dropped while we waited for the table */
	if (use_index && index->generation != trust_last_generation)
	{
		index->generation = trust_last_generation;
		index->oid = trust_read_find_index(rel, index->first, index->second);
	}
	return systable_beginscan(rel, index->oid, use_index && OidIsValid(index->oid), NULL, n, keys);
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

/*
 * Take a row apart, into as many columns as its table has: somebody may have
 * added some.
 */
static void
deform_row(HeapTuple tuple, TupleDesc desc, int expected, Datum **values, bool **nulls)
{
	if (desc->natts < expected)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table of extension \"jwt\" has %d columns, not %d", desc->natts, expected)));
	*values = palloc(sizeof(Datum) * desc->natts);
	*nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(tuple, desc, *values, *nulls);
}

/*
 * Find the columns of jwt_issuer that say whether there are revocations, by jti
 * and by subject.  false when it has none, as in earlier versions.
 */
bool
trust_find_flags(TupleDesc desc, AttrNumber flags[2])
{
	flags[0] = SPI_fnumber(desc, JWT_ISSUER_HAS_REVOKED_IDS);
	flags[1] = SPI_fnumber(desc, JWT_ISSUER_HAS_REVOKED_SUBJECTS);
	return flags[0] > 0 && flags[1] > 0;
}

static TrustIssuer *
read_issuer_row(HeapTuple tuple, TupleDesc desc)
{
	TrustIssuer *issuer = palloc0(sizeof(TrustIssuer));
	ClaimsPolicy *policy = &issuer->policy;
	AttrNumber	flags[2];
	Datum	   *values;
	bool	   *nulls;

	deform_row(tuple, desc, Natts_jwt_issuer, &values, &nulls);
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
	if (trust_find_flags(desc, flags))
	{
		issuer->has_revoked_ids = DatumGetBool(values[flags[0] - 1]);
		issuer->has_revoked_subjects = DatumGetBool(values[flags[1] - 1]);
	}
	return issuer;
}

/*
 * The row of an issuer, in the current memory context; NULL when there is none.
 */
TrustIssuer *
trust_read_issuer_row(const JwsString *name)
{
	static const JwsString nothing = {NULL, 0};
	Relation	rel = table_open(tables.issuer, AccessShareLock);
	SysScanDesc scan = begin_scan(rel, &tables.issuer_by_name,
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
	Datum	   *values;
	bool	   *nulls;
	Jwk			jwk;
	char	   *alg;

	deform_row(tuple, desc, Natts_jwt_key, &values, &nulls);
	memset(key, 0, sizeof(*key));
	key->issuer = issuer;
	if (!nulls[Anum_jwt_key_kid - 1])
		key->kid = TextDatumGetCString(values[Anum_jwt_key_kid - 1]);
	key->revoked = !nulls[Anum_jwt_key_revoked_at - 1];
	key->published = strcmp(TextDatumGetCString(values[Anum_jwt_key_source - 1]), "jwks") == 0;
	key->not_before = nulls[Anum_jwt_key_not_before - 1] ? DT_NOBEGIN :
		DatumGetTimestampTz(values[Anum_jwt_key_not_before - 1]);
	key->not_after = nulls[Anum_jwt_key_not_after - 1] ? DT_NOEND :
		DatumGetTimestampTz(values[Anum_jwt_key_not_after - 1]);

	alg = TextDatumGetCString(values[Anum_jwt_key_alg - 1]);
	if (jwk_read(DatumGetJsonbP(values[Anum_jwt_key_jwk - 1]), &jwk, &key->unusable) &&
		jwk_fits(&jwk, alg, (int) strlen(alg), &key->algorithm, &key->unusable))
	{
		key->verifier = jws_verifier_create(&jwk, key->algorithm, CurrentMemoryContext, &key->unusable);
		key->doubtful = key->verifier == NULL;
	}
	if (key->algorithm != NULL)
		key->algorithm_allowed = trust_issuer_allows(issuer, key->algorithm);
}

/*
 * Read the keys in which these columns have these values.  Revoked keys are
 * left out when there are no more facts to tell about them than that.
 */
static void
read_keys(TableIndex *index, AttrNumber first, const JwsString *first_value,
		  AttrNumber second, const JwsString *second_value,
		  bool skip_revoked, TrustAnswer *answer)
{
	Relation	rel = table_open(tables.key, AccessShareLock);
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
		issuer = trust_read_issuer_row(&issuer_name);

		/* replication may bring a key before its issuer */
		if (issuer != NULL)
		{
			TrustKey   *key = &answer->keys[answer->n_keys++];

			read_key_row(tuple, desc, issuer, key);
			answer->doubtful = answer->doubtful || key->doubtful;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Count the keys of an issuer, or all, as far as a message needs it.
 */
int
trust_read_count(const JwsString *issuer)
{
	static const JwsString nothing = {NULL, 0};
	Relation	rel = table_open(tables.key, AccessShareLock);
	SysScanDesc scan = begin_scan(rel, &tables.key_by_issuer,
								  Anum_jwt_key_issuer, issuer,
								  InvalidAttrNumber, &nothing);
	int			n = 0;

	while (n < TRUST_MAX_KEYS && HeapTupleIsValid(systable_getnext(scan)))
		n++;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

/*
 * The keys of an issuer that have been revoked, in the current memory context.
 */
TrustRevokedKeys
trust_read_revoked_rows(const JwsString *issuer)
{
	static const JwsString nothing = {NULL, 0};
	Relation	rel = table_open(tables.key, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = begin_scan(rel, &tables.key_by_issuer,
								  Anum_jwt_key_issuer, issuer,
								  InvalidAttrNumber, &nothing);
	TrustRevokedKeys revoked = {0};
	int			room = 0;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value;

		CHECK_FOR_INTERRUPTS();
		if (heap_attisnull(tuple, Anum_jwt_key_revoked_at, desc))
			continue;
		if (revoked.n == room)
		{
			room = Max(room * 2, 8);
			revoked.kids = revoked.n == 0 ? palloc(sizeof(char *) * room) :
				repalloc(revoked.kids, sizeof(char *) * room);
			revoked.jwks = revoked.n == 0 ? palloc(sizeof(Jsonb *) * room) :
				repalloc(revoked.jwks, sizeof(Jsonb *) * room);
		}
		value = heap_getattr(tuple, Anum_jwt_key_kid, desc, &isnull);
		revoked.kids[revoked.n] = isnull ? NULL : TextDatumGetCString(value);
		value = heap_getattr(tuple, Anum_jwt_key_jwk, desc, &isnull);
		revoked.jwks[revoked.n++] = DatumGetJsonbPCopy(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return revoked;
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

	read_keys(&tables.key_by_alg, Anum_jwt_key_alg, alg,
			  Anum_jwt_key_issuer, &question->issuer, true, answer);
	if (algorithm != NULL && algorithm_is(algorithm, eddsa.data, eddsa.len))
		read_keys(&tables.key_by_alg, Anum_jwt_key_alg, &eddsa,
				  Anum_jwt_key_issuer, &question->issuer, true, answer);
	else if (algorithm == NULL)
		for (int i = 0; (algorithm = algorithm_at(i)) != NULL; i++)
			if (algorithm_is(algorithm, alg->data, alg->len))
			{
				JwsString	name = {algorithm->name, (int) strlen(algorithm->name)};

				read_keys(&tables.key_by_alg, Anum_jwt_key_alg, &name,
						  Anum_jwt_key_issuer, &question->issuer, true, answer);
			}
}

/*
 * Read the keys that answer a question; answer->keys has room for
 * TRUST_MAX_KEYS.
 */
void
trust_read_answer(const TrustQuestion *question, TrustAnswer *answer)
{
	if (question->kid.data == NULL)
		read_keys_of_algorithm(question, answer);
	else
		read_keys(question->issuer.data ? &tables.key_by_issuer : &tables.key_by_kid,
				  Anum_jwt_key_issuer, &question->issuer,
				  Anum_jwt_key_kid, &question->kid, false, answer);
}

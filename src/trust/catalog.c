/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  Finding the extension's tables, indexes and markers, and noticing changes.
 *
 * Tables are found as members of the extension and read by OID, without
 * privilege checks.  So search_path has no effect, and a caller needs no
 * privilege.  A table is used only if it is a member, belongs to a superuser,
 * and has the kind and the column types of the install script.  An index is
 * used only if it is valid, on the expected columns in byte order, and without
 * expression or predicate.  Without an index the table is read from end to
 * end.
 *
 * Writers invalidate.  ENABLE ALWAYS triggers send a relcache invalidation of
 * a marker: a composite type without columns, which nothing opens, vacuums or
 * publishes.  One marker is for issuers and keys, one for the denylist.
 * PostgreSQL delivers the invalidation to every backend at commit, through WAL
 * to every hot standby, to the writer at its next command, and again on
 * rollback.  Invalidations of the tables themselves count, too: ALTER TABLE,
 * DISABLE TRIGGER and TRUNCATE send no other.
 *
 * The callback runs wherever PostgreSQL accepts invalidations, also where no
 * catalog can be read.  It only increments generations.
 *
 * A reader first accepts pending invalidations, because nothing else may do so
 * in an open transaction.  Then it notes the generation, takes a snapshot, and
 * reads.  The result is cached for the noted generation.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "extension/members.h"
#include "miscadmin.h"
#include "trust/catalog.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static const TableShape table_shapes[N_TRUST_TABLES] = {
	[TRUST_DENYLIST] = {
		"jwt_denylist", Natts_denylist,
		{UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	},
	[TRUST_ISSUER] = {
		"jwt_issuer", Natts_issuer,
		{TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, INTERVALOID, INTERVALOID, INTERVALOID,
		TEXTOID, TEXTARRAYOID, TEXTOID, INTERVALOID, BOOLOID, TEXTARRAYOID, BOOLOID, TEXTARRAYOID, BOOLOID, TEXTOID}
	},
	[TRUST_SOURCE] = {
		"jwt_jwks_source", Natts_source,
		{TEXTOID, TEXTOID, INTERVALOID, INTERVALOID}
	},
	[TRUST_STATE] = {
		"jwt_jwks_state", Natts_state,
		{TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		INT4OID, TEXTOID}
	},
	[TRUST_KEY] = {
		"jwt_key", Natts_key,
		{UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
	},
};

/* The required shape of a trigger. */
typedef struct TriggerShape
{
	const char *name;
	TrustTable	table;
	const char *function;
	int16		type;
	int16		n_columns;		/* of UPDATE OF */
	char		enabled;
	const char *text;			/* of CREATE TRIGGER: before ON, after ON */
	const char *each;
} TriggerShape;

#define BEFORE_WRITE \
	TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, 0, \
	TRIGGER_FIRES_ALWAYS, "BEFORE INSERT OR UPDATE OR DELETE", "ROW"
#define AFTER_WRITE \
	TRIGGER_TYPE_AFTER | TRIGGER_TYPE_STATEMENT | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE | \
	TRIGGER_TYPE_TRUNCATE, 0, TRIGGER_FIRES_ALWAYS, "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE", "STATEMENT"

/* Triggers that only warn are not listed: nothing depends on them. */
static const TriggerShape trigger_shapes[] = {
	{"jwt_denylist_check", TRUST_DENYLIST, "jwt_denylist_check", BEFORE_WRITE},
	{"jwt_denylist_changed", TRUST_DENYLIST, "jwt_denylist_changed", AFTER_WRITE},
	{"jwt_issuer_check", TRUST_ISSUER, "jwt_issuer_check", BEFORE_WRITE},
	{"jwt_issuer_changed", TRUST_ISSUER, "jwt_trust_changed", AFTER_WRITE},
	{"jwt_issuer_cascade", TRUST_ISSUER, "jwt_issuer_cascade",
		TRIGGER_TYPE_AFTER | TRIGGER_TYPE_ROW | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_UPDATE, 1,
	TRIGGER_FIRES_ON_ORIGIN, "AFTER DELETE OR UPDATE OF issuer", "ROW"},
	{"jwt_issuer_truncated", TRUST_ISSUER, "jwt_issuer_cascade",
		TRIGGER_TYPE_AFTER | TRIGGER_TYPE_STATEMENT | TRIGGER_TYPE_TRUNCATE, 0,
	TRIGGER_FIRES_ON_ORIGIN, "AFTER TRUNCATE", "STATEMENT"},
	{"jwt_jwks_source_check", TRUST_SOURCE, "jwt_jwks_source_check",
		TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE, 0,
	TRIGGER_FIRES_ALWAYS, "BEFORE INSERT OR UPDATE", "ROW"},
	{"jwt_jwks_source_changed", TRUST_SOURCE, "jwt_jwks_source_changed",
		TRIGGER_TYPE_AFTER | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE, 0,
	TRIGGER_FIRES_ALWAYS, "AFTER INSERT OR UPDATE", "ROW"},
	{"jwt_key_check", TRUST_KEY, "jwt_key_check", BEFORE_WRITE},
	{"jwt_key_changed", TRUST_KEY, "jwt_trust_changed", AFTER_WRITE},
};

/* The required shape of an index. */
typedef struct IndexShape
{
	TrustTable	table;
	AttrNumber	columns[MEMBERS_MAX_KEYS];
	const char *text;			/* the columns, for a message */
} IndexShape;

static const IndexShape index_shapes[N_TRUST_INDEXES] = {
	[INDEX_DENYLIST_VALUE] = {TRUST_DENYLIST,
	{Anum_denylist_value, Anum_denylist_kind, Anum_denylist_issuer}, "value text_pattern_ops, kind, issuer"},
	[INDEX_DENYLIST_ISSUER] = {TRUST_DENYLIST, {Anum_denylist_issuer, Anum_denylist_kind}, "issuer, kind"},
	[INDEX_DENYLIST_EXPIRY] = {TRUST_DENYLIST, {Anum_denylist_expires_at}, "expires_at"},
	[INDEX_ISSUER] = {TRUST_ISSUER, {Anum_issuer_issuer}, "issuer"},
	[INDEX_SOURCE] = {TRUST_SOURCE, {Anum_source_issuer}, "issuer"},
	[INDEX_STATE] = {TRUST_STATE, {Anum_state_issuer}, "issuer"},
	[INDEX_KEY_ISSUER_KID] = {TRUST_KEY, {Anum_key_issuer, Anum_key_kid}, "issuer, kid"},
	[INDEX_KEY_KID] = {TRUST_KEY, {Anum_key_kid}, "kid"},
	[INDEX_KEY_ALG_ISSUER] = {TRUST_KEY, {Anum_key_alg, Anum_key_issuer}, "alg, issuer"},
};

uint64		trust_generation = 1;
uint64		denylist_generation = 1;

uint64		catalog_generation = 1;
uint64		catalog_reliable_generation;

/* A table, and facts from its relcache entry. */
typedef struct FoundTable
{
	Oid			oid;
	uint64		generation;		/* for which the next field is true; 0:
								 * unknown */
	bool		reliable;		/* its triggers are reliable */
	uint64		indexes_generation; /* for which the indexes are valid */
	Oid			indexes[N_TRUST_INDEXES];	/* InvalidOid: there is none */
} FoundTable;

static struct
{
	uint64		generation;		/* for which all of this is true */
	Extension	extension;
	FoundTable	tables[N_TRUST_TABLES];
	Oid			trust_marker;
	Oid			denylist_marker;
}			found;

/*
 * The relcache callback.  InvalidOid means every relation.  While the tables
 * are unknown, every relation counts as one of them.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	bool		any = !OidIsValid(relid) || found.generation != catalog_generation;

	(void) arg;
	if (any)
	{
		catalog_generation++;
		trust_generation++;
		denylist_generation++;
		return;
	}
	if (relid == found.trust_marker)
		trust_generation++;
	else if (relid == found.denylist_marker)
		denylist_generation++;
	else
		for (int i = 0; i < N_TRUST_TABLES; i++)
			if (relid == found.tables[i].oid)
			{
				catalog_generation++;
				if (i == TRUST_ISSUER || i == TRUST_KEY)
					trust_generation++;
				if (i == TRUST_DENYLIST)
					denylist_generation++;
			}
}

/*
 * Find the extension's OIDs again if they may have changed.  Verification does
 * not need the tables about key sets, so these are found when they are opened.
 */
static void
make_current(void)
{
	while (unlikely(found.generation != catalog_generation))
	{
		uint64		before = catalog_generation;

		CHECK_FOR_INTERRUPTS();
		memset(&found, 0, sizeof(found));
		members_find_extension("jwt", &found.extension);
		found.tables[TRUST_DENYLIST].oid = members_require(&found.extension, "jwt_denylist", RELKIND_RELATION);
		found.tables[TRUST_ISSUER].oid = members_require(&found.extension, "jwt_issuer", RELKIND_RELATION);
		found.tables[TRUST_KEY].oid = members_require(&found.extension, "jwt_key", RELKIND_RELATION);
		found.trust_marker = members_require(&found.extension, "jwt_trust_marker", RELKIND_COMPOSITE_TYPE);
		found.denylist_marker = members_require(&found.extension, "jwt_denylist_marker", RELKIND_COMPOSITE_TYPE);
		found.generation = before;
	}
}

/*
 * Find the indexes of a table that is open.
 */
static void
find_indexes(Relation rel, TrustTable table, Oid *result)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		for (int i = 0; i < N_TRUST_INDEXES; i++)
			if (index_shapes[i].table == table && members_index_fits(tuple, index_shapes[i].columns))
				result[i] = lfirst_oid(lc);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
}

/*
 * Is a trigger's function the one that the script made?
 */
static bool
is_function_of(Oid function, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		good = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		good = form->pronamespace == found.extension.schema && form->prolang == ClanguageId &&
			form->pronargs == 0 && strcmp(NameStr(form->proname), name) == 0;
		ReleaseSysCache(tuple);
	}
	return good;
}

/*
 * Is a trigger of an open table as the script made it? It is not if it was
 * disabled, replaced, or enabled for other sessions, as after pg_restore
 * --disable-triggers. *exists is true if enabling it suffices.
 */
static bool
trigger_is_as_made(Relation rel, const TriggerShape *shape, bool *exists)
{
	*exists = false;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, shape->name) != 0)
			continue;
		*exists = trigger->tgtype == shape->type && trigger->tgnattr == shape->n_columns &&
			trigger->tgqual == NULL && is_function_of(trigger->tgfoid, shape->function);
		return *exists &&
			(trigger->tgenabled == shape->enabled || trigger->tgenabled == TRIGGER_FIRES_ALWAYS);
	}
	return false;
}

/*
 * Check the i-th trigger of the script.  Returns false after the last.
 * *remedy is the statement that restores it.  *remedy is NULL if the trigger
 * is as it should be, or belongs to another table than this open one.
 */
bool
catalog_trigger_remedy(Relation rel, TrustTable table, int i, char **remedy)
{
	const TriggerShape *shape = &trigger_shapes[i];
	const char *schema = quote_identifier(get_namespace_name(found.extension.schema));
	const char *name;
	bool		exists;

	*remedy = NULL;
	if (i >= (int) lengthof(trigger_shapes))
		return false;
	if (shape->table != table || trigger_is_as_made(rel, shape, &exists))
		return true;
	name = psprintf("%s.%s", schema, table_shapes[table].name);
	*remedy = psprintf("%sALTER TABLE %s ENABLE %sTRIGGER %s;",
					   exists ? "" :
					   psprintf("DROP TRIGGER IF EXISTS %s ON %s; CREATE TRIGGER %s %s ON %s FOR EACH %s EXECUTE FUNCTION %s.%s(); ",
								shape->name, name, shape->name, shape->text, name, shape->each, schema, shape->function),
					   name, shape->enabled == TRIGGER_FIRES_ALWAYS ? "ALWAYS " : "", shape->name);
	return true;
}

/*
 * Do the triggers of an open table fire at every write?
 */
static bool
triggers_are_reliable(Relation rel, TrustTable table)
{
	bool		exists;

	for (int i = 0; i < (int) lengthof(trigger_shapes); i++)
		if (trigger_shapes[i].table == table && trigger_shapes[i].enabled == TRIGGER_FIRES_ALWAYS &&
			!trigger_is_as_made(rel, &trigger_shapes[i], &exists))
			return false;
	return true;
}

/*
 * Open a table.  The caller closes it, or the end of the transaction does.
 * Raises an error if the table is not as the script made it.
 */
Relation
catalog_open(TrustTable table, LOCKMODE lockmode)
{
	const TableShape *shape = &table_shapes[table];
	FoundTable *entry = &found.tables[table];

	for (;;)
	{
		uint64		before;
		Relation	rel;

		make_current();
		if (!OidIsValid(entry->oid))
			entry->oid = members_require(&found.extension, shape->name, RELKIND_RELATION);
		before = catalog_generation;

		/* taking the lock accepts invalidations: the table may be gone */
		rel = try_table_open(entry->oid, lockmode);
		if (rel != NULL && before == catalog_generation && entry->generation != before)
		{
			FoundTable	fresh = {.oid = entry->oid};

			members_check_columns(&found.extension, rel, shape);
			fresh.reliable = triggers_are_reliable(rel, table);
			fresh.generation = before;
			if (before == catalog_generation)
				*entry = fresh;
		}
		if (rel != NULL && before == catalog_generation)
			return rel;
		if (rel != NULL)
			table_close(rel, lockmode);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Check whether the triggers are reliable, and if not, count a change.  See
 * catalog_accept_changes().
 */
void
catalog_distrust(void)
{
	static const TrustTable tables[] = {TRUST_DENYLIST, TRUST_ISSUER, TRUST_KEY};
	bool		reliable = true;

	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		table_close(catalog_open(tables[i], AccessShareLock), AccessShareLock);
		reliable = found.tables[tables[i]].reliable && reliable;
	}
	/* the generation is older if the table has changed meanwhile */
	for (int i = 0; i < (int) lengthof(tables); i++)
		reliable = found.tables[tables[i]].generation == catalog_generation && reliable;
	if (reliable)
		catalog_reliable_generation = catalog_generation;
	else
	{
		trust_generation++;
		denylist_generation++;
	}
}

/* Has this transaction written to the tables? */
static bool trust_written;
static bool denylist_written;

/*
 * Written rows were rolled back.  PostgreSQL does not process the
 * invalidations of a failed command, and a function of that command may have
 * read its rows.
 */
static void
writes_undone(void)
{
	if (trust_written)
		trust_generation++;
	if (denylist_written)
		denylist_generation++;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_ABORT)
		writes_undone();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		trust_written = denylist_written = false;
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	(void) id;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		writes_undone();
}

/*
 * Register the callbacks.
 */
void
catalog_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/*
 * A row is written.  Invalidate cached issuers and keys: in every backend when
 * this transaction commits, and in this backend at once and at its next
 * command.  A function of this command can see the row if it has run a command
 * of its own.
 */
void
catalog_trust_changed(void)
{
	make_current();
	trust_written = true;
	trust_generation++;
	CacheInvalidateRelcacheByRelid(found.trust_marker);
}

/*
 * The same for the denylist.
 */
void
catalog_denylist_changed(void)
{
	make_current();
	denylist_written = true;
	denylist_generation++;
	CacheInvalidateRelcacheByRelid(found.denylist_marker);
}

/*
 * A statement that writes to jwt_issuer or jwt_key has ended.  If it wrote no
 * row, as an import without changes, it invalidates nothing.
 */
void
catalog_trust_statement(bool truncated)
{
	if (truncated || trust_written)
		catalog_trust_changed();
}

/*
 * The same for the denylist.
 */
void
catalog_denylist_statement(bool truncated)
{
	if (truncated || denylist_written)
		catalog_denylist_changed();
}

/*
 * Is this table really ours?  Our trigger function could be attached to
 * another table.
 */
bool
catalog_is_table(Oid relid, TrustTable table)
{
	make_current();
	if (!OidIsValid(found.tables[table].oid))
		found.tables[table].oid = members_require(&found.extension, table_shapes[table].name, RELKIND_RELATION);
	return relid == found.tables[table].oid;
}

/*
 * An index of a table that catalog_open() has opened, or InvalidOid if no
 * index can be used.
 */
Oid
catalog_index(Relation rel, TrustIndex index)
{
	TrustTable	table = index_shapes[index].table;
	FoundTable *entry = &found.tables[table];
	Oid			indexes[N_TRUST_INDEXES] = {InvalidOid};
	uint64		before = catalog_generation;

	if (likely(entry->indexes_generation == before))
		return entry->indexes[index];
	find_indexes(rel, table, indexes);
	memcpy(entry->indexes, indexes, sizeof(indexes));
	entry->indexes_generation = before;
	return indexes[index];
}

/*
 * Names, for messages.
 */
const char *
catalog_table_name(TrustTable table)
{
	return table_shapes[table].name;
}

int
catalog_table_columns(TrustTable table)
{
	return table_shapes[table].n_columns;
}

const char *
catalog_index_columns(TrustIndex index)
{
	return index_shapes[index].text;
}

TrustTable
catalog_index_table(TrustIndex index)
{
	return index_shapes[index].table;
}

Oid
catalog_extension(void)
{
	make_current();
	return found.extension.oid;
}

Oid
catalog_schema(void)
{
	make_current();
	return found.extension.schema;
}

/*
 * A function of the extension, or InvalidOid; see members_find_function().
 */
Oid
catalog_function(const char *name, int n, const Oid *types)
{
	make_current();
	return members_find_function(&found.extension, name, n, types);
}

/*
 * A view of the extension.  Raises an error if there is none.
 */
Oid
catalog_view(const char *name)
{
	make_current();
	return members_require(&found.extension, name, RELKIND_VIEW);
}

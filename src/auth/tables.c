/*-------------------------------------------------------------------------
 *
 * tables.c
 *	  The tables of the extension jwt_auth, and what it calls of jwt.
 *
 * As in trust/catalog.c, tables are found as members of the extension, and read
 * without privilege checks.  Triggers of the policy and of the signing keys
 * invalidate a marker: a composite type without columns.  Sessions are never
 * cached.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "auth/tables.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "extension/members.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

JWT_SQL_FUNCTION(jwt_sql_auth_changed);

static const TableShape table_shapes[N_AUTH_TABLES] = {
	[AUTH_POLICY] = {
		"jwt_token_policy", Natts_policy,
		{TEXTOID, TEXTARRAYOID, INTERVALOID, INTERVALOID, INTERVALOID, INTERVALOID, INTERVALOID, INTERVALOID}
	},
	[AUTH_SIGNING_KEY] = {
		"jwt_signing_key", Natts_signing_key,
		{UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID}
	},
	[AUTH_SESSION] = {
		"jwt_session", Natts_session,
		{UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		INT8OID, INT4OID, BYTEAOID, TIMESTAMPTZOID, TEXTOID}
	},
};

/* The required shape of an index. */
typedef struct IndexShape
{
	AuthTable	table;
	AttrNumber	columns[MEMBERS_MAX_KEYS];
} IndexShape;

static const IndexShape index_shapes[N_AUTH_INDEXES] = {
	[INDEX_POLICY] = {AUTH_POLICY, {Anum_policy_issuer}},
	[INDEX_SIGNING_KEY_ISSUER] = {AUTH_SIGNING_KEY, {Anum_signing_key_issuer}},
	[INDEX_SESSION_SUBJECT] = {AUTH_SESSION, {Anum_session_issuer, Anum_session_sub}},
};

/* Increases when a policy, a signing key or one of the OIDs may have changed. */
static uint64 generation = 1;

static struct
{
	uint64		generation;		/* for which the OIDs are true; 0: unknown */
	Extension	extension;
	Oid			marker;
	Oid			tables[N_AUTH_TABLES];
	bool		unreliable;		/* a write may not invalidate */
	const JwtEntries *jwt;
}			found;

/* The generation of the OIDs. */
static uint64 catalog_generation = 1;

/*
 * The relcache callback.  It only increments generations.  InvalidOid means
 * every relation.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	bool		ours = !OidIsValid(relid) || found.generation != catalog_generation;

	(void) arg;
	for (int i = 0; i < N_AUTH_TABLES; i++)
		ours = ours || relid == found.tables[i];
	if (ours)
		catalog_generation++;
	if (ours || relid == found.marker)
		generation++;
}

/*
 * Register the callback.
 */
void
tables_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * Find the entries of jwt: the function must be a member of that extension and
 * belong to a superuser.
 */
static const JwtEntries *
find_entries(void)
{
	Oid			type = INTERNALOID;
	Extension	jwt;
	Oid			function;
	const JwtEntries *entries = NULL;

	members_find_extension("jwt", &jwt);
	function = members_find_function(&jwt, "jwt_entries", 1, &type);
	if (OidIsValid(function) && get_func_rettype(function) == INTERNALOID)
		entries = (const JwtEntries *) DatumGetPointer(OidFunctionCall1(function, (Datum) 0));
	if (entries == NULL || entries->version != JWT_ENTRIES_VERSION || entries->size != (int) sizeof(JwtEntries))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"jwt\" has another version than extension \"jwt_auth\""),
				 errhint("Install both from one release, restart the server if it preloads one, update both, and connect again.")));
	return entries;
}

/*
 * Do the triggers of a table invalidate at every write?  They do not if one was
 * disabled, replaced, or enabled for other sessions, as after pg_restore
 * --disable-triggers.
 */
static bool
triggers_are_reliable(Oid table)
{
	static const int16 types[] = {
		TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
		TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_TRUNCATE
	};
	Oid			function = members_find_function(&found.extension, "jwt_auth_changed", 0, NULL);
	Relation	rel = try_table_open(table, AccessShareLock);
	int			good = 0;

	if (rel == NULL)
		return false;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		for (int j = 0; j < (int) lengthof(types); j++)
			if (trigger->tgfoid == function && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
				trigger->tgtype == types[j] && trigger->tgnattr == 0 && trigger->tgqual == NULL)
				good |= 1 << j;
	}
	table_close(rel, AccessShareLock);
	return good == 3;
}

/*
 * Find the OIDs again if they may have changed.
 */
static void
make_current(void)
{
	while (unlikely(found.generation != catalog_generation))
	{
		uint64		before = catalog_generation;

		CHECK_FOR_INTERRUPTS();
		memset(&found, 0, sizeof(found));
		members_find_extension("jwt_auth", &found.extension);
		for (int i = 0; i < N_AUTH_TABLES; i++)
			found.tables[i] = members_require(&found.extension, table_shapes[i].name, RELKIND_RELATION);
		found.marker = members_require(&found.extension, "jwt_auth_marker", RELKIND_COMPOSITE_TYPE);
		found.unreliable = !triggers_are_reliable(found.tables[AUTH_POLICY]) ||
			!triggers_are_reliable(found.tables[AUTH_SIGNING_KEY]);
		found.generation = before;
	}
}

/*
 * A view of the extension.
 */
Oid
tables_view(const char *name)
{
	make_current();
	return members_require(&found.extension, name, RELKIND_VIEW);
}

/*
 * What jwt_auth calls of jwt.  Triggers do not need it, so rows can be restored and
 * replicated next to any version of jwt.
 */
const JwtEntries *
tables_jwt(void)
{
	make_current();
	if (unlikely(found.jwt == NULL))
		found.jwt = find_entries();
	return found.jwt;
}

/*
 * Accept invalidations.  What was read from the policy and from the signing
 * keys is good while this generation stays the same.  If the triggers are not
 * reliable, each call counts as a change.
 */
uint64
tables_generation(void)
{
	AcceptInvalidationMessages();
	make_current();
	if (unlikely(found.unreliable))
		generation++;
	return generation;
}

/*
 * Accept invalidations.  Is this still the generation, as far as the triggers tell?
 */
bool
tables_unchanged(uint64 since)
{
	AcceptInvalidationMessages();
	return generation == since || found.unreliable;
}

/*
 * The same without accepting invalidations.
 */
uint64
tables_known_generation(void)
{
	return generation;
}

/*
 * C code has written to the policy or to the signing keys: do what the
 * statement trigger does.
 */
void
tables_changed(void)
{
	make_current();
	generation++;
	CacheInvalidateRelcacheByRelid(found.marker);
}

/*
 * The trigger of the policy and of the signing keys.
 */
Datum
jwt_sql_auth_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function is for triggers only")));
	tables_changed();
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

/*
 * Open a table.  The caller closes it, or the end of the transaction does.
 * Raises an error if the table is not as the script made it.
 */
Relation
tables_open(AuthTable table, LOCKMODE lockmode)
{
	for (;;)
	{
		uint64		before;
		Relation	rel;

		make_current();
		before = catalog_generation;

		/* taking the lock accepts invalidations: the table may be gone */
		rel = try_table_open(found.tables[table], lockmode);
		if (rel != NULL && before == catalog_generation)
		{
			members_check_columns(&found.extension, rel, &table_shapes[table]);
			return rel;
		}
		if (rel != NULL)
			table_close(rel, lockmode);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * An index of an open table, or InvalidOid if no index can be used.
 */
Oid
tables_index(Relation rel, AuthIndex index)
{
	List	   *indexes = RelationGetIndexList(rel);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (members_index_fits(tuple, index_shapes[index].columns))
			result = lfirst_oid(lc);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return result;
}

/*
 * Begin a scan of an open table for one value of the first column of an index,
 * and one of its second unless second is NULL.  It sees what is committed now,
 * and what this transaction has written.  The caller ends it by
 * systable_endscan().
 */
SysScanDesc
tables_scan(Relation rel, AuthIndex index, const Slice *first, const Slice *second)
{
	Oid			oid = tables_index(rel, index);
	const Slice *values[2] = {first, second};
	ScanKeyData keys[2];
	int			n = second == NULL ? 1 : 2;

	for (int i = 0; i < n; i++)
		ScanKeyInit(&keys[i], index_shapes[index].columns[i], BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(values[i]->data, values[i]->len)));
	return systable_beginscan(rel, oid, OidIsValid(oid), NULL, n, keys);
}

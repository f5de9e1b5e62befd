/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  The transactions of workers in a database. They act as
 *	  pg_database_owner, with tables and functions of the extension only.
 *
 * Each transaction finds the extension again and locks it, because it may have
 * been dropped since the last one.  It runs in a security-restricted
 * operation, with only the rights to manage trust.
 *
 * The owner of the extension's schema can rename it at any moment, and create
 * another one with tables of the same names.  So after parse analysis, a
 * statement continues only if all its relations belong to the extension.
 * Functions are called by OID.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "extension/members.h"
#include "extension/subtransaction.h"
#include "fetcher/transaction.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* State of the current transaction. */
static Extension extension;

/* State to restore at its end. */
static Oid	saved_user;
static int	saved_security;
static int	saved_settings;
static MemoryContext saved_context;

/* The next analysed statement is from transaction_execute(). */
static bool checks_relations;
static post_parse_analyze_hook_type next_hook;

/*
 * Did an object of this owner come with the extension?  An object that the
 * owner of the extension added later belongs to that role.
 */
static bool
is_member(Oid class, Oid object, Oid owner)
{
	return superuser_arg(owner) && getExtensionOfObject(class, object) == extension.oid;
}

static bool
is_own_table(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		result = form->relkind == RELKIND_RELATION && is_member(RelationRelationId, relid, form->relowner);
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * A function of the extension with this exact signature, or InvalidOid.
 */
Oid
transaction_find_function(const char *name, int n, const Oid *types)
{
	return members_find_function(&extension, name, n, types);
}

/*
 * Do the rows of a table of the extension come from a publisher?
 */
bool
transaction_is_subscribed(const char *table)
{
	Oid			relid = get_relname_relid(table, extension.schema);
	CatCList   *list;
	bool		result;

	if (!is_own_table(relid))
		return false;
	list = SearchSysCacheList1(SUBSCRIPTIONRELMAP, ObjectIdGetDatum(relid));
	result = list->n_members > 0;
	ReleaseSysCacheList(list);
	return result;
}

/*
 * Find an extension, and lock it until the end of the transaction.
 */
static bool
find_extension(const char *name, Extension *result)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	result->name = name;
	result->oid = get_extension_oid(name, true);
	if (!OidIsValid(result->oid))
		return false;
	LockDatabaseObject(ExtensionRelationId, result->oid, 0, AccessShareLock);
	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(result->oid));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		result->schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * A function without arguments of the extension jwt_auth, or InvalidOid.
 */
Oid
transaction_find_auth_function(const char *name)
{
	Extension	auth;

	if (!find_extension("jwt_auth", &auth))
		return InvalidOid;
	return members_find_function(&auth, name, 0, NULL);
}

/*
 * Begin a transaction as pg_database_owner.  Returns false, and begins none,
 * if there is no usable extension.
 */
bool
transaction_begin(void)
{
	saved_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!find_extension("jwt", &extension) ||
		!is_own_table(get_relname_relid("jwt_jwks_state", extension.schema)))
	{
		CommitTransactionCommand();
		MemoryContextSwitchTo(saved_context);
		return false;
	}
	GetUserIdAndSecContext(&saved_user, &saved_security);
	SetUserIdAndSecContext(ROLE_PG_DATABASE_OWNER,
						   saved_security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	saved_settings = NewGUCNestLevel();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
	return true;
}

/*
 * Commit the transaction, and restore the memory context of its beginning.
 */
void
transaction_commit(void)
{
	PopActiveSnapshot();
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	/* a trigger may have changed settings */
	AtEOXact_GUC(false, saved_settings);
	SetUserIdAndSecContext(saved_user, saved_security);
	CommitTransactionCommand();
	MemoryContextSwitchTo(saved_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Parse-analysis hook: raise an error if a statement of ours has a relation
 * that is not the extension's.  After analysis, relations are identified by
 * OID.
 */
static void
check_relations(ParseState *state, Query *query, hook_jumble *jumble)
{
	List	   *relations = NIL;
	List	   *others = NIL;
	bool		has_row_security;
	ListCell   *lc;

	if (next_hook)
		next_hook(state, query, jumble);
	if (!checks_relations)
		return;
	checks_relations = false;
	extract_query_dependencies((Node *) query, &relations, &others, &has_row_security);
	foreach(lc, relations)
		if (!is_own_table(lfirst_oid(lc)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the schema of extension \"%s\" has been changed", "jwt")));
}

/*
 * Execute a statement. %s in it is replaced by the extension's schema.
 */
void
transaction_execute(const char *format, int expected,
					int n, Oid *types, Datum *values, const char *nulls)
{
	static bool is_hooked;
	const char *name = quote_identifier(get_namespace_name(extension.schema));
	const char *next;
	StringInfoData sql;

	initStringInfo(&sql);
	for (; (next = strstr(format, "%s")) != NULL; format = next + 2)
	{
		appendBinaryStringInfo(&sql, format, (int) (next - format));
		appendStringInfoString(&sql, name);
	}
	appendStringInfoString(&sql, format);

	if (!is_hooked)
	{
		next_hook = post_parse_analyze_hook;
		post_parse_analyze_hook = check_relations;
		is_hooked = true;
	}
	checks_relations = true;
	if (SPI_execute_with_args(sql.data, n, types, values, nulls, false, 0) != expected)
		elog(ERROR, "statement of jwt_jwks failed");
}

/*
 * A column of a row of the last result.  Raises an error if it has another
 * type, or is null although that is not allowed.
 */
Datum
transaction_column(int row, int column, Oid type, bool *isnull)
{
	bool		is_null;
	Datum		value;

	if (SPI_gettypeid(SPI_tuptable->tupdesc, column) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column %d of jwt_jwks_source is of another type", column)));
	value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);
	if (isnull != NULL)
		*isnull = is_null;
	else if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("column %d of jwt_jwks_source is null", column)));
	return value;
}

/*
 * The same for a text column.  The copy outlives the transaction.  Returns
 * NULL for null, if that is allowed.
 */
char *
transaction_copy_text(int row, int column, bool null_ok)
{
	bool		isnull = false;
	Datum		value = transaction_column(row, column, TEXTOID, null_ok ? &isnull : NULL);

	return isnull ? NULL : MemoryContextStrdup(saved_context, TextDatumGetCString(value));
}

/*
 * Run a function in a subtransaction.  Returns NULL, or the message of its
 * error in the current memory context.
 */
char *
transaction_attempt(void (*function) (void *), void *arg)
{
	ErrorData  *error = subtransaction_attempt(function, arg);
	char	   *message;

	if (error == NULL)
		return NULL;
	/* a lock is not the document's fault */
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	message = error->detail ? psprintf("%s: %s", error->message, error->detail) : pstrdup(error->message);
	FreeErrorData(error);
	return message;
}

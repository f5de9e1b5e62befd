/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  The transactions of workers in a database: as the extension's owner, by the
 *	  extension's own functions.
 *
 * Each finds the extension anew and locks it, as it may have been dropped since
 * the last one.
 *
 * We run as the extension's owner, within a security-restricted operation:
 * whatever stands in the database's tables, it is not done with a superuser's
 * rights.
 *
 * Who owns the extension's schema can rename it at any moment, and put another, with
 * tables of theirs, in its place.  Where that is somebody else, no schema is renamed
 * while a statement of ours runs.
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
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fetcher/transaction.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "trust/extension_function.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* For how long we try to have no schema renamed. */
#define HOLD_TRIES		100
#define HOLD_WAIT_US	20000

/*
 * A statement that holds that waits for nobody so long that the deadlock check of
 * somebody who waits for us could find them guilty.
 */
#define HOLDING_LOCK_TIMEOUT	"500ms"

/* What the transaction has found. */
static Oid	extension;
static Oid	schema;
static Oid	owner;
static bool schema_is_trusted;

/* What to go back to. */
static Oid	saved_user;
static int	saved_security;
static int	saved_settings;
static MemoryContext saved_context;

/*
 * Whose schema it is; the owner of the database stands for its role.
 */
static Oid
schema_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			role = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		role = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	if (role == ROLE_PG_DATABASE_OWNER)
	{
		tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
		if (HeapTupleIsValid(tuple))
		{
			role = ((Form_pg_database) GETSTRUCT(tuple))->datdba;
			ReleaseSysCache(tuple);
		}
	}
	return role;
}

/*
 * A function of the extension; see extension_function().
 */
Oid
transaction_find_function(const char *name, int n, const Oid *types)
{
	return extension_function(extension, schema, name, n, types);
}

/*
 * Has the extension a table of sources, which version 1.0 has not?  One that its
 * owner has added to it is none.
 */
static bool
has_sources(void)
{
	HeapTuple	tuple = SearchSysCache2(RELNAMENSP, CStringGetDatum("jwt_jwks_source"),
										ObjectIdGetDatum(schema));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		result = form->relkind == RELKIND_RELATION && superuser_arg(form->relowner) &&
			getExtensionOfObject(RelationRelationId, form->oid) == extension;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * Find the extension, and lock it, so that nobody drops it, and creates something
 * that looks like it, meanwhile.
 */
static bool
find_extension(void)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	extension = get_extension_oid("jwt", true);
	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Can nobody rename the extension's schema but those with whose rights we run
 * anyway, or who could?
 */
static bool
schema_is_safe(void)
{
	Oid			role = schema_owner();

	return role == owner || superuser_arg(role);
}

/*
 * Have no schema renamed until release_schema(), if need be.  Nobody ever waits in
 * a queue behind us: we wait for none.
 */
static void
hold_schema(void)
{
	for (int tries = 0; !schema_is_trusted; tries++)
	{
		if (ConditionalLockRelationOid(NamespaceRelationId, ShareLock))
			return;
		if (tries == HOLD_TRIES)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not obtain lock on relation \"%s\"", "pg_namespace"),
					 errhint("Somebody creates or changes schemas of the database.")));
		CHECK_FOR_INTERRUPTS();
		pg_usleep(HOLD_WAIT_US);
	}
}

static void
release_schema(void)
{
	if (!schema_is_trusted)
		UnlockRelationOid(NamespaceRelationId, ShareLock);
}

/*
 * Begin a transaction as the extension's owner.  Returns false, without one, when
 * there is no extension that can be served.
 */
bool
transaction_begin(void)
{
	saved_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!find_extension() || !has_sources())
	{
		CommitTransactionCommand();
		MemoryContextSwitchTo(saved_context);
		return false;
	}
	GetUserIdAndSecContext(&saved_user, &saved_security);
	SetUserIdAndSecContext(owner, saved_security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	saved_settings = NewGUCNestLevel();
	schema_is_trusted = schema_is_safe();
	if (!schema_is_trusted)
		(void) set_config_option("lock_timeout", HOLDING_LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
	return true;
}

/*
 * Commit it, and go back to the memory context in which it was begun.
 */
void
transaction_commit(void)
{
	PopActiveSnapshot();
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	/* what a trigger may have set */
	AtEOXact_GUC(false, saved_settings);
	SetUserIdAndSecContext(saved_user, saved_security);
	CommitTransactionCommand();
	MemoryContextSwitchTo(saved_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Execute a statement, in which %s stands for the extension's schema.
 */
void
transaction_execute(const char *format, int expected,
					int n, Oid *types, Datum *values, const char *nulls)
{
	const char *name;
	StringInfoData sql;

	hold_schema();
	name = quote_identifier(get_namespace_name(schema));
	initStringInfo(&sql);
	for (const char *p = format; *p; p++)
		if (p[0] == '%' && p[1] == 's')
		{
			appendStringInfoString(&sql, name);
			p++;
		}
		else
			appendStringInfoChar(&sql, *p);
	if (SPI_execute_with_args(sql.data, n, types, values, nulls, false, 0) != expected)
		elog(ERROR, "statement of jwt_jwks failed");
	release_schema();
}

/*
 * A column of a row of the last result.  Somebody may have put another table in
 * place of ours: it must have this type, and not be null unless that is asked for.
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
 * The same of a text column, copied so that it outlives the transaction; NULL for
 * null, if that may be.
 */
char *
transaction_copy_text(int row, int column, bool null_ok)
{
	bool		isnull = false;
	Datum		value = transaction_column(row, column, TEXTOID, null_ok ? &isnull : NULL);

	return isnull ? NULL : MemoryContextStrdup(saved_context, TextDatumGetCString(value));
}

/*
 * Run something in a subtransaction.  Returns NULL, or the message of the error
 * that it raised, in the current memory context.
 */
char *
transaction_attempt(void (*function) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	char	   *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();

		/* a shutdown, a cancel or somebody's lock is not the document's fault */
		if (ERRCODE_TO_CATEGORY(data->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(data->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
			data->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(data);
		error = data->detail ? psprintf("%s: %s", data->message, data->detail) : pstrdup(data->message);
		FreeErrorData(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

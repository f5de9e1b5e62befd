/*-------------------------------------------------------------------------
 *
 * install.c
 *	  C functions for the install and update scripts: they check who runs a
 *	  script, reset privileges, and check that no foreign object is used.
 *
 * All functions work on the extension whose script is running.  Outside of a
 * script they raise an error.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

JWT_SQL_FUNCTION(jwt_sql_install_begin);
JWT_SQL_FUNCTION(jwt_sql_install_strip);
JWT_SQL_FUNCTION(jwt_sql_install_end);

/*
 * The extension whose script is running, with its owner and schema.  Raises an
 * error outside of a script.
 */
static void
running_extension(Oid *owner, Oid *schema)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!creating_extension || GetUserId() != BOOTSTRAP_SUPERUSERID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function is for the scripts of an extension only")));
	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(CurrentExtensionObject));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for extension %u", CurrentExtensionObject);
	*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	*schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * jwt_install_begin(): check who installs, and where.  Only the owner of the
 * database gets the rights to manage trust, so a role that may only create
 * schemas in it is refused.  The script has locked the schema of this name,
 * which contains this function.  It must be the schema in which the extension
 * was created.
 */
Datum
jwt_sql_install_begin(PG_FUNCTION_ARGS)
{
	Oid			owner;
	Oid			schema;

	running_extension(&owner, &schema);
	if (get_func_namespace(fcinfo->flinfo->fn_oid) != schema)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the schema of extension \"%s\" was renamed meanwhile",
						get_extension_name(CurrentExtensionObject))));
	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("extension \"%s\" cannot be created in a temporary schema",
						get_extension_name(CurrentExtensionObject))));
	if (!superuser_arg(owner) && !has_privs_of_role(owner, ROLE_PG_DATABASE_OWNER))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create extension \"%s\"", get_extension_name(CurrentExtensionObject)),
				 errdetail("Only the owner of the database and superusers can manage what it holds."),
				 errhint("Create it as the owner of database \"%s\".", quote_string(get_database_name(MyDatabaseId)))));
	PG_RETURN_VOID();
}

/*
 * Execute an SQL statement.  All its names must be qualified.
 */
static void
execute(const char *sql, int expected)
{
	if (SPI_execute(sql, false, 0) != expected)
		elog(ERROR, "statement of the extension's script failed: %s", sql);
}

/*
 * Grant USAGE on the schema to the owner of the database, because pg_upgrade
 * cannot restore the owner's grants without it.  This grant must not be
 * recorded as a part of the extension.  Otherwise pg_dump would omit all
 * grants on the schema.
 */
static void
grant_schema(Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (owner == ROLE_PG_DATABASE_OWNER)
		return;
	creating_extension = false;
	execute(psprintf("GRANT USAGE ON SCHEMA %s TO pg_database_owner WITH GRANT OPTION",
					 quote_identifier(get_namespace_name(schema))), SPI_OK_UTILITY);
	creating_extension = true;
}

/*
 * jwt_install_strip(): revoke all rights on tables, views and functions from
 * all roles except the owner, who gets all.  Default privileges may have
 * granted or revoked any.  The script grants after this.
 */
Datum
jwt_sql_install_strip(PG_FUNCTION_ARGS)
{
	static const char members[] =
	"SELECT pg_catalog.format('%%s %%s'::text, m.kind, m.name) AS object, "
	" (SELECT pg_catalog.string_agg(DISTINCT CASE a.grantee WHEN 0::oid THEN 'PUBLIC'::text"
	"   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)::text) END, ', '::text)"
	"  FROM pg_catalog.aclexplode(m.acl) a WHERE a.grantee OPERATOR(pg_catalog.<>) m.owner) AS others"
	" FROM (SELECT 'TABLE'::text AS kind, c.oid::pg_catalog.regclass::text AS name, c.relowner AS owner,"
	"  coalesce(c.relacl, pg_catalog.acldefault('r'::\"char\", c.relowner)) AS acl"
	"  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid"
	"  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::oid"
	"  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	"  AND d.refobjid OPERATOR(pg_catalog.=) %u::oid AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\""
	"  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v}'::\"char\"[])"
	" UNION ALL"
	"  SELECT 'FUNCTION'::text, p.oid::pg_catalog.regprocedure::text, p.proowner,"
	"  coalesce(p.proacl, pg_catalog.acldefault('f'::\"char\", p.proowner))"
	"  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid"
	"  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::oid"
	"  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	"  AND d.refobjid OPERATOR(pg_catalog.=) %u::oid AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\") m";
	Oid			owner;
	Oid			schema;
	uint64		n;
	SPITupleTable *table;
	char	   *bootstrap = GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false);
	int			settings = NewGUCNestLevel();

	(void) fcinfo;
	running_extension(&owner, &schema);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* deparsed names are qualified */
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	execute(psprintf(members, CurrentExtensionObject, CurrentExtensionObject), SPI_OK_SELECT);
	n = SPI_processed;
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *object = SPI_getvalue(table->vals[i], table->tupdesc, 1);
		char	   *others = SPI_getvalue(table->vals[i], table->tupdesc, 2);

		if (others != NULL)
			execute(psprintf("REVOKE ALL ON %s FROM %s", object, others), SPI_OK_UTILITY);
		execute(psprintf("GRANT ALL ON %s TO %s", object, quote_identifier(bootstrap)), SPI_OK_UTILITY);
	}
	grant_schema(schema);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(true, settings);
	PG_RETURN_VOID();
}

/*
 * jwt_install_end(): raise an error if a member of the extension depends on an
 * object that was in the target schema before.  A planted operator, function,
 * cast or domain that captured a name of the script would run with the rights
 * of every user.  Rules, defaults, triggers and indexes are checked, too.
 */
Datum
jwt_sql_install_end(PG_FUNCTION_ARGS)
{
	static const char strangers[] =
	"WITH RECURSIVE part (classid, objid) AS ("
	" SELECT d.classid, d.objid FROM pg_catalog.pg_depend d"
	" WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	" AND d.refobjid OPERATOR(pg_catalog.=) %u::oid AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\""
	" UNION"
	" SELECT d.classid, d.objid FROM part p JOIN pg_catalog.pg_depend d"
	" ON d.refclassid OPERATOR(pg_catalog.=) p.classid AND d.refobjid OPERATOR(pg_catalog.=) p.objid"
	" WHERE d.deptype OPERATOR(pg_catalog.=) ANY ('{i,a,I}'::\"char\"[]))"
	" SELECT pg_catalog.pg_describe_object(p.classid, p.objid, 0),"
	" pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)"
	" FROM part p JOIN pg_catalog.pg_depend d"
	" ON d.classid OPERATOR(pg_catalog.=) p.classid AND d.objid OPERATOR(pg_catalog.=) p.objid"
	" WHERE d.refobjid OPERATOR(pg_catalog.>=) 16384::oid"
	" AND NOT (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	"  AND d.refobjid OPERATOR(pg_catalog.=) %u::oid)"
	" AND NOT (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid"
	"  AND d.refobjid OPERATOR(pg_catalog.=) %u::oid)"
	" AND NOT EXISTS (SELECT FROM part q WHERE q.classid OPERATOR(pg_catalog.=) d.refclassid"
	"  AND q.objid OPERATOR(pg_catalog.=) d.refobjid)"
	" LIMIT 1";
	static const char strays[] =
	"SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_depend d"
	" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid"
	" WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::oid"
	" AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	" AND d.refobjid OPERATOR(pg_catalog.=) %u::oid AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\""
	" AND c.relowner OPERATOR(pg_catalog.<>) 10::oid"
	" UNION ALL"
	" SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_depend d"
	" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.objid"
	" WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::oid"
	" AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::oid"
	" AND d.refobjid OPERATOR(pg_catalog.=) %u::oid AND d.deptype OPERATOR(pg_catalog.=) 'e'::\"char\""
	" AND p.proowner OPERATOR(pg_catalog.<>) 10::oid"
	" LIMIT 1";
	Oid			owner;
	Oid			schema;
	Oid			extension = CurrentExtensionObject;

	(void) fcinfo;
	running_extension(&owner, &schema);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute(psprintf(strangers, extension, extension, schema), SPI_OK_SELECT);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("extension \"%s\" would depend on an object that is not its own",
						get_extension_name(extension)),
				 errdetail("%s depends on %s.",
						   quote_string(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
						   quote_string(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2))),
				 errhint("Create it in a schema where nobody else can create objects.")));
	execute(psprintf(strays, extension, extension), SPI_OK_SELECT);
	if (SPI_processed > 0)
		elog(ERROR, "member %s of extension \"%s\" does not belong to the bootstrap superuser",
			 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), get_extension_name(extension));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	PG_RETURN_VOID();
}

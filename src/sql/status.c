/*-------------------------------------------------------------------------
 *
 * status.c
 *	  The rows of the views jwt_status and jwt_key_status: what is usable,
 *	  what is not, and what to do.
 *
 * PUBLIC can execute the functions, because PostgreSQL checks EXECUTE in a
 * view for the caller.  They refuse a caller without SELECT on their view, and
 * show no secret.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_init_privs.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "trust/catalog.h"
#include "trust/refresh.h"
#include "trust/revocation.h"
#include "trust/rows.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_key_status_rows);
JWT_SQL_FUNCTION(jwt_sql_status_rows);

/* Set a column of a row in which all columns start as null. */
#define SET(column, datum) (values[column] = (datum), nulls[column] = false)
#define SET_TEXT(column, string) ((string) == NULL ? (void) 0 : (void) SET(column, CStringGetTextDatum(string)))
#define SET_TIME(column, time, absent) ((time) == (absent) ? (void) 0 : (void) SET(column, TimestampTzGetDatum(time)))

/* The maximal number of problems that a row lists. */
#define MAX_PROBLEMS	20

/* Bytes of the error of a fetch that a problem quotes. */
#define MAX_LAST_ERROR	1024

/* A row of jwt_status that is being built. */
typedef struct Status
{
	char	   *name;			/* the issuer; NULL for the row of the
								 * database */
	TrustIssuer *issuer;
	int			usable;
	int			standby;
	TimestampTz keys_end;		/* DT_NOBEGIN: no key */
	char	   *source;
	bool		has_source;
	TimestampTz last_success;
	TimestampTz next_attempt;
	char	   *last_error;
	List	   *problems;		/* of char * */
	List	   *grants;			/* the same, for the row of the database */
	int			more_problems;
} Status;

/*
 * Raise an error if the caller may not select from the view.
 */
static void
require_view(const char *name)
{
	Oid			view = catalog_view(name);
	AclResult	result = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_VIEW, name);
}

static void
add_problem(Status *status, char *problem)
{
	if (list_length(status->problems) < MAX_PROBLEMS)
		status->problems = lappend(status->problems, problem);
	else
		status->more_problems++;
}

/*
 * jwt_key_status_rows(): a row for each key.
 */
Datum
jwt_sql_key_status_rows(PG_FUNCTION_ARGS)
{
	enum
	{
		ID, ISSUER, KID, ALG, SOURCE, STATE, VERIFIES, UNUSABLE, NOT_BEFORE, NOT_AFTER,
		RETIRED_AT, REVOKED_AT, CREATED_AT, THUMBPRINT, N_COLUMNS
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentStatementStartTimestamp();
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jwt key status", ALLOCSET_DEFAULT_SIZES);
	RowScan		scan;

	require_view("jwt_key_status");
	InitMaterializedSRF(fcinfo, 0);
	catalog_accept_changes();
	scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, InvalidAttrNumber, NULL, InvalidAttrNumber, NULL);
	while (rows_next(&scan))
	{
		MemoryContext old = MemoryContextSwitchTo(each);
		Datum		values[N_COLUMNS] = {0};
		bool		nulls[N_COLUMNS];
		KeyRow		key;
		char	   *thumbprint = NULL;
		TimestampTz revoked_at = DT_NOBEGIN;
		bool		revoked = false;
		bool		open;
		const char *state;

		rows_read_key(&scan, &key);
		rows_check_key_fully(&key);
		if (key.jwk_read)
		{
			thumbprint = rows_thumbprint(&key.jwk);
			revoked = revocation_of_key(thumbprint, &revoked_at);
		}
		open = now >= key.not_before && now < key.not_after;
		if (key.unusable != NULL)
			state = "unusable";
		else if (revoked)
			state = "revoked";
		else if (now < key.not_before)
			state = "standby";
		else
			state = key.not_after == DT_NOEND ? "current" : "previous";

		memset(nulls, true, sizeof(nulls));
		SET(ID, UUIDPGetDatum(&key.id));
		SET_TEXT(ISSUER, key.issuer);
		SET_TEXT(KID, key.kid);
		SET_TEXT(ALG, key.alg);
		SET_TEXT(SOURCE, key.source);
		SET_TEXT(STATE, state);
		SET(VERIFIES, BoolGetDatum(key.unusable == NULL && !revoked && open));
		SET_TEXT(UNUSABLE, key.unusable);
		SET_TIME(NOT_BEFORE, key.not_before, DT_NOBEGIN);
		SET_TIME(NOT_AFTER, key.not_after, DT_NOEND);
		SET_TIME(RETIRED_AT, key.retired_at, DT_NOEND);
		if (revoked)
			SET_TIME(REVOKED_AT, revoked_at, DT_NOBEGIN);
		SET_TIME(CREATED_AT, key.created_at, DT_NOBEGIN);
		/* the thumbprint of a secret would help to guess the secret */
		if (key.jwk_read && strcmp(key.jwk.kty, "oct") != 0)
			SET_TEXT(THUMBPRINT, thumbprint);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(each);
	}
	rows_end(&scan);
	return (Datum) 0;
}

/*
 * The name of a key for a message, also of a key without a kid.
 */
static char *
show_kid(const KeyRow *key)
{
	return key->kid == NULL ? pstrdup("A key without kid") :
		psprintf("The key \"%s\"", quote_string(key->kid));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((const Status *) lfirst(a))->name, ((const Status *) lfirst(b))->name);
}

static int
compare_name_with_status(const void *name, const void *cell)
{
	return strcmp(name, ((const Status *) lfirst((const ListCell *) cell))->name);
}

/*
 * The status of an issuer in the result of read_issuers(); NULL if it has no
 * row.
 */
static Status *
find_status(List *statuses, const char *name)
{
	ListCell   *cell;

	if (name == NULL || statuses == NIL)
		return NULL;
	cell = bsearch(name, statuses->elements, list_length(statuses), sizeof(ListCell), compare_name_with_status);
	return cell == NULL ? NULL : lfirst(cell);
}

/*
 * Report rows of a table whose issuer has no row.
 */
static void
note_orphans(Status *database, TrustTable table, int n)
{
	if (n > 0)
		add_problem(database, psprintf("%d row%s of %s %s of issuers that have no row in jwt_issuer.",
									   n, n == 1 ? "" : "s", catalog_table_name(table), n == 1 ? "is" : "are"));
}

/*
 * A status for each row of jwt_issuer, in order of the issuers.
 */
static List *
read_issuers(void)
{
	List	   *statuses = NIL;
	RowScan		scan = rows_begin(TRUST_ISSUER, INDEX_ISSUER, InvalidAttrNumber, NULL, InvalidAttrNumber, NULL);

	while (rows_next(&scan))
	{
		Status	   *status = palloc0(sizeof(Status));
		const char *shared;
		char	   *missing;

		status->issuer = rows_current_issuer(&scan);
		status->name = status->issuer->policy.issuer;
		status->keys_end = DT_NOBEGIN;
		status->next_attempt = status->last_success = DT_NOBEGIN;
		if (status->issuer->unusable != NULL)
			add_problem(status, psprintf("Its policy cannot be used. %s", status->issuer->unusable));
		else if ((missing = rows_missing_roles(status->issuer)) != NULL)
			add_problem(status, missing);
		if (status->issuer->unusable == NULL &&
			(shared = claims_shared_audience(&status->issuer->policy, &status->issuer->events)) != NULL)
			add_problem(status, psprintf("The audience \"%s\" is that of access tokens and of events. If it is the client's, its ID tokens may pass as access tokens.",
										 quote_string(shared)));
		statuses = lappend(statuses, status);
	}
	rows_end(&scan);
	list_sort(statuses, compare_names);
	return statuses;
}

/*
 * Count a key of an issuer, or report why it verifies nothing.  The report is
 * allocated in the memory context of the status.
 */
static void
count_key(Status *status, KeyRow *key, MemoryContext context)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	char	   *thumbprint;
	TimestampTz revoked_at;

	rows_check_key(key, status->issuer);
	if (key->unusable != NULL && status->issuer->unusable != NULL)
		return;					/* the status of the issuer reports it */
	rows_try_key(key);
	if (key->unusable != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		add_problem(status, psprintf("%s verifies nothing. %s", show_kid(key), key->unusable));
		MemoryContextSwitchTo(old);
		return;
	}
	thumbprint = rows_thumbprint(&key->jwk);
	if (revocation_of_key(thumbprint, &revoked_at))
		return;
	if (now < key->not_before)
		status->standby++;
	else if (now < key->not_after)
	{
		status->usable++;
		status->keys_end = Max(status->keys_end, key->not_after);
	}
}

/*
 * Count the keys of each issuer, and report the keys that verify nothing.
 */
static void
read_keys(List *statuses, Status *database)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(context, "jwt key status", ALLOCSET_DEFAULT_SIZES);
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, InvalidAttrNumber, NULL, InvalidAttrNumber, NULL);
	int			orphans = 0;

	while (rows_next(&scan))
	{
		KeyRow		key;
		Status	   *status;

		MemoryContextSwitchTo(each);
		rows_read_key(&scan, &key);
		status = find_status(statuses, key.issuer);
		if (status == NULL)
			orphans++;
		else
			count_key(status, &key, context);
		MemoryContextSwitchTo(context);
		MemoryContextReset(each);
	}
	rows_end(&scan);
	MemoryContextDelete(each);
	note_orphans(database, TRUST_KEY, orphans);
}

/*
 * Do the rows of jwt_key come from a publisher?  Then no worker fetches keys.
 */
static bool
is_subscribed(void)
{
	Relation	keys = catalog_open(TRUST_KEY, AccessShareLock);
	Relation	rel = table_open(SubscriptionRelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(keys)));
	scan = systable_beginscan(rel, SubscriptionRelSrrelidSrsubidIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	table_close(keys, AccessShareLock);
	return found;
}

/*
 * Read the sources of key sets, and the results of their fetches.
 */
static void
read_sources(List *statuses, Status *database)
{
	RowScan		scan = rows_begin(TRUST_SOURCE, INDEX_SOURCE, InvalidAttrNumber, NULL, InvalidAttrNumber, NULL);
	const char *idle = RecoveryInProgress() || is_subscribed() ? NULL : refresh_why_idle();
	int			orphans = 0;

	while (rows_next(&scan))
	{
		char	   *name = rows_text(&scan, Anum_source_issuer);
		char	   *uri = rows_text(&scan, Anum_source_uri);
		Status	   *status = find_status(statuses, name);
		bool		isnull[2];
		Datum		intervals[2];
		char	   *why;

		if (status == NULL)
		{
			orphans++;
			continue;
		}
		intervals[0] = rows_column(&scan, Anum_source_refresh_interval, &isnull[0]);
		intervals[1] = rows_column(&scan, Anum_source_grace, &isnull[1]);
		why = rows_check_source(uri, isnull[0] ? NULL : DatumGetIntervalP(intervals[0]),
								isnull[1] ? NULL : DatumGetIntervalP(intervals[1]));
		if (why != NULL)
			add_problem(status, psprintf("Its row in jwt_jwks_source is not as it should be. %s", why));
		if (idle != NULL)
			add_problem(status, pstrdup(idle));
		status->has_source = true;
		/* the uri may contain a password or another secret */
		status->source = uri == NULL ? pstrdup("discovery") :
			rows_uri_has_user(uri) ? pstrdup("a URL with a user name") :
			strchr(uri, '?') == NULL ? uri : psprintf("%.*s?...", (int) strcspn(uri, "?"), uri);
	}
	rows_end(&scan);
	note_orphans(database, TRUST_SOURCE, orphans);

	scan = rows_begin(TRUST_STATE, INDEX_STATE, InvalidAttrNumber, NULL, InvalidAttrNumber, NULL);
	while (rows_next(&scan))
	{
		Status	   *status = find_status(statuses, rows_text(&scan, Anum_state_issuer));

		if (status == NULL || !status->has_source)
			continue;
		status->last_success = rows_time(&scan, Anum_state_last_success, DT_NOBEGIN);
		status->next_attempt = rows_time(&scan, Anum_state_next_attempt, DT_NOBEGIN);
		status->last_error = rows_text(&scan, Anum_state_last_error);
		if (status->last_error != NULL)
			add_problem(status, psprintf("The last fetch of its keys failed. %s",
										 quote_untrusted_up_to(status->last_error, (int) strlen(status->last_error), MAX_LAST_ERROR)));
	}
	rows_end(&scan);
}

/*
 * Report triggers that are not ENABLE ALWAYS and missing indexes, each with
 * the statement that corrects it.
 */
static void
check_tables(Status *database)
{
	for (int table = 0; table < N_TRUST_TABLES; table++)
	{
		Relation	rel = catalog_open(table, AccessShareLock);
		char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
													  RelationGetRelationName(rel));
		char	   *remedy;

		for (int i = 0; catalog_trigger_remedy(rel, table, i, &remedy); i++)
			if (remedy != NULL)
				add_problem(database, psprintf("A trigger does not fire as it should%s. As a superuser: %s",
											   table == TRUST_SOURCE || table == TRUST_STATE ? "" : ", so nothing is cached", remedy));
		for (int index = 0; index < N_TRUST_INDEXES; index++)
			if (catalog_index_table(index) == (TrustTable) table && !OidIsValid(catalog_index(rel, index)))
				add_problem(database, psprintf("An index is missing, so the table is read from end to end. As a superuser: CREATE INDEX ON %s (%s);",
											   name, catalog_index_columns(index)));
		table_close(rel, AccessShareLock);
	}
}

/*
 * Report that the server cannot start again.  ALTER SYSTEM takes several libraries
 * in one pair of quotes for the name of one, and says nothing.
 */
static void
check_preload(Status *database)
{
	ConfigVariable *head = NULL;
	ConfigVariable *tail = NULL;

	(void) ParseConfigFile(PG_AUTOCONF_FILENAME, false, NULL, 0, 0, DEBUG2, &head, &tail);
	for (ConfigVariable *item = head; item != NULL; item = item->next)
	{
		List	   *libraries;
		ListCell   *lc;

		if (item->name == NULL || strcmp(item->name, "shared_preload_libraries") != 0 ||
			!SplitDirectoriesString(pstrdup(item->value), ',', &libraries))
			continue;
		foreach(lc, libraries)
		{
			if (strchr(lfirst(lc), ',') != NULL && strstr(lfirst(lc), "jwt") != NULL)
				add_problem(database, pstrdup("The server will not start again, because ALTER SYSTEM made one name of all libraries in shared_preload_libraries. As a superuser, name them without quotes, such as: ALTER SYSTEM SET shared_preload_libraries = jwt, jwt_jwks;"));
		}
	}
	FreeConfigVariables(head);
}

/*
 * The ACL that the script gave to an object, or NULL if it is not recorded.
 */
static Acl *
initial_acl(Oid class, Oid object)
{
	Relation	rel = table_open(InitPrivsRelationId, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	Acl		   *acl = NULL;

	ScanKeyInit(&keys[0], Anum_pg_init_privs_objoid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	ScanKeyInit(&keys[1], Anum_pg_init_privs_classoid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class));
	ScanKeyInit(&keys[2], Anum_pg_init_privs_objsubid, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	scan = systable_beginscan(rel, InitPrivsObjIndexId, true, NULL, 3, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_init_privs_initprivs, RelationGetDescr(rel), &isnull);

		if (!isnull)
			acl = DatumGetAclPCopy(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return acl;
}

/*
 * Does an ACL have an item for the same roles with at least these rights?
 */
static bool
acl_has(const Acl *acl, const AclItem *wanted)
{
	for (int i = 0; acl != NULL && i < ACL_NUM(acl); i++)
	{
		const AclItem *item = &ACL_DAT(acl)[i];

		if (item->ai_grantee == wanted->ai_grantee && item->ai_grantor == wanted->ai_grantor &&
			(wanted->ai_privs & ~item->ai_privs) == 0)
			return true;
	}
	return false;
}

static char *
show_grant(const AclItem *item, const ObjectAddress *object)
{
	return quote_string(psprintf("%s on %s",
								 DatumGetCString(DirectFunctionCall1(aclitemout, PointerGetDatum(item))),
								 getObjectDescription(object, false)));
}

/*
 * Report how an ACL differs from that of the script.  Rights that the owner of
 * the database has delegated are listed.  Dangerous and missing rights are
 * problems.  Both ACLs may be NULL.
 */
static void
compare_acl(Status *database, const ObjectAddress *object, const Acl *now, const Acl *then)
{
	for (int i = 0; now != NULL && i < ACL_NUM(now); i++)
	{
		const AclItem *item = &ACL_DAT(now)[i];

		if (acl_has(then, item))
			continue;
		if (object->classId == RelationRelationId &&
			(item->ai_grantee == ACL_ID_PUBLIC ||
			 (ACLITEM_GET_PRIVS(*item) & ~(ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE)) != 0))
			add_problem(database, psprintf("A right was granted that nobody should have: %s.",
										   show_grant(item, object)));
		database->grants = lappend(database->grants, show_grant(item, object));
	}
	for (int i = 0; then != NULL && i < ACL_NUM(then); i++)
		if (!acl_has(now, &ACL_DAT(then)[i]))
			add_problem(database, psprintf("A right that the extension gave was taken away: %s.",
										   show_grant(&ACL_DAT(then)[i], object)));
}

/*
 * The ACL in a column of a catalog row, or NULL.
 */
static Acl *
acl_column(int cache, HeapTuple tuple, AttrNumber column)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cache, tuple, column, &isnull);

	return isnull ? NULL : DatumGetAclPCopy(value);
}

/*
 * Report the ACL of an object, and of the columns of a table.  The script
 * grants no rights on columns.
 */
static void
compare_acls_of(Status *database, Oid class, Oid oid)
{
	ObjectAddress object = {class, oid, 0};
	int			cache = class == RelationRelationId ? RELOID : PROCOID;
	HeapTuple	tuple = SearchSysCache1(cache, ObjectIdGetDatum(oid));
	Acl		   *now;
	int			n_columns = 0;

	if (!HeapTupleIsValid(tuple))
		return;
	now = acl_column(cache, tuple, class == RelationRelationId ? Anum_pg_class_relacl : Anum_pg_proc_proacl);
	if (class == RelationRelationId)
		n_columns = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);

	compare_acl(database, &object, now, initial_acl(class, oid));
	for (int i = 1; i <= n_columns; i++)
	{
		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(oid), Int16GetDatum(i));
		if (!HeapTupleIsValid(tuple))
			continue;
		now = acl_column(ATTNUM, tuple, Anum_pg_attribute_attacl);
		ReleaseSysCache(tuple);
		object.objectSubId = i;
		compare_acl(database, &object, now, NULL);
	}
}

/*
 * Report the ACLs of all tables, views and functions of the extension.
 */
static void
compare_acls(Status *database)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(catalog_extension()));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->deptype != DEPENDENCY_EXTENSION)
			continue;
		if (form->classid == RelationRelationId || form->classid == ProcedureRelationId)
			compare_acls_of(database, form->classid, form->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * Check that the owner of the database has USAGE on the schema, which is
 * needed to manage trust, with grant option, without which pg_upgrade fails on
 * delegated grants.
 */
static void
check_schema(Status *database)
{
	static const char *const rights[] = {"USAGE", "USAGE WITH GRANT OPTION"};
	Oid			schema = catalog_schema();
	bool		good = true;

	for (int i = 0; i < (int) lengthof(rights); i++)
		good = good && DatumGetBool(DirectFunctionCall3(has_schema_privilege_id_id, ObjectIdGetDatum(ROLE_PG_DATABASE_OWNER),
														ObjectIdGetDatum(schema), CStringGetTextDatum(rights[i])));
	if (!good)
		add_problem(database, psprintf("The owner of the database lacks a right on the schema. As a superuser: GRANT USAGE ON SCHEMA %s TO pg_database_owner WITH GRANT OPTION;",
									   quote_identifier(get_namespace_name(schema))));
}

static Datum
text_array(List *strings)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(strings), 1));
	ListCell   *lc;
	int			n = 0;

	foreach(lc, strings)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
put_status(ReturnSetInfo *result, Status *status, bool of_database)
{
	enum
	{
		ISSUER, OK, PROBLEMS, USABLE_KEYS, KEYS_END, STANDBY_KEYS, REVOCATIONS, SOURCE,
		LAST_SUCCESS, NEXT_ATTEMPT, LAST_ERROR, GRANTS, N_COLUMNS
	};
	Datum		values[N_COLUMNS] = {0};
	bool		nulls[N_COLUMNS];
	int64		revocations = 0;

	if (status->more_problems > 0)
		status->problems = lappend(status->problems, psprintf("And %d more.", status->more_problems));
	memset(nulls, true, sizeof(nulls));
	SET(OK, BoolGetDatum(status->problems == NIL));
	SET(PROBLEMS, text_array(status->problems));
	if (of_database)
	{
		SET(GRANTS, text_array(status->grants));
		SET(REVOCATIONS, Int64GetDatum(revocation_count("", REVOKED_KEY)));
	}
	else
	{
		SET_TEXT(ISSUER, status->name);
		SET(USABLE_KEYS, Int32GetDatum(status->usable));
		SET_TIME(KEYS_END, status->keys_end == DT_NOEND ? DT_NOBEGIN : status->keys_end, DT_NOBEGIN);
		SET(STANDBY_KEYS, Int32GetDatum(status->standby));
		for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
			revocations += kind == REVOKED_KEY ? 0 : revocation_count(status->name, kind);
		SET(REVOCATIONS, Int64GetDatum(revocations));
		SET_TEXT(SOURCE, status->source);
		SET_TIME(LAST_SUCCESS, status->last_success, DT_NOBEGIN);
		SET_TIME(NEXT_ATTEMPT, status->next_attempt, DT_NOBEGIN);
		SET_TEXT(LAST_ERROR, status->last_error);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * jwt_status_rows(): a row for each issuer, and one without for the database.
 */
Datum
jwt_sql_status_rows(PG_FUNCTION_ARGS)
{
	Status		database = {.keys_end = DT_NOBEGIN};
	List	   *statuses;
	ListCell   *lc;

	require_view("jwt_status");
	InitMaterializedSRF(fcinfo, 0);
	catalog_accept_changes();
	check_tables(&database);
	check_preload(&database);
	compare_acls(&database);
	check_schema(&database);
	statuses = read_issuers();
	read_keys(statuses, &database);
	read_sources(statuses, &database);

	put_status((ReturnSetInfo *) fcinfo->resultinfo, &database, true);
	foreach(lc, statuses)
	{
		Status	   *status = lfirst(lc);

		if (status->usable == 0 && status->issuer->unusable == NULL)
			add_problem(status, pstrdup("It has no key that verifies now."));
		put_status((ReturnSetInfo *) fcinfo->resultinfo, status, false);
	}
	return (Datum) 0;
}

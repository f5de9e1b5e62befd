/*-------------------------------------------------------------------------
 *
 * members.c
 *	  Finding tables, indexes and functions that came with an extension.
 *
 * A relation is found as a member of the extension, never by search_path.  It is
 * used only if it belongs to a superuser and has the kind and the column types of
 * the install script.  The functions remember nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "extension/members.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Find an extension.  Raises an error if this database does not have it.
 */
void
members_find_extension(const char *name, Extension *extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));

	/*
	 * there are few rows, and the first use of an index is expensive in a new
	 * backend
	 */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", name)));
	extension->name = name;
	extension->oid = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
	extension->schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * The OID of the relation in the extension's schema that is a member of the
 * extension, has this kind, and belongs to a superuser; or InvalidOid.
 */
static Oid
find_member(const Extension *extension, const char *name, char relkind)
{
	HeapTuple	tuple = SearchSysCache2(RELNAMENSP, CStringGetDatum(name),
										ObjectIdGetDatum(extension->schema));
	Oid			relid = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		/* a marker has no content, so only its owner is checked */
		if (form->relkind == relkind && superuser_arg(form->relowner) &&
			(relkind == RELKIND_COMPOSITE_TYPE ||
			 getExtensionOfObject(RelationRelationId, form->oid) == extension->oid))
			relid = form->oid;
		ReleaseSysCache(tuple);
	}
	return relid;
}

/*
 * The OID of a table, a view or a marker.  Raises an error if it is not as the script
 * made it.
 */
Oid
members_require(const Extension *extension, const char *name, char relkind)
{
	Oid			relid = find_member(extension, name, relkind);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" has no \"%s\" that can be trusted", extension->name, name),
				 errdetail("It must be a member of the extension and belong to a superuser.")));
	return relid;
}

/*
 * The OID of a function of the extension with this exact signature, or
 * InvalidOid.  Call it by OID: an overload in the schema may belong to another
 * role, and a name can have another meaning a moment later.  The function must
 * belong to a superuser, because the owner of the extension can add other
 * functions to it.
 */
Oid
members_find_function(const Extension *extension, const char *name, int n, const Oid *types)
{
	HeapTuple	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
										PointerGetDatum(buildoidvector(types, n)),
										ObjectIdGetDatum(extension->schema));
	Oid			function = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		if (superuser_arg(form->proowner) &&
			getExtensionOfObject(ProcedureRelationId, form->oid) == extension->oid)
			function = form->oid;
		ReleaseSysCache(tuple);
	}
	return function;
}

/*
 * Raise an error unless the table starts with the columns of the install script.
 */
void
members_check_columns(const Extension *extension, Relation rel, const TableShape *shape)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		good = desc->natts >= shape->n_columns;

	for (int i = 0; good && i < shape->n_columns; i++)
		good = !TupleDescAttr(desc, i)->attisdropped &&
			TupleDescAttr(desc, i)->atttypid == shape->types[i];
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" of extension \"%s\" has other columns than its script gave it",
						shape->name, extension->name)));
}

/*
 * Are the columns of an index ordered as C code needs: text byte for byte, in
 * a btree?
 */
static bool
is_in_our_order(HeapTuple tuple, int n)
{
	bool		isnull;
	oidvector  *collations = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indcollation, &isnull));
	oidvector  *opclasses = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull));

	for (int i = 0; i < n; i++)
	{
		Oid			family;

		if (!OidIsValid(collations->values[i]))
			continue;
		family = get_opclass_family(opclasses->values[i]);
		if (collations->values[i] != C_COLLATION_OID ||
			(family != TEXT_BTREE_FAM_OID && family != TEXT_PATTERN_BTREE_FAM_OID))
			return false;
	}
	return true;
}

/*
 * Is an index a btree?
 */
static bool
is_btree(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		btree = false;

	if (HeapTupleIsValid(tuple))
	{
		btree = ((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID;
		ReleaseSysCache(tuple);
	}
	return btree;
}

/*
 * Is this index (a row of pg_index) usable, a btree in byte order, without
 * expression or predicate, and on exactly these columns?  columns has
 * MEMBERS_MAX_KEYS elements; unused ones are InvalidAttrNumber.
 */
bool
members_index_fits(HeapTuple tuple, const AttrNumber *columns)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
	int			n = 0;

	while (n < MEMBERS_MAX_KEYS && columns[n] != InvalidAttrNumber)
		n++;
	if (!form->indisvalid || !form->indisready || !form->indislive || form->indnkeyatts != n ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(tuple, Anum_pg_index_indexprs, NULL))
		return false;
	for (int i = 0; i < n; i++)
		if (form->indkey.values[i] != columns[i])
			return false;
	return is_in_our_order(tuple, n) && is_btree(form->indexrelid);
}

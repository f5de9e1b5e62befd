/*-------------------------------------------------------------------------
 *
 * extension_function.h
 *	  Finding a function that came with the extension, for whoever calls one with
 *	  other rights than those of the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_EXTENSION_FUNCTION_H
#define JWT_EXTENSION_FUNCTION_H

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/*
 * A function of the extension, by its exact signature; InvalidOid when it has
 * none.  It is called by OID: an overload in its schema is somebody else's, and so
 * may be what a name means a moment later.  So is a function that the extension's
 * owner has added to it; a script's belongs to a superuser.
 */
static inline Oid
extension_function(Oid extension, Oid schema, const char *name, int n, const Oid *types)
{
	oidvector  *vector = buildoidvector(types, n);
	HeapTuple	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
										PointerGetDatum(vector), ObjectIdGetDatum(schema));
	Oid			function = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		if (superuser_arg(form->proowner) &&
			getExtensionOfObject(ProcedureRelationId, form->oid) == extension)
			function = form->oid;
		ReleaseSysCache(tuple);
	}
	return function;
}

#endif							/* JWT_EXTENSION_FUNCTION_H */

/*-------------------------------------------------------------------------
 *
 * members.h
 *	  Finding tables, indexes and functions that came with an extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_MEMBERS_H
#define JWT_MEMBERS_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/rel.h"

#define MEMBERS_MAX_COLUMNS	18
#define MEMBERS_MAX_KEYS	3

/* An extension of this database. */
typedef struct Extension
{
	const char *name;			/* constant */
	Oid			oid;
	Oid			schema;
} Extension;

/* The required shape of a table. */
typedef struct TableShape
{
	const char *name;
	int			n_columns;
	Oid			types[MEMBERS_MAX_COLUMNS];
} TableShape;

extern void members_find_extension(const char *name, Extension *extension);
extern Oid	members_require(const Extension *extension, const char *name, char relkind);
extern Oid	members_find_function(const Extension *extension, const char *name, int n, const Oid *types);
extern void members_check_columns(const Extension *extension, Relation rel, const TableShape *shape);
extern bool members_index_fits(HeapTuple tuple, const AttrNumber *columns);

#endif							/* JWT_MEMBERS_H */

/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Rows of an extension's tables that C code writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_ROW_H
#define JWT_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/*
 * The newest committed version of a row, as row_find() has found it, and its
 * primary key.  row_forget() or row_lock_found() ends it.
 */
typedef struct FoundRow
{
	Datum		key;
	HeapTuple	tuple;			/* or NULL */
	Snapshot	snapshot;		/* keeps the versions that come after it */
} FoundRow;

extern void row_require_write(const char *function);
extern void row_require_write_with_hint(const char *function, const char *hint);
extern Datum row_new_id(void);
extern void row_insert(Relation rel, int n, const Datum *values, const bool *nulls);
extern void row_find(Relation rel, Datum key, FoundRow *found);
extern void row_forget(FoundRow *found);
extern TupleTableSlot *row_lock_found(Relation rel, FoundRow *found);
extern TupleTableSlot *row_lock(Relation rel, Datum key);
extern void row_update(Relation rel, TupleTableSlot *locked, int n, const Datum *values, const bool *nulls);
extern void row_delete(Relation rel, TupleTableSlot *locked);

#endif							/* JWT_ROW_H */

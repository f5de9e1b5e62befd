/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Rows of an extension's tables that C code writes.
 *
 * The executor writes the row, so constraints, indexes and row triggers apply.
 * No privilege on the table is checked: EXECUTE on the calling function is the
 * permission.  The caller fills in all columns of the install script, because
 * defaults apply to statements only.  Columns that were added since are null in
 * a new row, and unchanged in an updated one.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "extension/row.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "token/failure.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/*
 * Raise PostgreSQL's error for a write that is not allowed: in a read-only
 * transaction, on a standby, in a parallel worker.  The message names
 * function, such as "jwt_logout()", without arguments, which may be secret.
 */
void
row_require_write(const char *function)
{
	row_require_write_with_hint(function, NULL);
}

/*
 * The same with a hint for where none may.
 */
void
row_require_write_with_hint(const char *function, const char *hint)
{
	/* as PreventCommandIfReadOnly() and PreventCommandIfParallelMode() do */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s in a read-only transaction", function),
				 hint ? errhint("%s", hint) : 0,
				 errhidesecret()));
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot execute %s during a parallel operation", function),
				 errhidesecret()));
}

/*
 * A new id for a row.
 */
Datum
row_new_id(void)
{
	return OidFunctionCall0(F_GEN_RANDOM_UUID);
}

/*
 * Set up the range table of the executor with the one table that is written.
 */
static void
init_range_table(EState *estate, Relation rel)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	List	   *permissions = NIL;

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(rel);
	entry->relkind = rel->rd_rel->relkind;
	entry->rellockmode = AccessShareLock;
	add_permission_info(&permissions, entry);
	exec_init_range_table(estate, list_make1(entry), permissions);
}

/*
 * Set up the executor for one write to a table.
 */
static EState *
begin_write(Relation rel, ResultRelInfo **result)
{
	EState	   *estate = CreateExecutorState();

	*result = makeNode(ResultRelInfo);
	init_range_table(estate, rel);
	InitResultRelInfo(*result, rel, 1, NULL, 0);
	estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
	ExecOpenIndices(*result, false);
	return estate;
}

/*
 * Fire the row's AFTER triggers, and make the write visible to later commands.
 */
static void
end_write(EState *estate, ResultRelInfo *result)
{
	ExecCloseIndices(result);
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	CommandCounterIncrement();
}

/*
 * Insert a row into an open table, which has at least n columns.  Later
 * commands of this transaction see it.
 */
void
row_insert(Relation rel, int n, const Datum *values, const bool *nulls)
{
	ResultRelInfo *result;
	EState	   *estate = begin_write(rel, &result);
	TupleTableSlot *slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), &TTSOpsVirtual);

	ExecClearTuple(slot);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		slot->tts_values[i] = i < n ? values[i] : (Datum) 0;
		slot->tts_isnull[i] = i < n ? nulls[i] : true;
	}
	ExecStoreVirtualTuple(slot);
	ExecSimpleRelationInsert(result, estate, slot);
	end_write(estate, result);
}

/*
 * The function that compares values of the first column.
 */
static Oid
first_column_equal(Relation rel)
{
	Oid			type = TupleDescAttr(RelationGetDescr(rel), 0)->atttypid;

	return get_opcode(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr);
}

/*
 * Find the row with this primary key, as it is committed now.  The key is the
 * first column.  found->tuple becomes a copy in the current memory context, or
 * NULL.
 */
void
row_find(Relation rel, Datum key, FoundRow *found)
{
	Oid			index = primary_key_index(rel);
	ScanKeyData scan_key;
	SysScanDesc scan;

	found->key = key;
	found->snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, first_column_equal(rel), key);
	scan = systable_beginscan(rel, index, OidIsValid(index), found->snapshot, 1, &scan_key);
	found->tuple = systable_getnext(scan);
	if (HeapTupleIsValid(found->tuple))
		found->tuple = heap_copytuple(found->tuple);
	systable_endscan(scan);
}

/*
 * Release what row_find() holds.  Its copy stays.
 */
void
row_forget(FoundRow *found)
{
	UnregisterSnapshot(found->snapshot);
	found->snapshot = NULL;
}

/*
 * Lock the newest version of a row that row_find() has found until the end of
 * the transaction, whatever its isolation level, and forget it.  Waits for
 * others who have locked it.  Returns its values in a new slot, which the caller
 * drops by ExecDropSingleTupleTableSlot(); or NULL if there is no row with this
 * primary key any more.
 *
 * RelationFindReplTupleByIndex() would not do: while others update the row, its
 * dirty snapshot can miss both the old version and the new one.
 */
TupleTableSlot *
row_lock_found(Relation rel, FoundRow *found)
{
	TupleTableSlot *slot = NULL;
	TM_FailureData failure;
	TM_Result	result = TM_Deleted;

	if (found->tuple != NULL)
	{
		slot = table_slot_create(rel, NULL);
		result = table_tuple_lock(rel, &found->tuple->t_self, found->snapshot, slot, GetCurrentCommandId(false),
								  LockTupleNoKeyExclusive, LockWaitBlock,
								  TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS | TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
								  &failure);
	}
	row_forget(found);
	if (result != TM_Ok && result != TM_Deleted)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("row of table \"%s\" is changed by the same command", RelationGetRelationName(rel))));
	if (result == TM_Ok)
		slot_getallattrs(slot);

	/* the newest version may have another key */
	if (slot != NULL &&
		(result != TM_Ok ||
		 !DatumGetBool(OidFunctionCall2Coll(first_column_equal(rel), C_COLLATION_OID, slot->tts_values[0], found->key))))
	{
		ExecDropSingleTupleTableSlot(slot);
		slot = NULL;
	}
	return slot;
}

/*
 * Find the row with this primary key, and lock it.
 */
TupleTableSlot *
row_lock(Relation rel, Datum key)
{
	FoundRow	found;

	row_find(rel, key, &found);
	return row_lock_found(rel, &found);
}

/*
 * Give the row that row_lock() has locked these values in its first n columns.
 * Later commands of this transaction see them.
 */
void
row_update(Relation rel, TupleTableSlot *locked, int n, const Datum *values, const bool *nulls)
{
	ResultRelInfo *result;
	EState	   *estate = begin_write(rel, &result);
	TupleTableSlot *slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), &TTSOpsVirtual);
	EPQState	epq;

	ExecClearTuple(slot);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		slot->tts_values[i] = i < n ? values[i] : locked->tts_values[i];
		slot->tts_isnull[i] = i < n ? nulls[i] : locked->tts_isnull[i];
	}
	ExecStoreVirtualTuple(slot);
	eval_plan_qual_init(&epq, estate);
	ExecSimpleRelationUpdate(result, estate, &epq, locked, slot);
	EvalPlanQualEnd(&epq);
	end_write(estate, result);
}

/*
 * Delete the row that row_lock() has locked.  Later commands of this transaction
 * do not see it.
 */
void
row_delete(Relation rel, TupleTableSlot *locked)
{
	ResultRelInfo *result;
	EState	   *estate = begin_write(rel, &result);
	EPQState	epq;

	eval_plan_qual_init(&epq, estate);
	ExecSimpleRelationDelete(result, estate, &epq, locked);
	EvalPlanQualEnd(&epq);
	end_write(estate, result);
}

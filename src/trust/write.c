/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Rows that C code inserts into the extension's tables.
 *
 * The executor inserts the row, so constraints, indexes and row triggers
 * apply.  No privilege on the table is checked: EXECUTE on the calling
 * function is the permission.  The caller fills in all columns, because
 * defaults apply to statements only.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "token/failure.h"
#include "trust/rows.h"
#include "trust/write.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/*
 * Raise PostgreSQL's error for a write that is not allowed: in a read-only
 * transaction, on a standby, in a parallel worker.  The message names
 * function, such as "jwt_logout()", without arguments, which may be secret.
 */
void
write_require(const char *function)
{
	write_require_with_hint(function, NULL);
}

/*
 * The same with a hint for where none may.
 */
void
write_require_with_hint(const char *function, const char *hint)
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
write_new_id(void)
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
 * Insert a row.  Later commands of this transaction see it.
 */
void
write_insert(TrustTable table, Datum *values, bool *nulls)
{
	Relation	rel = catalog_open(table, RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *result = makeNode(ResultRelInfo);
	TupleTableSlot *slot;

	init_range_table(estate, rel);
	InitResultRelInfo(result, rel, 1, NULL, 0);
	estate->es_output_cid = GetCurrentCommandId(true);
	slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), &TTSOpsVirtual);
	ExecClearTuple(slot);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		/* columns that were added to the table are null */
		bool		ours = i < catalog_table_columns(table);

		slot->tts_values[i] = ours ? values[i] : (Datum) 0;
		slot->tts_isnull[i] = ours ? nulls[i] : true;
	}
	ExecStoreVirtualTuple(slot);

	AfterTriggerBeginQuery();
	ExecOpenIndices(result, false);
	ExecSimpleRelationInsert(result, estate, slot);
	ExecCloseIndices(result);
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	table_close(rel, NoLock);

	/* as the statement triggers do */
	if (table == TRUST_DENYLIST)
		catalog_denylist_changed();
	else
		catalog_trust_changed();
	CommandCounterIncrement();
}

/*
 * Insert a revocation. value is the claim, the thumbprint of a key, or the
 * name of an issuer. issued_before is DT_NOEND for kinds that have no time.
 * expires_at is DT_NOEND for a row that is kept forever. reason has null data
 * if there is none.
 */
void
write_revocation(RevocationKind kind, const Slice *issuer, const Slice *value,
				 TimestampTz issued_before, TimestampTz expires_at, const Slice *reason)
{
	Datum		values[Natts_denylist] = {0};
	bool		nulls[Natts_denylist] = {false};

#define SET(column, datum) (values[Anum_denylist_##column - 1] = (datum))
#define SET_NULL(column) (nulls[Anum_denylist_##column - 1] = true)
	SET(id, write_new_id());
	SET(issuer, PointerGetDatum(cstring_to_text_with_len(issuer->data, issuer->len)));
	SET(kind, CStringGetTextDatum(revocation_kind_name(kind)));
	SET(value, PointerGetDatum(cstring_to_text_with_len(value->data, value->len)));
	if (issued_before == DT_NOEND)
		SET_NULL(issued_before);
	else
		SET(issued_before, TimestampTzGetDatum(issued_before));
	if (expires_at == DT_NOEND)
		SET_NULL(expires_at);
	else
		SET(expires_at, TimestampTzGetDatum(expires_at));
	if (reason->data == NULL)
		SET_NULL(reason);
	else
		SET(reason, PointerGetDatum(cstring_to_text_with_len(reason->data, reason->len)));
	SET(revoked_by, CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)));
	SET(revoked_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
#undef SET
#undef SET_NULL
	write_insert(TRUST_DENYLIST, values, nulls);
}

/*
 * Is there a row that revokes at least as much, until this time at least?  As of now,
 * whatever the isolation level.
 */
bool
write_is_revoked(RevocationKind kind, const Slice *issuer, const Slice *value,
				 TimestampTz issued_before, TimestampTz until)
{
	Slice		name = slice_of(revocation_kind_name(kind));
	RowScan		scan = rows_begin(TRUST_DENYLIST, INDEX_DENYLIST_VALUE,
								  Anum_denylist_value, value, Anum_denylist_kind, &name);
	bool		found = false;

	while (!found && rows_next(&scan))
	{
		Slice		row_issuer = slice_of(rows_text(&scan, Anum_denylist_issuer));

		found = slice_equal(&row_issuer, issuer) &&
			rows_time(&scan, Anum_denylist_issued_before, DT_NOEND) >= issued_before &&
			rows_time(&scan, Anum_denylist_expires_at, DT_NOEND) >= until;
	}
	rows_end(&scan);
	return found;
}

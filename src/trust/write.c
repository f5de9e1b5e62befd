/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Rows that C code writes into the tables of trust.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "extension/row.h"
#include "miscadmin.h"
#include "trust/rows.h"
#include "trust/write.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/*
 * Insert a row.  Later commands of this transaction see it.
 */
void
write_insert(TrustTable table, const Datum *values, const bool *nulls)
{
	Relation	rel = catalog_open(table, RowExclusiveLock);

	row_insert(rel, catalog_table_columns(table), values, nulls);
	table_close(rel, NoLock);

	/* as the statement triggers do */
	if (table == TRUST_DENYLIST)
		catalog_denylist_changed();
	else
		catalog_trust_changed();
}

/*
 * Lock the key with this id, as row_lock() does.  Returns NULL if there is no
 * such row of source signing.
 */
static TupleTableSlot *
lock_signing_key(Relation rel, const pg_uuid_t *id)
{
	TupleTableSlot *slot = row_lock(rel, UUIDPGetDatum(id));

	if (slot == NULL || (!slot->tts_isnull[Anum_key_source - 1] &&
						 strcmp(TextDatumGetCString(slot->tts_values[Anum_key_source - 1]), "signing") == 0))
		return slot;
	ExecDropSingleTupleTableSlot(slot);
	return NULL;
}

/*
 * Let the key with this id verify until not_after, or forever for DT_NOEND.
 * Returns false if there is no such row of source signing.
 */
bool
write_key_end(const pg_uuid_t *id, TimestampTz not_after)
{
	Relation	rel = catalog_open(TRUST_KEY, RowExclusiveLock);
	TupleTableSlot *slot = lock_signing_key(rel, id);

	if (slot != NULL)
	{
		Datum		values[Natts_key];
		bool		nulls[Natts_key];

		memcpy(values, slot->tts_values, sizeof(values));
		memcpy(nulls, slot->tts_isnull, sizeof(nulls));
		values[Anum_key_not_after - 1] = TimestampTzGetDatum(not_after);
		nulls[Anum_key_not_after - 1] = not_after == DT_NOEND;
		row_update(rel, slot, Natts_key, values, nulls);
		catalog_trust_changed();
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, NoLock);
	return slot != NULL;
}

/*
 * Delete the key of source signing with this id if it has ended before a time.
 * Returns whether there is no such key any more.
 */
bool
write_key_delete(const pg_uuid_t *id, TimestampTz ended_before)
{
	Relation	rel = catalog_open(TRUST_KEY, RowExclusiveLock);
	TupleTableSlot *slot = lock_signing_key(rel, id);
	bool		ended = slot == NULL || (!slot->tts_isnull[Anum_key_not_after - 1] &&
										 DatumGetTimestampTz(slot->tts_values[Anum_key_not_after - 1]) < ended_before);

	if (slot != NULL)
	{
		if (ended)
		{
			row_delete(rel, slot);
			catalog_trust_changed();
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, NoLock);
	return ended;
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
	SET(id, row_new_id());
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

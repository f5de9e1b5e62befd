/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  Lookups of revocations in the table jwt_denylist.
 *
 * A token is revoked by its key's thumbprint, its issuer, its subject, its
 * session or its jti.  Each lookup is one probe of the index (value, kind,
 * issuer), with the most selective column first.  The result is cached for one
 * denylist_generation (catalog.c): while the table does not change, checking a
 * cached token takes one comparison.
 *
 * A kind without a row of the issuer needs no probe.  This is cached for one
 * generation.  That a kind has rows is cached longer: if it is outdated, it
 * costs a probe but does not change the verdict.
 *
 * Without the index the table is read from end to end, with the same verdict.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "trust/catalog.h"
#include "trust/revocation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The number of issuers for which a backend caches the kinds of revocation. */
#define MAX_SUMMARIES	256

static const char *const kind_names[N_REVOCATION_KINDS] = {
	[REVOKED_KEY] = "key",
	[REVOKED_ISSUER] = "iss",
	[REVOKED_SUBJECT] = "sub",
	[REVOKED_SESSION] = "sid",
	[REVOKED_ID] = "jti",
};

/* A row that revokes. */
typedef struct Revocation
{
	RevocationKind kind;
	TimestampTz issued_before;	/* DT_NOEND: for any iat */
	TimestampTz revoked_at;		/* DT_NOBEGIN: unknown */
} Revocation;

/*
 * The kinds of revocation of an issuer; revocations of keys have the issuer
 * "".
 */
typedef struct Summary
{
	char	   *issuer;			/* NULL: the slot is free */
	int			len;
	uint64		generation;		/* in which an absent kind is absent */
	bool		present[N_REVOCATION_KINDS];
	Revocation	of_issuer;		/* the revocation of the issuer with the
								 * latest issued_before, if present */
} Summary;

static Summary summaries[MAX_SUMMARIES];

/* A scan of the table for one or several lookups. */
typedef struct RevocationScan
{
	Relation	rel;
	Relation	index;			/* of the current probe, or NULL */
	IndexScanDesc rows;			/* of that probe */
	TupleTableSlot *slot;		/* the current row */
	Snapshot	snapshot;
	uint64		generation;		/* read before the snapshot was taken */
} RevocationScan;

/*
 * The name of a kind in the table's column.
 */
const char *
revocation_kind_name(RevocationKind kind)
{
	return kind_names[kind];
}

bool
revocation_kind_known(const char *name, int len)
{
	for (int i = 0; i < N_REVOCATION_KINDS; i++)
		if ((int) strlen(kind_names[i]) == len && memcmp(kind_names[i], name, len) == 0)
			return true;
	return false;
}

/*
 * Open the table, read the generation, and take a snapshot, in this order.
 */
static void
begin_scan(RevocationScan *scan)
{
	AcceptInvalidationMessages();
	memset(scan, 0, sizeof(*scan));
	scan->rel = catalog_open(TRUST_DENYLIST, AccessShareLock);
	scan->generation = denylist_generation;
	scan->snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(scan->rel)));
}

static void
end_probe(RevocationScan *scan)
{
	if (scan->rows != NULL)
		index_endscan(scan->rows);
	if (scan->index != NULL)
		index_close(scan->index, AccessShareLock);
	scan->rows = NULL;
	scan->index = NULL;
}

static void
end_scan(RevocationScan *scan)
{
	end_probe(scan);
	if (scan->slot != NULL)
		ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->rel, AccessShareLock);
}

static TupleTableSlot *
row_slot(RevocationScan *scan)
{
	if (scan->slot == NULL)
		scan->slot = table_slot_create(scan->rel, NULL);
	return scan->slot;
}

static bool
text_column_is(const RevocationScan *scan, AttrNumber column, const char *str, int len)
{
	bool		isnull;
	Datum		value = slot_getattr(scan->slot, column, &isnull);
	text	   *t;

	if (isnull)
		return false;
	t = DatumGetTextPP(value);
	return (int) VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), str, len) == 0;
}

static TimestampTz
time_column(const RevocationScan *scan, AttrNumber column, TimestampTz null_value)
{
	bool		isnull;
	Datum		value = slot_getattr(scan->slot, column, &isnull);

	return isnull ? null_value : DatumGetTimestampTz(value);
}

/*
 * The value and the issuer for a lookup of this kind.  *value has null data if
 * the query does not look up this kind.
 */
static void
key_of_kind(const RevocationQuery *query, RevocationKind kind, Slice *issuer, Slice *value)
{
	static const Slice every_issuer = {"", 0};

	*issuer = kind == REVOKED_KEY ? every_issuer : query->issuer;
	switch (kind)
	{
		case REVOKED_KEY:
			*value = query->thumbprint;
			break;
		case REVOKED_ISSUER:
			*value = query->issuer;
			break;
		case REVOKED_SUBJECT:
			*value = query->sub;
			break;
		case REVOKED_SESSION:
			*value = query->sid;
			break;
		default:
			*value = query->jti;
	}
}

static void
init_key(ScanKey key, AttrNumber column, const char *str, int len)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(cstring_to_text_with_len(str, len)));
	key->sk_collation = C_COLLATION_OID;
}

/*
 * Begin a probe of an index for rows with these column values.
 */
static void
begin_probe(RevocationScan *scan, TrustIndex index, int n, ScanKey keys)
{
	Oid			oid = catalog_index(scan->rel, index);

	if (scan->index == NULL || RelationGetRelid(scan->index) != oid)
	{
		end_probe(scan);
		scan->index = index_open(oid, AccessShareLock);
		scan->rows = index_begin_scan(scan->rel, scan->index, scan->snapshot, n);
	}
	index_rescan(scan->rows, keys, n, NULL, 0);
}

/*
 * Go to the next row of a probe.  Returns false after the last.
 */
static bool
next_row(RevocationScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	/* most probes find no row, and need no slot */
	while (index_getnext_tid(scan->rows, ForwardScanDirection) != NULL)
	{
		if (index_fetch_heap(scan->rows, row_slot(scan)))
			return true;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

static void
row_read(const RevocationScan *scan, RevocationKind kind, Revocation *revocation)
{
	revocation->kind = kind;
	revocation->issued_before = time_column(scan, Anum_denylist_issued_before, DT_NOEND);
	revocation->revoked_at = time_column(scan, Anum_denylist_revoked_at, DT_NOBEGIN);
}

/*
 * Does a revocation with a value of the token revoke it?  Revocations of a
 * subject or an issuer revoke only tokens until issued_before. iat has a
 * resolution of one second, so a token with the same time may be older, and is
 * refused.
 */
static bool
revokes(const Revocation *revocation, const RevocationQuery *query)
{
	return (revocation->kind != REVOKED_SUBJECT && revocation->kind != REVOKED_ISSUER) ||
		!query->has_issued || query->issued <= revocation->issued_before;
}

/*
 * Is there a row of a kind that revokes the token?
 */
static bool
probe(RevocationScan *scan, RevocationKind kind, const RevocationQuery *query, Revocation *revocation)
{
	Slice		issuer;
	Slice		value;
	ScanKeyData keys[3];

	key_of_kind(query, kind, &issuer, &value);
	if (value.data == NULL || value.len > TRUST_MAX_NAME)
		return false;
	/* columns of the index */
	init_key(&keys[0], 1, value.data, value.len);
	init_key(&keys[1], 2, kind_names[kind], (int) strlen(kind_names[kind]));
	init_key(&keys[2], 3, issuer.data, issuer.len);
	begin_probe(scan, INDEX_DENYLIST_VALUE, lengthof(keys), keys);
	while (next_row(scan))
	{
		row_read(scan, kind, revocation);
		if (revokes(revocation, query))
			return true;
	}
	return false;
}

/*
 * Begin a probe for all rows of an issuer and a kind.
 */
static void
begin_kind(RevocationScan *scan, const Slice *issuer, RevocationKind kind)
{
	ScanKeyData keys[2];

	init_key(&keys[0], 1, issuer->data, issuer->len);
	init_key(&keys[1], 2, kind_names[kind], (int) strlen(kind_names[kind]));
	begin_probe(scan, INDEX_DENYLIST_ISSUER, lengthof(keys), keys);
}

/*
 * Has the table the indexes?
 */
static bool
has_indexes(const RevocationScan *scan)
{
	return OidIsValid(catalog_index(scan->rel, INDEX_DENYLIST_VALUE)) &&
		OidIsValid(catalog_index(scan->rel, INDEX_DENYLIST_ISSUER));
}

/*
 * Is the table empty?
 */
static bool
is_empty(const RevocationScan *scan)
{
	return RelationGetNumberOfBlocks(scan->rel) == 0;
}

/*
 * The slot of an issuer; *is_its says whether the slot has the summary of this
 * issuer.
 */
static Summary *
summary_slot(const Slice *issuer, bool *is_its)
{
	uint32		hash = hash_bytes((const unsigned char *) issuer->data, issuer->len);
	Summary    *summary = &summaries[hash % MAX_SUMMARIES];

	*is_its = summary->issuer != NULL && summary->len == issuer->len &&
		memcmp(summary->issuer, issuer->data, issuer->len) == 0;
	return summary;
}

/*
 * The summary of an issuer.  Initialises the slot if it had another issuer.
 */
static Summary *
find_summary(const Slice *issuer)
{
	bool		is_its;
	Summary    *summary = summary_slot(issuer, &is_its);

	if (!is_its)
	{
		char	   *name = MemoryContextAlloc(TopMemoryContext, issuer->len + 1);

		memcpy(name, issuer->data, issuer->len);
		if (summary->issuer != NULL)
			pfree(summary->issuer);
		memset(summary, 0, sizeof(*summary));
		summary->issuer = name;
		summary->len = issuer->len;
	}
	return summary;
}

/*
 * Find the revocation of the whole issuer with the latest issued_before.
 * There are few such rows, and the result is the same for all tokens.
 */
static void
read_issuer_revocations(RevocationScan *scan, const Slice *issuer, Summary *summary)
{
	summary->present[REVOKED_ISSUER] = false;
	begin_kind(scan, issuer, REVOKED_ISSUER);
	while (next_row(scan))
	{
		Revocation	revocation;

		row_read(scan, REVOKED_ISSUER, &revocation);
		if (!summary->present[REVOKED_ISSUER] ||
			revocation.issued_before > summary->of_issuer.issued_before)
			summary->of_issuer = revocation;
		summary->present[REVOKED_ISSUER] = true;
	}
}

/*
 * The kinds of revocation of an issuer, and perhaps more.  The scan's snapshot
 * sees no row of a kind that is absent here.
 */
static const Summary *
current_summary(RevocationScan *scan, const Slice *issuer)
{
	Summary    *summary = find_summary(issuer);

	if (summary->generation == scan->generation)
		return summary;
	summary->generation = 0;
	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (kind == REVOKED_ISSUER)
			read_issuer_revocations(scan, issuer, summary);
		else if (!summary->present[kind] && (kind != REVOKED_KEY || issuer->len == 0))
		{
			begin_kind(scan, issuer, kind);
			summary->present[kind] = next_row(scan);
		}
	summary->generation = scan->generation;
	return summary;
}

/*
 * Look for a row that revokes the token, kind by kind.
 */
static bool
look_up(RevocationScan *scan, const RevocationQuery *query, Revocation *revocation)
{
	static const Slice every_issuer = {"", 0};
	Summary		summary = *current_summary(scan, &query->issuer);

	/* a copy, as the summary of the keys can take the other's slot */
	summary.present[REVOKED_KEY] = query->key_generation != scan->generation &&
		current_summary(scan, &every_issuer)->present[REVOKED_KEY];
	if (summary.present[REVOKED_ISSUER] && revokes(&summary.of_issuer, query))
	{
		*revocation = summary.of_issuer;
		return true;
	}
	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (kind != REVOKED_ISSUER && summary.present[kind] && probe(scan, kind, query, revocation))
			return true;
	return false;
}

/*
 * The same without an index: one pass over the table.
 */
static bool
read_all(RevocationScan *scan, const RevocationQuery *query, Revocation *revocation)
{
	TableScanDesc rows = table_beginscan(scan->rel, scan->snapshot, 0, NULL);
	bool		revoked = false;

	while (!revoked && table_scan_getnextslot(rows, ForwardScanDirection, row_slot(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		for (int kind = 0; kind < N_REVOCATION_KINDS && !revoked; kind++)
		{
			Slice		issuer;
			Slice		value;

			key_of_kind(query, kind, &issuer, &value);
			revoked = value.data != NULL &&
				text_column_is(scan, Anum_denylist_value, value.data, value.len) &&
				text_column_is(scan, Anum_denylist_kind, kind_names[kind], (int) strlen(kind_names[kind])) &&
				text_column_is(scan, Anum_denylist_issuer, issuer.data, issuer.len);
			if (revoked)
			{
				row_read(scan, kind, revocation);
				revoked = revokes(revocation, query);
			}
		}
	}
	table_endscan(rows);
	return revoked;
}

/*
 * The description of a revocation for a message.
 */
static char *
show_revocation(const Revocation *revocation, const RevocationQuery *query)
{
	char	   *when = revocation->revoked_at == DT_NOBEGIN ? pstrdup("") :
	psprintf(" at %s", timestamptz_to_str(revocation->revoked_at));
	const char *undated = query->has_issued || revocation->issued_before == DT_NOEND ? "" :
	", and this one does not say when it was issued";
	char	   *until = revocation->issued_before == DT_NOEND ? pstrdup("") :
	psprintf(" that were issued until %s", timestamptz_to_str(revocation->issued_before));

	switch (revocation->kind)
	{
		case REVOKED_KEY:
			return psprintf("The key that signed the token was revoked%s.", when);
		case REVOKED_ISSUER:
			return psprintf("The tokens of the issuer \"%s\"%s have been revoked%s.",
							quote_untrusted(query->issuer.data, query->issuer.len), until, undated);
		case REVOKED_SUBJECT:
			return psprintf("The tokens of the subject \"%s\"%s have been revoked%s.",
							quote_untrusted(query->sub.data, query->sub.len), until, undated);
		case REVOKED_SESSION:
			return psprintf("The session \"%s\" was ended%s.",
							quote_untrusted(query->sid.data, query->sid.len), when);
		default:
			return psprintf("The token \"%s\" was revoked%s.",
							quote_untrusted(query->jti.data, query->jti.len), when);
	}
}

/* The denylist_generation in which the table is empty. */
static uint64 empty_generation;

/*
 * Do the cached summaries show that nothing revokes the token?
 */
static bool
is_known_good(const RevocationQuery *query)
{
	const Summary *summary;
	bool		is_its;

	if (empty_generation == denylist_generation)
		return true;
	summary = summary_slot(&query->issuer, &is_its);
	if (!is_its || query->key_generation != denylist_generation || summary->generation != denylist_generation)
		return false;
	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (kind != REVOKED_KEY && summary->present[kind])
			return false;
	return true;
}

/*
 * Check that the token is not revoked.  *generation is the denylist_generation
 * of the result.  Returns false with the failure if it is revoked.
 */
bool
revocation_check(const RevocationQuery *query, uint64 *generation, Failure *failure)
{
	RevocationScan scan;
	Revocation	revocation;
	bool		revoked;

	AcceptInvalidationMessages();
	if (is_known_good(query))
	{
		*generation = denylist_generation;
		return true;
	}
	begin_scan(&scan);
	if (is_empty(&scan))
	{
		empty_generation = scan.generation;
		revoked = false;
	}
	else
		revoked = has_indexes(&scan) ? look_up(&scan, query, &revocation) : read_all(&scan, query, &revocation);
	end_scan(&scan);
	*generation = scan.generation;
	return !revoked || fail(failure, FAILURE_REVOKED, show_revocation(&revocation, query));
}

/*
 * Is the key with this thumbprint revoked?
 */
bool
revocation_of_key(const char *thumbprint, TimestampTz *revoked_at)
{
	RevocationQuery query = {.thumbprint = slice_of(thumbprint)};
	RevocationScan scan;
	Revocation	revocation;
	bool		revoked;

	begin_scan(&scan);
	revoked = has_indexes(&scan) ? probe(&scan, REVOKED_KEY, &query, &revocation) : read_all(&scan, &query, &revocation);
	end_scan(&scan);
	if (revoked)
		*revoked_at = revocation.revoked_at;
	return revoked;
}

/*
 * Can there be revocations of keys?
 */
bool
revocation_has_keys(void)
{
	static const Slice every_issuer = {"", 0};
	RevocationScan scan;
	bool		present;

	begin_scan(&scan);
	present = !is_empty(&scan) &&
		(!has_indexes(&scan) || current_summary(&scan, &every_issuer)->present[REVOKED_KEY]);
	end_scan(&scan);
	return present;
}

/*
 * The number of revocations of a kind of an issuer.  Revocations of keys have
 * the issuer "".
 */
int64
revocation_count(const char *issuer, RevocationKind kind)
{
	Slice		name = slice_of(issuer);
	RevocationScan scan;
	TableScanDesc rows;
	int64		n = 0;

	begin_scan(&scan);
	if (has_indexes(&scan))
	{
		begin_kind(&scan, &name, kind);
		while (next_row(&scan))
			n++;
	}
	else
	{
		rows = table_beginscan(scan.rel, scan.snapshot, 0, NULL);
		while (table_scan_getnextslot(rows, ForwardScanDirection, row_slot(&scan)))
		{
			CHECK_FOR_INTERRUPTS();
			n += text_column_is(&scan, Anum_denylist_issuer, name.data, name.len) &&
				text_column_is(&scan, Anum_denylist_kind, kind_names[kind], (int) strlen(kind_names[kind]));
		}
		table_endscan(rows);
	}
	end_scan(&scan);
	return n;
}

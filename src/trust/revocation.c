/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  What is trusted no longer: asking the table jwt_denylist.
 *
 * A token is revoked by its key's thumbprint, its issuer, its subject, its
 * session or its jti.  Each is one probe of the index (issuer, kind, value),
 * under a snapshot taken for it.  What was found is remembered for one
 * denylist_generation (catalog.c): as long as nobody writes to the table, a token
 * that was not revoked is not, for one comparison.
 *
 * A kind of which an issuer has no row at all need not be probed for each token.
 * That is remembered, too, for one generation; that there are some is remembered
 * longer, since it costs a probe and no verdict.
 *
 * Without the index the table is read from end to end, with the same verdict.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "trust/catalog.h"
#include "trust/revocation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Issuers of which a backend remembers which kinds of revocation they have. */
#define MAX_SUMMARIES	256

static const char *const kind_names[N_REVOCATION_KINDS] = {
	[REVOKED_KEY] = "key",
	[REVOKED_ISSUER] = "iss",
	[REVOKED_SUBJECT] = "sub",
	[REVOKED_SESSION] = "sid",
	[REVOKED_ID] = "jti",
};

/* Which kinds of revocation an issuer has; the issuer "" has those of keys. */
typedef struct Summary
{
	char	   *issuer;			/* NULL: the slot is free */
	int			len;
	uint64		generation;		/* for which a kind that is absent is */
	bool		present[N_REVOCATION_KINDS];
} Summary;

static Summary summaries[MAX_SUMMARIES];

/* A scan of the table, for one or several questions. */
typedef struct RevocationScan
{
	Relation	rel;
	Oid			index;			/* InvalidOid: read from end to end */
	Snapshot	snapshot;
	uint64		generation;		/* noted before the snapshot was taken */
} RevocationScan;

/* A row that revokes. */
typedef struct Revocation
{
	RevocationKind kind;
	TimestampTz issued_before;	/* DT_NOEND: whenever issued */
	TimestampTz revoked_at;		/* DT_NOBEGIN: not known */
} Revocation;

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
 * denylist_generation, after accepting what others have committed.  Where the
 * triggers cannot be relied on, every call is a change.
 */
uint64
revocation_generation(void)
{
	catalog_accept_invalidations();
	if (unlikely(!catalog_denylist_is_reliable()))
		denylist_generation++;
	return denylist_generation;
}

static RevocationScan
begin_scan(void)
{
	RevocationScan scan;

	scan.rel = catalog_open(TRUST_DENYLIST, AccessShareLock);
	scan.index = catalog_index(INDEX_DENYLIST);
	scan.generation = denylist_generation;
	scan.snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(scan.rel)));
	return scan;
}

static void
end_scan(RevocationScan *scan)
{
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->rel, AccessShareLock);
}

static bool
text_column_is(const RevocationScan *scan, HeapTuple tuple, AttrNumber column, const char *str, int len)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(scan->rel), &isnull);
	text	   *t;

	if (isnull)
		return false;
	t = DatumGetTextPP(value);
	return (int) VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), str, len) == 0;
}

static TimestampTz
time_column(const RevocationScan *scan, HeapTuple tuple, AttrNumber column, TimestampTz null_value)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(scan->rel), &isnull);

	return isnull ? null_value : DatumGetTimestampTz(value);
}

/*
 * What a kind is asked for by: the value, in rows of this issuer.  *value has null
 * data when the query does not ask for the kind.
 */
static void
key_of_kind(const RevocationQuery *query, RevocationKind kind, JwsString *issuer, JwsString *value)
{
	static const JwsString every_issuer = {"", 0};

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

/*
 * Begin to look for rows of an issuer and a kind, and with data in value of that
 * value alone.
 */
static SysScanDesc
begin_probe(const RevocationScan *scan, const JwsString *issuer, RevocationKind kind, const JwsString *value)
{
	ScanKeyData keys[3];
	int			n = 2;

	ScanKeyInit(&keys[0], Anum_denylist_issuer, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(cstring_to_text_with_len(issuer->data, issuer->len)));
	ScanKeyInit(&keys[1], Anum_denylist_kind, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(kind_names[kind]));
	if (value->data != NULL)
		ScanKeyInit(&keys[n++], Anum_denylist_value, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(cstring_to_text_with_len(value->data, value->len)));
	return systable_beginscan(scan->rel, scan->index, OidIsValid(scan->index), scan->snapshot, n, keys);
}

/*
 * Does a row of a kind, which has the token's value, revoke the token?  By subject
 * and by issuer only what was issued until then.  A token's iat has seconds: one
 * that is the same may be earlier, and is refused.
 */
static bool
row_revokes(const RevocationScan *scan, HeapTuple tuple, RevocationKind kind,
			const RevocationQuery *query, Revocation *revocation)
{
	revocation->kind = kind;
	revocation->issued_before = time_column(scan, tuple, Anum_denylist_issued_before, DT_NOEND);
	revocation->revoked_at = time_column(scan, tuple, Anum_denylist_revoked_at, DT_NOBEGIN);
	return (kind != REVOKED_SUBJECT && kind != REVOKED_ISSUER) ||
		!query->has_issued || query->issued <= revocation->issued_before;
}

/*
 * Is there a row of a kind that revokes the token?
 */
static bool
probe(const RevocationScan *scan, RevocationKind kind, const RevocationQuery *query, Revocation *revocation)
{
	JwsString	issuer;
	JwsString	value;
	SysScanDesc rows;
	HeapTuple	tuple;
	bool		revoked = false;

	key_of_kind(query, kind, &issuer, &value);
	if (value.data == NULL || value.len > TRUST_MAX_NAME)
		return false;
	rows = begin_probe(scan, &issuer, kind, &value);
	while (!revoked && HeapTupleIsValid(tuple = systable_getnext(rows)))
	{
		CHECK_FOR_INTERRUPTS();
		revoked = row_revokes(scan, tuple, kind, query, revocation);
	}
	systable_endscan(rows);
	return revoked;
}

/*
 * Has the issuer any row of a kind?
 */
static bool
probe_presence(const RevocationScan *scan, const JwsString *issuer, RevocationKind kind)
{
	static const JwsString any_value = {NULL, 0};
	SysScanDesc rows = begin_probe(scan, issuer, kind, &any_value);
	bool		present = HeapTupleIsValid(systable_getnext(rows));

	systable_endscan(rows);
	return present;
}

/*
 * What is remembered of an issuer; the slot may have been another's.
 */
static Summary *
find_summary(const JwsString *issuer)
{
	uint32		hash = hash_bytes((const unsigned char *) issuer->data, issuer->len);
	Summary    *summary = &summaries[hash % MAX_SUMMARIES];

	if (summary->issuer == NULL || summary->len != issuer->len ||
		memcmp(summary->issuer, issuer->data, issuer->len) != 0)
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
 * Which kinds does an issuer have, at least?  A kind that is said to be absent has
 * no row that the scan's snapshot sees.
 */
static const Summary *
current_summary(const RevocationScan *scan, const JwsString *issuer)
{
	Summary    *summary = find_summary(issuer);

	if (summary->generation == scan->generation)
		return summary;
	summary->generation = 0;
	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (!summary->present[kind] && (kind != REVOKED_KEY || issuer->len == 0))
			summary->present[kind] = probe_presence(scan, issuer, kind);
	summary->generation = scan->generation;
	return summary;
}

/*
 * Look for a row that revokes the token, kind by kind.
 */
static bool
look_up(const RevocationScan *scan, const RevocationQuery *query, Revocation *revocation)
{
	static const JwsString every_issuer = {"", 0};
	bool		present[N_REVOCATION_KINDS];

	/*
	 * the issuer's first: its slot may be the one of the keys, which is then
	 * read again
	 */
	memcpy(present, current_summary(scan, &query->issuer)->present, sizeof(present));
	present[REVOKED_KEY] = current_summary(scan, &every_issuer)->present[REVOKED_KEY];
	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (present[kind] && probe(scan, kind, query, revocation))
			return true;
	return false;
}

/*
 * The same, where there is no index: one pass over the table.
 */
static bool
read_all(const RevocationScan *scan, const RevocationQuery *query, Revocation *revocation)
{
	SysScanDesc rows = systable_beginscan(scan->rel, InvalidOid, false, scan->snapshot, 0, NULL);
	HeapTuple	tuple;
	bool		revoked = false;

	while (!revoked && HeapTupleIsValid(tuple = systable_getnext(rows)))
	{
		CHECK_FOR_INTERRUPTS();
		for (int kind = 0; kind < N_REVOCATION_KINDS && !revoked; kind++)
		{
			JwsString	issuer;
			JwsString	value;

			key_of_kind(query, kind, &issuer, &value);
			revoked = value.data != NULL &&
				text_column_is(scan, tuple, Anum_denylist_value, value.data, value.len) &&
				text_column_is(scan, tuple, Anum_denylist_kind, kind_names[kind], (int) strlen(kind_names[kind])) &&
				text_column_is(scan, tuple, Anum_denylist_issuer, issuer.data, issuer.len) &&
				row_revokes(scan, tuple, kind, query, revocation);
		}
	}
	systable_endscan(rows);
	return revoked;
}

/*
 * What a revocation says of the token, for a message.
 */
static char *
show_revocation(const Revocation *revocation, const RevocationQuery *query)
{
	char	   *when = revocation->revoked_at == DT_NOBEGIN ? pstrdup("") :
	psprintf(" at %s", timestamptz_to_str(revocation->revoked_at));
	const char *undated = query->has_issued ? "" : ", and this one does not say when it was issued";
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

/*
 * Is the token one that has not been revoked?  *generation is that for which the
 * answer holds, as revocation_generation() gives it.  Otherwise false, with the
 * failure.
 */
bool
revocation_check(const RevocationQuery *query, uint64 *generation, Failure *failure)
{
	RevocationScan scan;
	Revocation	revocation;
	bool		revoked;

	(void) revocation_generation();
	scan = begin_scan();
	revoked = OidIsValid(scan.index) ? look_up(&scan, query, &revocation) : read_all(&scan, query, &revocation);
	end_scan(&scan);
	*generation = scan.generation;
	return !revoked || fail(failure, FAILURE_REVOKED, show_revocation(&revocation, query));
}

/*
 * Has the key with this thumbprint been revoked?
 */
bool
revocation_of_key(const char *thumbprint, TimestampTz *revoked_at)
{
	RevocationQuery query = {.thumbprint = {thumbprint, (int) strlen(thumbprint)}};
	RevocationScan scan = begin_scan();
	Revocation	revocation;
	bool		revoked = OidIsValid(scan.index) ?
	probe(&scan, REVOKED_KEY, &query, &revocation) : read_all(&scan, &query, &revocation);

	end_scan(&scan);
	if (revoked)
		*revoked_at = revocation.revoked_at;
	return revoked;
}

/*
 * May there be revocations of keys?
 */
bool
revocation_has_keys(void)
{
	static const JwsString every_issuer = {"", 0};
	RevocationScan scan = begin_scan();
	bool		present = !OidIsValid(scan.index) ||
	current_summary(&scan, &every_issuer)->present[REVOKED_KEY];

	end_scan(&scan);
	return present;
}

static int64
count_rows(const char *issuer, RevocationKind kind)
{
	static const JwsString any_value = {NULL, 0};
	JwsString	name = {issuer, (int) strlen(issuer)};
	RevocationScan scan = begin_scan();
	SysScanDesc rows = begin_probe(&scan, &name, kind, &any_value);
	int64		n = 0;

	while (HeapTupleIsValid(systable_getnext(rows)))
	{
		CHECK_FOR_INTERRUPTS();
		n++;
	}
	systable_endscan(rows);
	end_scan(&scan);
	return n;
}

/*
 * How many revocations of an issuer there are.
 */
int64
revocation_count(const char *issuer)
{
	int64		n = 0;

	for (int kind = 0; kind < N_REVOCATION_KINDS; kind++)
		if (kind != REVOKED_KEY)
			n += count_rows(issuer, kind);
	return n;
}

/*
 * How many revocations of keys there are, which are every issuer's.
 */
int64
revocation_count_of_keys(void)
{
	return count_rows("", REVOKED_KEY);
}

/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  Tokens that are trusted no longer: the table jwt_revocation.
 *
 * Nothing is cached and nothing is invalidated: whether a token is revoked is
 * asked of the table, by two index probes a statement, under a new snapshot
 * each time.  So a revocation holds for every statement that starts after its
 * commit, also in a REPEATABLE READ transaction, and a stream of logouts costs
 * nobody their caches.
 *
 * Who has never revoked anything does not pay for that: the row of the issuer,
 * which is cached with its keys, says whether there is anything to look for.
 * The first revocation of an issuer sets it, under a lock that keeps the row
 * from being replaced by one that does not know; nothing unsets it, so there is
 * no race to lose.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "failure.h"
#include "miscadmin.h"
#include "revocation.h"
#include "trust_read.h"
#include "trust_tables.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

uint64		revocation_own_changes;

static const JwsString nothing = {NULL, 0};

/*
 * Open the table.  Its OID is true for as long as nothing that we cache of the
 * extension has been dropped.
 */
static Relation
open_table(void)
{
	static Oid	table;
	static uint64 generation;

	if (generation != trust_last_generation)
	{
		uint64		before = trust_last_generation;

		table = trust_read_find_table("jwt_revocation");
		generation = before;
	}
	return table_open(table, AccessShareLock);
}

/*
 * The row of an issuer in which a column has a value, or NULL; from a scan that
 * the caller ends.
 */
static HeapTuple
find_row(Relation rel, const JwsString *issuer, AttrNumber column, const JwsString *value,
		 SysScanDesc *scan)
{
	*scan = trust_read_begin_scan(rel, trust_read_find_index(rel, Anum_jwt_revocation_issuer, column),
								  Anum_jwt_revocation_issuer, issuer, column, value);
	return systable_getnext(*scan);
}

static TimestampTz
time_column(HeapTuple tuple, Relation rel, AttrNumber column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/*
 * Is the token one that has not been revoked?  Otherwise false, with the
 * failure.  A name that is too long for the table is in none of its rows.
 */
bool
revocation_check(const RevocationQuery *query, Failure *failure)
{
	Relation	rel = open_table();
	const char *detail = NULL;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (query->jti.data != NULL && query->jti.len <= TRUST_MAX_NAME)
	{
		tuple = find_row(rel, &query->issuer, Anum_jwt_revocation_jti, &query->jti, &scan);
		if (HeapTupleIsValid(tuple))
			detail = psprintf("The token \"%s\" was revoked at %s.",
							  quote_untrusted(query->jti.data, query->jti.len),
							  timestamptz_to_str(time_column(tuple, rel, Anum_jwt_revocation_revoked_at)));
		systable_endscan(scan);
	}
	if (detail == NULL && query->sub.data != NULL && query->sub.len <= TRUST_MAX_NAME)
	{
		tuple = find_row(rel, &query->issuer, Anum_jwt_revocation_sub, &query->sub, &scan);
		if (HeapTupleIsValid(tuple))
		{
			TimestampTz issued_before = time_column(tuple, rel, Anum_jwt_revocation_issued_before);

			/* iat has seconds: one that is the same may be earlier, and is refused */
			if (query->issued <= issued_before)
				detail = psprintf("The tokens of the subject \"%s\" that were issued until %s have been revoked%s.",
								  quote_untrusted(query->sub.data, query->sub.len),
								  timestamptz_to_str(issued_before),
								  query->issued == DT_NOBEGIN ? ", and this one does not say when it was issued" : "");
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return detail == NULL || fail(failure, FAILURE_REVOKED, detail);
}

/*
 * Has a token of this issuer been revoked?
 */
bool
revocation_exists(const JwsString *issuer)
{
	Relation	rel = open_table();
	SysScanDesc scan = trust_read_begin_scan(rel, trust_read_find_index(rel, Anum_jwt_revocation_issuer,
																		Anum_jwt_revocation_jti),
											 Anum_jwt_revocation_issuer, issuer,
											 InvalidAttrNumber, &nothing);
	bool		exists = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return exists;
}

/*
 * Execute a statement about jwt_issuer with the issuer as its parameter; %s
 * stands for the schema.
 */
static void
execute(const char *format, Oid schema, Datum issuer, int expected)
{
	Oid			type = TEXTOID;

	if (SPI_execute_with_args(psprintf(format, quote_identifier(get_namespace_name(schema))),
							  1, &type, &issuer, NULL, false, 0) != expected)
		elog(ERROR, "statement about jwt_issuer failed");
}

/*
 * A row has been written (AFTER INSERT OR UPDATE, FOR EACH ROW): have the issuer
 * say that it has revocations.
 *
 * Done with the rights of the table's owner, as whoever may revoke need not be
 * able to write jwt_issuer.  The lock lets nobody replace the issuer's row by
 * one that cannot know of ours before we have committed.
 */
void
revocation_added(TriggerData *trigger)
{
	Relation	rel = trigger->tg_relation;
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		trigger->tg_newtuple : trigger->tg_trigtuple;
	bool		isnull;
	Datum		issuer = heap_getattr(tuple, Anum_jwt_revocation_issuer, RelationGetDescr(rel), &isnull);
	Oid			schema = RelationGetNamespace(rel);
	Oid			user;
	int			context;

	revocation_own_changes++;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	execute("SELECT has_revocations FROM %s.jwt_issuer WHERE issuer OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
			schema, issuer, SPI_OK_SELECT);
	if (SPI_processed == 0)
	{
		/* replication may bring it before its issuer, whose row then finds it */
		if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("issuer \"%s\" does not exist", TextDatumGetCString(issuer)),
					 errtablecol(rel, Anum_jwt_revocation_issuer)));
	}
	else if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
		execute("UPDATE %s.jwt_issuer SET has_revocations = true"
				" WHERE issuer OPERATOR(pg_catalog.=) $1 AND NOT has_revocations",
				schema, issuer, SPI_OK_UPDATE);

	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	SetUserIdAndSecContext(user, context);
}

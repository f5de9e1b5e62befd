/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  Tokens that are trusted no longer: the table jwt_revocation.
 *
 * Whether a token is revoked is asked of the table, by an index probe or two a
 * statement, under a new snapshot each time.  So a revocation holds for every
 * statement that starts after its commit, also in a REPEATABLE READ transaction,
 * and a stream of logouts costs nobody their caches.  Nothing is invalidated; but
 * where it is counted who revokes, and nobody has, the answer is still the same.
 *
 * Who has never revoked anything does not pay for that: the row of the issuer,
 * which is cached with its keys, says whether there is anything to look for.
 * The first revocation of a kind sets it, under a lock that keeps the row
 * from being replaced by one that does not know; nothing unsets it, so there is
 * no race to lose.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "token/failure.h"
#include "trust/revocation.h"
#include "trust/revocation_count.h"
#include "trust/statement.h"
#include "trust/trust_read.h"
#include "trust/trust_tables.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

uint64		revocation_epoch;

/* The table and its indexes. */
static struct
{
	bool		known;
	uint64		generation;		/* of trust, for which all of this is true */
	Oid			table;			/* InvalidOid before version 1.2 */
	bool		told;			/* the triggers that tell an issuer's row, and
								 * count, always fire */
	bool		indexes_known;
	Oid			by_jti;			/* (jti, issuer) */
	Oid			by_sub;			/* (sub, issuer) */
}			found;

/* Moves when the table, and its trigger, may be others. */
static uint64 watch;

/*
 * A look at the table: one snapshot, what is true as of it, and the issuer as
 * the indexes have it.
 */
typedef struct Look
{
	Relation	rel;
	Snapshot	snapshot;
	RevocationMoment moment;
	Datum		issuer;
} Look;

/*
 * The relcache callback.
 */
static void
forget(Datum arg, Oid relid)
{
	(void) arg;
	if (!found.known || (OidIsValid(relid) && relid != found.table))
		return;
	found.known = false;
	watch++;
}

/*
 * What this session has found may have been undone, or may be another's
 * transaction's now, as in a procedure that commits.
 */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	(void) id;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		revocation_epoch++;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		revocation_epoch++;
}

/*
 * Register the callbacks.
 */
void
revocation_init(void)
{
	CacheRegisterRelcacheCallback(forget, (Datum) 0);
	RegisterSubXactCallback(subtransaction_ended, NULL);
	RegisterXactCallback(transaction_ended, NULL);
	revocation_count_init();
}

/*
 * See to it that what was found is true.
 */
static void
find_table(void)
{
	while (unlikely(!found.known || found.generation != trust_last_generation))
	{
		Oid			issuers;

		CHECK_FOR_INTERRUPTS();
		found.known = false;
		found.generation = trust_last_generation;
		found.table = trust_read_find_table("jwt_revocation");
		found.told = false;
		found.indexes_known = false;

		/* the callback notices what happens from here on */
		found.known = true;
		watch++;
		issuers = trust_read_find_table("jwt_issuer");
		found.told = !OidIsValid(found.table) ||
			(trust_read_knows_revocations() &&
			 trust_read_always_fires(found.table, "jwt_revocation_added") &&
			 trust_read_always_fires(issuers, "jwt_issuer_check"));
	}
}

/*
 * Do the rows of issuers say whether they have revocations?  Not if somebody has
 * disabled a trigger that tells them, of a revocation or of an issuer that comes
 * later, or has it fire in ordinary sessions only, as what pg_restore
 * --disable-triggers leaves behind does.
 */
bool
revocation_is_told(void)
{
	find_table();
	return found.told;
}

/*
 * This moment, as far as it is of the statement and of the query in it.  Of two
 * snapshots with the same xmax and as many transactions under way before it, the
 * later sees nothing more: one that ends changes the one or the other.
 */
static RevocationMoment
moment_of_query(void)
{
	RevocationMoment moment = {
		.statement = GetCurrentStatementStartTimestamp(),
		.epoch = revocation_epoch,
		.query = IsolationUsesXactSnapshot() ? statement_number : 0,
		.count = REVOCATION_UNCOUNTED
	};

	if (ActiveSnapshotSet())
	{
		Snapshot	snapshot = GetActiveSnapshot();

		moment.snapshot_xmax = snapshot->xmax;
		moment.snapshot_running = snapshot->takenDuringRecovery ? (uint32) snapshot->subxcnt : snapshot->xcnt;
	}
	return moment;
}

/*
 * Is what was found at that moment still so?
 */
bool
revocation_is_now(const RevocationMoment *moment)
{
	RevocationMoment now;

	if (moment->watch == watch && found.generation == trust_last_generation &&
		revocation_count_is(moment->count))
		return true;
	now = moment_of_query();
	return moment->epoch == now.epoch && moment->statement == now.statement &&
		moment->query == now.query &&
		moment->snapshot_xmax == now.snapshot_xmax && moment->snapshot_running == now.snapshot_running;
}

/*
 * Keep issuers from being added (RowExclusiveLock) while a revocation of one that
 * is not there is written (ShareLock), or the other way, until the transaction
 * ends.  Unlike an advisory lock, nobody else can take it.
 */
static void
lock_issuer_names(Oid table, LOCKMODE mode)
{
	LockDatabaseObject(RelationRelationId, table, 1, mode);
}

static Datum
text_datum(const JwsString *string)
{
	return PointerGetDatum(cstring_to_text_with_len(string->data, string->len));
}

/*
 * Open the table, whose OID is true for as long as nothing that we cache of the
 * extension has been dropped, and take a snapshot of now.
 */
static Look
begin_look(const JwsString *issuer)
{
	Look		look;

	for (;;)
	{
		uint64		before;

		find_table();
		before = watch;
		if (!OidIsValid(found.table))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s\" of extension \"jwt\" does not exist", "jwt_revocation")));

		/* taking the lock lets the callback in */
		look.rel = table_open(found.table, AccessShareLock);
		if (!found.indexes_known)
		{
			found.by_jti = trust_read_find_index(look.rel, Anum_jwt_revocation_jti, Anum_jwt_revocation_issuer);
			found.by_sub = trust_read_find_index(look.rel, Anum_jwt_revocation_sub, Anum_jwt_revocation_issuer);
			found.indexes_known = true;
		}
		if (found.known && before == watch)
			break;
		table_close(look.rel, AccessShareLock);
		CHECK_FOR_INTERRUPTS();
	}
	look.moment = moment_of_query();
	look.moment.watch = watch;
	if (found.told)
		look.moment.count = revocation_count_if_quiet();
	look.snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(look.rel)));
	look.issuer = text_datum(issuer);
	return look;
}

static void
end_look(Look *look)
{
	UnregisterSnapshot(look->snapshot);
	table_close(look->rel, AccessShareLock);
}

/*
 * The first row of the issuer in which a column has a value, or NULL; from a scan
 * that the caller goes on with and ends.
 */
static HeapTuple
find_row(const Look *look, AttrNumber column, const JwsString *value, SysScanDesc *scan)
{
	Oid			index = column == Anum_jwt_revocation_sub ? found.by_sub : found.by_jti;
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], column, BTEqualStrategyNumber, F_TEXTEQ, text_datum(value));
	ScanKeyInit(&keys[1], Anum_jwt_revocation_issuer, BTEqualStrategyNumber, F_TEXTEQ, look->issuer);
	*scan = systable_beginscan(look->rel, index, OidIsValid(index), look->snapshot, 2, keys);
	return systable_getnext(*scan);
}

static TimestampTz
time_column(HeapTuple tuple, const Look *look, AttrNumber column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, RelationGetDescr(look->rel), &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

/*
 * Is the token one that has not been revoked?  *moment says when that was so.
 * Otherwise false, with the failure.  A name that is too long for the table is in
 * none of its rows.
 */
bool
revocation_check(const RevocationQuery *query, RevocationMoment *moment, Failure *failure)
{
	const char *detail = NULL;
	Look		look;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (query->jti.data == NULL && query->sub.data == NULL)
	{
		*moment = moment_of_query();
		return true;
	}
	look = begin_look(&query->issuer);
	if (query->jti.data != NULL && query->jti.len <= TRUST_MAX_NAME)
	{
		tuple = find_row(&look, Anum_jwt_revocation_jti, &query->jti, &scan);
		if (HeapTupleIsValid(tuple))
			detail = psprintf("The token \"%s\" was revoked at %s.",
							  quote_untrusted(query->jti.data, query->jti.len),
							  timestamptz_to_str(time_column(tuple, &look, Anum_jwt_revocation_revoked_at)));
		systable_endscan(scan);
	}
	if (detail == NULL && query->sub.data != NULL && query->sub.len <= TRUST_MAX_NAME)
	{
		for (tuple = find_row(&look, Anum_jwt_revocation_sub, &query->sub, &scan);
			 HeapTupleIsValid(tuple) && detail == NULL; tuple = systable_getnext(scan))
		{
			TimestampTz issued_before = time_column(tuple, &look, Anum_jwt_revocation_issued_before);

			CHECK_FOR_INTERRUPTS();

			/*
			 * iat has seconds: one that is the same may be earlier, and is
			 * refused
			 */
			if (query->issued <= issued_before)
				detail = psprintf("The tokens of the subject \"%s\" that were issued until %s have been revoked%s.",
								  quote_untrusted(query->sub.data, query->sub.len),
								  timestamptz_to_str(issued_before),
								  query->issued == DT_NOBEGIN ? ", and this one does not say when it was issued" : "");
		}
		systable_endscan(scan);
	}
	end_look(&look);
	*moment = look.moment;
	return detail == NULL || fail(failure, FAILURE_REVOKED, detail);
}

/*
 * Have tokens of this issuer been revoked, by jti or by subject?  Reads the whole
 * table: it is asked when an issuer is added or renamed.
 */
void
revocation_exist(const JwsString *issuer, bool *ids, bool *subjects)
{
	Look		look = begin_look(issuer);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* who has written one without an issuer must be seen */
	lock_issuer_names(RelationGetRelid(look.rel), RowExclusiveLock);
	end_look(&look);
	look = begin_look(issuer);

	ScanKeyInit(&key, Anum_jwt_revocation_issuer, BTEqualStrategyNumber, F_TEXTEQ, look.issuer);
	scan = systable_beginscan(look.rel, InvalidOid, false, look.snapshot, 1, &key);
	while (!(*ids && *subjects) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (heap_attisnull(tuple, Anum_jwt_revocation_sub, RelationGetDescr(look.rel)))
			*ids = true;
		else
			*subjects = true;
	}
	systable_endscan(scan);
	end_look(&look);
}

/* The functions by which an issuer's row is asked and told. */
typedef struct IssuerFunctions
{
	FmgrInfo	tells;
	FmgrInfo	tell;
}			IssuerFunctions;

/*
 * Find them, once for each statement that fires the trigger.
 */
static IssuerFunctions *
issuer_functions(FmgrInfo *caller)
{
	static const Oid types[] = {TEXTOID, BOOLOID};
	IssuerFunctions *functions = caller->fn_extra;
	Oid			tells;
	Oid			tell;

	if (functions != NULL)
		return functions;
	tells = trust_find_function("jwt_issuer_tells", lengthof(types), types);
	tell = trust_find_function("jwt_tell_issuer", lengthof(types), types);
	if (!OidIsValid(tells) || !OidIsValid(tell))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"%s\" lacks functions of its own", "jwt")));
	functions = MemoryContextAlloc(caller->fn_mcxt, sizeof(IssuerFunctions));
	fmgr_info_cxt(tells, &functions->tells, caller->fn_mcxt);
	fmgr_info_cxt(tell, &functions->tell, caller->fn_mcxt);
	caller->fn_extra = functions;
	return functions;
}

/*
 * Call one of them.  false when the answer is null, as jwt_issuer_tells() gives
 * where there is no such issuer.
 */
static bool
call_about_issuer(FmgrInfo *function, Datum issuer, bool by_subject, bool *answer)
{
	LOCAL_FCINFO(call, 2);
	Datum		result;

	InitFunctionCallInfoData(*call, function, 2, InvalidOid, NULL, NULL);
	call->args[0].value = issuer;
	call->args[0].isnull = false;
	call->args[1].value = BoolGetDatum(by_subject);
	call->args[1].isnull = false;
	result = FunctionCallInvoke(call);
	*answer = DatumGetBool(result);
	return !call->isnull;
}

/*
 * A row has been written (AFTER INSERT OR UPDATE, FOR EACH ROW): have the issuer
 * say that it has revocations.  caller is the trigger's function.
 *
 * Done with the rights of the table's owner, as whoever may revoke need not be
 * able to write jwt_issuer; and so by functions whose statements were parsed when
 * the extension was created, as who owns its schema can have a name mean something
 * else at any moment.  The lock lets nobody replace the issuer's row by one that
 * cannot know of ours before we have committed.
 */
void
revocation_added(TriggerData *trigger, FmgrInfo *caller)
{
	Relation	rel = trigger->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
	trigger->tg_newtuple : trigger->tg_trigtuple;
	bool		by_subject = !heap_attisnull(tuple, Anum_jwt_revocation_sub, desc);
	IssuerFunctions *functions = issuer_functions(caller);
	bool		isnull;
	Datum		issuer = heap_getattr(tuple, Anum_jwt_revocation_issuer, desc, &isnull);
	bool		told;
	bool		found;
	Oid			user;
	int			context;

	revocation_count_this();
	revocation_epoch++;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	found = call_about_issuer(&functions->tells, issuer, by_subject, &told);
	if (!found)
	{
		char	   *name = TextDatumGetCString(issuer);

		/* somebody may be adding it; if so, after us, or we see it now */
		lock_issuer_names(RelationGetRelid(rel), ShareLock);
		found = call_about_issuer(&functions->tells, issuer, by_subject, &told);
		if (!found && trust_read_issuer(name, (int) strlen(name)) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent insert of issuer \"%s\"", name)));
	}
	/* replication may bring it before its issuer, whose row then finds it */
	if (!found && SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("issuer \"%s\" does not exist", TextDatumGetCString(issuer)),
				 errtablecol(rel, Anum_jwt_revocation_issuer)));
	if (found && !told)
		(void) call_about_issuer(&functions->tell, issuer, by_subject, &told);
	SetUserIdAndSecContext(user, context);
}

/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Sessions: rows of jwt_session, and the states of their refresh tokens.
 *
 * One row is one session.  Its counter is the number of its current refresh
 * token.  Each redemption locks the newest version of the row, whatever the
 * isolation level, so redemptions of a session happen one after the other.
 *
 * A rotation is at most one step, and at most one happens within a grace.  So a
 * row that lost its last rotation, and a request that was slow, are never more
 * than one step from each other.  test/model shows that both are necessary.
 *
 * Starting, refreshing and ending a session force a synchronous commit: the row
 * is on disk before the client has its tokens.  A rollback undoes the row, but a
 * client may have the tokens already.  So it is logged.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <sys/stat.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "auth/seal.h"
#include "auth/session.h"
#include "extension/row.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * No access token is valid for longer, whatever the policy was when it was
 * signed: the longest access lifetime, and the largest leeway of an issuer.
 */
#define LONGEST_ACCESS	(POLICY_MAX_ACCESS_LIFETIME + POLICY_MAX_LEEWAY + USECS_PER_SEC)

/* How often the current refresh token is given again without a log message. */
#define QUIET_REPEATS	3

/*
 * How many ended sessions the log names when a transaction is rolled back.
 * Sessions that gave out tokens are all named.
 */
#define MAX_NAMED	10

/* A session that this transaction has written. */
typedef struct WrittenSession
{
	char		sid[2 * UUID_LEN + 5];
	int			nest_level;		/* of the subtransaction */
	bool		ended;			/* else it gave out tokens */
} WrittenSession;

/* In TopTransactionContext, sorted by nest_level. */
static List *written = NIL;

/*
 * The text form of a session's id, as in the claim sid.
 */
char *
session_show_sid(const Session *session)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&session->sid)));
}

/*
 * Forget the writes of aborted subtransactions, from this nesting level inwards,
 * and log them.
 */
static void
forget_writes(int nest_level)
{
	int			n = 0;

	while (written != NIL && ((WrittenSession *) llast(written))->nest_level >= nest_level)
	{
		const WrittenSession *last = llast(written);

		if (!last->ended || ++n <= MAX_NAMED)
			ereport(LOG_SERVER_ONLY,
					(errmsg(last->ended ?
							"a transaction that ended session %s was rolled back" :
							"a transaction that issued tokens of session %s was rolled back",
							last->sid),
					 errhidestmt(true), errhidecontext(true)));
		written = list_delete_last(written);
	}
	if (n > MAX_NAMED)
		ereport(LOG_SERVER_ONLY,
				(errmsg("a transaction that ended %d more sessions was rolled back", n - MAX_NAMED),
				 errhidestmt(true), errhidecontext(true)));
}

static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_ABORT:
			forget_writes(0);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (written != NIL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot prepare a transaction that has written a session")));
			break;
		case XACT_EVENT_COMMIT:
			/* with its memory context */
			written = NIL;
			break;
		default:
			break;
	}
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	(void) id;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_writes(nest_level);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = list_length(written) - 1; i >= 0; i--)
		{
			WrittenSession *session = list_nth(written, i);

			if (session->nest_level < nest_level)
				break;
			session->nest_level = nest_level - 1;
		}
}

/*
 * Register the callbacks.
 */
void
session_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/*
 * Note that this transaction has written a session, and force a synchronous
 * commit.
 */
static void
note_write(const Session *session, bool ended)
{
	WrittenSession *note = written != NIL ? llast(written) : NULL;
	int			nest_level = GetCurrentTransactionNestLevel();
	const char *sid = session_show_sid(session);
	MemoryContext old;

	ForceSyncCommit();
	if (note != NULL && note->nest_level == nest_level && note->ended == ended && strcmp(note->sid, sid) == 0)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	note = palloc(sizeof(WrittenSession));
	strlcpy(note->sid, sid, sizeof(note->sid));
	note->nest_level = nest_level;
	note->ended = ended;
	written = lappend(written, note);
	MemoryContextSwitchTo(old);
}

static Slice
slice_column(const Datum *values, const bool *nulls, AttrNumber column)
{
	Slice		slice = {NULL, 0};

	if (!nulls[column - 1])
	{
		text	   *value = DatumGetTextPP(values[column - 1]);

		slice.data = VARDATA_ANY(value);
		slice.len = (int) VARSIZE_ANY_EXHDR(value);
	}
	return slice;
}

static TimestampTz
time_column(const Datum *values, const bool *nulls, AttrNumber column)
{
	return nulls[column - 1] ? DT_NOBEGIN : DatumGetTimestampTz(values[column - 1]);
}

/*
 * Read a row.  Strings point into it.  A row with what the functions never write,
 * a null or claims that are no object, has no seed, so nothing can be redeemed.
 */
static void
read_row(const Datum *values, const bool *nulls, Session *session)
{
	const bytea *seed = NULL;

	memset(session, 0, sizeof(*session));
	session->sid = *DatumGetUUIDP(values[Anum_session_sid - 1]);
	session->issuer = slice_column(values, nulls, Anum_session_issuer);
	session->sub = slice_column(values, nulls, Anum_session_sub);
	session->client_id = slice_column(values, nulls, Anum_session_client_id);
	session->scope = slice_column(values, nulls, Anum_session_scope);
	if (!nulls[Anum_session_claims - 1])
		session->claims = DatumGetJsonbP(values[Anum_session_claims - 1]);
	session->started_at = time_column(values, nulls, Anum_session_started_at);
	session->expires_at = time_column(values, nulls, Anum_session_expires_at);
	session->rotated_at = time_column(values, nulls, Anum_session_rotated_at);
	if (!nulls[Anum_session_counter - 1])
		session->counter = (uint64) DatumGetInt64(values[Anum_session_counter - 1]);
	if (!nulls[Anum_session_repeats - 1])
		session->repeats = DatumGetInt32(values[Anum_session_repeats - 1]);
	if (!nulls[Anum_session_seed - 1])
		seed = DatumGetByteaPP(values[Anum_session_seed - 1]);
	session->has_seed = seed != NULL && VARSIZE_ANY_EXHDR(seed) == SESSION_SEED_SIZE &&
		session->issuer.data != NULL && session->sub.data != NULL &&
		(session->claims == NULL || JB_ROOT_IS_OBJECT(session->claims)) &&
		!TIMESTAMP_NOT_FINITE(session->started_at) && !TIMESTAMP_NOT_FINITE(session->rotated_at) &&
		!nulls[Anum_session_expires_at - 1] && !nulls[Anum_session_counter - 1] &&
		nulls[Anum_session_ended_at - 1];
	if (session->has_seed)
		memcpy(session->seed, VARDATA_ANY(seed), SESSION_SEED_SIZE);
}

static Datum
text_or_null(const Slice *slice, bool *isnull)
{
	*isnull = slice->data == NULL;
	return *isnull ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(slice->data, slice->len));
}

/*
 * Write a session's row: the locked one, or where none is locked a new one.
 */
static void
write_row(const Session *session, TimestampTz ended_at, const char *why, SessionRow *row)
{
	Datum		values[Natts_session] = {0};
	bool		nulls[Natts_session] = {false};
	Slice		reason = slice_of(why);

#define SET(column, datum) (values[Anum_session_##column - 1] = (datum))
#define SET_TEXT(column, slice) SET(column, text_or_null(slice, &nulls[Anum_session_##column - 1]))
	SET(sid, UUIDPGetDatum(&session->sid));
	SET_TEXT(issuer, &session->issuer);
	SET_TEXT(sub, &session->sub);
	SET_TEXT(client_id, &session->client_id);
	SET_TEXT(scope, &session->scope);
	if (session->claims != NULL)
		SET(claims, JsonbPGetDatum(session->claims));
	else
		nulls[Anum_session_claims - 1] = true;
	SET(started_at, TimestampTzGetDatum(session->started_at));
	SET(expires_at, TimestampTzGetDatum(session->expires_at));
	SET(rotated_at, TimestampTzGetDatum(session->rotated_at));
	SET(counter, Int64GetDatum((int64) session->counter));
	SET(repeats, Int32GetDatum(session->repeats));
	if (session->has_seed)
	{
		bytea	   *seed = palloc(VARHDRSZ + SESSION_SEED_SIZE);

		SET_VARSIZE(seed, VARHDRSZ + SESSION_SEED_SIZE);
		memcpy(VARDATA(seed), session->seed, SESSION_SEED_SIZE);
		SET(seed, PointerGetDatum(seed));
	}
	else
		nulls[Anum_session_seed - 1] = true;
	SET(ended_at, TimestampTzGetDatum(ended_at));
	nulls[Anum_session_ended_at - 1] = ended_at == DT_NOEND;
	SET_TEXT(ended_why, &reason);
#undef SET
#undef SET_TEXT
	if (row->slot != NULL)
		row_update(row->rel, row->slot, Natts_session, values, nulls);
	else
		row_insert(row->rel, Natts_session, values, nulls);
	note_write(session, ended_at != DT_NOEND);
}

/*
 * Give a new session its sid and its seed.
 */
void
session_init_secrets(Session *session)
{
	session->sid = *DatumGetUUIDP(row_new_id());
	seal_random_bytes(session->seed, SESSION_SEED_SIZE);
	session->has_seed = true;
}

/*
 * Insert the row of a new session.
 */
void
session_insert(const Session *session)
{
	SessionRow	row = {.rel = tables_open(AUTH_SESSION, RowExclusiveLock)};

	write_row(session, DT_NOEND, NULL, &row);
	table_close(row.rel, NoLock);
}

/*
 * Open the row of a session, without locking it, and read it as it is committed
 * now.  lockmode is that of the table: RowExclusiveLock if the row may be locked
 * later.  Returns false if there is no row.  In any case the caller closes row.
 */
bool
session_find(const pg_uuid_t *sid, LOCKMODE lockmode, Session *session, SessionRow *row)
{
	TupleDesc	columns;
	Datum	   *values;
	bool	   *nulls;

	row->rel = tables_open(AUTH_SESSION, lockmode);
	row->lockmode = lockmode;
	row->slot = NULL;
	row_find(row->rel, UUIDPGetDatum(sid), &row->found);
	if (row->found.tuple == NULL)
		return false;
	columns = RelationGetDescr(row->rel);
	values = palloc(sizeof(Datum) * columns->natts);
	nulls = palloc(sizeof(bool) * columns->natts);
	heap_deform_tuple(row->found.tuple, columns, values, nulls);
	read_row(values, nulls, session);
	return true;
}

/*
 * Lock the newest version of a row that is open until the end of the
 * transaction, and read it.  Strings are good until row is closed.  Returns false
 * if there is none.
 */
bool
session_lock(SessionRow *row, Session *session)
{
	row->slot = row_lock_found(row->rel, &row->found);
	if (row->slot == NULL)
		return false;
	read_row(row->slot->tts_values, row->slot->tts_isnull, session);
	return true;
}

/*
 * Update the row of a session that is locked.
 */
void
session_update(const Session *session, SessionRow *row)
{
	write_row(session, DT_NOEND, NULL, row);
}

/*
 * Close a row.  If it is locked, it stays so.
 */
void
session_close(SessionRow *row)
{
	if (row->found.snapshot != NULL)
		row_forget(&row->found);
	if (row->slot != NULL)
		ExecDropSingleTupleTableSlot(row->slot);
	table_close(row->rel, row->slot != NULL ? NoLock : row->lockmode);
}

/*
 * When this server last became ready to write: by its start, after a crash, or
 * by a promotion.  The postmaster then writes its state to its lock file.
 */
static TimestampTz
ready_since(void)
{
	struct stat lock_file;

	return stat("postmaster.pid", &lock_file) == 0 ? time_t_to_timestamptz(lock_file.st_mtime) : DT_NOBEGIN;
}

/*
 * Is a time within the grace?  A time in the future, because the clock was set
 * back, is so only if it is near.  Otherwise no reuse would be detected until the
 * clock has reached it.
 */
static bool
is_recent(TimestampTz t, int64 grace, TimestampTz now)
{
	return t > now - grace && t < now + grace;
}

/*
 * Is the current refresh token so new that a client may not have it yet?  Until
 * the server became ready, a client could not ask again.
 */
static bool
within_grace(const Session *session, const TokenPolicy *policy, TimestampTz now)
{
	return is_recent(session->rotated_at, policy->grace, now) || is_recent(ready_since(), policy->grace, now);
}

/*
 * What is a genuine refresh token with this counter good for?  For the last two
 * verdicts *why is the reason, for the log.  A session expires one second early,
 * because the claim exp of its last access token is in whole seconds.
 */
RefreshVerdict
session_judge(const Session *session, const TokenPolicy *policy, uint64 counter, TimestampTz now, const char **why)
{
	if (!session->has_seed)
		*why = "it has ended";
	else if (session->expires_at <= now + USECS_PER_SEC)
		*why = "it has expired";
	else if (session->rotated_at <= now - policy->idle_lifetime)
		*why = "it was idle for too long";
	else if (tables_jwt()->session_is_revoked(&session->issuer, session_show_sid(session), &session->sub,
											  session->started_at))
		*why = "it, its subject or its issuer is in jwt_denylist";
	else if ((counter == session->counter || counter + 1 == session->counter) &&
			 within_grace(session, policy, now))
		return REFRESH_REPEATS;
	else if (counter == session->counter)
		return REFRESH_ROTATES;
	else if (counter == session->counter + 1)
		return REFRESH_CATCHES_UP;
	else
	{
		*why = "a refresh token was used again, or the database was restored";
		return REFRESH_REUSED;
	}
	return REFRESH_OVER;
}

/*
 * Redeem a refresh token with one of the first three verdicts.
 * session->counter becomes that of the refresh token to give.  The caller writes
 * the row.
 */
void
session_redeem(Session *session, RefreshVerdict verdict, TimestampTz now)
{
	if (verdict == REFRESH_REPEATS)
	{
		if (session->repeats < PG_INT32_MAX)
			session->repeats++;

		/* at 4, 8, 16 ..., so that nobody can fill the log */
		if (session->repeats > QUIET_REPEATS && (session->repeats & (session->repeats - 1)) == 0)
			ereport(LOG_SERVER_ONLY,
					(errmsg("refresh token %llu of session %s was given again %d times",
							(unsigned long long) session->counter, session_show_sid(session), session->repeats),
					 errhidestmt(true), errhidecontext(true)));
		return;
	}
	if (verdict == REFRESH_CATCHES_UP)
		ereport(LOG_SERVER_ONLY,
				(errmsg("a rotation of session %s was lost", session_show_sid(session)),
				 errdetail("A refresh token is newer than the row, as after a failover."),
				 errhidestmt(true), errhidecontext(true)));
	session->counter++;
	session->repeats = 0;
	session->rotated_at = now;
}

/*
 * End a session whose row is locked: erase its seed, and revoke its access
 * tokens.  If the clock was set back, some of them are from the future.
 */
void
session_end(const Session *session, const char *why, TimestampTz now, SessionRow *row)
{
	Session		ended = *session;
	TimestampTz until = Max(now, session->rotated_at) + LONGEST_ACCESS;

	ended.has_seed = false;
	write_row(&ended, now, why, row);
	tables_jwt()->revoke_session(&session->issuer, session_show_sid(session),
								 IS_VALID_TIMESTAMP(until) ? until : DT_NOEND, why);
}

/*
 * End all sessions of an issuer, or those of one subject.  Returns how many.
 * A session that another transaction starts at the same time stays.
 */
int64
session_end_all(const Slice *issuer, const Slice *sub, const char *why)
{
	SessionRow	row = {.rel = tables_open(AUTH_SESSION, RowExclusiveLock)};
	SysScanDesc scan = tables_scan(row.rel, INDEX_SESSION_SUBJECT, issuer, sub);
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "ended session", ALLOCSET_SMALL_SIZES);
	HeapTuple	tuple;
	int64		n = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(per_row);
		bool		isnull;
		Session		session;

		CHECK_FOR_INTERRUPTS();
		row.slot = row_lock(row.rel, heap_getattr(tuple, Anum_session_sid, RelationGetDescr(row.rel), &isnull));
		if (row.slot != NULL)
		{
			read_row(row.slot->tts_values, row.slot->tts_isnull, &session);
			if (session.has_seed)
			{
				session_end(&session, why, GetCurrentTimestamp(), &row);
				n++;
			}
			ExecDropSingleTupleTableSlot(row.slot);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_row);
	}
	systable_endscan(scan);
	table_close(row.rel, NoLock);
	return n;
}

/*-------------------------------------------------------------------------
 *
 * session.h
 *	  The current token, and its claims.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SESSION_H
#define JWT_SESSION_H

#include "postgres.h"

#include "access/xact.h"
#include "session/verify.h"
#include "utils/snapmgr.h"

/*
 * For which token, time and state of trust something was true.  Equal moments have
 * equal claims.
 */
typedef struct SessionMoment
{
	uint64		token;			/* counts assignments of jwt.token */
	uint64		changes;		/* see session_changes() */
	uint64		completions;	/* see session_completions() */
	TimestampTz now;			/* see verify_now() */
} SessionMoment;

/* How often jwt.token was assigned, counting rollbacks. */
extern uint64 session_assignments;

/*
 * A sum of counters that only grow: it is the same when nothing has moved.
 */
static inline uint64
session_changes(void)
{
	return trust_generation + denylist_generation;
}

/*
 * How many transactions the current snapshot sees as completed, so to say: it
 * differs between two snapshots of which the later sees more.  One that completes is
 * no longer among those that run below xmax, or is now below it, and none is ever
 * added there.  PostgreSQL's own count is not kept in the copy that becomes active.
 */
static inline uint64
session_completions(void)
{
	Snapshot	snapshot;

	if (!ActiveSnapshotSet())
		return 0;
	snapshot = GetActiveSnapshot();
	/* on a standby all that run are among the subtransactions */
	return snapshot->xmax - (snapshot->takenDuringRecovery ? snapshot->subxcnt : (int32) snapshot->xcnt);
}

/* Calls of an accessor between two that accept invalidations. */
#define SESSION_CALLS_MASK	63

/*
 * Is what was true at that moment true now?  Cheap enough for every row.  A
 * statement begins with a snapshot that sees what has completed before it; where
 * all statements of a transaction share one, each call accepts invalidations.
 * Within a statement that need not be, but a function in PL/pgSQL evaluates one
 * expression in many statements.
 */
static inline bool
session_moment_is_now(const SessionMoment *moment)
{
	static uint32 calls;

	if (unlikely((++calls & SESSION_CALLS_MASK) == 0 || IsolationUsesXactSnapshot()))
		catalog_accept_invalidations();
	return moment->token == session_assignments &&
		moment->changes == session_changes() &&
		moment->completions == session_completions() &&
		moment->now == verify_now();
}

extern void session_init(void);
extern bool session_claims(const Jsonb **claims, SessionMoment *moment, Failure *failure);
extern bool session_authenticate(const JwsString *token, bool is_local, const JwsString *issuer,
								 const Jsonb **claims, Failure *failure);
extern void session_forget(bool is_local);
extern text *session_claim_text(const Jsonb *claims, ArrayType *path);
extern bool session_has_scope(const Jsonb *claims, const char *scope, int len);

#endif							/* JWT_SESSION_H */

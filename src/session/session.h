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
#include "trust/statement.h"

/*
 * For which token, statement and state of trust something was true.  Equal
 * moments have equal claims.
 */
typedef struct SessionMoment
{
	uint64		token;			/* counts assignments of jwt.token */
	uint64		changes;		/* see session_changes() */
	TimestampTz statement;
} SessionMoment;

/* How often jwt.token was assigned, counting rollbacks. */
extern uint64 session_assignments;

/*
 * A sum of what only grows: it is the same when nothing has moved.
 */
static inline uint64
session_changes(void)
{
	return trust_last_generation + revocation_epoch + statement_number;
}

/*
 * Is what was true at that moment true now?  Cheap enough for every row: it does
 * not listen for changes that other sessions have made since the statement began.
 */
static inline bool
session_moment_is_now(const SessionMoment *moment)
{
	return moment->token == session_assignments &&
		moment->changes == session_changes() &&
		moment->statement == GetCurrentStatementStartTimestamp();
}

extern void session_init(void);
extern bool session_claims(const Jsonb **claims, SessionMoment *moment, Failure *failure);
extern bool session_authenticate(const JwsString *token, bool is_local,
								 const Jsonb **claims, Failure *failure);
extern void session_forget(bool is_local);
extern text *session_claim_text(const Jsonb *claims, ArrayType *path);
extern bool session_has_scope(const Jsonb *claims, const char *scope, int len);

#endif							/* JWT_SESSION_H */

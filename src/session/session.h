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
#include "session/confirmation.h"
#include "session/verify.h"

/*
 * session_stamp() is a sum of counters that only grow: generations of trust,
 * assignments of jwt.token, jwt.issuer and the settings of confirmation.c (all
 * including rollbacks), and ended transactions.  Within one statement, a result
 * for the current token is valid while the stamp is the same.
 */
extern JWT_LOCAL uint64 session_events;

static inline uint64
session_stamp(void)
{
	return trust_generation + denylist_generation + session_events + confirmation_events;
}

extern void session_init(void);
extern bool session_claims(const Jsonb **claims, uint64 *stamp, Failure *failure);
extern bool session_authenticate(const Slice *token, bool is_local, const Slice *issuer,
								 DpopProof *proof, const Jsonb **claims, Failure *failure);
extern void session_remove_token(bool is_local);
extern text *session_claim_text(const Jsonb *claims, ArrayType *path);
extern bool session_has_scope(const Jsonb *claims, const char *scope, int len);

#endif							/* JWT_SESSION_H */

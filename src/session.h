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

#include "verify.h"

/*
 * For which token, statement and state of trust something was true.  Equal
 * moments have equal claims.
 */
typedef struct SessionMoment
{
	uint64		token;			/* counts assignments of jwt.token */
	uint64		generation;
	TimestampTz statement;
} SessionMoment;

extern void session_init(void);
extern bool session_moment_is_now(const SessionMoment *moment);
extern bool session_claims(const Jsonb **claims, SessionMoment *moment, Failure *failure);
extern bool session_authenticate(const JwsString *token, bool is_local,
								 const Jsonb **claims, Failure *failure);
extern void session_forget(bool is_local);
extern text *session_claim_text(const Jsonb *claims, ArrayType *path);
extern bool session_has_scope(const Jsonb *claims, const char *scope, int len);

#endif							/* JWT_SESSION_H */

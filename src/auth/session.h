/*-------------------------------------------------------------------------
 *
 * session.h
 *	  Sessions: rows of jwt_session, and the states of their refresh tokens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_SESSION_H
#define JWT_AUTH_SESSION_H

#include "postgres.h"

#include "auth/policy.h"
#include "auth/refresh_token.h"
#include "auth/tables.h"
#include "executor/tuptable.h"
#include "extension/row.h"
#include "storage/lockdefs.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define SESSION_SEED_SIZE	32

/*
 * A row of jwt_session.  Strings with null data are null.  A session without a
 * seed has ended, or its row makes no sense.
 */
typedef struct Session
{
	pg_uuid_t	sid;
	Slice		issuer;
	Slice		sub;
	Slice		client_id;
	Slice		scope;
	Jsonb	   *claims;			/* or NULL */
	TimestampTz started_at;
	TimestampTz expires_at;
	TimestampTz rotated_at;		/* when the current refresh token was made */
	uint64		counter;		/* of the current refresh token */
	int			repeats;		/* how often it was given again */
	bool		has_seed;
	uint8		seed[SESSION_SEED_SIZE];
} Session;

/*
 * An open row of jwt_session.  session_close() ends it.
 */
typedef struct SessionRow
{
	Relation	rel;
	LOCKMODE	lockmode;		/* of the table */
	FoundRow	found;
	TupleTableSlot *slot;		/* of the newest version, once it is locked */
} SessionRow;

/* What a genuine refresh token is good for. */
typedef enum RefreshVerdict
{
	REFRESH_ROTATES,			/* the current one: a new one replaces it */
	REFRESH_REPEATS,			/* the current one or the one before, within
								 * the grace: the current one is given */
	REFRESH_CATCHES_UP,			/* the next one, whose rotation was lost: it
								 * becomes the current one, and is given */
	REFRESH_REUSED,				/* any other: the session ends */
	REFRESH_OVER				/* the session has ended */
} RefreshVerdict;

extern void session_init(void);
extern char *session_show_sid(const Session *session);
extern void session_init_secrets(Session *session);
extern void session_insert(const Session *session);
extern bool session_find(const pg_uuid_t *sid, LOCKMODE lockmode, Session *session, SessionRow *row);
extern bool session_lock(SessionRow *row, Session *session);
extern void session_update(const Session *session, SessionRow *row);
extern void session_close(SessionRow *row);
extern RefreshVerdict session_judge(const Session *session, const TokenPolicy *policy, uint64 counter,
									TimestampTz now, const char **why);
extern void session_redeem(Session *session, RefreshVerdict verdict, TimestampTz now);
extern void session_end(const Session *session, const char *why, TimestampTz now, SessionRow *row);
extern int64 session_end_all(const Slice *issuer, const Slice *sub, const char *why);

#endif							/* JWT_AUTH_SESSION_H */

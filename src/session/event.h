/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Logout tokens and Security Event Tokens: their checks, and the sessions
 *	  that they end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_EVENT_H
#define JWT_EVENT_H

#include "postgres.h"

#include "trust/revocation.h"
#include "trust/rows.h"

/* What an event ends. */
typedef struct EventEffect
{
	RevocationKind kind;		/* a subject, a session or a token */
	TrustIssuer *issuer;		/* whose tokens have it */
	Slice		value;
} EventEffect;

/* A verified event.  Its strings point into the token or are palloc'd. */
typedef struct Event
{
	const char *err;			/* code of RFC 8935 section 2.4 if it is
								 * refused, or NULL */
	const char *description;	/* of err: a sentence */
	const char *ignored;		/* why it ends nothing, although accepted: a
								 * sentence, or NULL */
	Slice		issuer;			/* the sender */
	Slice		jti;
	Slice		type;			/* a URI */
	TimestampTz issued;			/* iat */
	TimestampTz ended;			/* when its sessions ended, at most now */
	TimestampTz issued_before;	/* end of that second, at most now */
	int			n_effects;
	EventEffect *effects;
} Event;

extern void event_verify(const Slice *token, Event *event);

#endif							/* JWT_EVENT_H */

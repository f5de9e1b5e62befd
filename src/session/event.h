/*-------------------------------------------------------------------------
 *
 * event.h
 *	  What a logout token or a Security Event Token says, and whom it signs out.
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
	TrustIssuer *issuer;		/* whose it is */
	Slice		value;
} EventEffect;

/* An event that has been judged.  What it points to is in the token or palloc'd. */
typedef struct Event
{
	const char *err;			/* why it is refused, by RFC 8935 section 2.4,
								 * or NULL */
	const char *description;	/* the same as a sentence */
	const char *ignored;		/* why it is accepted and ends nothing: a
								 * sentence, or NULL */
	Slice		issuer;			/* who says so */
	Slice		jti;
	Slice		type;			/* a URI */
	TimestampTz issued;			/* iat */
	TimestampTz ended;			/* when what it ends did, at most now */
	TimestampTz issued_before;	/* the latest that tokens it ends were issued */
	int			n_effects;
	EventEffect *effects;
} Event;

extern void event_judge(const Slice *token, Event *event);

#endif							/* JWT_EVENT_H */

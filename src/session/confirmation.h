/*-------------------------------------------------------------------------
 *
 * confirmation.h
 *	  The sender of a token is the one that it was issued to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_CONFIRMATION_H
#define JWT_CONFIRMATION_H

#include "postgres.h"

#include "session/request.h"
#include "utils/jsonb.h"

/* Moves when what is known of the sender has changed. */
extern uint64 confirmation_events;

extern void confirmation_init(void);
extern bool confirmation_read(const JsonbValue *claims, bool must_confirm,
							  const Binding **binding, Failure *failure);
extern bool confirmation_check_sender(const VerifyRequest *request, const Binding *binding,
									  Failure *failure);
extern void confirmation_set(const Slice *token, bool is_local);
extern void confirmation_publish_certificate(void);

/*
 * Is the sender of the token the one that it is bound to?  A proof that is given
 * must be good, whether or not one is needed.
 */
static inline bool
confirmation_check(const VerifyRequest *request, const Binding *binding, Failure *failure)
{
	return (binding == NULL && request->proof == NULL) ||
		confirmation_check_sender(request, binding, failure);
}

#endif							/* JWT_CONFIRMATION_H */

/*-------------------------------------------------------------------------
 *
 * confirmation.h
 *	  Confirmation: is the sender of a token its owner?
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_CONFIRMATION_H
#define JWT_CONFIRMATION_H

#include "postgres.h"

#include "session/request.h"
#include "utils/jsonb.h"

/* Increases when jwt.confirmed or jwt.certificate is assigned. */
extern uint64 confirmation_events;

extern void confirmation_init(void);
extern bool confirmation_read(const JsonbValue *claims, bool must_confirm,
							  const Binding **binding, Failure *failure);
extern bool confirmation_check_sender(const VerifyRequest *request, const Binding *binding,
									  Failure *failure);
extern void confirmation_set(const Slice *token, bool is_local);
extern void confirmation_publish_certificate(void);

/*
 * Check that the sender of a token is its owner, if the token is bound.  If the
 * request has a proof, it must be good, even if none is needed.
 */
static inline bool
confirmation_check(const VerifyRequest *request, const Binding *binding, Failure *failure)
{
	return (binding == NULL && request->proof == NULL) ||
		confirmation_check_sender(request, binding, failure);
}

#endif							/* JWT_CONFIRMATION_H */

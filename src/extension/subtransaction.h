/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *	  Functions whose error must not end the transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SUBTRANSACTION_H
#define JWT_SUBTRANSACTION_H

#include "postgres.h"

extern ErrorData *subtransaction_attempt(void (*function) (void *), void *arg);

#endif							/* JWT_SUBTRANSACTION_H */

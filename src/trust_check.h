/*-------------------------------------------------------------------------
 *
 * trust_check.h
 *	  What may be written into the tables of issuers and keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRUST_CHECK_H
#define JWT_TRUST_CHECK_H

#include "postgres.h"

#include "commands/trigger.h"

extern HeapTuple trust_check_issuer(TriggerData *trigger);
extern HeapTuple trust_check_key(TriggerData *trigger);

#endif							/* JWT_TRUST_CHECK_H */

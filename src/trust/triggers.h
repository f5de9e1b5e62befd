/*-------------------------------------------------------------------------
 *
 * triggers.h
 *	  The triggers on the tables of trust: what happens when a row changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRIGGERS_H
#define JWT_TRIGGERS_H

#include "postgres.h"

#include "commands/trigger.h"
#include "trust/catalog.h"

extern HeapTuple trigger_check_row(TriggerData *trigger, TrustTable table);
extern void trigger_warn(TriggerData *trigger);
extern void trigger_cascade(TriggerData *trigger);

#endif							/* JWT_TRIGGERS_H */

/*-------------------------------------------------------------------------
 *
 * revocation_count.h
 *	  How many transactions have revoked something.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REVOCATION_COUNT_H
#define JWT_REVOCATION_COUNT_H

#include "postgres.h"

/* Not counted, or not known to mean anything. */
#define REVOCATION_UNCOUNTED	PG_UINT64_MAX

extern void revocation_count_init(void);
extern void revocation_count_this(void);
extern uint64 revocation_count_if_quiet(void);
extern bool revocation_count_is(uint64 count);

#endif							/* JWT_REVOCATION_COUNT_H */

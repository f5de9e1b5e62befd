/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  How many statements this backend has begun.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_STATEMENT_H
#define JWT_STATEMENT_H

#include "postgres.h"

/* Counts queries and utility statements, also those within functions. */
extern uint64 statement_number;

extern void statement_init(void);

#endif							/* JWT_STATEMENT_H */

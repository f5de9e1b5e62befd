/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  Memory for secret bytes, which is cleansed before it is freed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SECRET_H
#define JWT_SECRET_H

#include "postgres.h"

extern uint8 *secret_alloc(MemoryContext context, Size size);

#endif							/* JWT_SECRET_H */

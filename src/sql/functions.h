/*-------------------------------------------------------------------------
 *
 * functions.h
 *	  What the SQL functions share: arguments in, and failures into errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_FUNCTIONS_H
#define JWT_FUNCTIONS_H

#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "token/failure.h"
#include "token/jws.h"

pg_noreturn extern void raise_failure(const Failure *failure);
pg_noreturn extern void raise_bad_key(const char *reason);
extern JwsString text_argument(FunctionCallInfo fcinfo, int n);

#endif							/* JWT_FUNCTIONS_H */

/*-------------------------------------------------------------------------
 *
 * functions.h
 *	  Common parts of the SQL functions: arguments, result rows and errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_FUNCTIONS_H
#define JWT_FUNCTIONS_H

#include "compat.h"

#include "fmgr.h"
#include "token/failure.h"
#include "token/jws.h"
#include "trust/rows.h"

pg_noreturn extern void raise_failure(const Failure *failure);
pg_noreturn extern void raise_bad_key(const char *reason);
extern Slice text_argument(FunctionCallInfo fcinfo, int n);
extern Slice required_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern Datum row_result(FunctionCallInfo fcinfo, int n, Datum *values, bool *nulls);
extern TrustIssuer *require_issuer(const Slice *name);

#endif							/* JWT_FUNCTIONS_H */

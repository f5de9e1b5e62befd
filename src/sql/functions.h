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
extern void push_key(JsonbParseState **state, const char *name);
extern void push_string(JsonbParseState **state, const char *name, const Slice *string);
extern void push_text(JsonbParseState **state, const char *name, const char *text);
extern TrustIssuer *require_issuer(const Slice *name);
extern void require_new_kid(const char *issuer, const Slice *kid);
extern TimestampTz expiry_of_issued(const TrustIssuer *issuer, TimestampTz issued_before);
extern TimestampTz expiry_of_session(const TrustIssuer *issuer, TimestampTz ended);

#endif							/* JWT_FUNCTIONS_H */

/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  Arguments and results of SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_ARGUMENTS_H
#define JWT_ARGUMENTS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "token/slice.h"
#include "utils/jsonb.h"

extern Slice text_argument(FunctionCallInfo fcinfo, int n);
extern Slice required_argument(FunctionCallInfo fcinfo, int n, const char *name);
extern int64 interval_to_usec(const Interval *interval);
extern Datum row_result(FunctionCallInfo fcinfo, int n, Datum *values, bool *nulls);
extern Datum call_with_secret(PGFunction function, FunctionCallInfo fcinfo);
extern void push_key(JsonbParseState **state, const char *name);
extern void push_string(JsonbParseState **state, const char *name, const Slice *string);
extern void push_text(JsonbParseState **state, const char *name, const char *text);

#endif							/* JWT_ARGUMENTS_H */

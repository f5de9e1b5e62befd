/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Arguments and results of SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "extension/arguments.h"
#include "funcapi.h"
#include "token/failure.h"
#include "utils/timestamp.h"

/*
 * A text argument.  Null data means null.
 */
Slice
text_argument(FunctionCallInfo fcinfo, int n)
{
	Slice		string = {NULL, 0};

	if (!PG_ARGISNULL(n))
	{
		text	   *t = PG_GETARG_TEXT_PP(n);

		string.data = VARDATA_ANY(t);
		string.len = (int) VARSIZE_ANY_EXHDR(t);
	}
	return string;
}

/*
 * A text argument.  Raises an error if it is null.
 */
Slice
required_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name),
				 errhidesecret()));
	return text_argument(fcinfo, n);
}

/*
 * An interval in microseconds, saturated.  A month has 30 days, as elsewhere
 * in PostgreSQL.
 */
int64
interval_to_usec(const Interval *interval)
{
	double		usec = (double) interval->time +
	((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	if (usec >= (double) PG_INT64_MAX)
		return PG_INT64_MAX;
	if (usec <= (double) PG_INT64_MIN)
		return PG_INT64_MIN;
	return interval->time +
		((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

/*
 * The result row of a function, from its n columns.
 */
Datum
row_result(FunctionCallInfo fcinfo, int n, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != n)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
hide_statement(void *arg)
{
	(void) arg;
	errhidestmt(true);
}

/*
 * Call a function with a secret among its arguments.  Its errors and log messages
 * have no statement and no context, also those of PostgreSQL, such as a timeout.
 */
Datum
call_with_secret(PGFunction function, FunctionCallInfo fcinfo)
{
	ErrorContextCallback *outer = error_context_stack;
	ErrorContextCallback hide = {.callback = hide_statement};
	Datum		result;

	error_context_stack = &hide;
	result = function(fcinfo);
	error_context_stack = outer;
	return result;
}

/*
 * Add the name of a member to an object.  Its value is added next.
 */
void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, name);
	v.val.string.len = (int) strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &v);
}

/*
 * Add a member that is a string, or null for null data.
 */
void
push_string(JsonbParseState **state, const char *name, const Slice *string)
{
	JsonbValue	v = {.type = jbvNull};

	push_key(state, name);
	if (string->data != NULL)
	{
		v.type = jbvString;
		v.val.string.val = unconstify(char *, string->data);
		v.val.string.len = string->len;
	}
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * The same for a terminated string, or null for a null pointer.
 */
void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	Slice		string = slice_of(text);

	push_string(state, name, &string);
}

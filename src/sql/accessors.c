/*-------------------------------------------------------------------------
 *
 * accessors.c
 *	  The SQL functions that read the current token's claims, and the cache
 *	  of their call sites.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "session/session.h"
#include "sql/functions.h"
#include "token/json.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/portal.h"

JWT_SQL_FUNCTION(jwt_sql_claims);
JWT_SQL_FUNCTION(jwt_sql_claim);
JWT_SQL_FUNCTION(jwt_sql_subject);
JWT_SQL_FUNCTION(jwt_sql_has_scope);

/*
 * The cache of a call site: one place in a plan, called for many rows.
 */
typedef struct CallSite
{
	uint64		stamp;			/* session_stamp() + *position for which the
								 * value is true, or 0 */
	const uint64 *position;		/* see ends_with_statement() */
	Datum		value;
	bool		isnull;

	/* if the call site outlives its statement */
	uint64		lasting_stamp;	/* session_stamp() for which the value is true
								 * at that time */
	TimestampTz time;			/* verify_now() */
} CallSite;

/*
 * Reads the value of an accessor from the claims, which are not NULL.  The
 * value is in the current memory context or a part of the claims.  Returns
 * false for null.
 */
typedef bool (*ClaimReader) (FunctionCallInfo fcinfo, const Jsonb *claims, Datum *value);

static bool
read_current(FunctionCallInfo fcinfo, ClaimReader reader, uint64 *stamp, Datum *value)
{
	const Jsonb *claims;
	Failure		failure;

	if (!session_claims(&claims, stamp, &failure))
		raise_failure(&failure);
	return claims != NULL && reader(fcinfo, claims, value);
}

/*
 * Does the memory context of a plan end with one statement?  That of the
 * unnamed portal does, and that of a query within a function.  Others may not: a
 * cursor is fetched from in many statements, and PL/pgSQL evaluates an
 * expression in many.  If it is unknown, the answer is no, which only costs
 * time.
 *
 * A client can execute the unnamed portal in portions, and each of them is a
 * statement.  *position points to the number of rows of earlier portions.
 */
static bool
ends_with_statement(MemoryContext context, const uint64 **position)
{
	static const uint64 start = 0;
	MemoryContext parent = MemoryContextGetParent(context);
	Portal		portal = GetPortalByName("");

	*position = &start;
	if (parent == NULL)
		return false;
	if (strcmp(parent->name, "SPI Exec") == 0)
		return true;
	if (!PortalIsValid(portal) || portal->portalContext != parent)
		return false;
	*position = &portal->portalPos;
	return true;
}

/*
 * Is the argument a constant of the plan?  A parameter is not: PL/pgSQL
 * evaluates the same expression with different values.
 */
static bool
argument_is_constant(FmgrInfo *flinfo)
{
	return flinfo->fn_expr != NULL && IsA(flinfo->fn_expr, FuncExpr) &&
		IsA(linitial(((FuncExpr *) flinfo->fn_expr)->args), Const);
}

/*
 * Is the value of a call site that outlives its statement still true?
 */
static bool
is_still_true(const CallSite *site)
{
	catalog_accept_changes();
	return site->lasting_stamp == session_stamp() && site->time == verify_now();
}

/*
 * Get the value, and cache it at the call site if the argument is the same for
 * every row, or absent.  Only the value lives as long as the call site.  All
 * other memory is freed with the row.
 */
static pg_noinline Datum
get_value(FunctionCallInfo fcinfo, ClaimReader reader, bool by_value)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	CallSite   *site = flinfo->fn_extra;
	MemoryContext old;
	bool		one_statement;
	uint64		stamp;
	Datum		value = (Datum) 0;

	if (site == NULL && fcinfo->nargs > 0 && !argument_is_constant(flinfo))
	{
		fcinfo->isnull = !read_current(fcinfo, reader, &stamp, &value);
		return value;
	}
	if (site == NULL)
		flinfo->fn_extra = site = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(CallSite));
	else if (site->stamp == 0 && is_still_true(site))
	{
		fcinfo->isnull = site->isnull;
		return site->value;
	}
	else if (!by_value && !site->isnull)
		pfree(DatumGetPointer(site->value));

	/* valid if an error is raised: no stamp is 0 */
	memset(site, 0, sizeof(*site));
	site->isnull = true;
	one_statement = ends_with_statement(flinfo->fn_mcxt, &site->position);
	site->time = verify_now();
	fcinfo->isnull = !read_current(fcinfo, reader, &stamp, &value);
	if (!fcinfo->isnull)
	{
		old = MemoryContextSwitchTo(flinfo->fn_mcxt);
		site->value = datumCopy(value, by_value, by_value ? (int) sizeof(bool) : -1);
		MemoryContextSwitchTo(old);
		site->isnull = false;
	}
	if (one_statement)
		site->stamp = stamp + *site->position;
	else
		site->lasting_stamp = stamp;
	return site->value;
}

/*
 * The value of an accessor.  If the call site ends with its statement, a row
 * costs only the comparison of the stamp.
 */
static inline Datum
current_value(FunctionCallInfo fcinfo, ClaimReader reader, bool by_value)
{
	const CallSite *site = fcinfo->flinfo->fn_extra;

	if (unlikely(site == NULL || site->stamp != session_stamp() + *site->position))
		return get_value(fcinfo, reader, by_value);
	fcinfo->isnull = site->isnull;
	return site->value;
}

static bool
read_claims(FunctionCallInfo fcinfo, const Jsonb *claims, Datum *value)
{
	(void) fcinfo;
	*value = JsonbPGetDatum(claims);
	return true;
}

static bool
read_claim(FunctionCallInfo fcinfo, const Jsonb *claims, Datum *value)
{
	text	   *claim = PG_ARGISNULL(0) ? NULL : session_claim_text(claims, PG_GETARG_ARRAYTYPE_P(0));

	*value = PointerGetDatum(claim);
	return claim != NULL;
}

static bool
read_subject(FunctionCallInfo fcinfo, const Jsonb *claims, Datum *value)
{
	JsonbValue	subject;

	(void) fcinfo;
	if (!jsonb_member(claims, "sub", &subject))
		return false;
	/* claims.c has checked that it is a string */
	*value = PointerGetDatum(cstring_to_text_with_len(subject.val.string.val,
													  subject.val.string.len));
	return true;
}

static bool
read_scope(FunctionCallInfo fcinfo, const Jsonb *claims, Datum *value)
{
	text	   *scope = PG_GETARG_TEXT_PP(0);

	*value = BoolGetDatum(session_has_scope(claims, VARDATA_ANY(scope),
											(int) VARSIZE_ANY_EXHDR(scope)));
	return true;
}

/*
 * jwt_claims()
 */
Datum
jwt_sql_claims(PG_FUNCTION_ARGS)
{
	return current_value(fcinfo, read_claims, false);
}

/*
 * jwt_claim(VARIADIC path)
 */
Datum
jwt_sql_claim(PG_FUNCTION_ARGS)
{
	return current_value(fcinfo, read_claim, false);
}

/*
 * jwt_subject()
 */
Datum
jwt_sql_subject(PG_FUNCTION_ARGS)
{
	return current_value(fcinfo, read_subject, false);
}

/*
 * jwt_has_scope(scope): never null.
 */
Datum
jwt_sql_has_scope(PG_FUNCTION_ARGS)
{
	Datum		value = current_value(fcinfo, read_scope, true);

	if (fcinfo->isnull)
	{
		fcinfo->isnull = false;
		return BoolGetDatum(false);
	}
	return value;
}

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
 * The lifetime of a call site.  A longer lifetime needs more checks for each
 * row.
 */
typedef enum SiteLife
{
	SITE_ONE_STATEMENT,
	SITE_PORTIONS,				/* of the client's portal: each is a statement */
	SITE_MANY_STATEMENTS
} SiteLife;

/*
 * The cache of a call site: one place in a plan, called for many rows.
 */
typedef struct CallSite
{
	uint64		stamp;			/* session_stamp() of the value */
	SiteLife	life;
	TimestampTz now;			/* verify_now() of the value */
	Datum		value;
	bool		isnull;
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
 * The lifetime of this memory context of an executed plan.  The context of the
 * unnamed portal ends with one statement, but in the extended protocol, whose
 * portals are visible, a client may fetch from it in portions.  The context of
 * a query in a function ends with one statement, too.  A cursor of any name,
 * and an expression of PL/pgSQL, are used by many statements.  An unknown
 * context counts as one of these.
 */
static SiteLife
life_of(MemoryContext context)
{
	MemoryContext parent = MemoryContextGetParent(context);
	Portal		portal;

	if (parent == NULL)
		return SITE_MANY_STATEMENTS;
	if (strcmp(parent->name, "SPI Exec") == 0)
		return SITE_ONE_STATEMENT;
	portal = GetPortalByName("");
	if (!PortalIsValid(portal) || portal->portalContext != parent)
		return SITE_MANY_STATEMENTS;
	return portal->visible ? SITE_PORTIONS : SITE_ONE_STATEMENT;
}

/*
 * Compute the value of a call site again.  Only the value lives as long as the
 * call site.  All other memory is freed after the row.
 */
static pg_noinline CallSite *
refresh_site(FunctionCallInfo fcinfo, ClaimReader reader, bool by_value)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	MemoryContext old;
	uint64		stamp;
	Datum		value = (Datum) 0;
	bool		found;

	if (site == NULL)
		fcinfo->flinfo->fn_extra = site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
																 sizeof(CallSite));
	else if (!by_value && !site->isnull)
		pfree(DatumGetPointer(site->value));

	/* an error leaves the stamp 0, which is never current */
	memset(site, 0, sizeof(*site));
	site->isnull = true;
	site->life = life_of(fcinfo->flinfo->fn_mcxt);
	site->now = verify_now();
	found = read_current(fcinfo, reader, &stamp, &value);
	if (found)
	{
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		site->value = datumCopy(value, by_value, by_value ? (int) sizeof(bool) : -1);
		MemoryContextSwitchTo(old);
	}
	site->isnull = !found;
	site->stamp = stamp;
	return site;
}

/*
 * Is the cached value of a call site current?  Within one statement it is as
 * long as the stamp is the same.
 */
static inline bool
site_is_current(const CallSite *site)
{
	if (unlikely(site->life != SITE_ONE_STATEMENT))
	{
		if (site->life == SITE_MANY_STATEMENTS)
			catalog_accept_changes();
		if (site->now != verify_now())
			return false;
	}
	return site->stamp == session_stamp();
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
 * The value of an accessor.  It is cached in the call site if there is no
 * argument, or the argument is the same for every row.
 */
static inline Datum
current_value(FunctionCallInfo fcinfo, ClaimReader reader, bool by_value, int n_args)
{
	const CallSite *site = fcinfo->flinfo->fn_extra;

	if (unlikely(site == NULL || !site_is_current(site)))
	{
		if (n_args > 0 && !argument_is_constant(fcinfo->flinfo))
		{
			uint64		stamp;
			Datum		value = (Datum) 0;

			fcinfo->isnull = !read_current(fcinfo, reader, &stamp, &value);
			return value;
		}
		site = refresh_site(fcinfo, reader, by_value);
	}
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
	text	   *claim = session_claim_text(claims, PG_GETARG_ARRAYTYPE_P(0));

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
	return current_value(fcinfo, read_claims, false, 0);
}

/*
 * jwt_claim(VARIADIC path)
 */
Datum
jwt_sql_claim(PG_FUNCTION_ARGS)
{
	return current_value(fcinfo, read_claim, false, 1);
}

/*
 * jwt_subject()
 */
Datum
jwt_sql_subject(PG_FUNCTION_ARGS)
{
	return current_value(fcinfo, read_subject, false, 0);
}

/*
 * jwt_has_scope(scope): never null.
 */
Datum
jwt_sql_has_scope(PG_FUNCTION_ARGS)
{
	Datum		value = current_value(fcinfo, read_scope, true, 1);

	if (fcinfo->isnull)
	{
		fcinfo->isnull = false;
		return BoolGetDatum(false);
	}
	return value;
}

/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  On which terms an issuer signs here: a row of jwt_token_policy.
 *
 * As in the extension jwt, a row that makes no sense is stored and has no effect:
 * policy_require() raises an error with the reason.  A policy is good if
 * jwt_verify() would accept its tokens.  So it is cached for the generation of
 * jwt_issuer, too.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "auth/policy.h"
#include "auth/tables.h"
#include "catalog/pg_type.h"
#include "extension/arguments.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The maximal number of cached policies. */
#define MAX_POLICIES	16

#define MAX_AUDIENCES	100
#define MAX_GRACE		(60 * USECS_PER_SEC)
#define MAX_INTERVAL	(INT64CONST(3653) * USECS_PER_DAY)

static struct
{
	uint64		generation;		/* of our tables */
	uint64		jwt_generation; /* of jwt_issuer and jwt_key */
	MemoryContext context;		/* of the policies */
	int			n;
	TokenPolicy *policies[MAX_POLICIES];
	TokenPolicy *only;			/* the only row, if known; or NULL */
}			cache;

/*
 * Mark a policy as unusable.  The first reason stays.
 */
static void
refuse(TokenPolicy *policy, const char *column, const char *why)
{
	if (policy->unusable == NULL)
		policy->unusable = psprintf("The column \"%s\" %s", column, why);
}

/*
 * An interval column in microseconds.  The policy is unusable if it is null or
 * outside of these limits.
 */
static int64
read_interval(TokenPolicy *policy, const char *column, Datum value, bool isnull,
			  int64 min, int64 max, const char *limits)
{
	int64		usec = isnull ? 0 : interval_to_usec(DatumGetIntervalP(value));

	if (isnull)
		refuse(policy, column, "is null.");
	else if (usec < min || usec > max)
	{
		refuse(policy, column, psprintf("must be %s.", limits));
		return min;
	}
	return usec;
}

/*
 * Read the audiences, which become the claim aud.
 */
static void
read_audience(TokenPolicy *policy, Datum value, bool isnull)
{
	ArrayType  *array = isnull ? NULL : DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;

	if (array == NULL || ARR_NDIM(array) != 1)
	{
		refuse(policy, "audience", isnull ? "is null." : "is not a list of one element or more.");
		return;
	}
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &policy->n_audience);
	if (policy->n_audience > MAX_AUDIENCES)
	{
		policy->n_audience = 0;
		refuse(policy, "audience", "has too many elements.");
	}
	policy->audience = palloc(sizeof(char *) * Max(policy->n_audience, 1));
	for (int i = 0; i < policy->n_audience; i++)
	{
		policy->audience[i] = nulls[i] ? pstrdup("") : TextDatumGetCString(elements[i]);
		if (policy->audience[i][0] == '\0')
			refuse(policy, "audience", "has a null or an empty string.");
		if (strcmp(policy->audience[i], "*") == 0)
			refuse(policy, "audience", "has \"*\"; name who the tokens are for.");
	}
}

/*
 * Is one of the policy's audiences accepted by the row of jwt_issuer?
 */
static bool
audience_is_accepted(const TokenPolicy *policy, const ClaimsPolicy *accepted)
{
	if (accepted->any_audience)
		return true;
	for (int i = 0; i < policy->n_audience; i++)
		for (int j = 0; j < accepted->n_audience; j++)
			if (strcmp(policy->audience[i], accepted->audience[j]) == 0)
				return true;
	return false;
}

/*
 * Compare a policy with the row of jwt_issuer, which may be missing.
 */
static void
judge_terms(TokenPolicy *policy)
{
	const ClaimsPolicy *accepted;

	if (policy->unusable != NULL)
		return;
	if (policy->terms == NULL)
	{
		policy->unusable = pstrdup("There is no row of jwt_issuer for it, so its tokens are not accepted here.");
		return;
	}
	if (policy->terms->unusable != NULL)
	{
		policy->unusable = psprintf("Its row of jwt_issuer cannot be used. %s", policy->terms->unusable);
		return;
	}
	accepted = policy->terms->policy;
	if (accepted->accepts_none)
		policy->unusable = pstrdup("Access tokens are not accepted here, because jwt_issuer.audience is null.");
	else if (!accepted->any_audience && accepted->n_audience == 0)
		policy->unusable = pstrdup("Tokens with an audience are not accepted here, because jwt_issuer.audience is empty.");
	else if (!audience_is_accepted(policy, accepted))
		policy->unusable = psprintf("No element of the column \"audience\" is in jwt_issuer.audience; its first is \"%s\".",
									quote_string(policy->audience[0]));
	else if (accepted->max_lifetime != CLAIMS_NO_LIMIT && policy->access_lifetime > accepted->max_lifetime)
		policy->unusable = psprintf("The column \"access_lifetime\" is %lld seconds, and jwt_issuer.max_lifetime %lld.",
									(long long) (policy->access_lifetime / USECS_PER_SEC),
									(long long) (accepted->max_lifetime / USECS_PER_SEC));
}

/*
 * The policy in a row of an open table, in the current memory context.  It may be
 * unusable.
 */
static TokenPolicy *
read_row(Relation rel, HeapTuple tuple)
{
	TokenPolicy *policy = palloc0(sizeof(TokenPolicy));
	Datum	   *values = palloc(sizeof(Datum) * RelationGetDescr(rel)->natts);
	bool	   *nulls = palloc(sizeof(bool) * RelationGetDescr(rel)->natts);
	Slice		name;

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
#define VALUE(column) values[Anum_policy_##column - 1], nulls[Anum_policy_##column - 1]
#define INTERVAL(column, min, max, limits) \
	(policy->column = read_interval(policy, #column, VALUE(column), min, max, limits))
	policy->issuer = nulls[Anum_policy_issuer - 1] ? pstrdup("") :
		TextDatumGetCString(values[Anum_policy_issuer - 1]);
	if (policy->issuer[0] == '\0')
		refuse(policy, "issuer", "is null or empty, and a token that is signed here names its issuer.");
	read_audience(policy, VALUE(audience));
	INTERVAL(access_lifetime, USECS_PER_SEC, POLICY_MAX_ACCESS_LIFETIME, "between 1 second and 1 day");
	INTERVAL(session_lifetime, USECS_PER_SEC, MAX_INTERVAL, "between 1 second and 10 years");
	INTERVAL(idle_lifetime, USECS_PER_SEC, MAX_INTERVAL, "between 1 second and 10 years");
	INTERVAL(grace, 0, MAX_GRACE, "between 0 and 60 seconds");
	INTERVAL(publish_ahead, 0, MAX_INTERVAL, "between 0 and 10 years");
	if (!nulls[Anum_policy_rotate_every - 1])
		INTERVAL(rotate_every, policy->publish_ahead + USECS_PER_MINUTE, MAX_INTERVAL,
				 "null, or longer than \"publish_ahead\" by a minute at least, and at most 10 years");
#undef INTERVAL
#undef VALUE
	name = slice_of(policy->issuer);
	policy->terms = tables_jwt()->find_issuer(&name);
	judge_terms(policy);
	return policy;
}

/*
 * Read the row of an issuer, or for absent data the only row, in the current
 * memory context.  NULL if there is none, or if there are several.
 */
static TokenPolicy *
read_policy(const Slice *issuer, bool *several)
{
	Relation	rel = tables_open(AUTH_POLICY, AccessShareLock);
	SysScanDesc scan = issuer->data != NULL ? tables_scan(rel, INDEX_POLICY, issuer, NULL) :
	systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	TokenPolicy *policy = HeapTupleIsValid(tuple) ? read_row(rel, tuple) : NULL;

	*several = policy != NULL && HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return *several ? NULL : policy;
}

static void
forget_all(void)
{
	cache.n = 0;
	cache.only = NULL;
	if (cache.context != NULL)
		MemoryContextReset(cache.context);
}

/*
 * Find a policy in the cache, or NULL.
 */
static TokenPolicy *
find_cached(const Slice *issuer)
{
	if (issuer->data == NULL)
		return cache.only;
	for (int i = 0; i < cache.n; i++)
		if (slice_is(issuer, cache.policies[i]->issuer))
			return cache.policies[i];
	return NULL;
}

/*
 * The policy of an issuer, or NULL.  A policy that is read while another backend
 * changes it is read again.
 */
static const TokenPolicy *
find_policy(const Slice *issuer, bool *several)
{
	const JwtEntries *jwt = tables_jwt();
	TokenPolicy *policy;
	MemoryContext context;
	MemoryContext old;

	*several = false;
	for (;;)
	{
		uint64		jwt_generation = jwt->generation();
		uint64		generation = tables_generation();

		if (cache.generation != generation || cache.jwt_generation != jwt_generation)
			forget_all();
		cache.generation = generation;
		cache.jwt_generation = jwt_generation;
		policy = find_cached(issuer);
		if (policy != NULL)
			return policy;

		CHECK_FOR_INTERRUPTS();
		context = AllocSetContextCreate(CurrentMemoryContext, "jwt_auth policy", ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(context);
		policy = read_policy(issuer, several);
		MemoryContextSwitchTo(old);
		if (jwt->unchanged(jwt_generation) && tables_unchanged(generation))
			break;
		MemoryContextDelete(context);
	}
	if (policy == NULL)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	if (cache.context == NULL)
		cache.context = AllocSetContextCreate(CacheMemoryContext, "jwt_auth policies", ALLOCSET_SMALL_SIZES);
	if (cache.n == MAX_POLICIES)
		forget_all();
	MemoryContextSetParent(context, cache.context);
	cache.policies[cache.n++] = policy;
	if (issuer->data == NULL)
		cache.only = policy;
	return policy;
}

/*
 * The policy of an issuer, which may be unusable, or NULL.  It lives until the
 * next call.
 */
const TokenPolicy *
policy_find(const Slice *issuer)
{
	bool		several;

	return find_policy(issuer, &several);
}

/*
 * A policy that can be used: that of an issuer, or for absent data the only one.
 * It lives until the next call.  Raises an error with the reason if there is
 * none.
 */
const TokenPolicy *
policy_require(const Slice *issuer)
{
	bool		several;
	const TokenPolicy *policy = find_policy(issuer, &several);

	if (several)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the issuer must be given"),
				 errdetail("The table jwt_token_policy has several rows.")));
	if (policy == NULL && issuer->data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no issuer signs here"),
				 errhint("INSERT INTO jwt_token_policy (issuer, audience) VALUES (...);")));
	if (policy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("issuer \"%s\" does not sign here", quote_untrusted(issuer->data, issuer->len)),
				 errhint("INSERT INTO jwt_token_policy (issuer, audience) VALUES (%s, ...);",
						 quote_literal_cstr(quote_untrusted(issuer->data, issuer->len)))));
	if (policy->unusable != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the token policy of issuer \"%s\" cannot be used", quote_string(policy->issuer)),
				 errdetail_internal("%s", policy->unusable),
				 policy->terms != NULL ? 0 :
				 errhint("SELECT jwt_add_issuer(%s, ...);",
						 quote_literal_cstr(quote_string(policy->issuer)))));
	return policy;
}

/*
 * The lifetime that a caller wants for an access token, in microseconds.  It can
 * only be shorter than the policy's.
 */
int64
policy_lifetime(const TokenPolicy *policy, const Interval *interval)
{
	int64		usec = interval_to_usec(interval);

	if (usec < USECS_PER_SEC || usec > policy->access_lifetime)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lifetime is out of range"),
				 errdetail("It must be between 1 second and jwt_token_policy.access_lifetime, which is %lld seconds.",
						   (long long) (policy->access_lifetime / USECS_PER_SEC))));
	return usec;
}

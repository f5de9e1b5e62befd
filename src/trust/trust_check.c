/*-------------------------------------------------------------------------
 *
 * trust_check.c
 *	  What may be written into the tables of issuers and keys.
 *
 * The checks are triggers and not constraints, because a refused row must say
 * which column is at fault, why, and what would be accepted; and because the
 * message of a violated constraint shows the row, which may hold a secret.
 * That is also why they check for nulls, before the constraints do.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "token/jwk.h"
#include "trust/revocation.h"
#include "trust/trust.h"
#include "trust/trust_check.h"
#include "trust/trust_read.h"
#include "trust/trust_tables.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define MAX_LEEWAY	(5 * USECS_PER_MINUTE)

/* The row that a trigger was called for. */
typedef struct Row
{
	Relation	rel;
	HeapTuple	tuple;
	Datum	   *values;
	bool	   *nulls;
} Row;

pg_noreturn static void refuse_row(const Row *row, AttrNumber column, const char *detail);

/*
 * Refuse the row for what is in a column; detail is a full sentence.
 */
static void
refuse_row(const Row *row, AttrNumber column, const char *detail)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(row->rel), column - 1)->attname);

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("column \"%s\" of \"%s\" is not acceptable", name,
					RelationGetRelationName(row->rel)),
			 errdetail_internal("%s", detail),
			 errtablecol(row->rel, column)));
}

/*
 * Take the row apart.  Two columns may be null for now, as they are filled in.
 */
static Row
read_row(TriggerData *trigger, AttrNumber filled_in, AttrNumber also_filled_in)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Row			row;

	row.rel = trigger->tg_relation;
	row.tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		trigger->tg_newtuple : trigger->tg_trigtuple;
	row.values = palloc(sizeof(Datum) * desc->natts);
	row.nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(row.tuple, desc, row.values, row.nulls);

	for (int column = 1; column <= desc->natts; column++)
		if (row.nulls[column - 1] && TupleDescAttr(desc, column - 1)->attnotnull &&
			column != filled_in && column != also_filled_in)
			refuse_row(&row, column, "The column must not be null.");
	return row;
}

/*
 * A text column, terminated; NULL for null.
 */
static char *
text_column(const Row *row, AttrNumber column)
{
	return row->nulls[column - 1] ? NULL : TextDatumGetCString(row->values[column - 1]);
}

static void
check_name(const Row *row, AttrNumber column)
{
	char	   *name = text_column(row, column);

	if (name != NULL && strlen(name) > TRUST_MAX_NAME)
		refuse_row(row, column, psprintf("It is %d bytes long; at most %d are accepted.",
										 (int) strlen(name), TRUST_MAX_NAME));
}

/*
 * The elements of a text array column: one dimension, no nulls, no empty and no
 * equal strings.
 */
static char **
array_column(const Row *row, AttrNumber column, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(row->values[column - 1]);
	char	  **elements;

	if (ARR_NDIM(array) > 1)
		refuse_row(row, column, "The array has more than one dimension.");
	if (array_contains_nulls(array))
		refuse_row(row, column, "The array has a null element.");
	elements = trust_text_array(array, n);
	for (int i = 0; i < *n; i++)
	{
		if (elements[i][0] == '\0')
			refuse_row(row, column, "The array has an empty string.");
		for (int j = 0; j < i; j++)
			if (strcmp(elements[i], elements[j]) == 0)
				refuse_row(row, column, psprintf("The array has \"%s\" twice.", elements[i]));
	}
	return elements;
}

static int64
interval_column(const Row *row, AttrNumber column)
{
	return trust_interval_usec(DatumGetIntervalP(row->values[column - 1]));
}

/*
 * An issuer that has revocations says so, whatever is written: one that had them
 * for good, and one that is new or renamed when there are some of its name.
 */
static HeapTuple
note_revocations(const TriggerData *trigger, const Row *row, const AttrNumber flags[2])
{
	TupleDesc	desc = RelationGetDescr(row->rel);
	char	   *name = text_column(row, Anum_jwt_issuer_issuer);
	JwsString	issuer = {name, (int) strlen(name)};
	HeapTuple	old = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_trigtuple : NULL;
	int			columns[] = {flags[0], flags[1]};
	bool		has[lengthof(columns)] = {false};
	Datum		values[lengthof(columns)];
	bool		nulls[lengthof(columns)] = {false};
	bool		isnull;

	if (old == NULL ||
		strcmp(name, TextDatumGetCString(heap_getattr(old, Anum_jwt_issuer_issuer, desc, &isnull))) != 0)
		revocation_exist(&issuer, &has[0], &has[1]);
	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		if (!row->nulls[columns[i] - 1] && DatumGetBool(row->values[columns[i] - 1]))
			has[i] = true;
		if (old != NULL && DatumGetBool(heap_getattr(old, columns[i], desc, &isnull)))
			has[i] = true;
		values[i] = BoolGetDatum(has[i]);
	}
	return heap_modify_tuple_by_cols(row->tuple, desc, lengthof(columns), columns, values, nulls);
}

/*
 * Check a row of jwt_issuer (BEFORE INSERT OR UPDATE, FOR EACH ROW).
 */
HeapTuple
trust_check_issuer(TriggerData *trigger)
{
	AttrNumber	flags[2];
	bool		has_flags = trust_find_flags(RelationGetDescr(trigger->tg_relation), flags);
	Row			row = read_row(trigger, flags[0], flags[1]);
	char	  **elements;
	char	   *token_type;
	char	   *role_claim;
	int			n;

	check_name(&row, Anum_jwt_issuer_issuer);

	elements = array_column(&row, Anum_jwt_issuer_audience, &n);
	for (int i = 0; i < n; i++)
		if (n > 1 && strcmp(elements[i], "*") == 0)
			refuse_row(&row, Anum_jwt_issuer_audience,
					   "\"*\" stands for any audience and must be alone.");

	elements = array_column(&row, Anum_jwt_issuer_algorithms, &n);
	if (n == 0)
		refuse_row(&row, Anum_jwt_issuer_algorithms,
				   psprintf("The array is empty; accepted are %s.", algorithm_names()));
	for (int i = 0; i < n; i++)
		if (!algorithm_known(elements[i], (int) strlen(elements[i])))
			refuse_row(&row, Anum_jwt_issuer_algorithms,
					   psprintf("The algorithm \"%s\" is not known; accepted are %s.",
								elements[i], algorithm_names()));

	(void) array_column(&row, Anum_jwt_issuer_required_claims, &n);

	token_type = text_column(&row, Anum_jwt_issuer_token_type);
	if (token_type != NULL)
	{
		if (token_type[0] == '\0')
			refuse_row(&row, Anum_jwt_issuer_token_type,
					   "It is empty; use null when the type does not matter.");
		for (char *p = token_type; *p; p++)
			if (*p <= ' ' || IS_HIGHBIT_SET(*p) || *p == 0x7f)
				refuse_row(&row, Anum_jwt_issuer_token_type,
						   "It is not a media type, such as \"at+jwt\".");
	}

	if (interval_column(&row, Anum_jwt_issuer_leeway) < 0 ||
		interval_column(&row, Anum_jwt_issuer_leeway) > MAX_LEEWAY)
		refuse_row(&row, Anum_jwt_issuer_leeway, "It must be between 0 and 5 minutes.");
	for (AttrNumber column = Anum_jwt_issuer_max_lifetime; column <= Anum_jwt_issuer_max_age; column++)
		if (!row.nulls[column - 1] && interval_column(&row, column) <= 0)
			refuse_row(&row, column, "It must be more than 0; use null for no limit.");

	role_claim = text_column(&row, Anum_jwt_issuer_role_claim);
	if (role_claim != NULL && role_claim[0] == '\0')
		refuse_row(&row, Anum_jwt_issuer_role_claim,
				   "It is empty; use null when tokens name no role.");
	elements = array_column(&row, Anum_jwt_issuer_roles, &n);
	for (int i = 0; i < n; i++)
		if (strcmp(elements[i], "none") == 0 || strlen(elements[i]) >= NAMEDATALEN)
			refuse_row(&row, Anum_jwt_issuer_roles,
					   psprintf("\"%s\" is not the name of a role.", elements[i]));
	return has_flags ? note_revocations(trigger, &row, flags) : row.tuple;
}

/*
 * The algorithm of a key for which none is given: the JWK's own, or that of its
 * curve, or the only one of its issuer's that it can be pinned to.
 */
static bool
choose_alg(const TrustIssuer *issuer, KeyVerdict *verdict)
{
	const Jwk  *jwk = &verdict->jwk;
	const char *only = NULL;

	verdict->column = Anum_jwt_key_alg;
	if (jwk->alg != NULL)
	{
		verdict->alg = pnstrdup(jwk->alg, jwk->alg_len);
		return true;
	}
	if (jwk->only != NULL)
	{
		verdict->alg = pstrdup(jwk->only->name);
		return true;
	}
	for (int i = 0; issuer != NULL && i < issuer->n_algorithms; i++)
	{
		const Algorithm *algorithm = algorithm_by_name(issuer->algorithms[i],
													   (int) strlen(issuer->algorithms[i]));

		if (algorithm == NULL || strcmp(algorithm->kty, jwk->kty) != 0)
			continue;
		if (only != NULL)
		{
			verdict->reason =
				psprintf("The algorithm must be given, as the issuer \"%s\" has more than one algorithm for a key of type %s.",
						 issuer->policy.issuer, jwk->kty);
			return false;
		}
		only = algorithm->name;
	}
	if (only == NULL)
	{
		verdict->reason =
			psprintf("The algorithm must be given, as neither the JWK nor the issuer's algorithms say what a key of type %s is for.",
					 jwk->kty);
		return false;
	}
	verdict->alg = pstrdup(only);
	return true;
}

/*
 * The algorithms of an issuer, for a message.
 */
static char *
show_algorithms(const TrustIssuer *issuer)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < issuer->n_algorithms; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "" : ", ", issuer->algorithms[i]);
	return buf.data;
}

/*
 * Can this JWK be a key of the issuer, pinned to alg, or with NULL to the only
 * algorithm that it can be for?  Without an issuer its part is left out.
 * Returns false with the reason and the column of jwt_key that is at fault.
 */
bool
trust_judge_key(const Jsonb *jwk, const char *alg, const TrustIssuer *issuer, KeyVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->column = Anum_jwt_key_jwk;
	if (!jwk_read(jwk, &verdict->jwk, &verdict->reason))
		return false;
	if (alg != NULL)
		verdict->alg = pstrdup(alg);
	else if (!choose_alg(issuer, verdict))
		return false;

	verdict->column = algorithm_known(verdict->alg, (int) strlen(verdict->alg)) ?
		Anum_jwt_key_jwk : Anum_jwt_key_alg;
	if (!jwk_fits(&verdict->jwk, verdict->alg, (int) strlen(verdict->alg),
				  &verdict->algorithm, &verdict->reason))
		return false;
	if (issuer != NULL && !trust_issuer_allows(issuer, verdict->algorithm))
	{
		verdict->column = Anum_jwt_key_alg;
		verdict->reason = psprintf("The algorithm %s is not one of the issuer \"%s\", which are %s.",
								   verdict->alg, issuer->policy.issuer, show_algorithms(issuer));
		return false;
	}
	return jwk_check_key(&verdict->jwk, verdict->algorithm, &verdict->reason);
}

/*
 * Does an update leave the key as it is?  Then it is not judged again: a key
 * can be revoked, or its window closed, though its issuer no longer allows its
 * algorithm or OpenSSL no longer has it.
 */
static bool
same_key(const TriggerData *trigger, const Row *row)
{
	static const AttrNumber text_columns[] = {Anum_jwt_key_issuer, Anum_jwt_key_alg};
	TupleDesc	desc = RelationGetDescr(row->rel);
	Datum		old;
	bool		isnull;

	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return false;
	for (int i = 0; i < (int) lengthof(text_columns); i++)
	{
		char	   *new = text_column(row, text_columns[i]);

		old = heap_getattr(trigger->tg_trigtuple, text_columns[i], desc, &isnull);
		if (new == NULL || strcmp(new, TextDatumGetCString(old)) != 0)
			return false;
	}
	old = heap_getattr(trigger->tg_trigtuple, Anum_jwt_key_jwk, desc, &isnull);
	return compareJsonbContainers(&DatumGetJsonbP(old)->root,
								  &DatumGetJsonbP(row->values[Anum_jwt_key_jwk - 1])->root) == 0;
}

/*
 * Judge the key of a row, fill in alg and kid where the JWK has them, and put
 * the JWK into its normal form.
 */
static HeapTuple
check_new_key(Row *row)
{
	char	   *issuer_name = text_column(row, Anum_jwt_key_issuer);
	TrustIssuer *issuer = trust_read_issuer(issuer_name, (int) strlen(issuer_name));
	KeyVerdict	verdict;
	const Jwk  *jwk = &verdict.jwk;
	int			columns[] = {Anum_jwt_key_jwk, Anum_jwt_key_alg, Anum_jwt_key_kid};
	Datum		values[lengthof(columns)];
	bool		nulls[lengthof(columns)] = {false};

	if (!trust_judge_key(DatumGetJsonbP(row->values[Anum_jwt_key_jwk - 1]),
						 text_column(row, Anum_jwt_key_alg), issuer, &verdict))
		refuse_row(row, verdict.column, verdict.reason);

	if (row->nulls[Anum_jwt_key_kid - 1] && jwk->kid != NULL)
	{
		row->nulls[Anum_jwt_key_kid - 1] = false;
		row->values[Anum_jwt_key_kid - 1] =
			PointerGetDatum(cstring_to_text_with_len(jwk->kid, jwk->kid_len));
	}
	values[0] = JsonbPGetDatum(jwk_normal_form(jwk, false));
	values[1] = CStringGetTextDatum(verdict.alg);
	values[2] = row->values[Anum_jwt_key_kid - 1];
	nulls[2] = row->nulls[Anum_jwt_key_kid - 1];
	return heap_modify_tuple_by_cols(row->tuple, RelationGetDescr(row->rel),
									 lengthof(columns), columns, values, nulls);
}

/*
 * Check a row of jwt_key (BEFORE INSERT OR UPDATE, FOR EACH ROW).
 *
 * An issuer without a row is left to the foreign key: under logical replication
 * the key may come first.
 */
HeapTuple
trust_check_key(TriggerData *trigger)
{
	Row			row = read_row(trigger, Anum_jwt_key_alg, Anum_jwt_key_alg);
	HeapTuple	tuple = row.tuple;
	char	   *source = text_column(&row, Anum_jwt_key_source);

	check_name(&row, Anum_jwt_key_issuer);
	if (!same_key(trigger, &row))
		tuple = check_new_key(&row);
	check_name(&row, Anum_jwt_key_kid);

	if (!row.nulls[Anum_jwt_key_not_before - 1] && !row.nulls[Anum_jwt_key_not_after - 1] &&
		DatumGetTimestampTz(row.values[Anum_jwt_key_not_before - 1]) >=
		DatumGetTimestampTz(row.values[Anum_jwt_key_not_after - 1]))
		refuse_row(&row, Anum_jwt_key_not_after, "It must be later than \"not_before\".");
	if (strcmp(source, "manual") != 0 && strcmp(source, "jwks") != 0)
		refuse_row(&row, Anum_jwt_key_source, "It must be \"manual\" or \"jwks\".");
	return tuple;
}

/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  The triggers on the tables of trust.
 *
 * If a row of jwt_issuer, jwt_key or jwt_denylist changes, the triggers check
 * the row (here), and invalidate what every session has cached (catalog.c).
 * The SQL functions of the triggers are in src/sql/manage.c.
 *
 * A row is refused only for its own content, and only by this list.  The list
 * does not grow after a release, so that rows of one version can be copied
 * into every later version, in any order:
 *
 *	- a null id, issuer or jwk, and in jwt_denylist a null kind or value;
 *	- an issuer or a kid of more than 1,024 bytes;
 *	- a jwk that is no object, has a private member, or more than 64 kB of text;
 *	- a revocation of an unknown kind, which would revoke nothing, or of a value of
 *	  more than 1,024 bytes.
 *
 * Every other row is stored.  A row that cannot be used verifies nothing.  An
 * ordinary session gets one warning per statement, and jwt_status says why.
 *
 * The checks are triggers and not constraints, because the message of a
 * violated constraint shows the row, which may contain a secret.  For the same
 * reason errors and warnings about a key hide their statement and their
 * context.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "token/json.h"
#include "trust/refresh.h"
#include "trust/revocation.h"
#include "trust/rows.h"
#include "trust/triggers.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* The maximal size of a jwk as text, in bytes. */
#define MAX_JWK_SIZE	65536

/* The row that a trigger was called for. */
typedef struct Row
{
	Relation	rel;
	bool		secret;			/* the row may contain a secret */
	HeapTuple	tuple;
	Datum	   *values;
	bool	   *nulls;
} Row;

pg_noreturn static void refuse_row(const Row *row, AttrNumber column, int sqlstate, const char *detail);

/*
 * Is a text value this string?
 */
static bool
text_is(Datum value, const char *str, int len)
{
	text	   *t = DatumGetTextPP(value);

	return (int) VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), str, len) == 0;
}

/*
 * Refuse the row because of a column; detail is a full sentence.
 */
static void
refuse_row(const Row *row, AttrNumber column, int sqlstate, const char *detail)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(row->rel), column - 1)->attname);

	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("column \"%s\" of \"%s\" is not acceptable", name,
					RelationGetRelationName(row->rel)),
			 errdetail_internal("%s", detail),
			 errtablecol(row->rel, column),
			 row->secret ? errhidesecret() : 0));
}

static void
require_not_null(const Row *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		refuse_row(row, column, ERRCODE_NOT_NULL_VIOLATION, "It must not be null.");
}

/*
 * Refuse a text column of more than TRUST_MAX_NAME bytes.
 */
static void
check_size(const Row *row, AttrNumber column)
{
	Size		size = row->nulls[column - 1] ? 0 :
	toast_raw_datum_size(row->values[column - 1]) - VARHDRSZ;

	if (size > TRUST_MAX_NAME)
		refuse_row(row, column, ERRCODE_CHECK_VIOLATION,
				   psprintf("It is %zu bytes long; at most %d are accepted.", size, TRUST_MAX_NAME));
}

static void
set_column(Row *row, AttrNumber column, Datum value)
{
	int			columns[] = {column};
	bool		nulls[] = {false};

	row->values[column - 1] = value;
	row->nulls[column - 1] = false;
	row->tuple = heap_modify_tuple_by_cols(row->tuple, RelationGetDescr(row->rel), 1, columns, &value, nulls);
}

/*
 * Check and normalise a jwk.  All names of private members in jwk.c are
 * refused, because the type of the key may be unknown.
 */
static void
check_jwk(Row *row)
{
	Jsonb	   *jsonb = DatumGetJsonbP(row->values[Anum_key_jwk - 1]);
	Jsonb	   *normal;
	Jwk			jwk;
	char	   *reason;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		refuse_row(row, Anum_key_jwk, ERRCODE_CHECK_VIOLATION, "It is not a JSON object.");
	if (VARSIZE(jsonb) > MAX_JWK_SIZE ||
		strlen(JsonbToCString(NULL, &jsonb->root, (int) VARSIZE(jsonb))) > MAX_JWK_SIZE)
		refuse_row(row, Anum_key_jwk, ERRCODE_CHECK_VIOLATION,
				   psprintf("It has more than %d bytes of text.", MAX_JWK_SIZE));
	if (jwk_private_member(jsonb) != NULL)
		refuse_row(row, Anum_key_jwk, ERRCODE_CHECK_VIOLATION,
				   psprintf("The JWK has the private member \"%s\"; a database that verifies needs the public key only.",
							jwk_private_member(jsonb)));
	if (!jwk_read(jsonb, &jwk, &reason))
		return;

	if (row->nulls[Anum_key_alg - 1] && (jwk.alg != NULL || jwk.implied_algorithm != NULL))
		set_column(row, Anum_key_alg,
				   jwk.alg != NULL ? PointerGetDatum(cstring_to_text_with_len(jwk.alg, jwk.alg_len)) :
				   CStringGetTextDatum(jwk.implied_algorithm->name));
	if (row->nulls[Anum_key_kid - 1] && jwk.kid != NULL)
		set_column(row, Anum_key_kid, PointerGetDatum(cstring_to_text_with_len(jwk.kid, jwk.kid_len)));

	/* keep the JWK's own alg only if it differs from the column */
	normal = jwk_normal_form(&jwk, false);
	if (jwk.alg == NULL || row->nulls[Anum_key_alg - 1] ||
		(jwk.implied_algorithm != NULL && algorithm_is(jwk.implied_algorithm, jwk.alg, jwk.alg_len)) ||
		text_is(row->values[Anum_key_alg - 1], jwk.alg, jwk.alg_len))
		set_column(row, Anum_key_jwk, JsonbPGetDatum(normal));
}

static void
check_key(Row *row)
{
	require_not_null(row, Anum_key_id);
	require_not_null(row, Anum_key_issuer);
	require_not_null(row, Anum_key_jwk);
	check_size(row, Anum_key_issuer);
	check_size(row, Anum_key_kid);
	check_jwk(row);
	check_size(row, Anum_key_kid);
}

/*
 * Normalise a revocation of a key or of an issuer, so that a lookup finds it.
 */
static void
check_revocation(Row *row)
{
	text	   *kind;

	require_not_null(row, Anum_denylist_id);
	require_not_null(row, Anum_denylist_kind);
	kind = DatumGetTextPP(row->values[Anum_denylist_kind - 1]);
	if (!revocation_kind_known(VARDATA_ANY(kind), (int) VARSIZE_ANY_EXHDR(kind)))
		refuse_row(row, Anum_denylist_kind, ERRCODE_CHECK_VIOLATION,
				   psprintf("The kind \"%s\" is not known; there are jti, sid, sub, iss and key.",
							quote_untrusted(VARDATA_ANY(kind), (int) VARSIZE_ANY_EXHDR(kind))));
	if (text_is(row->values[Anum_denylist_kind - 1], "key", 3))
		set_column(row, Anum_denylist_issuer, CStringGetTextDatum(""));
	require_not_null(row, Anum_denylist_issuer);
	check_size(row, Anum_denylist_issuer);
	if (text_is(row->values[Anum_denylist_kind - 1], "iss", 3))
		set_column(row, Anum_denylist_value, row->values[Anum_denylist_issuer - 1]);
	require_not_null(row, Anum_denylist_value);
	check_size(row, Anum_denylist_value);
}

/*
 * Check and normalise a row (BEFORE INSERT OR UPDATE, FOR EACH ROW).  A
 * deleted row is not checked.
 */
HeapTuple
trigger_check_row(TriggerData *trigger, TrustTable table)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Row			row = {.rel = trigger->tg_relation, .secret = table == TRUST_KEY};

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return trigger->tg_trigtuple;
	row.tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	row.values = palloc(sizeof(Datum) * desc->natts);
	row.nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(row.tuple, desc, row.values, row.nulls);

	if (table == TRUST_KEY)
		check_key(&row);
	else if (table == TRUST_DENYLIST)
		check_revocation(&row);
	else
	{
		StaticAssertStmt(Anum_issuer_issuer == 1 && Anum_source_issuer == 1, "the issuer is the first column");
		require_not_null(&row, Anum_issuer_issuer);
		check_size(&row, Anum_issuer_issuer);
	}
	return row.tuple;
}

/*
 * What is wrong with a row of a transition table, or NULL. *inert is whether it
 * therefore verifies nothing.
 */
static const char *
what_is_wrong(Relation rel, TupleTableSlot *slot, bool *inert)
{
	Oid			relid = RelationGetRelid(rel);

	*inert = false;
	slot_getallattrs(slot);
	if (catalog_is_table(relid, TRUST_ISSUER))
	{
		TrustIssuer *issuer = rows_read_issuer(slot->tts_values, slot->tts_isnull);

		*inert = issuer->unusable != NULL;
		return *inert ? issuer->unusable : rows_missing_roles(issuer);
	}
	if (catalog_is_table(relid, TRUST_SOURCE))
	{
		const char *why;

#define INTERVAL(column) (slot->tts_isnull[(column) - 1] ? NULL : DatumGetIntervalP(slot->tts_values[(column) - 1]))
		why = rows_check_source(slot->tts_isnull[Anum_source_uri - 1] ? NULL :
								TextDatumGetCString(slot->tts_values[Anum_source_uri - 1]),
								INTERVAL(Anum_source_refresh_interval), INTERVAL(Anum_source_grace));
#undef INTERVAL
		return why != NULL ? why : refresh_why_idle();
	}
	if (catalog_is_table(relid, TRUST_KEY))
	{
		bool		free_tuple;
		RowScan		scan = {.rel = rel, .tuple = ExecFetchSlotHeapTuple(slot, true, &free_tuple)};
		KeyRow		key;

		rows_read_key(&scan, &key);
		rows_check_key_fully(&key);
		*inert = key.unusable != NULL;
		return key.unusable;
	}
	return NULL;
}

/*
 * Warn of rows that were stored and verify nothing, or else of rows that do not
 * work as they should (AFTER INSERT or AFTER UPDATE, with a transition table), once
 * for the statement.
 */
void
trigger_warn(TriggerData *trigger)
{
	Relation	rel = trigger->tg_relation;
	TupleTableSlot *slot;
	MemoryContext each;
	MemoryContext old;
	char	   *first[2] = {NULL, NULL};
	int			count[2] = {0, 0};	/* of rows that verify, and of others */
	bool		inert;
	int			n;

	if (trigger->tg_newtable == NULL)
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	each = AllocSetContextCreate(CurrentMemoryContext, "jwt rows", ALLOCSET_DEFAULT_SIZES);
	while (tuplestore_gettupleslot(trigger->tg_newtable, true, false, slot))
	{
		const char *why;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(each);
		why = what_is_wrong(rel, slot, &inert);
		MemoryContextSwitchTo(old);
		if (why != NULL && count[inert]++ == 0)
			first[inert] = pstrdup(why);
		MemoryContextReset(each);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(each);
	inert = count[true] > 0;
	n = count[inert];
	if (n > 0)
	{
		ErrorContextCallback *context = error_context_stack;

		error_context_stack = NULL;
		ereport(WARNING,
				(inert ?
				 errmsg_plural("%d row of \"%s\" was stored and verifies nothing",
							   "%d rows of \"%s\" were stored and verify nothing", n, n,
							   RelationGetRelationName(rel)) :
				 errmsg_plural("%d row of \"%s\" was stored and is not as it should be",
							   "%d rows of \"%s\" were stored and are not as they should be", n, n,
							   RelationGetRelationName(rel)),
				 errdetail_internal("%s%s", n == 1 ? "" : "The first: ", first[inert]),
				 errhint("The view jwt_status says what is to be done."),
				 errhidestmt(true)));
		error_context_stack = context;
	}
}

/*
 * Call a function of the extension that takes names and returns nothing.
 */
static void
call_function(const char *name, int n, const Datum *args)
{
	static const Oid types[] = {TEXTOID, TEXTOID};

	LOCAL_FCINFO(call, lengthof(types));
	Oid			function = catalog_function(name, n, types);
	FmgrInfo	flinfo;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"jwt\" lacks its function \"%s\"", name)));
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, n, InvalidOid, NULL, NULL);
	for (int i = 0; i < n; i++)
	{
		call->args[i].value = args[i];
		call->args[i].isnull = false;
	}
	(void) FunctionCallInvoke(call);
}

/*
 * Issuers were deleted, renamed or truncated: delete or rename their keys and
 * sources, and keep their revocations.  The SQL functions for that are called
 * by OID, with the rights of the writer.
 */
void
trigger_cascade(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Datum		names[2];
	bool		isnull;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		call_function("jwt_issuers_truncated", 0, NULL);
		return;
	}
	names[0] = heap_getattr(trigger->tg_trigtuple, Anum_issuer_issuer, desc, &isnull);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		call_function("jwt_issuer_deleted", 1, names);
		return;
	}
	names[1] = heap_getattr(trigger->tg_newtuple, Anum_issuer_issuer, desc, &isnull);
	if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, names[0], names[1])))
		call_function("jwt_issuer_renamed", 2, names);
}

/*-------------------------------------------------------------------------
 *
 * status.c
 *	  The rows of the view jwt_signing_key_status: what signs, and what needs
 *	  which line of the key file.
 *
 * As in the extension jwt, PUBLIC can execute the function, and it refuses a
 * caller without SELECT on the view.  It shows no secret.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "auth/seal.h"
#include "auth/signing_key.h"
#include "auth/tables.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "utils/acl.h"
#include "utils/builtins.h"

JWT_SQL_FUNCTION(jwt_sql_signing_key_status_rows);

#define VIEW	"jwt_signing_key_status"

/*
 * Why a key that signs now or later cannot: a sentence, or NULL.
 */
static const char *
why_not(const Slice *issuer, const SigningRow *row, TimestampTz now)
{
	const TokenPolicy *policy = policy_find(issuer);
	KeyFailure	failure;

	if (policy == NULL)
		return "Its issuer has no row in jwt_token_policy.";
	if (policy->unusable != NULL)
		return psprintf("Its token policy cannot be used. %s", policy->unusable);
	/* closed with the memory context of the row */
	return signing_key_open(policy, row, now, CurrentMemoryContext, &failure) != NULL ? NULL : failure.detail;
}

/*
 * The row of the view for a key.
 */
static void
put_row(ReturnSetInfo *result, const Datum *columns, const bool *absent)
{
	enum
	{
		ID, ISSUER, KID, ALG, STATE, ACTIVATE_AT, KEY_NAME, HAS_LINE, CANNOT_SIGN, N_COLUMNS
	};
	Slice		issuer = slice_of(absent[Anum_signing_key_issuer - 1] ? "" :
								  TextDatumGetCString(columns[Anum_signing_key_issuer - 1]));
	pg_uuid_t  *id = DatumGetUUIDP(columns[Anum_signing_key_id - 1]);
	int			n;
	SigningRow *rows = signing_key_rows(&issuer, &n);
	TimestampTz now = GetCurrentTimestamp();
	int			current = signing_key_find_current(&issuer, rows, n, now);
	int			i = 0;
	const char *state = "unusable";
	const char *cannot_sign = NULL;
	Datum		values[N_COLUMNS] = {0};
	bool		nulls[N_COLUMNS] = {false};
	char		name[KEY_NAME_MAX + 1];

#define COPY(to, column) \
	(values[to] = columns[Anum_signing_key_##column - 1], nulls[to] = absent[Anum_signing_key_##column - 1])
	COPY(ID, id);
	COPY(ISSUER, issuer);
	COPY(KID, kid);
	COPY(ALG, alg);
	COPY(ACTIVATE_AT, activate_at);
#undef COPY
	while (i < n && memcmp(&rows[i].id, id, sizeof(*id)) != 0)
		i++;
	if (i < n && i <= current)
		state = i < current ? "previous" : "current";
	else if (i < n && rows[i].activate_at > now)
		state = "standby";
	values[STATE] = CStringGetTextDatum(state);
	if (i == n)
		cannot_sign = "Its row has no issuer or no activate_at.";
	else if (i >= current)
		cannot_sign = why_not(&issuer, &rows[i], now);
	nulls[KEY_NAME] = nulls[HAS_LINE] = i == n || rows[i].sealed == NULL || !seal_key_name(rows[i].sealed, name);
	if (!nulls[KEY_NAME])
	{
		values[KEY_NAME] = CStringGetTextDatum(name);
		values[HAS_LINE] = BoolGetDatum(key_file_has(name));
	}
	nulls[CANNOT_SIGN] = cannot_sign == NULL;
	if (cannot_sign != NULL)
		values[CANNOT_SIGN] = CStringGetTextDatum(cannot_sign);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * jwt_signing_key_status_rows(): a row for each key.
 */
Datum
jwt_sql_signing_key_status_rows(PG_FUNCTION_ARGS)
{
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "jwt_auth key status", ALLOCSET_DEFAULT_SIZES);
	AclResult	allowed = pg_class_aclcheck(tables_view(VIEW), GetUserId(), ACL_SELECT);
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_VIEW, VIEW);
	InitMaterializedSRF(fcinfo, 0);
	rel = tables_open(AUTH_SIGNING_KEY, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(each);
		Datum	   *values = palloc(sizeof(Datum) * RelationGetDescr(rel)->natts);
		bool	   *nulls = palloc(sizeof(bool) * RelationGetDescr(rel)->natts);

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		put_row((ReturnSetInfo *) fcinfo->resultinfo, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(each);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(each);
	return (Datum) 0;
}

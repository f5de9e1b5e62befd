/*-------------------------------------------------------------------------
 *
 * trust_functions.c
 *	  The SQL functions that manage trust: keys, key sets, revocations, and the
 *	  triggers on their tables.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sql/functions.h"
#include "token/jwk.h"
#include "token/key_text.h"
#include "trust/jwks.h"
#include "trust/refresh.h"
#include "trust/revocation.h"
#include "trust/trust.h"
#include "trust/trust_check.h"
#include "trust/trust_tables.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_thumbprint);
JWT_SQL_FUNCTION(jwt_sql_jwk);
JWT_SQL_FUNCTION(jwt_sql_jwks_members);
JWT_SQL_FUNCTION(jwt_sql_no_such_key);
JWT_SQL_FUNCTION(jwt_sql_issuer_check);
JWT_SQL_FUNCTION(jwt_sql_key_check);
JWT_SQL_FUNCTION(jwt_sql_trust_changed);
JWT_SQL_FUNCTION(jwt_sql_jwks_source_changed);
JWT_SQL_FUNCTION(jwt_sql_refresh_jwks);
JWT_SQL_FUNCTION(jwt_sql_revocation_added);
JWT_SQL_FUNCTION(jwt_sql_expiry);
JWT_SQL_FUNCTION(jwt_sql_lacks_claim);
JWT_SQL_FUNCTION(jwt_sql_schema_stays);

/* The year 9999, in seconds; what expires later is as good as never. */
#define MAX_UNIX_TIME	253402300800.0

/*
 * jwt_thumbprint(jwk): RFC 7638.
 */
Datum
jwt_sql_thumbprint(PG_FUNCTION_ARGS)
{
	Jsonb	   *jsonb = PG_GETARG_JSONB_P(0);
	Jwk			jwk;
	char	   *reason;
	char	   *thumbprint;

	if (!jwk_read(jsonb, &jwk, &reason))
		raise_bad_key(reason);
	thumbprint = jwk_thumbprint(&jwk);
	if (thumbprint == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not compute a SHA-256 digest")));
	PG_RETURN_TEXT_P(cstring_to_text(thumbprint));
}

/*
 * jwt_jwk(key): a JWK from a JWK, a PEM public key or a PEM certificate.
 */
Datum
jwt_sql_jwk(PG_FUNCTION_ARGS)
{
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(key, (int) strlen(key), PG_UTF8);
	Jsonb	   *jsonb;
	char	   *reason;

	if (!key_text_to_jwk(utf8, (int) strlen(utf8), &jsonb, &reason))
		raise_bad_key(reason);
	PG_RETURN_JSONB_P(jsonb);
}

/*
 * jwt_jwks_members(issuer, jwks): a row for each member of a JWK Set, in its
 * order; an error when there is no such issuer or the set is of no use.
 */
Datum
jwt_sql_jwks_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	JwsString	name = text_argument(fcinfo, 0);
	TrustIssuer *issuer = NULL;
	TrustRevokedKeys revoked;
	JwksMember *members;
	int			n;
	char	   *reason;

	/* not STRICT: no rows would say that the issuer has no keys any more */
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("issuer and JWK Set must not be null")));
	if (name.len <= TRUST_MAX_NAME)
		issuer = trust_read_issuer(name.data, name.len);
	if (issuer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("issuer \"%s\" does not exist", quote_untrusted(name.data, name.len))));
	revoked = trust_read_revoked_keys(issuer);
	if (!jwks_read(PG_GETARG_JSONB_P(1), issuer, &revoked, &members, &n, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("JWK Set is not acceptable"),
				 errdetail_internal("%s", reason)));

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		const JwksMember *member = &members[i];
		Datum		values[5] = {Int32GetDatum(i + 1)};
		bool		nulls[5] = {false, true, true, true, true};

#define SET(column, pointer, datum) \
		((pointer) == NULL ? (void) 0 : (void) (nulls[column] = false, values[column] = (datum)))
		SET(1, member->kid, CStringGetTextDatum(member->kid));
		SET(2, member->alg, CStringGetTextDatum(member->alg));
		SET(3, member->jwk, JsonbPGetDatum(member->jwk));
		SET(4, member->reason, CStringGetTextDatum(member->reason));
#undef SET
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * jwt_no_such_key(issuer, kid): an error, for functions that are written in SQL.
 */
Datum
jwt_sql_no_such_key(PG_FUNCTION_ARGS)
{
	JwsString	issuer = text_argument(fcinfo, 0);
	JwsString	kid = text_argument(fcinfo, 1);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("issuer \"%s\" has no key %s", quote_untrusted(issuer.data, issuer.len),
					kid.data == NULL ? "without kid" :
					psprintf("\"%s\"", quote_untrusted(kid.data, kid.len)))));
}

/*
 * What the triggers were called for; an error when they were called otherwise.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called as a trigger")));
	return (TriggerData *) fcinfo->context;
}

/*
 * The same for the triggers that check a row of a certain table.
 */
static TriggerData *
row_trigger_data(FunctionCallInfo fcinfo, bool (*is_table) (Oid))
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)) ||
		!is_table(RelationGetRelid(trigger->tg_relation)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called before insert or update of its own table, for each row")));
	return trigger;
}

/*
 * The trigger that checks jwt_issuer.
 */
Datum
jwt_sql_issuer_check(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(trust_check_issuer(row_trigger_data(fcinfo, trust_is_issuer_table)));
}

/*
 * The trigger that checks jwt_key.
 */
Datum
jwt_sql_key_check(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(trust_check_key(row_trigger_data(fcinfo, trust_is_key_table)));
}

/*
 * The trigger that invalidates, on both.
 */
Datum
jwt_sql_trust_changed(PG_FUNCTION_ARGS)
{
	trust_table_changed(RelationGetRelid(trigger_data(fcinfo)->tg_relation));
	return PointerGetDatum(NULL);
}

/*
 * The trigger on jwt_jwks_source: before an update that moves the source, which
 * makes it due; and after any that concerns those who fetch.
 */
Datum
jwt_sql_jwks_source_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		return PointerGetDatum(refresh_source_moved(trigger));
	refresh_wake_at_commit();
	return PointerGetDatum(NULL);
}

/*
 * jwt_refresh_jwks(issuer): how many keys the refresh changed.
 */
Datum
jwt_sql_refresh_jwks(PG_FUNCTION_ARGS)
{
	JwsString	issuer = text_argument(fcinfo, 0);
	RefreshCounts counts;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 5)
		elog(ERROR, "return type must be a row type");
	refresh_now(fcinfo->flinfo->fn_oid, &issuer, &counts);
	values[0] = Int32GetDatum(counts.added);
	values[1] = Int32GetDatum(counts.changed);
	values[2] = Int32GetDatum(counts.retired);
	values[3] = Int32GetDatum(counts.unchanged);
	values[4] = Int32GetDatum(counts.skipped);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * The trigger on jwt_revocation.
 */
Datum
jwt_sql_revocation_added(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		RelationGetDescr(trigger->tg_relation)->natts < Natts_jwt_revocation)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called after insert or update of its own table, for each row")));
	revocation_added(trigger, fcinfo->flinfo);
	return PointerGetDatum(NULL);
}

/*
 * jwt_expiry(claims): the claim exp, at infinity when a timestamp cannot hold it
 * or it is not there.
 */
Datum
jwt_sql_expiry(PG_FUNCTION_ARGS)
{
	Jsonb	   *claims = PG_GETARG_JSONB_P(0);
	TimestampTz expires = DT_NOEND;
	JsonbValue	value;

	if (JB_ROOT_IS_OBJECT(claims) &&
		getKeyJsonValueFromContainer(&claims->root, "exp", 3, &value) != NULL &&
		value.type == jbvNumeric)
	{
		double		seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																 NumericGetDatum(value.val.numeric)));

		if (seconds < MAX_UNIX_TIME)
			expires = time_t_to_timestamptz((pg_time_t) Max(seconds, 0)) + USECS_PER_SEC;
	}
	PG_RETURN_TIMESTAMPTZ(expires);
}

/*
 * jwt_lacks_claim(claim): an error, for functions that are written in SQL.
 */
Datum
jwt_sql_lacks_claim(PG_FUNCTION_ARGS)
{
	char	   *claim = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Failure		failure;

	(void) fail_hint(&failure, FAILURE_CLAIM,
					 psprintf("The token has no \"%s\", by which it could be revoked.", claim),
					 strcmp(claim, "jti") == 0 ?
					 "Use jwt_revoke_subject() or jwt_logout(everywhere => true) for all tokens of its subject." :
					 "Use jwt_revoke() or jwt_logout() for this token alone.");
	raise_failure(&failure);
}

/*
 * The event trigger on ALTER SCHEMA: nobody but a superuser renames the extension's.
 *
 * Its tables are a superuser's, and PostgreSQL's foreign keys look them up by name
 * with their owner's rights: who could put another schema in place of this one at
 * the right moment would have those rights.
 */
Datum
jwt_sql_schema_stays(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;
	RenameStmt *statement;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function must be called by an event trigger")));
	statement = (RenameStmt *) event->parsetree;
	if (IsA(statement, RenameStmt) && statement->renameType == OBJECT_SCHEMA && !superuser() &&
		get_namespace_oid(statement->subname, true) == get_func_namespace(fcinfo->flinfo->fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to rename schema \"%s\"", statement->subname),
				 errdetail("It is the schema of the extension \"%s\".", "jwt"),
				 errhint("Must be superuser to rename it.")));
	PG_RETURN_NULL();
}

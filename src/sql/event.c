/*-------------------------------------------------------------------------
 *
 * event.c
 *	  The SQL function that receives events: each may insert rows into jwt_denylist.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "extension/row.h"
#include "session/event.h"
#include "sql/functions.h"
#include "trust/write.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

JWT_SQL_FUNCTION(jwt_sql_receive_event);

static void
push_bool(JsonbParseState **state, const char *name, bool value)
{
	JsonbValue	v = {.type = jbvBool};

	push_key(state, name);
	v.val.boolean = value;
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * Format a time as to_jsonb() does.
 */
static char *
show_time(TimestampTz t)
{
	char	   *buf = palloc(MAXDATELEN + 1);

	return JsonEncodeDateTime(buf, TimestampTzGetDatum(t), TIMESTAMPTZOID, NULL);
}

/*
 * The times of one revocation, and the times of an existing row that suffice.
 */
typedef struct Terms
{
	TimestampTz issued_before;	/* DT_NOEND if not used */
	TimestampTz expires_at;
	TimestampTz enough_before;	/* issued_before of an existing row */
	TimestampTz enough_until;	/* expires_at of an existing row */
} Terms;

/*
 * The terms of an effect.  A session or a token may be in use now, even if the
 * event is old, so a new row is kept from now on.  An existing row suffices if
 * it is kept as long as a row that was written at the time of the event.  So an
 * event that is sent again writes nothing.
 */
static Terms
terms_of(const Event *event, const EventEffect *effect)
{
	TimestampTz now = Max(GetCurrentTimestamp(), event->issued);
	Terms		terms = {.issued_before = DT_NOEND, .enough_before = DT_NOEND};

	switch (effect->kind)
	{
		case REVOKED_SUBJECT:
			terms.issued_before = event->issued_before;
			terms.expires_at = expiry_of_issued(effect->issuer, event->issued_before);
			terms.enough_before = event->ended;
			terms.enough_until = expiry_of_issued(effect->issuer, event->ended);
			break;
		case REVOKED_SESSION:
			terms.expires_at = expiry_of_session(effect->issuer, now);
			terms.enough_until = expiry_of_session(effect->issuer, event->issued);
			break;
		default:
			terms.expires_at = expiry_of_issued(effect->issuer, now);
			terms.enough_until = expiry_of_issued(effect->issuer, event->issued);
	}
	return terms;
}

/*
 * Write the revocation of an effect, unless an existing row suffices or all
 * tokens of the effect have expired.  Returns whether it was written.
 */
static bool
write_effect(const Event *event, const EventEffect *effect, const Terms *terms)
{
	Slice		issuer = slice_of(effect->issuer->policy.issuer);
	char	   *type = pnstrdup(event->type.data, event->type.len);
	char	   *text;
	Slice		reason;

	if (terms->expires_at <= GetCurrentTimestamp() ||
		write_is_revoked(effect->kind, &issuer, &effect->value, terms->enough_before, terms->enough_until))
		return false;
	/* the last part of the URI */
	type = strrchr(type, '/') + 1;
	text = psprintf("%s of %s, jti %s", type, quote_untrusted(event->issuer.data, event->issuer.len),
					quote_untrusted(event->jti.data, event->jti.len));
	reason = slice_of(text);
	write_revocation(effect->kind, &issuer, &effect->value, terms->issued_before, terms->expires_at, &reason);
	return true;
}

/*
 * Write the revocations of an event, and add them to the result.
 */
static void
push_effects(JsonbParseState **state, const Event *event)
{
	push_key(state, "revoked");
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < event->n_effects; i++)
	{
		const EventEffect *effect = &event->effects[i];
		Terms		terms = terms_of(event, effect);

		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_text(state, "kind", revocation_kind_name(effect->kind));
		push_text(state, "issuer", effect->issuer->policy.issuer);
		push_string(state, "value", &effect->value);
		push_text(state, "issued_before", terms.issued_before == DT_NOEND ? NULL : show_time(terms.issued_before));
		push_bool(state, "written", write_effect(event, effect, &terms));
		(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * jwt_receive_event(token): what was revoked, or why nothing was, or the error of RFC
 * 8935.
 */
Datum
jwt_sql_receive_event(PG_FUNCTION_ARGS)
{
	Slice		token = text_argument(fcinfo, 0);
	JsonbParseState *state = NULL;
	Event		event;

	row_require_write_with_hint("jwt_receive_event()",
								"Send the token to the primary server, in a transaction that may write.");
	if (PG_ARGISNULL(0))
		token = slice_of("");
	event_verify(&token, &event);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (event.err != NULL)
	{
		push_text(&state, "err", event.err);
		push_text(&state, "description", event.description);
	}
	else
	{
		if (event.ignored != NULL)
			push_text(&state, "ignored", event.ignored);
		else
			push_effects(&state, &event);
		push_key(&state, "by");
		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_string(&state, "issuer", &event.issuer);
		push_string(&state, "event", &event.type);
		push_string(&state, "jti", &event.jti);
		(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Logout tokens and Security Event Tokens: their checks, and the sessions
 *	  that they end.
 *
 * Logout tokens are those of OpenID Connect Back-Channel Logout 1.0.  Security
 * Event Tokens (SETs, RFC 8417) follow the profile of the Shared Signals
 * Framework (SSF), and their subjects RFC 9493.  The events of CAEP and RISC
 * that end sessions are those for an ended session, a disabled account, and
 * credentials that were changed or stolen.  Other events are accepted and end
 * nothing.
 *
 * Any role can send any bytes.  So this file writes nothing and caches nothing,
 * and no key is fetched for a token that no key has signed.
 *
 * An event ends only the sessions that it names.  A subject is compared with
 * the claim "sub" only if its format has a "sub", and only for the sender and
 * the issuers in its events_for.  A complex subject is the intersection of its
 * members, so no member may be ignored: that would end more sessions.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "session/event.h"
#include "session/verify.h"
#include "token/json.h"
#include "utils/timestamp.h"

#define LOGOUT_EVENT	"http://schemas.openid.net/event/backchannel-logout"
#define CAEP			"https://schemas.openid.net/secevent/caep/event-type/"
#define RISC			"https://schemas.openid.net/secevent/risc/event-type/"
#define SSF				"https://schemas.openid.net/secevent/ssf/event-type/"

#define CREDENTIAL_CHANGE	CAEP "credential-change"

/* The maximal number of identifiers of one subject. */
#define MAX_ALIASES		100

/* The maximal number of members of a subject besides its format. */
#define MAX_MEMBERS		2

/* The types of events that end sessions. */
static const char *const ending_types[] = {
	CAEP "session-revoked",
	CREDENTIAL_CHANGE,
	RISC "account-disabled",
	RISC "account-purged",
	RISC "credential-compromise",
	RISC "sessions-revoked",
};

/* Types of events about the stream of events itself (SSF section 8.1.4). */
static const struct
{
	const char *type;
	const char *meaning;
}			stream_types[] = {
	{SSF "verification", "The event shows that events arrive."},
	{SSF "stream-updated", "The event is about the stream of events itself."},
};

/*
 * The formats of a subject (RFC 9493 section 3.2, SSF section 3.3), and their
 * members besides "format", which are strings.  The formats "aliases" and
 * "complex" have other members.
 */
static const struct
{
	const char *format;
	const char *members[MAX_MEMBERS];
}			formats[] = {
	{"iss_sub", {"iss", "sub"}},
	{"opaque", {"id"}},
	{"jwt_id", {"iss", "jti"}},
	{"account", {"uri"}},
	{"email", {"email"}},
	{"phone_number", {"phone_number"}},
	{"did", {"url"}},
	{"uri", {"uri"}},
	{"saml_assertion_id", {"issuer", "assertion_id"}},
};

/* The state of resolving a subject to what it ends. */
typedef struct Subject
{
	Event	   *event;
	TrustIssuer *sender;
	char	   *denied;			/* why the sender may not name a subject */
	char	   *ignored;		/* why a subject matches no token here */
} Subject;

static bool resolve(Subject *subject, const JsonbValue *value, bool is_alias);

/*
 * Refuse the event, and return false.
 */
static bool
refuse(Event *event, const char *err, const char *description)
{
	event->err = err;
	event->description = description;
	return false;
}

static bool
invalid(Event *event, const char *description)
{
	return refuse(event, "invalid_request", description);
}

/*
 * Accept an event that ends nothing, and return false.
 */
static bool
ignore(Event *event, const char *why)
{
	event->ignored = why;
	return false;
}

/*
 * The error code of RFC 8935 section 2.4 for a token that is refused.
 */
static const char *
error_of_failure(FailureCode code)
{
	switch (code)
	{
		case FAILURE_NO_KEY:
		case FAILURE_ALGORITHM:
		case FAILURE_REVOKED:
			return "invalid_key";
		case FAILURE_SIGNATURE:
			return "authentication_failed";
		case FAILURE_ISSUER:
			return "invalid_issuer";
		case FAILURE_AUDIENCE:
			return "invalid_audience";
		default:
			return "invalid_request";
	}
}

/*
 * A member that is a string and not empty.  Otherwise the data is NULL.
 */
static Slice
string_member(const JsonbValue *object, const char *name)
{
	const JsonbPair *member = json_member(object, name);
	Slice		string = {NULL, 0};

	if (member != NULL)
		string.data = json_string(&member->value, &string.len);
	if (string.len == 0)
		string.data = NULL;
	return string;
}

static char *
quote(const Slice *slice)
{
	return quote_untrusted(slice->data, slice->len);
}

static void
add_effect(Event *event, RevocationKind kind, TrustIssuer *issuer, const Slice *value)
{
	EventEffect *effect;

	if (event->effects == NULL)
		event->effects = palloc(sizeof(EventEffect) * MAX_ALIASES);
	Assert(event->n_effects < MAX_ALIASES);
	effect = &event->effects[event->n_effects++];
	effect->kind = kind;
	effect->issuer = issuer;
	effect->value = *value;
}

/*
 * Add a session, a subject or a token to what the event ends.  No accepted
 * token has an identifier beyond the limit.
 */
static bool
end_one(Subject *subject, RevocationKind kind, TrustIssuer *issuer, const Slice *value)
{
	if (value->len > TRUST_MAX_NAME)
		subject->ignored = psprintf("The subject has more than %d bytes, which no token has that is accepted.", TRUST_MAX_NAME);
	else
		add_effect(subject->event, kind, issuer, value);
	return true;
}

/*
 * The issuer that a subject names: the sender, or if others is true, an issuer
 * of its events_for.  NULL if it is neither, or has no row.
 */
static TrustIssuer *
named_issuer(Subject *subject, const Slice *name, bool others)
{
	TrustIssuer *sender = subject->sender;
	TrustIssuer *issuer;

	if (slice_is(name, sender->policy.issuer))
		return sender;
	for (int i = 0; i < sender->n_events_for && others; i++)
		if (slice_is(name, sender->events_for[i]))
		{
			issuer = rows_find_issuer(name->data, name->len);
			if (issuer == NULL)
				subject->ignored = psprintf("The subject is of the issuer \"%s\", which has no tokens here.", quote(name));
			return issuer;
		}
	subject->denied = psprintf("The issuer \"%s\" may not send events about the issuer \"%s\".",
							   quote_string(sender->policy.issuer), quote(name));
	return NULL;
}

/*
 * The format of a subject, and its members.  A subject must have exactly the
 * members of its format, which are strings (RFC 9493 section 3).  Otherwise the
 * event is refused, and the data is NULL.
 */
static Slice
read_format(Event *event, const JsonbValue *value, Slice members[MAX_MEMBERS])
{
	static const Slice none = {NULL, 0};
	Slice		format = none;
	int			n = 1;

	if (value->type == jbvObject)
		format = string_member(value, "format");
	if (format.data == NULL)
	{
		(void) invalid(event, "A subject is not an object with a string \"format\".");
		return none;
	}
	for (int i = 0; i < (int) lengthof(formats); i++)
	{
		if (!slice_is(&format, formats[i].format))
			continue;
		for (int j = 0; j < MAX_MEMBERS && formats[i].members[j] != NULL; j++, n++)
		{
			members[j] = string_member(value, formats[i].members[j]);
			if (members[j].data == NULL)
			{
				(void) invalid(event, psprintf("A subject of the format \"%s\" has no string \"%s\".",
											   formats[i].format, formats[i].members[j]));
				return none;
			}
		}
		if (value->val.object.nPairs != n)
		{
			(void) invalid(event, psprintf("A subject of the format \"%s\" has members that the format has not.", formats[i].format));
			return none;
		}
	}
	return format;
}

/*
 * Resolve a subject with several identifiers.  The sessions of each one end.
 */
static bool
resolve_aliases(Subject *subject, const JsonbValue *value)
{
	const JsonbPair *identifiers = json_member(value, "identifiers");
	const JsonbValue *list;

	if (identifiers == NULL || identifiers->value.type != jbvArray ||
		identifiers->value.val.array.nElems == 0 || value->val.object.nPairs != 2)
		return invalid(subject->event, "A subject of the format \"aliases\" must have an array \"identifiers\", which is not empty, and nothing else.");
	list = &identifiers->value;
	if (list->val.array.nElems > MAX_ALIASES)
		return invalid(subject->event, psprintf("A subject has more than %d aliases.", MAX_ALIASES));
	for (int i = 0; i < list->val.array.nElems; i++)
		if (!resolve(subject, &list->val.array.elems[i], true))
			return false;
	return true;
}

/*
 * Add the sessions, subjects or tokens of a subject to what the event ends.
 * Returns false if the event is refused.
 */
static bool
resolve(Subject *subject, const JsonbValue *value, bool is_alias)
{
	Slice		members[MAX_MEMBERS] = {{NULL, 0}};
	Slice		format = read_format(subject->event, value, members);
	TrustIssuer *issuer;

	if (format.data == NULL)
		return false;
	if (slice_is(&format, "iss_sub"))
	{
		issuer = named_issuer(subject, &members[0], true);
		return issuer == NULL || end_one(subject, REVOKED_SUBJECT, issuer, &members[1]);
	}
	if (slice_is(&format, "jwt_id"))
	{
		issuer = named_issuer(subject, &members[0], false);
		return issuer == NULL || end_one(subject, REVOKED_ID, issuer, &members[1]);
	}
	if (slice_is(&format, "opaque") && subject->sender->event_opaque_is_sub)
		return end_one(subject, REVOKED_SUBJECT, subject->sender, &members[0]);
	if (slice_is(&format, "complex") || (is_alias && slice_is(&format, "aliases")))
		return invalid(subject->event, psprintf("A subject of the format \"%s\" is within another.", quote(&format)));
	if (slice_is(&format, "aliases"))
		return resolve_aliases(subject, value);
	subject->ignored = psprintf("The subject is of the format \"%s\", which is no claim of a token here.", quote(&format));
	return true;
}

/*
 * An issuer other than the sender in the identifiers of a user.  The data is
 * NULL if there is none.
 */
static Slice
other_issuer(const Subject *subject, const JsonbValue *user)
{
	const JsonbPair *identifiers = json_member(user, "identifiers");
	const JsonbValue *names = user;
	int			n = 1;
	Slice		iss = {NULL, 0};

	if (identifiers != NULL && identifiers->value.type == jbvArray)
	{
		names = identifiers->value.val.array.elems;
		n = identifiers->value.val.array.nElems;
	}
	for (int i = 0; i < n && iss.data == NULL; i++)
	{
		if (names[i].type == jbvObject)
			iss = string_member(&names[i], "iss");
		if (iss.data != NULL && slice_is(&iss, subject->sender->policy.issuer))
			iss.data = NULL;
	}
	return iss;
}

/*
 * Resolve the session of a complex subject: the sender's "sid", or a token of
 * that session.  The "sid" is unique only for the sender, so a user beside it
 * must be the sender's, too.
 */
static bool
resolve_session(Subject *subject, const JsonbValue *session, const JsonbPair *user)
{
	Slice		members[MAX_MEMBERS] = {{NULL, 0}};
	Slice		format = read_format(subject->event, session, members);
	Slice		iss;

	if (format.data == NULL)
		return false;
	if (user != NULL)
	{
		iss = other_issuer(subject, &user->value);
		if (iss.data != NULL)
		{
			subject->ignored = psprintf("The subject names a session, which is the sender's, and a user of another issuer, \"%s\".", quote(&iss));
			return true;
		}
	}
	if (slice_is(&format, "opaque"))
		return end_one(subject, REVOKED_SESSION, subject->sender, &members[0]);
	if (slice_is(&format, "jwt_id"))
		return resolve(subject, session, false);
	subject->ignored = psprintf("The subject names a session in the format \"%s\", which is no claim of a token here.", quote(&format));
	return true;
}

/*
 * Resolve a complex subject (SSF section 3.2): the intersection of its members.
 * Each member must be a subject by itself; what it would end alone does not count.
 */
static bool
resolve_complex(Subject *subject, const JsonbValue *value)
{
	const JsonbPair *session = json_member(value, "session");
	const JsonbPair *user = json_member(value, "user");
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < value->val.object.nPairs; i++)
	{
		const JsonbPair *pair = &value->val.object.pairs[i];
		Slice		name = {pair->key.val.string.val, pair->key.val.string.len};
		Event		alone = *subject->event;
		Subject		member = {.event = &alone, .sender = subject->sender};

		if (slice_is(&name, "format"))
			continue;
		if (!resolve(&member, &pair->value, false))
			return invalid(subject->event, alone.description);
		if (names.len < 200)
			appendStringInfo(&names, "%s\"%s\"", names.len == 0 ? "" : ", ", quote(&name));
	}
	if (names.len == 0)
		return invalid(subject->event, "A subject of the format \"complex\" has no member.");
	if (session != NULL)
		return resolve_session(subject, &session->value, user);
	if (user != NULL && value->val.object.nPairs == 2)
		return resolve(subject, &user->value, false);
	subject->ignored = psprintf("The subject is what %s have in common; only sessions and users are known here.", names.data);
	if (value->val.object.nPairs == 2)
		subject->ignored = psprintf("The subject is of the kind %s; only sessions and users are known here.", names.data);
	return true;
}

/*
 * Resolve the subject of a SET, its claim "sub_id".
 */
static bool
read_subject(Event *event, const JsonbValue *claims, TrustIssuer *sender)
{
	Subject		subject = {.event = event, .sender = sender};
	const JsonbValue *value = &json_member(claims, "sub_id")->value;
	Slice		format = string_member(value, "format");

	if (!(slice_is(&format, "complex") ? resolve_complex(&subject, value) : resolve(&subject, value, false)))
		return false;
	if (event->n_effects > 0)
		return true;
	if (subject.denied != NULL)
		return refuse(event, "access_denied", subject.denied);
	return ignore(event, subject.ignored);
}

/*
 * Read a time of an event.  If it is absent, *t stays as it is.
 */
static bool
read_time(Event *event, const char *text, const JsonbValue *object, const char *name, TimestampTz *t)
{
	const JsonbPair *member = json_member(object, name);

	if (member != NULL && !claims_time(text, member, t))
		return invalid(event, psprintf("The \"%s\" of the event is not a number.", name));
	return true;
}

/*
 * Does an event of a type in ending_types end sessions, by its payload?
 */
static bool
ends_sessions(Event *event, const Slice *type, const JsonbValue *payload)
{
	Slice		change;

	if (!slice_is(type, CREDENTIAL_CHANGE))
		return true;
	/* CAEP section 3.3.1 */
	change = string_member(payload, "change_type");
	if (slice_is(&change, "create"))
		return ignore(event, "A new credential ends no session.");
	if (slice_is(&change, "revoke") || slice_is(&change, "update") || slice_is(&change, "delete"))
		return true;
	return invalid(event, "The event has no \"change_type\" of create, revoke, update or delete.");
}

/*
 * Read the events of a SET.  Several events describe the same occurrence (RFC
 * 8417 section 2.2), so it suffices that one of them ends sessions.  The latest
 * of those counts: it ends what each of them ends.
 */
static bool
read_events(Event *event, const JsonbValue *events, const char *text)
{
	TimestampTz default_time = event->ended;
	bool		ends = false;

	for (int i = 0; i < events->val.object.nPairs; i++)
	{
		const JsonbPair *pair = &events->val.object.pairs[i];
		Slice		type = {pair->key.val.string.val, pair->key.val.string.len};
		const char *meaning = "Events of this type end no session.";
		bool		known = false;

		for (int j = 0; j < (int) lengthof(ending_types); j++)
			known = known || slice_is(&type, ending_types[j]);
		for (int j = 0; j < (int) lengthof(stream_types); j++)
			if (slice_is(&type, stream_types[j].type))
				meaning = stream_types[j].meaning;
		if (!ends)
			event->type = type;
		if (!known)
			(void) ignore(event, meaning);
		else if (ends_sessions(event, &type, &pair->value))
		{
			TimestampTz ended = default_time;

			if (!read_time(event, text, &pair->value, "event_timestamp", &ended))
				return false;
			if (!ends || ended > event->ended)
			{
				event->type = type;
				event->ended = ended;
			}
			ends = true;
		}
		if (event->err != NULL)
			return false;
	}
	if (ends)
		event->ignored = NULL;
	return ends;
}

/*
 * Check a Security Event Token, and find what it ends.
 */
static bool
read_set(Event *event, const Jws *jws, const JsonbValue *claims, const JsonbValue *events,
		 const char *text, TrustIssuer *sender)
{
	const JsonbPair *sub_id = json_member(claims, "sub_id");

	/* SSF section 4.1 */
	if (!claims_type_is(&jws->typ, "secevent+jwt"))
		return invalid(event, "The \"typ\" of a Security Event Token must be \"secevent+jwt\".");
	if (json_member(claims, "exp") != NULL)
		return invalid(event, "A Security Event Token must have no \"exp\".");
	if (json_member(claims, "sub") != NULL)
		return invalid(event, "A Security Event Token must have no \"sub\"; its subject is in \"sub_id\".");
	if (sub_id == NULL || sub_id->value.type != jbvObject)
		return invalid(event, "A Security Event Token must have a subject, an object \"sub_id\".");

	return read_time(event, text, claims, "toe", &event->ended) &&
		read_events(event, events, text) &&
		read_subject(event, claims, sender);
}

/*
 * Check a logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.4
 * and 2.6), and find what it ends.
 */
static bool
read_logout(Event *event, const Jws *jws, const JsonbValue *claims, const ClaimsTimes *times, TrustIssuer *sender)
{
	Slice		sub = string_member(claims, "sub");
	Slice		sid = string_member(claims, CLAIMS_SESSION);

	if (jws->typ.data != NULL && !claims_type_is(&jws->typ, "logout+jwt") && !claims_type_is(&jws->typ, "JWT"))
		return invalid(event, "The \"typ\" of a logout token must be \"logout+jwt\" or \"JWT\", if it has one.");
	if (json_member(claims, "nonce") != NULL)
		return invalid(event, "A logout token must have no \"nonce\".");
	if (!times->has_expires && !sender->event_without_exp)
		return invalid(event, "The logout token has no \"exp\".");
	if (sid.data == NULL && sub.data == NULL)
		return invalid(event, "The logout token has neither a \"sub\" nor a \"sid\".");

	/* with a "sid", only that session has ended */
	if (sid.data != NULL)
		add_effect(event, REVOKED_SESSION, sender, &sid);
	else
		add_effect(event, REVOKED_SUBJECT, sender, &sub);
	return true;
}

/*
 * Check the claims of an event whose signature is good, and find what it ends.
 */
static bool
read_claims(Event *event, const Verdict *verdict)
{
	const JsonbValue *claims = &verdict->claims;
	const JsonbPair *events = json_member(claims, "events");

	/* a copy: the key's is valid only until the next verification */
	TrustIssuer *sender = rows_find_issuer(verdict->key->issuer->policy.issuer,
										   (int) strlen(verdict->key->issuer->policy.issuer));
	const char *text = (const char *) verdict->jws.payload;
	ClaimsTimes times;
	Failure		failure;

	if (sender == NULL || sender->unusable != NULL || sender->events.accepts_none)
		return refuse(event, "access_denied", "The issuer may not send events.");
	event->issuer = slice_of(sender->policy.issuer);
	if (!claims_check_event(claims, text, &sender->events, verify_now(), &times, &failure))
		return refuse(event, error_of_failure(failure.code), failure.detail);

	event->jti = string_member(claims, "jti");
	event->issued = event->ended = times.issued;
	if (event->jti.data == NULL)
		return invalid(event, "The event has no \"jti\".");
	if (!times.has_issued)
		return invalid(event, "The event has no \"iat\".");
	if (events == NULL)
		return invalid(event, "The token has no \"events\".");
	if (events->value.type != jbvObject || events->value.val.object.nPairs == 0)
		return invalid(event, "The claim \"events\" is not an object with events.");
	for (int i = 0; i < events->value.val.object.nPairs; i++)
		if (events->value.val.object.pairs[i].value.type != jbvObject)
			return invalid(event, "An event is not an object.");

	if (json_member(&events->value, LOGOUT_EVENT) != NULL)
	{
		event->type = slice_of(LOGOUT_EVENT);
		return read_logout(event, &verdict->jws, claims, &times, sender);
	}
	return read_set(event, &verdict->jws, claims, &events->value, text, sender);
}

static TimestampTz
start_of_second(TimestampTz t)
{
	int64		rest = t % USECS_PER_SEC;

	return t - (rest < 0 ? rest + USECS_PER_SEC : rest);
}

/*
 * Verify a token as an event.  The event is refused, ignored, or has effects.
 * Raises an error only for reasons that are not the token's fault.  The token
 * must live as long as the event.
 */
void
event_verify(const Slice *token, Event *event)
{
	VerifyRequest request = {.token = *token, .at = verify_now(), .fetch_nothing = true};
	Verdict		verdict;

	memset(event, 0, sizeof(*event));
	if (!verify_signature(&request, &verdict))
		(void) refuse(event, error_of_failure(verdict.failure.code), verdict.failure.detail);
	else if (read_claims(event, &verdict))
	{
		TimestampTz now = GetCurrentTimestamp();

		/* an event has happened before it was reported */
		event->issued = Max(event->issued, MIN_TIMESTAMP);
		event->ended = Max(Min(event->ended, event->issued), MIN_TIMESTAMP);
		/* most times have whole seconds, so include the rest of the second */
		event->issued_before = Min(start_of_second(event->ended) + USECS_PER_SEC - 1, now);
		event->ended = Min(event->ended, start_of_second(now));
	}
}

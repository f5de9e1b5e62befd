/*-------------------------------------------------------------------------
 *
 * event.c
 *	  What a logout token or a Security Event Token says, and whom it signs out.
 *
 * A logout token is that of OpenID Connect Back-Channel Logout 1.0.  A Security Event
 * Token (SET) is RFC 8417's, as the Shared Signals Framework (SSF) profiles it, with
 * a subject as in RFC 9493.  Of the events of CAEP and RISC, those that say that a
 * session or an account has ended, or that somebody else may have its credentials,
 * sign out.  Others are accepted and do nothing.
 *
 * Anybody may send anything.  So nothing is written here, nothing is remembered, and
 * no key is fetched for a token that no key has signed.
 *
 * Who is signed out is what the event names, and nobody else.  A subject is compared
 * with the claim sub only in a format that is one, and only of an issuer that the
 * sender may speak for.  A subject of several parts is that in which all of them meet:
 * leaving one out would sign out more people.
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

/* Identifiers of one subject that are looked at. */
#define MAX_ALIASES		100

/* Members of a subject identifier besides its format. */
#define MAX_MEMBERS		2

/* The types of events that sign out. */
static const char *const ending_types[] = {
	CAEP "session-revoked",
	CREDENTIAL_CHANGE,
	RISC "account-disabled",
	RISC "account-purged",
	RISC "credential-compromise",
	RISC "sessions-revoked",
};

/* Types that say something of the stream of events itself (SSF section 8.1.4). */
static const struct
{
	const char *type;
	const char *meaning;
}			stream_types[] = {
	{SSF "verification", "The event shows that events arrive."},
	{SSF "stream-updated", "The event is about the stream of events itself."},
};

/*
 * Formats of a subject (RFC 9493 section 3.2, SSF section 3.3), with the members that
 * each has besides "format", all of them strings.  There are "aliases" and "complex",
 * too.
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

/* A subject in the course of being resolved. */
typedef struct Subject
{
	Event	   *event;
	TrustIssuer *sender;
	char	   *denied;			/* a subject that the sender may not name */
	char	   *ignored;		/* a subject that is nobody here */
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
 * Accept the event, which ends nothing, and return false.
 */
static bool
ignore(Event *event, const char *why)
{
	event->ignored = why;
	return false;
}

/*
 * The code of RFC 8935 section 2.4 for a token that is refused.
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
 * A member that is a string; null data when it is absent, empty or something else.
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
 * What a session, a subject or a token is called is what an issuer's tokens can have.
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
 * An issuer that a subject names: the sender itself, or one that it may speak for.
 * NULL when it is neither, or has no row.
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
 * The format of a subject, which has all the members of that format, no others, and
 * each a string (RFC 9493 section 3).  Null data when that is not so.
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
 * A subject by several names: all that are somebody here are signed out.
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
 * Which sessions, subjects or tokens are these?  Returns false when that is no subject.
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
 * An issuer, other than the sender, that a user is of by any of their names; null data
 * if there is none.
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
 * A session within a complex subject: by the sender's name for it, or one token's.
 * A user beside it must be the sender's own, as the session's name is.
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
 * A complex subject (SSF section 3.2) is what all its members have in common.
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
		Slice		members[MAX_MEMBERS];
		Slice		format;

		if (slice_is(&name, "format"))
			continue;
		format = read_format(subject->event, &pair->value, members);
		if (format.data == NULL)
			return false;
		if (slice_is(&format, "complex"))
			return invalid(subject->event, "A complex subject is within another.");
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
 * The subject of a SET, which is in its claim sub_id.
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
 * Read a time of an event; *t stays as it is when there is none.
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
 * Does an event of a type that signs out do so, by its payload?
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
 * The events of a SET.  Several are several names of one (RFC 8417 section 2.2), so one
 * that signs out suffices.
 */
static bool
read_events(Event *event, const JsonbValue *events, const char *text)
{
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
			ends = true;
			event->type = type;
			if (!read_time(event, text, &pair->value, "event_timestamp", &event->ended))
				return false;
		}
		if (event->err != NULL)
			return false;
	}
	if (ends)
		event->ignored = NULL;
	return ends;
}

/*
 * A Security Event Token.
 */
static bool
judge_set(Event *event, const Jws *jws, const JsonbValue *claims, const JsonbValue *events,
		  const char *text, TrustIssuer *sender)
{
	const JsonbPair *sub_id = json_member(claims, "sub_id");

	/* SSF section 4.1 */
	if (jws->typ.data == NULL || !claims_type_is(jws->typ.data, jws->typ.len, "secevent+jwt"))
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
 * A logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6).
 */
static bool
judge_logout(Event *event, const Jws *jws, const JsonbValue *claims, const ClaimsTimes *times, TrustIssuer *sender)
{
	Slice		sub = string_member(claims, "sub");
	Slice		sid = string_member(claims, CLAIMS_SESSION);

	if (jws->typ.data != NULL && !claims_type_is(jws->typ.data, jws->typ.len, "logout+jwt") &&
		!claims_type_is(jws->typ.data, jws->typ.len, "JWT"))
		return invalid(event, "The \"typ\" of a logout token must be \"logout+jwt\" or \"JWT\", if it has one.");
	if (json_member(claims, "nonce") != NULL)
		return invalid(event, "A logout token must have no \"nonce\".");
	if (!times->has_expires && !sender->event_without_exp)
		return invalid(event, "The logout token has no \"exp\".");
	if (sid.data == NULL && sub.data == NULL)
		return invalid(event, "The logout token has neither a \"sub\" nor a \"sid\".");

	/* a session that is named is all that has ended */
	if (sid.data != NULL)
		add_effect(event, REVOKED_SESSION, sender, &sid);
	else
		add_effect(event, REVOKED_SUBJECT, sender, &sub);
	return true;
}

/*
 * The claims of an event whose signature is good.
 */
static bool
judge_claims(Event *event, const Verdict *verdict)
{
	const JsonbValue *claims = &verdict->claims;
	const JsonbPair *events = json_member(claims, "events");

	/* the key's may be gone before this is over */
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
		return judge_logout(event, &verdict->jws, claims, &times, sender);
	}
	return judge_set(event, &verdict->jws, claims, &events->value, text, sender);
}

static TimestampTz
start_of_second(TimestampTz t)
{
	int64		rest = t % USECS_PER_SEC;

	return t - (rest < 0 ? rest + USECS_PER_SEC : rest);
}

/*
 * Judge a token as an event, which is refused, ignored, or has effects.  Raises an
 * error only for what is not the token's fault.  The token must live as long as the
 * event.
 */
void
event_judge(const Slice *token, Event *event)
{
	VerifyRequest request = {.token = *token, .at = verify_now(), .fetch_nothing = true};
	Verdict		verdict;

	memset(event, 0, sizeof(*event));
	if (!verify_signature(&request, &verdict))
		(void) refuse(event, error_of_failure(verdict.failure.code), verdict.failure.detail);
	else if (judge_claims(event, &verdict))
	{
		TimestampTz now = GetCurrentTimestamp();

		/* what has been reported has happened by then */
		event->issued = Max(event->issued, MIN_TIMESTAMP);
		event->ended = Max(Min(event->ended, event->issued), MIN_TIMESTAMP);
		/* times mostly have whole seconds, and so stand for all of a second */
		event->issued_before = Min(start_of_second(event->ended) + USECS_PER_SEC - 1, now);
		event->ended = Min(event->ended, start_of_second(now));
	}
}

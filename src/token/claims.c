/*-------------------------------------------------------------------------
 *
 * claims.c
 *	  The check of registered claims (RFC 7519 section 4.1) against a policy
 *	  and a time.
 *
 * The signature has been verified before, so messages may quote claims.  This
 * file reads no table and no key.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "token/claims.h"
#include "token/json.h"
#include "utils/timestamp.h"

/* The maximal length of lists that are compared pairwise. */
#define FEW_AUDIENCES	8

/* A set of audiences. */
typedef struct AudienceEntry
{
	Slice		name;
	uint32		hash;
	char		status;
} AudienceEntry;

#define SH_PREFIX audience
#define SH_ELEMENT_TYPE AudienceEntry
#define SH_KEY_TYPE Slice
#define SH_KEY name
#define SH_HASH_KEY(set, key) hash_bytes((const unsigned char *) (key).data, (key).len)
#define SH_EQUAL(set, a, b) slice_equal(&(a), &(b))
#define SH_STORE_HASH
#define SH_GET_HASH(set, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Microseconds from the Unix epoch to PostgreSQL's. */
#define UNIX_EPOCH_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

static bool check_issuer(const JsonbValue *claims, const ClaimsPolicy *policy, Failure *failure);
static bool check_purpose(const JsonbValue *claims, const Slice *typ, const ClaimsPolicy *policy, Failure *failure);
static bool check_audience(const JsonbValue *claims, const ClaimsPolicy *policy,
						   const Slice *wanted, Failure *failure);
static bool read_ids_and_times(const JsonbValue *claims, const char *text, const ClaimsPolicy *policy,
							   ClaimsIds *ids, ClaimsTimes *times, Failure *failure);
static bool check_validity(const ClaimsTimes *times, const ClaimsPolicy *policy,
						   TimestampTz at, Failure *failure);
static bool check_lifetime(const ClaimsTimes *times, const ClaimsPolicy *policy,
						   TimestampTz at, Failure *failure);
static bool check_required(const JsonbValue *claims, const ClaimsPolicy *policy, Failure *failure);
static bool check_type(const Slice *typ, const ClaimsPolicy *policy, Failure *failure);

static bool
matches(const char *expected, const char *str, int len)
{
	return (int) strlen(expected) == len && memcmp(expected, str, len) == 0;
}

static int64
saturated_add(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		return a < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return sum;
}

static int64
saturated_sub(int64 a, int64 b)
{
	int64		difference;

	if (pg_sub_s64_overflow(a, b, &difference))
		return a < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return difference;
}

/*
 * Format any time for a message.
 */
static const char *
show_time(TimestampTz t)
{
	if (TIMESTAMP_NOT_FINITE(t) || !IS_VALID_TIMESTAMP(t))
		return t < 0 ? "the distant past" : "the distant future";
	return timestamptz_to_str(t);
}

/*
 * The same with a preposition.
 */
static char *
show_when(TimestampTz t)
{
	return psprintf("%s %s", IS_VALID_TIMESTAMP(t) && !TIMESTAMP_NOT_FINITE(t) ? "at" : "in",
					show_time(t));
}

/*
 * Format an age roughly, in the largest unit that gives more than one.
 */
static char *
show_ago(int64 usec)
{
	int64		seconds = usec / USECS_PER_SEC;
	static const struct
	{
		int64		seconds;
		const char *name;
	}			units[] = {
		{SECS_PER_DAY, "day"}, {SECS_PER_HOUR, "hour"}, {SECS_PER_MINUTE, "minute"}, {1, "second"},
	};

	for (int i = 0; i < (int) lengthof(units); i++)
	{
		int64		n = seconds / units[i].seconds;

		if (n > 1 || units[i].seconds == 1)
			return psprintf(INT64_FORMAT " %s%s ago", n, units[i].name, n == 1 ? "" : "s");
	}
	pg_unreachable();
}

/*
 * Check the claims of an access token whose signature is good. text is the text
 * of the claims. audience restricts the policy's audiences; its data is NULL if
 * the caller gave none. ids and times are always filled in, as far as the
 * claims have the right types.
 */
bool
claims_check(const JsonbValue *claims, const char *text, const Jws *jws,
			 const ClaimsPolicy *policy, const Slice *audience,
			 TimestampTz at, ClaimsIds *ids, ClaimsTimes *times, Failure *failure)
{
	Failure		untyped;
	bool		typed = read_ids_and_times(claims, text, policy, ids, times, &untyped);

	if (!check_issuer(claims, policy, failure) ||
		!check_purpose(claims, &jws->typ, policy, failure) ||
		!check_audience(claims, policy, audience, failure))
		return false;
	if (!typed)
	{
		*failure = untyped;
		return false;
	}
	return check_validity(times, policy, at, failure) &&
		check_required(claims, policy, failure) &&
		check_lifetime(times, policy, at, failure) &&
		check_type(&jws->typ, policy, failure);
}

/*
 * The same for an event, with the policy for events: the checks that all kinds
 * of tokens have in common.
 */
bool
claims_check_event(const JsonbValue *claims, const char *text, const ClaimsPolicy *policy,
				   TimestampTz at, ClaimsTimes *times, Failure *failure)
{
	static const Slice any = {NULL, 0};
	ClaimsIds	ids;

	return check_issuer(claims, policy, failure) &&
		check_audience(claims, policy, &any, failure) &&
		read_ids_and_times(claims, text, policy, &ids, times, failure) &&
		check_validity(times, policy, at, failure);
}

/*
 * Do the claims name this issuer?  The empty name means that there is no
 * claim.
 */
bool
claims_issuer_is(const JsonbValue *claims, const char *issuer)
{
	const JsonbPair *member = json_member(claims, "iss");
	const char *claimed;
	int			len;

	if (member == NULL)
		return issuer[0] == '\0';
	claimed = json_string(&member->value, &len);
	return claimed != NULL && issuer[0] != '\0' && matches(issuer, claimed, len);
}

/*
 * Check that "iss" is the issuer of the key (RFC 7519 section 4.1.1).  The
 * policy with the empty name is for tokens without "iss".
 */
static bool
check_issuer(const JsonbValue *claims, const ClaimsPolicy *policy, Failure *failure)
{
	const JsonbPair *member;
	const char *issuer;
	int			len;

	if (claims_issuer_is(claims, policy->issuer))
		return true;
	member = json_member(claims, "iss");
	if (member == NULL)
		return fail(failure, FAILURE_ISSUER,
					psprintf("The token has no \"iss\"; its key belongs to the issuer \"%s\".",
							 quote_string(policy->issuer)));
	issuer = json_string(&member->value, &len);
	if (issuer == NULL)
		return fail(failure, FAILURE_CLAIM, "The claim \"iss\" is not a string.");
	if (policy->issuer[0] == '\0')
		return fail(failure, FAILURE_ISSUER,
					psprintf("The token's issuer is \"%s\"; its key is for tokens without \"iss\".",
							 quote_untrusted(issuer, len)));
	return fail(failure, FAILURE_ISSUER,
				psprintf("The token's issuer is \"%s\"; its key belongs to the issuer \"%s\".",
						 quote_untrusted(issuer, len), quote_string(policy->issuer)));
}

/*
 * A claim that access tokens do not have, or NULL.  No claim identifies an ID
 * token for certain, but most ID tokens have one of these (OpenID Connect Core
 * 1.0, sections 2, 3.1.3.6 and 3.3.2.11; FAPI 1.0 for s_hash).
 */
static const Slice *
foreign_claim(const JsonbValue *claims, bool of_id_tokens)
{
	static const Slice names[] = {{"events", 6}, {"nonce", 5}, {"at_hash", 7}, {"c_hash", 6}, {"s_hash", 6}};
	int			n = of_id_tokens ? (int) lengthof(names) : 1;

	/* one pass: members are in the order of their lengths, and most are short */
	for (int i = 0; i < claims->val.object.nPairs; i++)
	{
		const JsonbValue *key = &claims->val.object.pairs[i].key;
		Slice		name = {key->val.string.val, key->val.string.len};

		if (name.len < 5)
			continue;
		if (name.len > 7)
			break;
		for (int j = 0; j < n; j++)
			if (name.data[0] == names[j].data[0] && slice_equal(&name, &names[j]))
				return &names[j];
	}
	return NULL;
}

/*
 * Check that the token is an access token.  The media type (RFC 8725 section
 * 3.11) or a claim can show that it is not.
 */
static bool
check_purpose(const JsonbValue *claims, const Slice *typ, const ClaimsPolicy *policy, Failure *failure)
{
	const char *purpose = claims_other_purpose(typ);
	const Slice *claim;

	if (policy->accepts_none)
		return fail(failure, FAILURE_TOKEN_TYPE,
					psprintf("Access tokens of the issuer \"%s\" are not accepted, as it has no audience.", quote_string(policy->issuer)));
	if (purpose != NULL)
		return fail(failure, FAILURE_TOKEN_TYPE,
					psprintf("The token's \"typ\" is \"%s\": it is %s, not an access token.",
							 quote_untrusted(typ->data, typ->len), purpose));
	claim = foreign_claim(claims, !policy->accept_id_tokens);
	if (claim == NULL)
		return true;
	if (json_member(claims, "events") != NULL)
		return fail(failure, FAILURE_TOKEN_TYPE,
					"The token has the claim \"events\": it reports an event and is not an access token.");
	return fail_hint(failure, FAILURE_TOKEN_TYPE,
					 psprintf("The token has the claim \"%s\", so it is most likely an ID token, which is for the client.",
							  claim->data),
					 "Send the access token. For an issuer whose access tokens have this claim, set accept_id_tokens.");
}

/*
 * The accepted audiences for a message: only some, if there are many.
 */
static char *
show_accepted(const ClaimsPolicy *policy, const Slice *wanted)
{
	StringInfoData buf;

	if (wanted->data != NULL)
		return psprintf("\"%s\"", quote_untrusted(wanted->data, wanted->len));
	initStringInfo(&buf);
	for (int i = 0; i < policy->n_audience && i < FEW_AUDIENCES; i++)
		appendStringInfo(&buf, "%s\"%s\"", i == 0 ? "" : ", ", quote_string(policy->audience[i]));
	if (policy->n_audience > FEW_AUDIENCES)
		appendStringInfo(&buf, ", or one of %d others", policy->n_audience - FEW_AUDIENCES);
	return buf.data;
}

static bool
policy_has_audience(const ClaimsPolicy *policy, const char *audience, int len)
{
	if (policy->any_audience)
		return true;
	for (int i = 0; i < policy->n_audience; i++)
		if (matches(policy->audience[i], audience, len))
			return true;
	return false;
}

/*
 * The policy's audiences as a hash table.  The time of a look-up does not
 * depend on their number.
 */
static audience_hash *
audience_set(const ClaimsPolicy *policy)
{
	audience_hash *set = audience_create(CurrentMemoryContext, policy->n_audience, NULL);

	for (int i = 0; i < policy->n_audience; i++)
	{
		Slice		name = slice_of(policy->audience[i]);
		bool		found;

		CHECK_FOR_INTERRUPTS();
		audience_insert(set, name, &found);
	}
	return set;
}

/*
 * An audience that both policies accept, or NULL.
 */
const char *
claims_shared_audience(const ClaimsPolicy *a, const ClaimsPolicy *b)
{
	audience_hash *set = audience_set(a);
	const char *shared = NULL;

	for (int i = 0; i < b->n_audience && shared == NULL; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (a->any_audience || audience_lookup(set, slice_of(b->audience[i])) != NULL)
			shared = b->audience[i];
	}
	audience_destroy(set);
	return shared;
}

/*
 * Check that "aud", a string or an array of strings, contains one of the
 * policy's audiences (RFC 7519 section 4.1.3), and the audience of the caller.
 * The time is proportional to the length of both lists.
 */
static bool
check_audience(const JsonbValue *claims, const ClaimsPolicy *policy,
			   const Slice *wanted, Failure *failure)
{
	const JsonbPair *member = json_member(claims, "aud");
	const JsonbValue *values;
	int			n;
	audience_hash *set = NULL;
	bool		accepted = false;

	if (wanted->data != NULL && !policy_has_audience(policy, wanted->data, wanted->len))
		return fail(failure, FAILURE_AUDIENCE,
					psprintf("The audience \"%s\" is not one of the issuer \"%s\".",
							 quote_untrusted(wanted->data, wanted->len), quote_string(policy->issuer)));

	if (member == NULL)
	{
		if (wanted->data == NULL && (policy->any_audience || policy->n_audience == 0))
			return true;
		return fail(failure, FAILURE_AUDIENCE,
					psprintf("The token has no \"aud\"; accepted is %s.", show_accepted(policy, wanted)));
	}

	values = &member->value;
	n = 1;
	if (values->type == jbvArray)
	{
		n = values->val.array.nElems;
		values = values->val.array.elems;
	}
	if (wanted->data == NULL && n > FEW_AUDIENCES && policy->n_audience > FEW_AUDIENCES)
		set = audience_set(policy);
	for (int i = 0; i < n; i++)
	{
		Slice		audience;

		CHECK_FOR_INTERRUPTS();
		audience.data = json_string(&values[i], &audience.len);
		if (audience.data == NULL)
			return fail(failure, FAILURE_CLAIM,
						"The claim \"aud\" is neither a string nor an array of strings.");
		if (accepted)
			continue;
		if (wanted->data != NULL)
			accepted = slice_equal(&audience, wanted);
		else if (set != NULL)
			accepted = audience_lookup(set, audience) != NULL;
		else
			accepted = policy_has_audience(policy, audience.data, audience.len);
	}
	if (set != NULL)
		audience_destroy(set);
	if (accepted || (policy->any_audience && wanted->data == NULL))
		return true;
	if (policy->n_audience == 0 && !policy->any_audience)
		return fail(failure, FAILURE_AUDIENCE,
					"The token has an \"aud\"; the issuer's policy accepts only tokens without.");
	if (n == 0)
		return fail(failure, FAILURE_AUDIENCE,
					psprintf("The token's \"aud\" is empty; accepted is %s.", show_accepted(policy, wanted)));
	return fail(failure, FAILURE_AUDIENCE,
				psprintf("The token is for \"%s\"%s; accepted is %s.",
						 quote_untrusted(values[0].val.string.val, values[0].val.string.len),
						 n > 1 ? " and others" : "",
						 show_accepted(policy, wanted)));
}

/*
 * Read a NumericDate (RFC 7519 section 2) of any magnitude. text is the text of
 * the document; the member can be at any depth.  Returns false if the member is
 * not a number.
 */
bool
claims_time(const char *text, const JsonbPair *member, TimestampTz *t)
{
	int64		usec;

	if (member->value.type != jbvNumeric)
		return false;
	usec = json_number_usec(text, member);
	*t = usec == PG_INT64_MAX ? DT_NOEND : saturated_sub(usec, UNIX_EPOCH_USECS);
	return true;
}

/*
 * Read a claim that is a time.  If it is absent, *t stays as it is.  This is
 * inline because the length of a literal name is known.
 */
static pg_attribute_always_inline bool
read_time(const JsonbValue *claims, const char *text, const char *name,
		  TimestampTz *t, bool *present, Failure *failure)
{
	const JsonbPair *member = json_member(claims, name);

	*present = member != NULL;
	if (member != NULL && !claims_time(text, member, t))
		return fail(failure, FAILURE_CLAIM, psprintf("The claim \"%s\" is not a number.", name));
	return true;
}

/*
 * Read a claim by which a token can be revoked.  It must be a string, and short
 * enough for the denylist: a token that cannot be revoked is not accepted.
 */
static pg_attribute_always_inline bool
read_id(const JsonbValue *claims, const char *name, Slice *id, Failure *failure)
{
	const JsonbPair *member = json_member(claims, name);

	if (member == NULL)
		return true;
	id->data = json_string(&member->value, &id->len);
	if (id->data == NULL)
		return fail(failure, FAILURE_CLAIM, psprintf("The claim \"%s\" is not a string.", quote_string(name)));
	if (id->len > CLAIMS_MAX_ID)
		return fail(failure, FAILURE_CLAIM,
					psprintf("The claim \"%s\" is %d bytes long; at most %d are accepted.",
							 quote_string(name), id->len, CLAIMS_MAX_ID));
	return true;
}

/*
 * Read the identifiers and the times of the token.
 */
static bool
read_ids_and_times(const JsonbValue *claims, const char *text, const ClaimsPolicy *policy,
				   ClaimsIds *ids, ClaimsTimes *times, Failure *failure)
{
	bool		has_not_before;

	memset(ids, 0, sizeof(*ids));
	times->expires = DT_NOEND;
	times->not_before = DT_NOBEGIN;
	times->issued = DT_NOBEGIN;
	times->has_expires = times->has_issued = false;

	return read_id(claims, "sub", &ids->sub, failure) &&
		read_id(claims, "jti", &ids->jti, failure) &&
		read_id(claims, policy->session_claim ? policy->session_claim : CLAIMS_SESSION, &ids->sid, failure) &&
		read_time(claims, text, "exp", &times->expires, &times->has_expires, failure) &&
		read_time(claims, text, "nbf", &times->not_before, &has_not_before, failure) &&
		read_time(claims, text, "iat", &times->issued, &times->has_issued, failure);
}

/*
 * Check that each required claim is present and not null.
 */
static bool
check_required(const JsonbValue *claims, const ClaimsPolicy *policy, Failure *failure)
{
	for (int i = 0; i < policy->n_required; i++)
	{
		const JsonbPair *member = json_member(claims, policy->required[i]);

		if (member == NULL || member->value.type == jbvNull)
			return fail(failure, FAILURE_CLAIM,
						psprintf("The token has no \"%s\", which the issuer \"%s\" requires.",
								 quote_string(policy->required[i]), quote_string(policy->issuer)));
	}
	return true;
}

/*
 * Check "exp", "nbf" and "iat" (RFC 7519 sections 4.1.4 to 4.1.6).  Sums
 * saturate, so no claim can cause an overflow.
 */
static bool
check_validity(const ClaimsTimes *times, const ClaimsPolicy *policy,
			   TimestampTz at, Failure *failure)
{
	if (times->has_expires && at >= saturated_add(times->expires, policy->leeway))
		return fail(failure, FAILURE_EXPIRED,
					psprintf("The token expired %s, %s.", show_when(times->expires),
							 show_ago(saturated_sub(at, times->expires))));
	if (saturated_add(at, policy->leeway) < times->not_before)
		return fail(failure, FAILURE_NOT_YET_VALID,
					psprintf("The token is not valid before %s.", show_time(times->not_before)));
	if (times->has_issued && saturated_add(at, policy->leeway) < times->issued)
		return fail(failure, FAILURE_NOT_YET_VALID,
					psprintf("The token was issued %s, which is after now.",
							 show_when(times->issued)));
	return true;
}

/*
 * Check the lifetime and the age of the token.
 */
static bool
check_lifetime(const ClaimsTimes *times, const ClaimsPolicy *policy,
			   TimestampTz at, Failure *failure)
{
	if (policy->max_lifetime != CLAIMS_NO_LIMIT)
	{
		int64		lifetime = saturated_sub(times->expires, times->issued);

		if (!times->has_expires || !times->has_issued)
			return fail(failure, FAILURE_CLAIM,
						psprintf("The token has no \"%s\", without which its lifetime is not known.",
								 times->has_expires ? "iat" : "exp"));
		if (lifetime > policy->max_lifetime)
			return fail(failure, FAILURE_LIFETIME,
						psprintf("The token's lifetime is " INT64_FORMAT " seconds; the issuer \"%s\" may give " INT64_FORMAT ".",
								 lifetime / USECS_PER_SEC, quote_string(policy->issuer),
								 policy->max_lifetime / USECS_PER_SEC));
	}
	if (policy->max_age != CLAIMS_NO_LIMIT)
	{
		if (!times->has_issued)
			return fail(failure, FAILURE_CLAIM,
						"The token has no \"iat\", without which its age is not known.");
		if (saturated_sub(at, times->issued) > saturated_add(policy->max_age, policy->leeway))
			return fail(failure, FAILURE_LIFETIME,
						psprintf("The token was issued %s; the issuer \"%s\" accepts an age of " INT64_FORMAT " seconds.",
								 show_when(times->issued), quote_string(policy->issuer),
								 policy->max_age / USECS_PER_SEC));
	}
	return true;
}

/*
 * Repeat the checks that depend on the time, for a token that has passed
 * claims_check().
 */
bool
claims_check_time(const ClaimsTimes *times, const ClaimsPolicy *policy,
				  TimestampTz at, Failure *failure)
{
	return check_validity(times, policy, at, failure) &&
		check_lifetime(times, policy, at, failure);
}

/*
 * A media type without "application/", which a header may omit (RFC 7515
 * section 4.1.9).
 */
static Slice
short_type(Slice type)
{
	static const char prefix[] = "application/";
	const int	prefix_len = (int) sizeof(prefix) - 1;

	if (type.len > prefix_len && pg_strncasecmp(type.data, prefix, prefix_len) == 0 &&
		memchr(type.data + prefix_len, '/', type.len - prefix_len) == NULL)
	{
		type.data += prefix_len;
		type.len -= prefix_len;
	}
	return type;
}

static bool
same_type(const Slice *a, const Slice *b)
{
	return a->len == b->len && pg_strncasecmp(a->data, b->data, a->len) == 0;
}

/*
 * Is a "typ" this media type?  An absent one is not.
 */
bool
claims_type_is(const Slice *typ, const char *type)
{
	Slice		given = short_type(*typ);
	Slice		wanted = short_type(slice_of(type));

	return same_type(&given, &wanted);
}

/*
 * The kind of a token whose "typ" shows that it is not an access token; NULL
 * for any other "typ" and without one.
 */
const char *
claims_other_purpose(const Slice *typ)
{
	static const struct
	{
		Slice		type;
		const char *name;
	}			others[] = {
		{{"logout+jwt", 10}, "a logout token"},
		{{"secevent+jwt", 12}, "a security event token"},
		{{"dpop+jwt", 8}, "a DPoP proof"},
	};
	Slice		given = short_type(*typ);

	for (int i = 0; i < (int) lengthof(others); i++)
		if (same_type(&given, &others[i].type))
			return others[i].name;
	return NULL;
}

/*
 * Check "typ" of the header, if the policy requires one (RFC 8725 section
 * 3.11).
 */
static bool
check_type(const Slice *typ, const ClaimsPolicy *policy, Failure *failure)
{
	if (policy->token_type == NULL)
		return true;
	if (typ->data == NULL)
		return fail(failure, FAILURE_TOKEN_TYPE,
					psprintf("The token has no \"typ\"; the issuer \"%s\" requires \"%s\".",
							 quote_string(policy->issuer), quote_string(policy->token_type)));
	if (!claims_type_is(typ, policy->token_type))
		return fail(failure, FAILURE_TOKEN_TYPE,
					psprintf("The token's \"typ\" is \"%s\"; the issuer \"%s\" requires \"%s\".",
							 quote_untrusted(typ->data, typ->len), quote_string(policy->issuer),
							 quote_string(policy->token_type)));
	return true;
}

/*
 * A string claim of a token that has been checked.  It points into the claims,
 * and its data is NULL if there is none.
 */
Slice
claims_string(const Jsonb *claims, const char *name, int len)
{
	Slice		string = {NULL, 0};
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &claims->root), name, len, &value) != NULL)
		string.data = json_string(&value, &string.len);
	return string;
}

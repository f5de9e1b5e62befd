/*-------------------------------------------------------------------------
 *
 * entries.c
 *	  The entries that the library jwt_auth calls.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "entries.h"
#include "extension/row.h"
#include "session/confirmation.h"
#include "session/verify.h"
#include "sql/functions.h"
#include "token/json.h"
#include "trust/new_key.h"
#include "trust/revocation.h"
#include "trust/write.h"
#include "utils/builtins.h"
#include "utils/inval.h"

JWT_SQL_FUNCTION(jwt_sql_entries);

static uint64
entry_generation(void)
{
	catalog_accept_changes();
	return trust_generation;
}

static bool
entry_unchanged(uint64 generation)
{
	AcceptInvalidationMessages();
	return trust_generation == generation || !catalog_is_reliable();
}

static const IssuerTerms *
entry_find_issuer(const Slice *name)
{
	TrustIssuer *issuer = name->len > TRUST_MAX_NAME ? NULL : rows_find_issuer(name->data, name->len);
	IssuerTerms *terms;

	if (issuer == NULL)
		return NULL;
	terms = palloc0(sizeof(IssuerTerms));
	terms->policy = &issuer->policy;
	terms->n_algorithms = issuer->n_algorithms;
	terms->algorithms = issuer->algorithms;
	terms->confirms_elsewhere = issuer->confirms_elsewhere;
	terms->session_lifetime = issuer->session_lifetime;
	terms->unusable = issuer->unusable;
	return terms;
}

static void
entry_add_key(const pg_uuid_t *id, const Slice *issuer_name, const char *kid, const char *alg, const Jsonb *jwk)
{
	TrustIssuer *issuer = require_issuer(issuer_name);
	Slice		kid_slice = slice_of(kid);
	Datum		values[Natts_key] = {0};
	bool		nulls[Natts_key];
	NewKey		key;
	char	   *reason;

	if (!new_key_read(jwk, alg, issuer, &key, &reason) || !new_key_check(&key, &reason))
		raise_bad_key(reason);
	require_new_kid(issuer->policy.issuer, &kid_slice);

	memset(nulls, true, sizeof(nulls));
#define SET(column, datum) (values[Anum_key_##column - 1] = (datum), nulls[Anum_key_##column - 1] = false)
	SET(id, UUIDPGetDatum(id));
	SET(issuer, CStringGetTextDatum(issuer->policy.issuer));
	SET(kid, CStringGetTextDatum(kid));
	SET(alg, CStringGetTextDatum(key.alg));
	SET(source, CStringGetTextDatum("signing"));
	SET(created_at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	SET(jwk, JsonbPGetDatum(jwk_normal_form(&key.jwk, false)));
#undef SET
	write_insert(TRUST_KEY, values, nulls);
}

/*
 * Does the public key of a row differ from the one that signs?
 */
static bool
differs(const KeyRow *key, const char *kid, const char *alg, const char *thumbprint)
{
	return key->source == NULL || strcmp(key->source, "signing") != 0 ||
		key->kid == NULL || strcmp(key->kid, kid) != 0 ||
		key->alg == NULL || strcmp(key->alg, alg) != 0 ||
		!key->jwk_read || strcmp(rows_thumbprint(&key->jwk), thumbprint) != 0;
}

static const char *
entry_why_key_fails(const pg_uuid_t *id, const Slice *issuer, const char *kid, const char *alg,
					const char *thumbprint, TimestampTz *from, TimestampTz *until)
{
	RowScan		scan = rows_begin(TRUST_KEY, INDEX_KEY_ISSUER_KID, Anum_key_issuer, issuer,
								  InvalidAttrNumber, NULL);
	KeyRow		key;
	bool		found = false;

	while (!found && rows_next(&scan))
	{
		rows_read_key(&scan, &key);
		found = memcmp(&key.id, id, sizeof(*id)) == 0;
	}
	rows_end(&scan);
	if (!found)
		return "It has no row in jwt_key with the same id and issuer.";
	rows_check_key_fully(&key);
	*from = key.not_before;
	*until = key.not_after;
	if (differs(&key, kid, alg, thumbprint))
		return "Its rows in jwt_signing_key and jwt_key differ.";
	return key.unusable;
}

static bool
entry_check_claims(const IssuerTerms *terms, const DraftToken *token, TimestampTz at,
				   uint64 *key_not_revoked, ClaimsTimes *times, Failure *failure)
{
	static const Slice any = {NULL, 0};
	Jws			jws = {.typ = slice_of(token->typ)};
	JsonbValue	claims;
	ClaimsIds	ids;
	const Binding *binding;
	RevocationQuery query = {.thumbprint = slice_of(token->thumbprint), .key_generation = *key_not_revoked};
	const char *reason = json_read_object(token->claims, token->claims_len, &claims);

	memset(times, 0, sizeof(*times));
	if (reason != NULL)
		return fail(failure, FAILURE_MALFORMED, psprintf("The payload of the token %s.", reason));
	if (!claims_check(&claims, token->claims, &jws, terms->policy, &any, at, &ids, times, failure) ||
		!confirmation_read(&claims, !terms->confirms_elsewhere, &binding, failure))
		return false;
	query.issuer = slice_of(terms->policy->issuer);
	query.sub = ids.sub;
	query.sid = ids.sid;
	query.jti = ids.jti;
	query.has_issued = times->has_issued;
	query.issued = times->issued;
	return revocation_check(&query, key_not_revoked, failure);
}

static bool
entry_key_is_revoked(const char *thumbprint)
{
	TimestampTz revoked_at;

	return revocation_of_key(thumbprint, &revoked_at);
}

static void
entry_revoke_session(const Slice *issuer, const char *sid, TimestampTz expires_at, const char *reason)
{
	Slice		sid_slice = slice_of(sid);
	Slice		reason_slice = slice_of(reason);

	if (!write_is_revoked(REVOKED_SESSION, issuer, &sid_slice, DT_NOEND, expires_at))
		write_revocation(REVOKED_SESSION, issuer, &sid_slice, DT_NOEND, expires_at, &reason_slice);
}

static bool
entry_session_is_revoked(const Slice *issuer, const char *sid, const Slice *sub, TimestampTz started_at)
{
	RevocationQuery query = {
		.issuer = *issuer,
		.sub = *sub,
		.sid = slice_of(sid),
		.has_issued = true,
		.issued = started_at
	};
	uint64		generation;
	Failure		failure;

	return !revocation_check(&query, &generation, &failure);
}

/*
 * jwt_entries(internal): see entries.h.
 */
Datum
jwt_sql_entries(PG_FUNCTION_ARGS)
{
	static const JwtEntries entries = {
		.version = JWT_ENTRIES_VERSION,
		.size = sizeof(JwtEntries),
		.generation = entry_generation,
		.unchanged = entry_unchanged,
		.find_issuer = entry_find_issuer,
		.add_key = entry_add_key,
		.end_key = write_key_end,
		.delete_key = write_key_delete,
		.why_key_fails = entry_why_key_fails,
		.check_claims = entry_check_claims,
		.max_token_size = verify_max_token_size,
		.key_is_revoked = entry_key_is_revoked,
		.revoke_session = entry_revoke_session,
		.session_is_revoked = entry_session_is_revoked
	};

	(void) fcinfo;
	return PointerGetDatum(&entries);
}

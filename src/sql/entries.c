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
#include "sql/functions.h"
#include "trust/new_key.h"
#include "trust/revocation.h"
#include "trust/write.h"
#include "utils/builtins.h"

JWT_SQL_FUNCTION(jwt_sql_entries);

static uint64
entry_generation(void)
{
	catalog_accept_changes();
	return trust_generation;
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

static bool
entry_end_key(const pg_uuid_t *id, TimestampTz not_after)
{
	return write_key_end(id, not_after);
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
		.generation = entry_generation,
		.find_issuer = entry_find_issuer,
		.add_key = entry_add_key,
		.end_key = entry_end_key,
		.key_is_revoked = entry_key_is_revoked,
		.revoke_session = entry_revoke_session,
		.session_is_revoked = entry_session_is_revoked
	};

	(void) fcinfo;
	return PointerGetDatum(&entries);
}

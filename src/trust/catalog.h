/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  Finding the extension's tables, indexes and markers, and noticing changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_CATALOG_H
#define JWT_CATALOG_H

#include "postgres.h"

#include "utils/inval.h"
#include "utils/rel.h"

/*
 * The maximal size of an issuer's name, a kid, or a revoked value, in bytes.
 */
#define TRUST_MAX_NAME	1024

/* The tables, in the order of table_shapes[] in catalog.c. */
typedef enum TrustTable
{
	TRUST_DENYLIST,
	TRUST_ISSUER,
	TRUST_SOURCE,
	TRUST_STATE,
	TRUST_KEY,
	N_TRUST_TABLES
} TrustTable;

/*
 * The indexes that C code uses, in the order of index_shapes[] in catalog.c.
 */
typedef enum TrustIndex
{
	INDEX_DENYLIST_VALUE,		/* value, kind, issuer */
	INDEX_DENYLIST_ISSUER,		/* issuer, kind */
	INDEX_DENYLIST_EXPIRY,		/* expires_at */
	INDEX_ISSUER,				/* issuer */
	INDEX_SOURCE,				/* issuer */
	INDEX_STATE,				/* issuer */
	INDEX_KEY_ISSUER_KID,		/* issuer, kid */
	INDEX_KEY_KID,				/* kid */
	INDEX_KEY_ALG_ISSUER,		/* alg, issuer */
	N_TRUST_INDEXES
} TrustIndex;

/* The columns, as the install script declares them. */
enum
{
	Anum_denylist_id = 1,
	Anum_denylist_issuer,
	Anum_denylist_kind,
	Anum_denylist_value,
	Anum_denylist_issued_before,
	Anum_denylist_expires_at,
	Anum_denylist_reason,
	Anum_denylist_revoked_by,
	Anum_denylist_revoked_at,
	Natts_denylist = Anum_denylist_revoked_at
};

enum
{
	Anum_issuer_issuer = 1,
	Anum_issuer_audience,
	Anum_issuer_algorithms,
	Anum_issuer_required_claims,
	Anum_issuer_token_type,
	Anum_issuer_leeway,
	Anum_issuer_max_lifetime,
	Anum_issuer_max_age,
	Anum_issuer_role_claim,
	Anum_issuer_roles,
	Anum_issuer_session_claim,
	Anum_issuer_session_lifetime,
	Anum_issuer_accept_id_tokens,
	Anum_issuer_event_audience,
	Anum_issuer_event_without_exp,
	Anum_issuer_events_for,
	Anum_issuer_event_opaque_is_sub,
	Anum_issuer_confirmation,
	Natts_issuer = Anum_issuer_confirmation
};

enum
{
	Anum_source_issuer = 1,
	Anum_source_uri,
	Anum_source_refresh_interval,
	Anum_source_grace,
	Natts_source = Anum_source_grace
};

enum
{
	Anum_state_issuer = 1,
	Anum_state_uri,
	Anum_state_etag,
	Anum_state_etag_state,
	Anum_state_last_attempt,
	Anum_state_last_success,
	Anum_state_last_change,
	Anum_state_next_attempt,
	Anum_state_failures,
	Anum_state_last_error,
	Natts_state = Anum_state_last_error
};

enum
{
	Anum_key_id = 1,
	Anum_key_issuer,
	Anum_key_kid,
	Anum_key_alg,
	Anum_key_source,
	Anum_key_not_before,
	Anum_key_not_after,
	Anum_key_retired_at,
	Anum_key_retired_not_before,
	Anum_key_retired_not_after,
	Anum_key_created_at,
	Anum_key_jwk,
	Natts_key = Anum_key_jwk
};

/*
 * Generations: counters that increase when something may have changed.  They
 * cover the rows of jwt_issuer and jwt_key, the rows of jwt_denylist, and the
 * OIDs in catalog.c.  They include only invalidations that PostgreSQL has
 * delivered.
 */
extern JWT_LOCAL uint64 trust_generation;
extern JWT_LOCAL uint64 denylist_generation;
extern JWT_LOCAL uint64 catalog_generation;

/* The catalog_generation in which the triggers of all tables are reliable. */
extern JWT_LOCAL uint64 catalog_reliable_generation;

extern void catalog_init(void);
extern void catalog_distrust(void);
extern void catalog_trust_changed(void);
extern void catalog_denylist_changed(void);
extern void catalog_trust_statement(bool truncated);
extern void catalog_denylist_statement(bool truncated);

/*
 * Does every write to the tables change a generation?  As of the last
 * catalog_accept_changes().
 */
static inline bool
catalog_is_reliable(void)
{
	return catalog_reliable_generation == catalog_generation;
}

/*
 * Accept invalidations of other sessions.  Call this at the start of each
 * lookup.  If the triggers are not reliable, each call counts as a change.
 */
static inline void
catalog_accept_changes(void)
{
	AcceptInvalidationMessages();
	if (unlikely(!catalog_is_reliable()))
		catalog_distrust();
}

extern bool catalog_is_table(Oid relid, TrustTable table);
extern Relation catalog_open(TrustTable table, LOCKMODE lockmode);
extern Oid	catalog_index(Relation rel, TrustIndex index);
extern const char *catalog_table_name(TrustTable table);
extern int	catalog_table_columns(TrustTable table);
extern const char *catalog_index_columns(TrustIndex index);
extern TrustTable catalog_index_table(TrustIndex index);
extern bool catalog_trigger_remedy(Relation rel, TrustTable table, int i, char **remedy);
extern Oid	catalog_extension(void);
extern Oid	catalog_schema(void);
extern Oid	catalog_function(const char *name, int n, const Oid *types);
extern Oid	catalog_view(const char *name);

#endif							/* JWT_CATALOG_H */

/*-------------------------------------------------------------------------
 *
 * tables.h
 *	  The tables of the extension jwt_auth, and what it calls of jwt.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_TABLES_H
#define JWT_AUTH_TABLES_H

#include "postgres.h"

#include "access/genam.h"
#include "entries.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

typedef enum AuthTable
{
	AUTH_POLICY,
	AUTH_SIGNING_KEY,
	AUTH_SESSION,
	N_AUTH_TABLES
} AuthTable;

/* The indexes that C code uses, besides primary keys. */
typedef enum AuthIndex
{
	INDEX_POLICY,				/* issuer */
	INDEX_SIGNING_KEY_ISSUER,	/* issuer */
	INDEX_SESSION_SUBJECT,		/* issuer, sub */
	N_AUTH_INDEXES
} AuthIndex;

/* The columns, as the install script declares them. */
enum
{
	Anum_policy_issuer = 1,
	Anum_policy_audience,
	Anum_policy_access_lifetime,
	Anum_policy_session_lifetime,
	Anum_policy_idle_lifetime,
	Anum_policy_grace,
	Anum_policy_publish_ahead,
	Anum_policy_rotate_every,
	Natts_policy = Anum_policy_rotate_every
};

enum
{
	Anum_signing_key_id = 1,
	Anum_signing_key_issuer,
	Anum_signing_key_kid,
	Anum_signing_key_alg,
	Anum_signing_key_jwk,
	Anum_signing_key_activate_at,
	Anum_signing_key_created_at,
	Anum_signing_key_salt,
	Anum_signing_key_sealed,
	Natts_signing_key = Anum_signing_key_sealed
};

enum
{
	Anum_session_sid = 1,
	Anum_session_issuer,
	Anum_session_sub,
	Anum_session_client_id,
	Anum_session_scope,
	Anum_session_claims,
	Anum_session_started_at,
	Anum_session_expires_at,
	Anum_session_rotated_at,
	Anum_session_counter,
	Anum_session_repeats,
	Anum_session_seed,
	Anum_session_ended_at,
	Anum_session_ended_why,
	Natts_session = Anum_session_ended_why
};

extern void tables_init(void);
extern uint64 tables_generation(void);
extern bool tables_unchanged(uint64 since);
extern Oid	tables_view(const char *name);
extern uint64 tables_known_generation(void);
extern void tables_changed(void);
extern const JwtEntries *tables_jwt(void);
extern Relation tables_open(AuthTable table, LOCKMODE lockmode);
extern Oid	tables_index(Relation rel, AuthIndex index);
extern SysScanDesc tables_scan(Relation rel, AuthIndex index, const Slice *first, const Slice *second);

#endif							/* JWT_AUTH_TABLES_H */

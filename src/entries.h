/*-------------------------------------------------------------------------
 *
 * entries.h
 *	  What the library jwt gives the library jwt_auth to call.
 *
 * jwt_auth gets the struct from the SQL function jwt_entries(internal), which
 * it finds as a member of the extension jwt.  No SQL user can call it.  The
 * entries check no privilege: EXECUTE on the function of jwt_auth is the
 * permission.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_ENTRIES_H
#define JWT_ENTRIES_H

#include "postgres.h"

#include "token/claims.h"
#include "token/slice.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Increases when an entry changes. */
#define JWT_ENTRIES_VERSION	1

/* An issuer's row: on which terms its tokens are accepted. */
typedef struct IssuerTerms
{
	const ClaimsPolicy *policy; /* of access tokens */
	int			n_algorithms;
	char	   *const *algorithms;	/* that its keys may have */
	const char *unusable;		/* why it verifies nothing: a sentence, or
								 * NULL */
} IssuerTerms;

typedef struct JwtEntries
{
	int			version;		/* JWT_ENTRIES_VERSION */

	/*
	 * Accept invalidations, and get the generation of jwt_issuer and jwt_key.
	 * What was read from them is good while it stays the same.
	 */
	uint64		(*generation) (void);

	/* Read an issuer's row into the current memory context, or NULL. */
	const IssuerTerms *(*find_issuer) (const Slice *issuer);

	/*
	 * Insert a key of source signing, with this id.  Raises an error unless
	 * the issuer would verify with it.
	 */
	void		(*add_key) (const pg_uuid_t *id, const Slice *issuer, const char *kid, const char *alg,
							const Jsonb *jwk);

	/*
	 * Let a key of source signing verify until this time.  False if there is
	 * no such row.
	 */
	bool		(*end_key) (const pg_uuid_t *id, TimestampTz not_after);

	/* Is this key (RFC 7638 thumbprint) revoked? */
	bool		(*key_is_revoked) (const char *thumbprint);

	/*
	 * Refuse the tokens of a session from the next statement on.  The row is
	 * kept until expires_at.  Writes nothing if there is such a row.
	 */
	void		(*revoke_session) (const Slice *issuer, const char *sid, TimestampTz expires_at,
								   const char *reason);

	/*
	 * Does the denylist have the session, or its subject or its issuer for a
	 * token of that time?
	 */
	bool		(*session_is_revoked) (const Slice *issuer, const char *sid, const Slice *sub,
									   TimestampTz started_at);
} JwtEntries;

#endif							/* JWT_ENTRIES_H */

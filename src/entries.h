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
	bool		confirms_elsewhere; /* confirmation is gateway */
	int64		session_lifetime;	/* in microseconds: its sessions end
									 * before, and revocations of them are
									 * kept as long */
	const char *unusable;		/* why it verifies nothing: a sentence, or
								 * NULL */
} IssuerTerms;

/* An access token that is about to be signed. */
typedef struct DraftToken
{
	const char *claims;			/* JSON in UTF-8 */
	int			claims_len;
	const char *typ;
	const char *thumbprint;		/* of the key that signs */
} DraftToken;

typedef struct JwtEntries
{
	int			version;		/* JWT_ENTRIES_VERSION */
	int			size;			/* sizeof(JwtEntries) */

	/*
	 * Accept invalidations, and get the generation of jwt_issuer and jwt_key.
	 * What was read from them is good while it stays the same.
	 */
	uint64		(*generation) (void);

	/*
	 * Accept invalidations.  Is this still the generation?  If triggers do
	 * not fire always, each call of generation() gives another one, and this
	 * is true.
	 */
	bool		(*unchanged) (uint64 generation);

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

	/*
	 * Delete a key of source signing if it has ended before a time.  True if
	 * there is no such row any more.
	 */
	bool		(*delete_key) (const pg_uuid_t *id, TimestampTz ended_before);

	/*
	 * Why tokens that the signing key with this id signs are refused: a
	 * sentence, or NULL. Its row of jwt_key must have these values, and must
	 * be able to verify; revocations are not checked.  *from and *until get
	 * the times between which it verifies; without a row they stay as they
	 * are.
	 */
	const char *(*why_key_fails) (const pg_uuid_t *id, const Slice *issuer, const char *kid, const char *alg,
								  const char *thumbprint, TimestampTz *from, TimestampTz *until);

	/*
	 * Would jwt_verify() accept this token from the right sender?  In any
	 * case *times becomes the times that the token has.  *key_not_revoked is
	 * 0, or from the last call with this thumbprint.
	 */
	bool		(*check_claims) (const IssuerTerms *terms, const DraftToken *token, TimestampTz at,
								 uint64 *key_not_revoked, ClaimsTimes *times, Failure *failure);

	/* The setting jwt.max_token_size. */
	int			(*max_token_size) (void);

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

/*-------------------------------------------------------------------------
 *
 * signing_key.h
 *	  The keys that sign: rows of jwt_signing_key, and the opened ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_SIGNING_KEY_H
#define JWT_AUTH_SIGNING_KEY_H

#include "postgres.h"

#include "auth/key_file.h"
#include "auth/policy.h"
#include "token/jws_sign.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/*
 * A row that has activate_at.  Strings are terminated.  sealed is NULL if it
 * has been erased.
 */
typedef struct SigningRow
{
	pg_uuid_t	id;
	char	   *kid;			/* or NULL */
	char	   *alg;			/* or NULL */
	char	   *thumbprint;		/* of its public key; NULL if it is none */
	TimestampTz activate_at;
	TimestampTz created_at;
	bytea	   *salt;
	bytea	   *sealed;
} SigningRow;

/* An opened private key. */
typedef struct SigningKey
{
	MemoryContext context;		/* of all of it; a reset cleanses it */
	char	   *issuer;
	char	   *kid;
	char	   *alg;
	char	   *thumbprint;
	JwsSigner  *signer;
	TimestampTz since;			/* it is the one that signs from then on, */
	TimestampTz next;			/* and until then, unless the rows change */
	TimestampTz from;			/* its row of jwt_key verifies from then on, */
	TimestampTz until;			/* and until then */
	uint64		not_revoked;	/* see JwtEntries.check_claims */
	char	   *header;			/* of the tokens: JSON */
	int			header_len;
} SigningKey;

extern void signing_key_init(void);
extern SigningKey *signing_key_current(const TokenPolicy *policy, TimestampTz now);
extern void signing_key_forget(SigningKey *key);
extern SigningRow *signing_key_rows(const Slice *issuer, int *n);
pg_noreturn extern void signing_key_raise_none(const TokenPolicy *policy, const SigningRow *rows, int n);
extern bool signing_key_is_usable(const Slice *issuer, const SigningRow *row, TimestampTz now);
extern int	signing_key_find_current(const Slice *issuer, const SigningRow *rows, int n, TimestampTz now);
extern SigningKey *signing_key_open(const TokenPolicy *policy, const SigningRow *row, TimestampTz now,
									MemoryContext parent, KeyFailure *failure);
extern const char *signing_key_type(const TokenPolicy *policy);

#endif							/* JWT_AUTH_SIGNING_KEY_H */

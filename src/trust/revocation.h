/*-------------------------------------------------------------------------
 *
 * revocation.h
 *	  Lookups of revocations in the table jwt_denylist.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REVOCATION_H
#define JWT_REVOCATION_H

#include "postgres.h"

#include "token/claims.h"
#include "token/failure.h"
#include "token/jws.h"

/* The kinds of revocation, in the order of lookup. */
typedef enum RevocationKind
{
	REVOKED_KEY,
	REVOKED_ISSUER,
	REVOKED_SUBJECT,
	REVOKED_SESSION,
	REVOKED_ID,
	N_REVOCATION_KINDS
} RevocationKind;

/*
 * The values by which a token can be revoked.  A string has null data if the
 * token has no such claim, or the kind must not be looked up.
 */
typedef struct RevocationQuery
{
	Slice		thumbprint;		/* of the key that signed it */
	uint64		key_generation; /* denylist_generation for which the key is
								 * known not to be revoked, or 0 */
	Slice		issuer;			/* whose key that is */
	Slice		sub;
	Slice		sid;
	Slice		jti;
	bool		has_issued;
	TimestampTz issued;			/* iat */
} RevocationQuery;

extern const char *revocation_kind_name(RevocationKind kind);
extern bool revocation_kind_known(const char *name, int len);
extern bool revocation_check(const RevocationQuery *query, uint64 *generation, Failure *failure);
extern bool revocation_of_key(const char *thumbprint, TimestampTz *revoked_at);
extern bool revocation_has_keys(void);
extern int64 revocation_count(const char *issuer, RevocationKind kind);

#endif							/* JWT_REVOCATION_H */

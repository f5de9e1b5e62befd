/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  The order of verification.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_VERIFY_H
#define JWT_VERIFY_H

#include "postgres.h"

#include "access/xact.h"
#include "session/verify_cache.h"

/*
 * The verdict, and the results of all steps that passed.  Its pointers are
 * into the current memory context and the token.  The key is valid until the
 * next verification.
 */
typedef struct Verdict
{
	Failure		failure;		/* code FAILURE_NONE if the token is valid */
	bool		header_read;	/* jws has a valid header */
	bool		claims_read;	/* the signature is good, claims has the
								 * claims */
	Jws			jws;
	const TrustKey *key;		/* the key that signed */
	JsonbValue	claims;			/* an object */
	ClaimsIds	ids;
	ClaimsTimes times;
	const Binding *binding;		/* or NULL */
	uint64		key_not_revoked;	/* denylist_generation for which the key
									 * is not revoked */
	uint64		not_revoked;	/* the same for the token */
} Verdict;

extern void verify_init(void);
extern bool verify_claims(const VerifyRequest *request, VerifiedClaims *verified, Failure *failure);
extern bool verify_signature(const VerifyRequest *request, Verdict *verdict);
extern bool verify_token(const VerifyRequest *request, Verdict *verdict);
extern int	verify_max_token_size(void);

/*
 * The time at which tokens are checked: the start of the statement, or of the
 * transaction, which is later in a procedure that has committed.
 */
static inline TimestampTz
verify_now(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	TimestampTz transaction = GetCurrentTransactionStartTimestamp();

	return Max(statement, transaction);
}


#endif							/* JWT_VERIFY_H */

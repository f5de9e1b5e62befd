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
 * The verdict, and how far the token came.  What it points to lives in the
 * current memory context, in the token and, as to the key, until the next
 * verification.
 */
typedef struct Verdict
{
	Failure		failure;		/* code FAILURE_NONE when the token is valid */
	bool		header_read;	/* jws has the header */
	bool		claims_read;	/* the signature is good, claims has the
								 * claims */
	Jws			jws;
	const TrustKey *key;		/* whose signature it is */
	JsonbValue	claims;			/* an object */
	ClaimsTimes times;
	uint64		not_revoked;	/* denylist_generation for which it is not */
} Verdict;

extern void verify_init(void);
extern bool verify_claims(const VerifyRequest *request, VerifiedClaims *verified, Failure *failure);
extern bool verify_token(const VerifyRequest *request, Verdict *verdict);
extern int	verify_max_token_size(void);

/*
 * The time of which tokens are judged: the statement's start, or that of the
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

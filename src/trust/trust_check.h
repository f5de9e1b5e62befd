/*-------------------------------------------------------------------------
 *
 * trust_check.h
 *	  What may be written into the tables of issuers and keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRUST_CHECK_H
#define JWT_TRUST_CHECK_H

#include "postgres.h"

#include "access/attnum.h"
#include "commands/trigger.h"
#include "token/jwk.h"
#include "trust/trust.h"

/* Whether a JWK can be a key of an issuer. */
typedef struct KeyVerdict
{
	Jwk			jwk;
	char	   *alg;			/* what it is pinned to, as it is written */
	const Algorithm *algorithm; /* what that means for this key */
	AttrNumber	column;			/* of jwt_key, that is at fault */
	char	   *reason;			/* a sentence */
} KeyVerdict;

extern bool trust_judge_key(const Jsonb *jwk, const char *alg,
							const TrustIssuer *issuer, KeyVerdict *verdict);
extern HeapTuple trust_check_issuer(TriggerData *trigger);
extern HeapTuple trust_check_key(TriggerData *trigger);

#endif							/* JWT_TRUST_CHECK_H */

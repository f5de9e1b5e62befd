/*-------------------------------------------------------------------------
 *
 * revocation.h
 *	  Tokens that are trusted no longer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REVOCATION_H
#define JWT_REVOCATION_H

#include "postgres.h"

#include "commands/trigger.h"
#include "trust/trust.h"

/*
 * What a revocation is looked for by.  jti and sub are null data when the token
 * has none, or its issuer no revocations of the kind.
 */
typedef struct RevocationQuery
{
	JwsString	issuer;
	JwsString	jti;
	JwsString	sub;
	TimestampTz issued;			/* iat, or DT_NOBEGIN */
} RevocationQuery;

/*
 * When it was found that a token is not revoked.  That is asked anew in every
 * statement, unless nobody has revoked anything, and when this session has; and
 * within a statement by each query that can see what others have committed since.
 */
typedef struct RevocationMoment
{
	TimestampTz statement;
	TransactionId snapshot_xmax;	/* of the query; invalid without one */
	uint32		snapshot_running;
	uint64		epoch;
	uint64		query;			/* where all queries have one snapshot */
	uint64		count;			/* see revocation_count.h */
	uint64		watch;			/* for which the count means something */
} RevocationMoment;

/*
 * Moves when this session has revoked something itself, or has ended or undone
 * a transaction: what it has found about revocations before is to be asked anew.
 */
extern uint64 revocation_epoch;

extern void revocation_init(void);
extern bool revocation_is_told(void);
extern bool revocation_is_now(const RevocationMoment *moment);
extern bool revocation_check(const RevocationQuery *query, RevocationMoment *moment, Failure *failure);
extern void revocation_exist(const JwsString *issuer, bool *ids, bool *subjects);
extern void revocation_added(TriggerData *trigger, FmgrInfo *caller);

#endif							/* JWT_REVOCATION_H */

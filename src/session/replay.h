/*-------------------------------------------------------------------------
 *
 * replay.h
 *	  The DPoP proofs that this server has accepted, so that none is accepted
 *	  twice.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REPLAY_H
#define JWT_REPLAY_H

#include "postgres.h"

#include "token/dpop.h"

extern void replay_init(void);
extern bool replay_is_available(Failure *failure);
extern bool replay_enter(const DpopProof *proof, const char *thumbprint, Failure *failure);

#endif							/* JWT_REPLAY_H */

/*-------------------------------------------------------------------------
 *
 * dpop.h
 *	  DPoP proofs: the sender of a token has the key that it is bound to (RFC 9449).
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_DPOP_H
#define JWT_DPOP_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "token/failure.h"
#include "token/sha256.h"
#include "token/slice.h"

/* The maximal age of a proof, and how far it may be ahead of our clock. */
#define DPOP_MAX_AGE	(60 * USECS_PER_SEC)
#define DPOP_MAX_AHEAD	(5 * USECS_PER_SEC)

/* A proof, and the request that it is for. */
typedef struct DpopProof
{
	Slice		text;			/* a compact JWS */
	Slice		method;
	Slice		uri;
	Slice		nonce;			/* null data: the server requires none */
	int			max_size;		/* of the text */

	/* filled in by dpop_check() */
	Slice		jti;			/* in the memory of dpop_check() */
	TimestampTz issued;
} DpopProof;

extern bool dpop_check(DpopProof *proof, const Slice *token, const char *thumbprint,
					   TimestampTz now, Failure *failure);

#endif							/* JWT_DPOP_H */

/*-------------------------------------------------------------------------
 *
 * request.h
 *	  The arguments of a verification, and its result for a valid token.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REQUEST_H
#define JWT_REQUEST_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "token/slice.h"
#include "utils/jsonb.h"

/* The arguments of a verification. */
typedef struct VerifyRequest
{
	Slice		token;
	Slice		audience;		/* null data: any */
	Slice		issuer;			/* the same */
	TimestampTz at;				/* finite */
	bool		fetch_nothing;	/* wake no worker for a key that is missing */
} VerifyRequest;

/* The result for a valid token. */
typedef struct VerifiedClaims
{
	const Jsonb *claims;
	bool		switches_role;	/* its issuer names a claim for that */
} VerifiedClaims;

#endif							/* JWT_REQUEST_H */

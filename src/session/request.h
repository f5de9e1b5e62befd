/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What is asked of the verifier, and what it answers when the token is valid.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REQUEST_H
#define JWT_REQUEST_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "token/slice.h"
#include "utils/jsonb.h"

/* What to verify, and as of when. */
typedef struct VerifyRequest
{
	Slice		token;
	Slice		audience;		/* null data: not narrowed */
	Slice		issuer;			/* the same */
	TimestampTz at;				/* finite */
} VerifyRequest;

/* What a valid token says. */
typedef struct VerifiedClaims
{
	const Jsonb *claims;
	bool		switches_role;	/* its issuer names a claim for that */
} VerifiedClaims;

#endif							/* JWT_REQUEST_H */

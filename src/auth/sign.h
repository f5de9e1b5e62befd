/*-------------------------------------------------------------------------
 *
 * sign.h
 *	  Access tokens: claims, completed by the issuer's policy, and signed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_SIGN_H
#define JWT_AUTH_SIGN_H

#include "postgres.h"

#include "auth/policy.h"
#include "token/slice.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/*
 * What a token is made of.  sub, sid, client_id and scope become claims, unless
 * their data is NULL; claims must not have them, too.  sid becomes the claim
 * that jwt_issuer.session_claim names.
 */
typedef struct TokenRequest
{
	const Jsonb *claims;		/* an object, or NULL */
	Slice		sub;
	Slice		sid;
	Slice		client_id;
	Slice		scope;
	TimestampTz now;			/* the claims iat and nbf */
	TimestampTz not_later_than; /* the claim exp is no later; or DT_NOEND */
	int64		lifetime;		/* in microseconds; 0: that of the policy */
} TokenRequest;

/*
 * Sign an access token.  Returns a text in the current memory context; expires
 * gets the time of the claim exp.  Raises an error if jwt_verify() would refuse
 * the token, or if there is no key that signs.
 */
extern text *sign_claims(const TokenPolicy *policy, const TokenRequest *request, TimestampTz *expires);

#endif							/* JWT_AUTH_SIGN_H */

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
#include "token/dpop.h"
#include "utils/jsonb.h"

/*
 * How the sender of a token that is bound to a key is confirmed.  One that is bound
 * to a certificate has to have that of the connection, but for the last.
 */
typedef enum SenderCheck
{
	SENDER_UNKNOWN,				/* by the DPoP proof of the request, if any */
	SENDER_CONFIRMED,			/* by one before: it is the current token */
	SENDER_IRRELEVANT			/* the token gives nobody a right */
} SenderCheck;

/* The arguments of a verification. */
typedef struct VerifyRequest
{
	Slice		token;
	Slice		audience;		/* null data: any */
	Slice		issuer;			/* the same */
	TimestampTz at;				/* finite */
	bool		fetch_nothing;	/* wake no worker for a key that is missing */
	SenderCheck sender;
	DpopProof  *proof;			/* or NULL */
} VerifyRequest;

/*
 * What a token is bound to: its claim "cnf", as far as it is understood.
 */
typedef struct Binding
{
	bool		must_confirm;	/* the issuer's row says so */
	bool		has_key;		/* "jkt" */
	bool		has_certificate;	/* "x5t#S256" */
	char		key[SHA256_TEXT_SIZE];
	char		certificate[SHA256_TEXT_SIZE];
} Binding;

/* The result for a valid token. */
typedef struct VerifiedClaims
{
	const Jsonb *claims;
	bool		switches_role;	/* its issuer names a claim for that */
	const Binding *binding;		/* or NULL */
} VerifiedClaims;

#endif							/* JWT_REQUEST_H */

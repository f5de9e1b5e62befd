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
 * How the sender of a token that is bound to a key is confirmed.  A token that
 * is bound to a certificate must always have that of the connection, except
 * with SENDER_IRRELEVANT.
 */
typedef enum SenderCheck
{
	SENDER_UNKNOWN,				/* by the DPoP proof of the request, if any */
	SENDER_CONFIRMED,			/* by an earlier proof: it is the current
								 * token */
	SENDER_IRRELEVANT			/* not at all: the token gives no rights */
} SenderCheck;

/* The arguments of a verification. */
typedef struct VerifyRequest
{
	Slice		token;
	Slice		audience;		/* null data: any */
	Slice		issuer;			/* the same */
	TimestampTz at;				/* finite */
	bool		fetch_nothing;	/* wake no worker if a key is missing */
	SenderCheck sender;
	DpopProof  *proof;			/* or NULL */
} VerifyRequest;

/*
 * The binding of a token: the members of its claim "cnf" that are understood.
 */
typedef struct Binding
{
	bool		must_confirm;	/* by the issuer's policy */
	bool		has_key;		/* "jkt" */
	bool		has_certificate;	/* "x5t#S256" */
	char		key[SHA256_TEXT_SIZE];
	char		certificate[SHA256_TEXT_SIZE];
} Binding;

/* The result for a valid token. */
typedef struct VerifiedClaims
{
	const Jsonb *claims;
	bool		switches_role;	/* the issuer has a role_claim */
	const Binding *binding;		/* or NULL */
} VerifiedClaims;

#endif							/* JWT_REQUEST_H */

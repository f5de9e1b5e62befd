/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  Why a token is refused: a code, and the facts for whoever must act.
 *
 * A bad token is data, not an exception: the rooms from base64url to verify
 * fill in a Failure and return false.  Only functions.c raises it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_FAILURE_H
#define JWT_FAILURE_H

#include "postgres.h"

/* The reasons, in the order of their SQLSTATEs 28J01 to 28J12. */
typedef enum FailureCode
{
	FAILURE_NONE,
	FAILURE_MALFORMED,
	FAILURE_ALGORITHM,
	FAILURE_NO_KEY,
	FAILURE_SIGNATURE,
	FAILURE_EXPIRED,
	FAILURE_NOT_YET_VALID,
	FAILURE_ISSUER,
	FAILURE_AUDIENCE,
	FAILURE_CLAIM,
	FAILURE_LIFETIME,
	FAILURE_REVOKED,
	FAILURE_TOKEN_TYPE
} FailureCode;

/*
 * detail and hint are full sentences or NULL, palloc'd or constant.  They hold
 * nothing secret; what they quote from a token has passed through
 * quote_untrusted().
 */
typedef struct Failure
{
	FailureCode code;
	const char *detail;
	const char *hint;
} Failure;

/* One row of the table of failures: what SQL sees of a code. */
typedef struct FailureKind
{
	const char *sqlstate;		/* five characters */
	const char *message;		/* primary message, by the style guide */
} FailureKind;

/*
 * Part of an ereport(ERROR) about something secret: PostgreSQL adds neither the
 * statement nor the context, either of which may show it.  Context is the line that
 * COPY reads, the statement that PL/pgSQL runs, or what parameters are bound to.
 */
#define errhidesecret() (error_context_stack = NULL, errhidestmt(true))

extern const FailureKind *failure_kind(FailureCode code);
extern bool fail(Failure *failure, FailureCode code, const char *detail);
extern bool fail_hint(Failure *failure, FailureCode code, const char *detail, const char *hint);
extern char *quote_untrusted(const char *str, int len);
extern char *quote_untrusted_up_to(const char *str, int len, int max);

#endif							/* JWT_FAILURE_H */

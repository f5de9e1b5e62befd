/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  Why a token is refused: a code, and facts for the reader of the error.
 *
 * A bad token is data, not an exception.  The files of token/ and session/
 * fill in a Failure and return false.  Only sql/functions.c raises an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_FAILURE_H
#define JWT_FAILURE_H

#include "postgres.h"

/* The reasons, in the order of their SQLSTATEs 28J01 to 28J13. */
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
	FAILURE_TOKEN_TYPE,
	FAILURE_CONFIRMATION
} FailureCode;

/*
 * detail and hint are full sentences or NULL, palloc'd or constant.  They
 * contain nothing secret.  Quoted parts of a token come from
 * quote_untrusted().
 */
typedef struct Failure
{
	FailureCode code;
	const char *detail;
	const char *hint;
} Failure;

/* One row of the table of failures: the error for a code. */
typedef struct FailureKind
{
	const char *sqlstate;		/* five characters */
	const char *message;		/* primary message, by the style guide */
} FailureKind;

/*
 * A part of an ereport(ERROR) about something secret.  It makes PostgreSQL
 * omit the statement and the context, because both may show the secret.
 * Context can be a line of COPY, a statement of PL/pgSQL, or the values of
 * parameters.
 */
#define errhidesecret() (error_context_stack = NULL, errhidestmt(true))

extern const FailureKind *failure_kind(FailureCode code);
extern bool fail(Failure *failure, FailureCode code, const char *detail);
extern bool fail_hint(Failure *failure, FailureCode code, const char *detail, const char *hint);
extern char *quote_untrusted(const char *str, int len);
extern char *quote_untrusted_up_to(const char *str, int len, int max);
extern char *quote_string(const char *string);

#endif							/* JWT_FAILURE_H */

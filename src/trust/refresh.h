/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  What this library and jwt_jwks, which fetches key sets, tell each other.
 *
 * jwt_jwks is a library of its own, so that no session loads an HTTP client.
 * It includes this header for the structs; the functions are ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REFRESH_H
#define JWT_REFRESH_H

#include "postgres.h"

#include "token/jws.h"

/*
 * The rendezvous variable by which a preloaded jwt_jwks can be asked to look at
 * a database: a RefreshWake, or NULL without one.  force: also when that database
 * had no sources.  Without an issuer all may be meant.  It is
 * called at a commit, so it does not raise.
 */
#define REFRESH_RENDEZVOUS	"jwt_jwks wake"

typedef void (*RefreshWake) (Oid database, const char *issuer, int len, bool force);

/* What an import did, in keys. */
typedef struct RefreshCounts
{
	int			added;
	int			changed;
	int			retired;
	int			unchanged;
	int			skipped;
} RefreshCounts;

/*
 * A single refresh: the dynamic shared memory segment in which a session asks
 * a worker of jwt_jwks (REFRESH_FUNCTION, whose argument is the segment's
 * handle), and gets its answer.
 */
#define REFRESH_LIBRARY		"jwt_jwks"
#define REFRESH_FUNCTION	"jwt_jwks_refresh_main"

/* No row of jwt_issuer has a longer name. */
#define REFRESH_MAX_ISSUER	1024

typedef struct RefreshRequest
{
	Oid			database;
	char		issuer[REFRESH_MAX_ISSUER + 1];

	bool		answered;		/* the rest is set */
	RefreshCounts counts;
	char		error[1024];	/* a sentence; empty when there was none */
} RefreshRequest;

extern void refresh_init(void);
extern void refresh_wake(const Slice *issuer);
extern void refresh_wake_at_commit(void);
extern void refresh_now(Oid function, const Slice *issuer, RefreshCounts *counts);

#endif							/* JWT_REFRESH_H */

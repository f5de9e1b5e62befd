/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  The interface between this library and jwt_jwks, which fetches key
 *	  sets.
 *
 * jwt_jwks is a separate library, so that no session loads an HTTP client.  It
 * includes this header for the structs only.  This library has the functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_REFRESH_H
#define JWT_REFRESH_H

#include "postgres.h"

#include "token/jws.h"

/*
 * The rendezvous variable with the function that wakes a preloaded jwt_jwks
 * for a database: a RefreshWake, or NULL if jwt_jwks is not preloaded. force
 * wakes it even if the database had no sources.  Without an issuer all issuers
 * are meant.  The function is called at commit, so it raises no error.
 */
#define REFRESH_RENDEZVOUS	"jwt_jwks wake"

typedef void (*RefreshWake) (Oid database, const char *issuer, int len, bool force);

/*
 * The same for the function that tells whether workers fetch the key sets of a
 * database: a RefreshServes.  A variable has one type for ever, because the two
 * libraries may be of different versions while the server runs.
 */
#define REFRESH_RENDEZVOUS_SERVES	"jwt_jwks serves"

typedef bool (*RefreshServes) (const char *database);

/* The numbers of keys that an import added, changed and so on. */
typedef struct RefreshCounts
{
	int			added;
	int			changed;
	int			retired;
	int			unchanged;
	int			skipped;
} RefreshCounts;

/*
 * The request for a single refresh: a dynamic shared memory segment with the
 * question of a session and the answer of a worker of jwt_jwks.  The worker
 * runs REFRESH_FUNCTION; its argument is the handle of the segment.
 */
#define REFRESH_LIBRARY		"jwt_jwks"
#define REFRESH_FUNCTION	"jwt_jwks_refresh_main"

/* No row of jwt_issuer has a longer name. */
#define REFRESH_MAX_ISSUER	1024

typedef struct RefreshRequest
{
	Oid			database;
	char		issuer[REFRESH_MAX_ISSUER + 1];

	bool		answered;		/* the other fields are set */
	RefreshCounts counts;
	char		error[1024];	/* a sentence, or empty */
} RefreshRequest;

extern void refresh_init(void);
extern void refresh_wake(const Slice *issuer);
extern void refresh_wake_at_commit(void);
extern const char *refresh_why_idle(void);
extern void refresh_now(Oid function, const Slice *issuer, RefreshCounts *counts);

#endif							/* JWT_REFRESH_H */

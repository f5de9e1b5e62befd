/*-------------------------------------------------------------------------
 *
 * source.h
 *	  The tables jwt_jwks_source, where key sets are, and jwt_jwks_state, how their
 *	  fetches went.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_SOURCE_H
#define JWT_JWKS_SOURCE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fetcher/fetch.h"
#include "fetcher/shared.h"
#include "trust/refresh.h"

/* A source that is to be fetched. */
typedef struct Source
{
	char	   *issuer;
	char	   *database;		/* its name, as messages show it */
	char	   *uri;			/* NULL: to be discovered */
	char	   *error;			/* why it cannot be fetched, or NULL */
	char	   *etag;			/* NULL: whatever it has is to be imported */
	int			failures;
	TimestampTz claimed_at;		/* last_attempt */
	TimestampTz last_success;	/* or 0 */
	int64		refresh_interval;	/* in seconds */
	bool		discovered;		/* what is being fetched is the set itself */
	char	   *asked;			/* the URL that was asked last, for the log */
} Source;

extern int	source_claim_due(const Wakes *wakes, int cooldown_ms, Source ***sources);
extern Source *source_claim(const char *issuer, const char **error);
extern char *source_discovery_url(const Source *source, const char **error);
extern char *source_read_discovery(const Source *source, const Fetched *fetched, const char **error);
extern const char *source_finish(const Source *source, const Fetched *fetched, RefreshCounts *counts);
extern void source_log_failure(const Source *source, const char *message);
extern bool source_prune_revocations(void);
extern TimestampTz source_next_due(bool *there_are);

#endif							/* JWT_JWKS_SOURCE_H */

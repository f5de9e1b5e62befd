/*-------------------------------------------------------------------------
 *
 * source.h
 *	  The tables jwt_jwks_source (URLs of key sets) and jwt_jwks_state
 *	  (results of fetches).
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

/* A claimed source. */
typedef struct Source
{
	char	   *issuer;
	char	   *database;		/* its name, as messages show it */
	char	   *uri;			/* NULL: discovery */
	char	   *error;			/* why it cannot be fetched, or NULL */
	char	   *etag;			/* NULL: import the set even if it was not
								 * modified */
	int			failures;
	TimestampTz claimed_at;		/* last_attempt */
	TimestampTz last_success;	/* or 0 */
	int64		refresh_interval;	/* in seconds */
	bool		discovered;		/* the current fetch is for the set, not for
								 * the configuration */
	char	   *last_url;		/* for the log */
} Source;

extern int	source_claim_due(const Wakes *wakes, int cooldown_ms, Source ***sources);
extern Source *source_claim(const char *issuer, const char **error);
extern char *source_discovery_url(const Source *source, const char **error);
extern char *source_read_discovery(const Source *source, const Fetched *fetched, const char **error);
extern const char *source_finish(const Source *source, const Fetched *fetched, RefreshCounts *counts);
extern void source_log_failure(const Source *source, const char *message);
extern bool source_prune_revocations(void);
extern TimestampTz source_next_due(bool *has_sources);

#endif							/* JWT_JWKS_SOURCE_H */

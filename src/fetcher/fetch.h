/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  Fetching documents over HTTPS, many at a time, within limits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_FETCH_H
#define JWT_JWKS_FETCH_H

#include "postgres.h"

/*
 * The limits of a superuser; see settings.c.  The strings belong to the
 * settings.
 */
typedef struct FetchLimits
{
	const char *allowed_hosts;
	bool		http_to_loopback;
	const char *ca_file;		/* or "" */
	const char *proxy;			/* or "" */
	int			timeout;		/* in milliseconds, of a whole fetch */
	int			max_connections;
	int			max_size;		/* in bytes */
} FetchLimits;

typedef enum FetchStatus
{
	FETCH_DONE,
	FETCH_NOT_MODIFIED,
	FETCH_FAILED
} FetchStatus;

/*
 * The result of a fetch.  Its strings are in the memory context that was
 * current in fetch_next().
 */
typedef struct Fetched
{
	void	   *owner;			/* as given to fetch_add() */
	FetchStatus status;
	char	   *body;			/* terminated; may hold NUL bytes */
	int			len;
	char	   *etag;			/* or NULL */
	int			max_age;		/* in seconds, or -1 */
	const char *error;			/* a sentence for the owner of the source */
	const char *detail;			/* details for the server log only, or NULL */
} Fetched;

typedef struct FetchPool FetchPool;

extern FetchPool *fetch_pool_create(const FetchLimits *limits, void (*while_waiting) (void));
extern void fetch_add(FetchPool *pool, const char *url, const char *etag, void *owner);
extern bool fetch_has_room(const FetchPool *pool);
extern bool fetch_next(FetchPool *pool, Fetched *fetched);
extern void fetch_pool_free(FetchPool *pool);

#endif							/* JWT_JWKS_FETCH_H */

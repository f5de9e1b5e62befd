/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  What launcher, workers and sessions tell each other in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_SHARED_H
#define JWT_JWKS_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Databases that are served at most. */
#define SHARED_MAX_DATABASES	128

/* Issuers of a database that are woken by name; more, or a longer name, wake all. */
#define SHARED_MAX_NAMES	8
#define SHARED_NAME_SIZE	256

/* A worker that ends has the next one come after so many milliseconds at most. */
#define SHARED_MAX_WAIT_MS	3600000

/* For whom a database was woken. */
typedef struct Wakes
{
	bool		any;
	bool		all;
	int			n_names;
	char		names[SHARED_MAX_NAMES][SHARED_NAME_SIZE];
} Wakes;

/* What the launcher sees of a database. */
typedef struct SharedDatabase
{
	Oid			database;		/* InvalidOid: the slot is free */
	TimestampTz next_due;		/* DT_NOEND while a worker is at work */
	bool		woken;
} SharedDatabase;

extern void shared_init(void);
extern void shared_set_launcher(bool running);
extern bool shared_take_rescan(void);
extern void shared_list(SharedDatabase *slots);
extern bool shared_add(Oid database);
extern void shared_remove(Oid database);
extern void shared_worker_gone(Oid database, TimestampTz retry_at);
extern void shared_take_wakes(Oid database, Wakes *wakes);
extern void shared_worker_done(Oid database, TimestampTz next_due, bool has_sources);
extern bool shared_is_news(uint64 hash);

#endif							/* JWT_JWKS_SHARED_H */

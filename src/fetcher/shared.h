/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  Shared memory of launcher, workers and sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_SHARED_H
#define JWT_JWKS_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* The maximal number of databases that are served. */
#define SHARED_MAX_DATABASES	128

/*
 * The maximal number of issuers of a database that are woken by name.  More
 * issuers, or a longer name, wake all.
 */
#define SHARED_MAX_NAMES	8
#define SHARED_NAME_SIZE	256

/* The longest time until the next worker of a database, in milliseconds. */
#define SHARED_MAX_WAIT_MS	3600000

/* The issuers for which a database was woken. */
typedef struct Wakes
{
	bool		any;
	bool		all;
	int			n_names;
	char		names[SHARED_MAX_NAMES][SHARED_NAME_SIZE];
} Wakes;

/* The launcher's view of a database. */
typedef struct SharedDatabase
{
	Oid			database;		/* InvalidOid: the slot is free */
	TimestampTz next_due;		/* DT_NOEND while a worker runs */
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
extern bool shared_is_new_message(uint64 hash);

#endif							/* JWT_JWKS_SHARED_H */

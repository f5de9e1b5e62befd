/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The process that starts a worker for each database that has work.
 *
 * The launcher is connected to no database, so it blocks no DROP DATABASE.  It
 * sleeps until a database is due or it is woken, and reads the list of
 * databases once a minute.  A worker does what is due in its database and
 * exits.  Before that it stores the time of the next worker in shared memory.
 *
 * It starts when recovery has finished, so a standby fetches nothing until it
 * is promoted.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "fetcher/launcher.h"
#include "fetcher/settings.h"
#include "fetcher/shared.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "token/failure.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* The maximal number of workers. */
#define MAX_WORKERS		4

/* How often the list of databases is read. */
#define RESCAN_INTERVAL_MS	60000

/* The delay for a database whose worker failed. */
#define RETRY_INTERVAL_MS	60000

/* The delay if the server has no free worker. */
#define SHORTAGE_INTERVAL_MS	1000

/* A worker that runs longer is terminated. */
#define MAX_LIFE_MS			300000

/* The databases without workers that a message names. */
#define MAX_LEFT_OUT		8

/*
 * The shortest time between two workers of a database: for due sources, and
 * for tokens.
 */
#define START_INTERVAL_MS	250
#define WAKE_INTERVAL_MS	2000

typedef struct Running
{
	Oid			database;		/* InvalidOid: free */
	BackgroundWorkerHandle *handle;
	TimestampTz since;
} Running;

/* The last start of a worker for each slot of shared memory. */
typedef struct Started
{
	Oid			database;
	TimestampTz at;
} Started;

static Running running[MAX_WORKERS];
static Started started[SHARED_MAX_DATABASES];

extern PGDLLEXPORT JWT_EXPORT void jwt_jwks_launcher_main(Datum arg);

/*
 * Register the launcher with the postmaster.
 */
void
launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_name = "jwt_jwks launcher",
		.bgw_type = "jwt_jwks launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5,
		.bgw_library_name = "jwt_jwks",
		.bgw_function_name = "jwt_jwks_launcher_main",
	};

	RegisterBackgroundWorker(&worker);
}

/*
 * Log which databases have no workers by jwt_jwks.databases, unless the last
 * message said the same.  Only sessions know which of them have sources;
 * jwt_status says so there.
 */
static void
report_left_out(const char *names, int n)
{
	static char *last;

	if (n > 0 && (last == NULL || strcmp(last, names) != 0))
		ereport(LOG,
				(errmsg_plural("jwt_jwks fetches no key sets for %d database", "jwt_jwks fetches no key sets for %d databases", n, n),
				 errdetail_internal("jwt_jwks.databases does not name %s%s.", names, n > MAX_LEFT_OUT ? ", ..." : "")));
	if (last != NULL)
		pfree(last);
	last = MemoryContextStrdup(TopMemoryContext, names);
}

/*
 * Give a slot to each database that must be served, and free the slots of all
 * others. report is whether to log which databases are left out.
 */
static void
scan_databases(bool report)
{
	static bool complained;
	SharedDatabase slots[SHARED_MAX_DATABASES];
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		keep[SHARED_MAX_DATABASES] = {false};
	StringInfoData left_out;
	int			n_left_out = 0;

	initStringInfo(&left_out);
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	shared_list(slots);
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		/* a partly dropped database has the limit -2 */
		if (!database->datallowconn || database->datistemplate || database->datconnlimit < -1)
			continue;
		if (!settings_serve_database(NameStr(database->datname)))
		{
			if (n_left_out++ < MAX_LEFT_OUT)
				appendStringInfo(&left_out, "%s\"%s\"", n_left_out == 1 ? "" : ", ",
								 quote_string(NameStr(database->datname)));
			continue;
		}
		for (int i = 0; i < SHARED_MAX_DATABASES; i++)
			if (slots[i].database == database->oid)
				keep[i] = true;
		if (!shared_add(database->oid) && !complained)
		{
			complained = true;
			ereport(LOG,
					(errmsg("jwt_jwks serves %d databases and no more", SHARED_MAX_DATABASES),
					 errhint("Set jwt_jwks.databases.")));
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	for (int i = 0; i < SHARED_MAX_DATABASES; i++)
		if (OidIsValid(slots[i].database) && !keep[i])
			shared_remove(slots[i].database);
	if (report)
		report_left_out(left_out.data, n_left_out);
	CommitTransactionCommand();
}

/*
 * Detect workers that have exited.
 */
static void
reap_workers(TimestampTz now)
{
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		pid_t		pid;

		if (!OidIsValid(running[i].database))
			continue;
		if (GetBackgroundWorkerPid(running[i].handle, &pid) != BGWH_STOPPED)
		{
			/* the owner of its database may block it forever */
			if (now >= TimestampTzPlusMilliseconds(running[i].since, MAX_LIFE_MS))
				TerminateBackgroundWorker(running[i].handle);
			continue;
		}
		pfree(running[i].handle);
		shared_worker_gone(running[i].database,
						   TimestampTzPlusMilliseconds(now, RETRY_INTERVAL_MS));
		running[i].database = InvalidOid;
	}
}

/*
 * Start the worker of a database if it has none.  Returns false if that is
 * impossible now.  *shortage is true if the server has no free worker.
 */
static bool
start_worker(Oid database, TimestampTz now, bool *shortage)
{
	BackgroundWorker worker = {
		.bgw_name = "jwt_jwks worker",
		.bgw_type = "jwt_jwks worker",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "jwt_jwks",
		.bgw_function_name = "jwt_jwks_worker_main",
		.bgw_main_arg = ObjectIdGetDatum(database),
		.bgw_notify_pid = MyProcPid,
	};
	static bool is_short;
	Running    *room = NULL;

	for (int i = 0; i < MAX_WORKERS; i++)
	{
		if (running[i].database == database)
			return false;
		if (!OidIsValid(running[i].database))
			room = &running[i];
	}
	if (room == NULL)
		return false;
	if (!RegisterDynamicBackgroundWorker(&worker, &room->handle))
	{
		if (!is_short)
			ereport(LOG,
					(errmsg("no background worker is free to fetch key sets"),
					 errhint("You may need to increase max_worker_processes.")));
		is_short = *shortage = true;
		return false;
	}
	is_short = false;
	room->database = database;
	room->since = now;
	return true;
}

/*
 * When is the database of a slot due?  *turn is the start of its last worker,
 * or DT_NOBEGIN; the database with the earliest one is next.
 */
static TimestampTz
due_at(int slot, const SharedDatabase *database, TimestampTz now, TimestampTz *turn)
{
	TimestampTz due = database->next_due;
	TimestampTz woken = database->woken ? DT_NOBEGIN : DT_NOEND;

	/* no worker stored this time, so the clock was set back */
	if (due != DT_NOEND && due > TimestampTzPlusMilliseconds(now, SHARED_MAX_WAIT_MS))
		due = now;

	*turn = DT_NOBEGIN;
	/* unless the clock was set back */
	if (started[slot].database == database->database && started[slot].at <= now)
	{
		*turn = started[slot].at;
		due = Max(due, TimestampTzPlusMilliseconds(*turn, START_INTERVAL_MS));
		woken = Max(woken, TimestampTzPlusMilliseconds(*turn, WAKE_INTERVAL_MS));
	}
	return Min(due, woken);
}

/*
 * Start workers for due databases, in turn, so that a database that is always
 * due does not delay the others.  Returns the milliseconds until the next one
 * is due.
 */
static long
start_workers(TimestampTz now)
{
	SharedDatabase slots[SHARED_MAX_DATABASES];
	bool		tried[SHARED_MAX_DATABASES] = {false};
	TimestampTz next;
	bool		shortage = false;
	int			first;

	shared_list(slots);
	do
	{
		TimestampTz first_turn = DT_NOEND;

		next = TimestampTzPlusMilliseconds(now, RESCAN_INTERVAL_MS);
		first = -1;
		for (int i = 0; i < SHARED_MAX_DATABASES; i++)
		{
			TimestampTz turn;
			TimestampTz due;

			if (!OidIsValid(slots[i].database) || tried[i])
				continue;
			due = due_at(i, &slots[i], now, &turn);
			if (due > now)
				next = Min(next, due);
			else if (turn < first_turn)
			{
				first_turn = turn;
				first = i;
			}
		}

		/* if all workers are busy, the exit of one wakes the launcher */
		if (first >= 0)
		{
			tried[first] = true;
			if (start_worker(slots[first].database, now, &shortage))
			{
				started[first].database = slots[first].database;
				started[first].at = now;
			}
		}
	} while (first >= 0);
	if (shortage)
		next = Min(next, TimestampTzPlusMilliseconds(now, SHORTAGE_INTERVAL_MS));
	return TimestampDifferenceMilliseconds(now, next);
}

/*
 * The launcher.
 */
void
jwt_jwks_launcher_main(Datum arg)
{
	MemoryContext context;
	TimestampTz last_scan = 0;

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	shared_set_launcher(true);
	context = AllocSetContextCreate(TopMemoryContext, "jwt_jwks launcher", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(context);
		if (ConfigReloadPending)
			last_scan = 0;
		settings_reload();
		if (shared_take_rescan() || now < last_scan ||
			now >= TimestampTzPlusMilliseconds(last_scan, RESCAN_INTERVAL_MS))
		{
			scan_databases(last_scan == 0);
			last_scan = now;
		}
		MemoryContextSwitchTo(TopMemoryContext);	/* for the workers'
													 * handles */
		reap_workers(now);
		timeout = start_workers(now);
		MemoryContextReset(context);
		pgstat_report_stat(true);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(timeout, 1), JWT_WAIT_EVENT("JwksLauncherMain"));
		ResetLatch(MyLatch);
	}
}

/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  What a superuser allows jwt_jwks to do.
 *
 * All of them come from the server's configuration: a session, a role or a
 * database cannot change what the server asks of its network.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "fetcher/address.h"
#include "fetcher/settings.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

static char *databases;
static char *allowed_hosts;
static bool allow_http_to_loopback;
static char *ca_file;
static char *proxy;
static int	timeout_ms;
static int	max_connections;
static int	max_document_size;	/* in kB */
static int	cooldown_ms;

static bool
check_databases(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *names;

	(void) extra;
	(void) source;
	if (SplitIdentifierString(copy, ',', &names))
		return true;
	GUC_check_errdetail("List syntax is invalid.");
	return false;
}

static bool
check_allowed_hosts(char **value, void **extra, GucSource source)
{
	char	   *reason;

	(void) extra;
	(void) source;
	if (address_check_list(*value, &reason))
		return true;
	GUC_check_errdetail("%s", reason);
	return false;
}

/*
 * Define the settings.
 */
void
settings_init(void)
{
	DefineCustomStringVariable("jwt_jwks.databases",
							   "Sets the databases whose issuers' key sets are refreshed.",
							   "Names separated by commas; * stands for all that are no templates.",
							   &databases, "*",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomStringVariable("jwt_jwks.allowed_hosts",
							   "Sets the hosts that key sets may be fetched from.",
							   "Patterns separated by commas: host, *.suffix or *, with :port unless that is 443. "
							   "Hosts that only * allows are asked at public addresses.",
							   &allowed_hosts, "",
							   PGC_SIGHUP, 0,
							   check_allowed_hosts, NULL, NULL);
	DefineCustomBoolVariable("jwt_jwks.allow_http_to_loopback",
							 "Allows key sets to be fetched without TLS from this machine.",
							 NULL,
							 &allow_http_to_loopback, false,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("jwt_jwks.ca_file",
							   "Sets the file of certificate authorities that endpoints are checked against.",
							   "An empty string stands for those of the system.",
							   &ca_file, "",
							   PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("jwt_jwks.proxy",
							   "Sets the proxy that key sets are fetched through.",
							   "An empty string stands for none; the environment is not looked at.",
							   &proxy, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("jwt_jwks.timeout",
							"Sets the time that a fetch may take.",
							NULL,
							&timeout_ms, 10000, 100, 120000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("jwt_jwks.max_connections",
							"Sets how many fetches of a database are under way at a time.",
							NULL,
							&max_connections, 64, 1, 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("jwt_jwks.max_document_size",
							"Sets the size of the largest key set that is accepted.",
							NULL,
							&max_document_size, 1024, 1, 65536,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("jwt_jwks.cooldown",
							"Sets the time between two fetches that tokens with unknown keys can cause.",
							NULL,
							&cooldown_ms, 30000, 1000, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("jwt_jwks");
}

/*
 * Are the issuers of this database, which is no template, to be served?
 */
bool
settings_serve_database(const char *name)
{
	char	   *copy = pstrdup(databases);
	List	   *names;
	ListCell   *lc;

	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(lc, names)
		if (strcmp(lfirst(lc), "*") == 0 || strcmp(lfirst(lc), name) == 0)
		return true;
	return false;
}

/*
 * The limits of fetches.  The strings are PostgreSQL's, until the next reload.
 */
FetchLimits
settings_fetch_limits(void)
{
	FetchLimits limits = {
		.allowed_hosts = allowed_hosts,
		.http_to_loopback = allow_http_to_loopback,
		.ca_file = ca_file,
		.proxy = proxy,
		.timeout = timeout_ms,
		.max_connections = max_connections,
		.max_size = max_document_size * 1024
	};

	return limits;
}

int
settings_cooldown_ms(void)
{
	return cooldown_ms;
}

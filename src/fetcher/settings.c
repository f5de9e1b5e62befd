/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings of jwt_jwks, by which a superuser limits it.
 *
 * All of them come from the server's configuration.  A session, a role or a
 * database cannot change the server's use of the network.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <sys/stat.h>

#include "fetcher/address.h"
#include "fetcher/settings.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

/*
 * The maximal number of lines to search for a certificate in a file of
 * authorities.
 */
#define CA_FILE_LINES	1000000

static char *databases;
static char *allowed_hosts;
static bool allow_http_to_loopback;
static char *ca_file;
static char *proxy;
static int	timeout_ms;
static int	max_connections;
static int	max_document_size;	/* in kB */
static int	cooldown_ms;

static bool is_defined;			/* all settings: a reload may refuse a value */
static FetchLimits limits;

/*
 * Refuse a value.  A reload then keeps the previous value.  At server start
 * PostgreSQL would use the default, which allows more, so there a value is
 * used that allows nothing.
 */
static bool
refuse(const char *name, const char *reason)
{
	if (is_defined)
	{
		GUC_check_errdetail("%s", reason);
		return false;
	}
	ereport(WARNING,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" cannot be used", name),
			 errdetail_internal("%s", reason)));
	return true;
}

static bool
check_databases(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *names;

	(void) extra;
	(void) source;
	return SplitGUCList(copy, ',', &names) || refuse("jwt_jwks.databases", "List syntax is invalid.");
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
 * Check that a file of authorities has a certificate that libcurl can find.
 */
static bool
check_ca_file(char **value, void **extra, GucSource source)
{
	struct stat status;
	FILE	   *file = NULL;
	char		line[128];
	bool		found = false;

	(void) extra;
	(void) source;
	if (**value == '\0')
		return true;
	/* opening a pipe would block the postmaster */
	if (stat(*value, &status) == 0 && S_ISREG(status.st_mode))
		file = AllocateFile(*value, "r");
	if (file == NULL)
		return refuse("jwt_jwks.ca_file", "The file cannot be read.");
	for (int i = 0; i < CA_FILE_LINES && !found && fgets(line, sizeof(line), file) != NULL; i++)
		found = strncmp(line, "-----BEGIN ", 11) == 0 && strstr(line, "CERTIFICATE-----") != NULL;
	FreeFile(file);
	return found || refuse("jwt_jwks.ca_file", "The file has no certificate in PEM form.");
}

/*
 * Define the settings.
 */
void
settings_init(void)
{
	DefineCustomStringVariable("jwt_jwks.databases",
							   "Sets the databases whose issuers' key sets are refreshed.",
							   "Names as they are written, in double quotes where need be, separated by commas; "
							   "* stands for all that are no templates.",
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
							   check_ca_file, NULL, NULL);
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
							"Sets the time between two fetches of a source that tokens with unknown keys can cause.",
							NULL,
							&cooldown_ms, 5000, 1000, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("jwt_jwks");
	is_defined = true;
}

/*
 * Reload the configuration if a reload is pending.
 */
void
settings_reload(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	(void) settings_fetch_limits();
}

/*
 * Must this database, which is not a template, be served?
 */
bool
settings_serve_database(const char *name)
{
	char	   *copy = pstrdup(databases);
	List	   *names;
	ListCell   *lc;

	if (!SplitGUCList(copy, ',', &names))
		return false;
	foreach(lc, names)
		if (strcmp(lfirst(lc), "*") == 0 || strcmp(lfirst(lc), name) == 0)
		return true;
	return false;
}

/*
 * The limits of fetches. settings_reload() updates them in place.
 */
const FetchLimits *
settings_fetch_limits(void)
{
	limits.allowed_hosts = allowed_hosts;
	limits.http_to_loopback = allow_http_to_loopback;
	limits.ca_file = ca_file;
	limits.proxy = proxy;
	limits.timeout = timeout_ms;
	limits.max_connections = max_connections;
	limits.max_size = max_document_size * 1024;
	return &limits;
}

int
settings_cooldown_ms(void)
{
	return cooldown_ms;
}

/*-------------------------------------------------------------------------
 *
 * key_file.c
 *	  The key file of the server, from which all keys of jwt_auth are derived.
 *
 * The file is read anew at each use, so that no session keeps a copy of its
 * keys, and a new file is in use at once.  It is judged by its descriptor after
 * it is opened, because the path can lead elsewhere a moment later.  Symbolic
 * links are followed: container platforms mount secrets as such.  Replace the
 * file by renaming a new one to its name: a reader then has the old or the new
 * one.
 *
 * The keys of the file are used for nothing but HKDF-SHA256 (RFC 5869).
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "auth/key_command.h"
#include "auth/key_file.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "token/openssl_errors.h"
#include "token/secret.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* How often to open a file that is replaced in the meantime. */
#define OPEN_ATTEMPTS	3

#define PLACE_HINT	"Move it out of the data directory and of all tablespaces, because base backups copy these."
#define OWNER_HINT	"Its owner must be the server's user, with mode 0600 or less, or root, with mode 0640 or less."
#define LINE_HINT \
	"A line is name:key:databases. The key is the output of \"openssl rand -base64 32\". " \
	"Databases are * or names with commas in between."

#define REPLACE_HINT "Replace it by renaming a new file to its name."
#define CREATE_HINT \
	"As the server's user, run (umask 077; echo \"k1:$(openssl rand -base64 32):DATABASE\" >FILE) " \
	"outside of the data directory, set jwt_auth.key_file to the path of FILE, and reload the configuration."

static char *key_file;
static char *key_command;

static bool
fail(KeyFailure *failure, const char *message, const char *detail, const char *hint)
{
	failure->sqlstate = ERRCODE_CONFIG_FILE_ERROR;
	failure->message = message;
	failure->detail = detail;
	failure->hint = hint;
	return false;
}

/*
 * The same for a state of the settings, which is no fault of the file.
 */
static bool
fail_state(KeyFailure *failure, const char *message, const char *detail, const char *hint)
{
	(void) fail(failure, message, detail, hint);
	failure->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	return false;
}

static bool
refuse(KeyFailure *failure, const char *detail, const char *hint)
{
	return fail(failure, "the key file is refused", detail, hint);
}

/*
 * Define the settings.
 */
void
key_file_init(void)
{
	key_command_init();
	DefineCustomStringVariable("jwt_auth.key_file",
							   "Sets the file with the keys that protect signing keys and refresh tokens.",
							   NULL,
							   &key_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("jwt_auth.key_command",
							   "Sets the command that prints such a file when the server starts and reloads.",
							   NULL,
							   &key_command, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE,
							   NULL, key_command_assign, NULL);
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Is the file of this resolved path below a directory, under any name of it?
 * If a directory cannot be looked at, the file counts as below it.
 */
static bool
is_below(const char *path, const char *directory)
{
	struct stat root;
	struct stat ancestor;
	char		name[PATH_MAX];
	char	   *slash;

	/* a tablespace whose directory is gone has no files */
	if (stat(directory, &root) != 0)
		return errno != ENOENT;
	strlcpy(name, path, sizeof(name));
	while ((slash = strrchr(name, '/')) != NULL)
	{
		slash[slash == name ? 1 : 0] = '\0';
		if (stat(name, &ancestor) != 0 || same_file(&ancestor, &root))
			return true;
		if (slash == name)
			break;
	}
	return false;
}

/*
 * Is the file of this resolved path in a directory of the server?
 */
static bool
is_in_server(const char *path)
{
	DIR		   *tablespaces;
	struct dirent *entry;
	bool		found = is_below(path, DataDir) || is_below(path, "pg_wal");

	tablespaces = AllocateDir("pg_tblspc");
	while (!found && (entry = ReadDir(tablespaces, "pg_tblspc")) != NULL)
	{
		char		directory[MAXPGPATH];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(directory, sizeof(directory), "pg_tblspc/%s", entry->d_name);
		found = is_below(path, directory);
	}
	FreeDir(tablespaces);
	return found;
}

/*
 * Judge an open file by the status of its descriptor.  *replaced is set if the
 * path leads to another file now.
 */
static bool
judge(const struct stat *status, bool *replaced, KeyFailure *failure)
{
	struct stat named;
	char		path[PATH_MAX];

	if (!S_ISREG(status->st_mode))
		return refuse(failure, "It is not a regular file.", NULL);
	if (!((status->st_uid == geteuid() && (status->st_mode & 07777 & ~0600) == 0) ||
		  (status->st_uid == 0 && (status->st_mode & 07777 & ~0640) == 0)))
		return refuse(failure, "Other users could read or change it.", OWNER_HINT);
	if (status->st_size > KEY_TEXT_MAX)
		return refuse(failure, "It is larger than 64 kB.", NULL);
	if (status->st_nlink > 1)
		return refuse(failure, "It has another name (hard link), which may be in a base backup.", NULL);

	if (realpath(key_file, path) == NULL || stat(path, &named) != 0 || !same_file(&named, status))
	{
		*replaced = true;
		return refuse(failure, "It was replaced while it was read.", NULL);
	}
	if (is_in_server(path))
		return refuse(failure, "It is in the data directory, the WAL directory or a tablespace.", PLACE_HINT);
	return true;
}

/*
 * Read an open file into memory of secret_alloc().
 */
static bool
read_all(int file, char **text, int *len, bool *replaced, KeyFailure *failure)
{
	struct stat status;
	ssize_t		n = 0;

	if (fstat(file, &status) != 0)
		return fail(failure, psprintf("could not read the key file: %m"), NULL, NULL);
	if (!judge(&status, replaced, failure))
		return false;
	*len = 0;
	*text = secret_alloc(status.st_size + 1);
	while (*len <= status.st_size && (n = read(file, *text + *len, status.st_size + 1 - *len)) > 0)
		*len += (int) n;
	if (n < 0)
		return fail(failure, psprintf("could not read the key file: %m"), NULL, NULL);
	if (*len != status.st_size)
	{
		*replaced = true;
		return refuse(failure, "It was changed while it was read.", REPLACE_HINT);
	}
	return true;
}

/*
 * Open, judge and read the file.
 */
static bool
read_file(char **text, int *len, KeyFailure *failure)
{
	if (!is_absolute_path(key_file))
		return refuse(failure, "Its path is not absolute.", NULL);
	for (int attempt = 1;; attempt++)
	{
		/* opening a pipe must not block */
		int			file = OpenTransientFile(key_file, O_RDONLY | O_NONBLOCK | O_NOCTTY | PG_BINARY);
		bool		replaced = false;
		bool		good;

		if (file < 0)
			return fail(failure, psprintf("could not open the key file: %m"), NULL, NULL);
		good = read_all(file, text, len, &replaced, failure);
		CloseTransientFile(file);
		if (!replaced || attempt == OPEN_ATTEMPTS)
			return good;
	}
}

/*
 * Get the lines from the file or the command, into memory of secret_alloc().
 */
static bool
read_lines(char **text, int *len, KeyFailure *failure)
{
	bool		has_file = key_file != NULL && *key_file != '\0';
	bool		has_command = key_command != NULL && *key_command != '\0';

	if (has_file && has_command)
		return fail_state(failure, "both a key file and a key command are configured", NULL,
						  "Set only one of jwt_auth.key_file and jwt_auth.key_command.");
	if (has_file)
		return read_file(text, len, failure);
	if (!has_command)
		return fail_state(failure, "no key file is configured", NULL, CREATE_HINT);
	if (!key_command_is_supported())
		return fail_state(failure, "the key command has not run", NULL,
						  "Add jwt_auth to shared_preload_libraries and restart the server, or set jwt_auth.key_file.");
	*text = secret_alloc(KEY_TEXT_MAX);
	*len = key_command_output(*text);
	return *len > 0 ||
		fail_state(failure, "the key command has given no keys", NULL,
				   "Find the reason in the server's log, and reload the configuration to run the command again.");
}

/*
 * Find a key in the current memory context.  Parts of the failure that are not
 * constant are in that context.
 */
static FileKey *
find(const char *name, KeyFailure *failure)
{
	FileKey    *key = secret_alloc(sizeof(*key));
	char	   *text = NULL;
	int			len = 0;
	char	   *fault;

	if (!read_lines(&text, &len, failure))
		return NULL;
	if (key_lines_find(text, len, name, get_database_name(MyDatabaseId), key, &fault))
		return key;
	if (fault != NULL)
		(void) refuse(failure, fault, LINE_HINT);
	else if (name != NULL)
		(void) fail_state(failure, psprintf("key \"%s\" is not in the key file, or not for this database", name),
						  NULL, "Put its line back, or add this database to it.");
	else
		(void) fail_state(failure, "the key file has no key for this database", NULL, LINE_HINT);
	return NULL;
}

/*
 * Copy what a failure has from psprintf().
 */
static const char *
copy(const char *string)
{
	return string ? pstrdup(string) : NULL;
}

static bool
hkdf(FileKey *key, const uint8 *salt, int salt_len, const char *info, int info_len, uint8 *derived)
{
	static EVP_KDF *kdf = NULL;
	char		digest[] = "SHA2-256";
	OSSL_PARAM	params[] = {
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, key->key, FILE_KEY_SIZE),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SALT, unconstify(uint8 *, salt), salt_len),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, unconstify(char *, info), info_len),
		OSSL_PARAM_END
	};
	EVP_KDF_CTX *ctx;
	bool		good;

	if (kdf == NULL)
		kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	good = ctx != NULL && EVP_KDF_derive(ctx, derived, DERIVED_KEY_SIZE, params) == 1;
	EVP_KDF_CTX_free(ctx);
	return good;
}

/*
 * Could key_file_derive() derive a key from the key of this name now?  Reads the
 * file.
 */
bool
key_file_has(const char *name)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "key file", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeyFailure	failure;
	bool		found = find(name, &failure) != NULL;

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return found;
}

/*
 * Derive a key by HKDF-SHA256 from the key of this name, or if it is null, from
 * the first key of the file that fits this database.  Reads the file anew.  The
 * result is in the current memory context, which overwrites it when it is reset;
 * call secret_cleanse() once it has been used.  Raises an error if there is no
 * such key.
 */
DerivedKey *
key_file_derive(const char *name, const uint8 *salt, int salt_len, const char *info, int info_len)
{
	KeyFailure	failure;
	DerivedKey *derived = key_file_try_derive(name, salt, salt_len, info, info_len, &failure);

	if (derived == NULL)
		key_file_raise(&failure);
	return derived;
}

/*
 * The same, but return NULL and the failure if there is no such key.  Raises only
 * a lack of memory or of file descriptors.
 */
DerivedKey *
key_file_try_derive(const char *name, const uint8 *salt, int salt_len,
					const char *info, int info_len, KeyFailure *failure)
{
	DerivedKey *derived = secret_alloc(sizeof(*derived));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "key file", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FileKey    *key;

	memset(failure, 0, sizeof(*failure));
	key = find(name, failure);
	if (key != NULL && !openssl_retry(hkdf(key, salt, salt_len, info, info_len, derived->bytes)))
	{
		key = NULL;
		(void) fail_state(failure, "this OpenSSL has no HKDF", NULL, NULL);
	}
	if (key != NULL)
		strlcpy(derived->name, key->name, sizeof(derived->name));
	MemoryContextSwitchTo(old);
	if (key == NULL)
	{
		derived = NULL;
		failure->message = copy(failure->message);
		failure->detail = copy(failure->detail);
	}
	MemoryContextDelete(context);
	return derived;
}

/*
 * Raise the error that a failure describes.
 */
void
key_file_raise(const KeyFailure *failure)
{
	ereport(ERROR,
			(errcode(failure->sqlstate),
			 errmsg_internal("%s", failure->message),
			 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
			 failure->hint ? errhint("%s", failure->hint) : 0));
}

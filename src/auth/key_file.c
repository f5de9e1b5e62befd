/*-------------------------------------------------------------------------
 *
 * key_file.c
 *	  The key file of the server, from which all keys of jwt_auth are derived.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/key_file.h"
#include "auth/secret.h"

/*
 * Define the settings.
 */
void
key_file_init(void)
{
}

/*
 * Could key_file_derive() derive a key from the key of this name now?  Reads the
 * file.
 */
bool
key_file_has(const char *name)
{
	(void) name;
	return false;
}

/*
 * Derive a key by HKDF-SHA256 (RFC 5869) from the key of this name, or if it is
 * null, from the first key of the file that fits this database.  Reads the file
 * anew.  The result is in the current memory context, which overwrites it when
 * it is reset; call secret_cleanse() once it has been used.  Raises an error if
 * there is no such key.
 */
DerivedKey *
key_file_derive(const char *name, const uint8 *salt, int salt_len, const char *info, int info_len)
{
	KeyFailure failure;
	DerivedKey *key = key_file_try_derive(name, salt, salt_len, info, info_len, &failure);

	if (key == NULL)
		key_file_raise(&failure);
	return key;
}

/*
 * The same, but give NULL and the reason if there is no such key.  Raises only
 * a lack of memory.
 */
DerivedKey *
key_file_try_derive(const char *name, const uint8 *salt, int salt_len,
					const char *info, int info_len, KeyFailure *failure)
{
	(void) name;
	(void) salt;
	(void) salt_len;
	(void) info;
	(void) info_len;
	failure->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	failure->message = "no key file is configured";
	failure->detail = NULL;
	failure->hint = NULL;
	return NULL;
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

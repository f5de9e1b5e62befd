/*-------------------------------------------------------------------------
 *
 * key_file.h
 *	  The key file of the server, from which all keys of jwt_auth are derived.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_KEY_FILE_H
#define JWT_AUTH_KEY_FILE_H

#include "postgres.h"

#include "auth/key_lines.h"

#define DERIVED_KEY_SIZE	32

/*
 * A derived key and the name of the key of the file that it was derived from.
 * It is in memory of secret_alloc().
 */
typedef struct DerivedKey
{
	uint8		bytes[DERIVED_KEY_SIZE];
	char		name[KEY_NAME_MAX + 1];
} DerivedKey;

/*
 * Why no key can be derived, or a sealed key does not open: the parts of an
 * error.  The detail and the hint may be null.  None of them has a path or a
 * byte of the file.
 */
typedef struct KeyFailure
{
	int			sqlstate;
	const char *message;
	const char *detail;
	const char *hint;
} KeyFailure;

extern void key_file_init(void);
extern bool key_file_has(const char *name);
extern DerivedKey *key_file_derive(const char *name, const uint8 *salt, int salt_len,
								   const char *info, int info_len);
extern DerivedKey *key_file_try_derive(const char *name, const uint8 *salt, int salt_len,
									   const char *info, int info_len, KeyFailure *failure);
pg_noreturn extern void key_file_raise(const KeyFailure *failure);

#endif							/* JWT_AUTH_KEY_FILE_H */

/*-------------------------------------------------------------------------
 *
 * key_lines.h
 *	  The syntax of a key file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_KEY_LINES_H
#define JWT_AUTH_KEY_LINES_H

#include "postgres.h"

#include "token/base64url.h"

#define FILE_KEY_SIZE		32
#define KEY_NAME_MAX		32
#define KEY_TEXT_MAX		65536

/* A key of the file.  Allocate it by secret_alloc(). */
typedef struct FileKey
{
	char		name[KEY_NAME_MAX + 1];
	uint8		key[FILE_KEY_SIZE];
	/* workspace of key_lines_find() */
	char		base64[base64url_encoded_size(FILE_KEY_SIZE)];
	uint8		decoded[FILE_KEY_SIZE];
} FileKey;

extern bool key_lines_find(const char *text, int len, const char *name, const char *database,
						   FileKey *key, char **reason);
extern bool key_name_is_valid(const char *name, int len);

#endif							/* JWT_AUTH_KEY_LINES_H */

/*-------------------------------------------------------------------------
 *
 * json.h
 *	  The one strict reader of JSON that comes from outside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JSON_H
#define JWT_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

/* Objects and arrays may be nested this deep. */
#define JSON_MAX_DEPTH	64

extern const char *json_read_object(const char *text, int len, JsonbValue *object);
extern const JsonbPair *json_member(const JsonbValue *object, const char *name);
extern int64 json_number_usec(const char *text, const JsonbPair *member);
extern const char *json_string(const JsonbValue *value, int *len);

#endif							/* JWT_JSON_H */

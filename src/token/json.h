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

/*
 * Members and elements of all objects and arrays together.  A token has room for
 * fewer.  It bounds the memory that a document takes to a hundred times its own.
 */
#define JSON_MAX_ENTRIES	1000000

extern const char *json_read_object(const char *text, int len, JsonbValue *object);
extern Jsonb *json_to_jsonb(JsonbValue *object);
extern const JsonbPair *json_find_member(const JsonbValue *object, const char *name, int len);
extern int64 json_number_usec(const char *text, const JsonbPair *member);
extern const char *json_string(const JsonbValue *value, int *len);

/*
 * The member of an object that json_read_object() has read, or NULL.  In line, as
 * most names are literals, whose lengths are known.
 */
static inline const JsonbPair *
json_member(const JsonbValue *object, const char *name)
{
	return json_find_member(object, name, (int) strlen(name));
}

/*
 * The same for an object that is jsonb already; false when it has no such member.
 */
static inline bool
jsonb_member(const Jsonb *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &object->root),
										name, (int) strlen(name), value) != NULL;
}

#endif							/* JWT_JSON_H */

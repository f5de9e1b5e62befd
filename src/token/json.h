/*-------------------------------------------------------------------------
 *
 * json.h
 *	  The strict reader for all JSON that comes from outside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JSON_H
#define JWT_JSON_H

#include "postgres.h"

#include "token/slice.h"
#include "utils/jsonb.h"

/* The maximal depth of objects and arrays. */
#define JSON_MAX_DEPTH	64

/*
 * The maximal number of members and elements in a document.  The largest token
 * has fewer.  The limit bounds the memory for a document to a hundred times
 * its size.
 */
#define JSON_MAX_ENTRIES	1000000

extern char *json_from_server(const char *text, int len);
extern Slice json_slice_from_server(Slice text);
extern const char *json_read_object(const char *text, int len, JsonbValue *object);
extern Jsonb *json_to_jsonb(JsonbValue *object);
extern int64 json_number_usec(const char *text, const JsonbPair *member);
extern const char *json_string(const JsonbValue *value, int *len);

/*
 * The member of an object from json_read_object(), or NULL.  Members are in the
 * order of jsonb: short names first.  This is inline because most names are
 * literals of known length.
 */
static inline const JsonbPair *
json_member(const JsonbValue *object, const char *name)
{
	const int	len = (int) strlen(name);
	const JsonbPair *pair = object->val.object.pairs;
	const JsonbPair *end = pair + object->val.object.nPairs;

	for (; pair < end && pair->key.val.string.len <= len; pair++)
		if (pair->key.val.string.len == len &&
			(len == 0 || (pair->key.val.string.val[0] == name[0] &&
						  memcmp(pair->key.val.string.val, name, len) == 0)))
			return pair;
	return NULL;
}

/*
 * The same for an object in jsonb; false if it has no such member.
 */
static inline bool
jsonb_member(const Jsonb *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &object->root),
										name, (int) strlen(name), value) != NULL;
}

#endif							/* JWT_JSON_H */

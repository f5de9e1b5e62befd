/*-------------------------------------------------------------------------
 *
 * jwk_set.c
 *	  JWK Sets (RFC 7517 section 5): the members of a document.
 *
 * A document that is not strict JSON is refused as a whole: if any object has
 * duplicate members, if it has invalid UTF-8 or a byte order mark, or if it is
 * nested too deeply.  Other readers might read such a document differently.  A
 * member that is not a usable key does not affect the other members, so this
 * file does not check members.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/json.h"
#include "token/jwk_set.h"

/* Set the reason why a document is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * Read a document, which is UTF-8 in every server encoding.  *members can have
 * any JSON type; JsonbValueToJsonb() converts each one for jwk_read().  They
 * point into the text, which must live as long.  Returns false and the reason,
 * a palloc'd sentence, if the document is not a JWK Set or has no key.
 */
bool
jwk_set_read(const char *text, int len, JsonbValue **members, int *n, char **reason)
{
	JsonbValue	document;
	const JsonbPair *keys;
	const char *fault = json_read_object(text, len, &document);

	if (fault != NULL)
		return refuse(reason, "The document %s.", fault);
	keys = json_member(&document, "keys");
	if (keys == NULL)
		return refuse(reason, "The document has no member \"keys\".");
	if (keys->value.type != jbvArray)
		return refuse(reason, "The member \"keys\" of the document is not an array.");
	if (keys->value.val.array.nElems == 0)
		return refuse(reason, "The member \"keys\" of the document is empty.");
	if (keys->value.val.array.nElems > JWK_SET_MAX_MEMBERS)
		return refuse(reason, "The document has %d keys; at most %d are accepted.",
					  keys->value.val.array.nElems, JWK_SET_MAX_MEMBERS);
	*members = keys->value.val.array.elems;
	*n = keys->value.val.array.nElems;
	return true;
}

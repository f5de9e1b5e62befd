/*-------------------------------------------------------------------------
 *
 * jwk_set.c
 *	  JWK Sets (RFC 7517 section 5): the members of a document.
 *
 * A document that is no strict JSON is refused as a whole: with two members of
 * one name in any object, with bytes that are not UTF-8, a byte order mark, or
 * nested too deeply.  Another reader may understand such a document otherwise,
 * and it is not the issuer's to say which of us is right.  A member that is
 * strict JSON and no usable key spoils nothing, so members are not looked at here.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/json.h"
#include "token/jwk_set.h"

/* Note why a document is refused; false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * Read a document, which is UTF-8 whatever the server encoding.  *members are of
 * any type; JsonbValueToJsonb() makes of each what jwk_read() takes.  They point
 * into the text, which must live as long.  Returns false with the reason, a
 * palloc'd sentence, when the document is no set or an empty one.
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

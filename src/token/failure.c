/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  The reasons why a token is refused, and the text of their messages.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "token/failure.h"

/*
 * The maximal number of bytes that a message quotes from an untrusted string.
 * The name of an issuer is a URL.
 */
#define QUOTE_MAX	256

/* Bytes that a character can have in another encoding, and a NUL. */
#define MAX_CONVERTED	(MAX_MULTIBYTE_CHAR_LEN * MAX_CONVERSION_GROWTH + 1)

static const FailureKind failure_kinds[] = {
	[FAILURE_NONE] = {"00000", NULL},
	[FAILURE_MALFORMED] = {"28J01", "malformed JSON Web Token"},
	[FAILURE_ALGORITHM] = {"28J02", "algorithm of the JSON Web Token is not accepted"},
	[FAILURE_NO_KEY] = {"28J03", "no key for the JSON Web Token"},
	[FAILURE_SIGNATURE] = {"28J04", "signature of the JSON Web Token is not valid"},
	[FAILURE_EXPIRED] = {"28J05", "JSON Web Token has expired"},
	[FAILURE_NOT_YET_VALID] = {"28J06", "JSON Web Token is not yet valid"},
	[FAILURE_ISSUER] = {"28J07", "issuer of the JSON Web Token is not accepted"},
	[FAILURE_AUDIENCE] = {"28J08", "audience of the JSON Web Token is not accepted"},
	[FAILURE_CLAIM] = {"28J09", "claim of the JSON Web Token is missing or of the wrong type"},
	[FAILURE_LIFETIME] = {"28J10", "lifetime or age of the JSON Web Token is not accepted"},
	[FAILURE_REVOKED] = {"28J11", "JSON Web Token has been revoked"},
	[FAILURE_TOKEN_TYPE] = {"28J12", "type of the JSON Web Token is not accepted"},
	[FAILURE_CONFIRMATION] = {"28J13", "sender of the JSON Web Token is not confirmed"},
};

/*
 * The SQLSTATE and primary message of a code.
 */
const FailureKind *
failure_kind(FailureCode code)
{
	Assert((int) code >= 0 && (int) code < (int) lengthof(failure_kinds));
	return &failure_kinds[code];
}

/*
 * Set a failure with its detail, and return false.  So a check can end in
 * "return fail(...)".
 */
bool
fail(Failure *failure, FailureCode code, const char *detail)
{
	return fail_hint(failure, code, detail, NULL);
}

/*
 * The same, with a hint for failures that the user can correct.
 */
bool
fail_hint(Failure *failure, FailureCode code, const char *detail, const char *hint)
{
	failure->code = code;
	failure->detail = detail;
	failure->hint = hint;
	return false;
}

/*
 * Can this character change how the rest of its line is shown?  These are
 * controls (C0, DEL, C1), marks and embeddings of text direction, line and
 * paragraph separators, and the byte order mark.
 */
static bool
is_disruptive(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0x200e || c == 0x200f ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/*
 * Convert a character of the server encoding.  Returns false if the other
 * encoding lacks it. result has room for any character.
 */
static bool
convert_character(const char *str, int size, int encoding, unsigned char *result)
{
	int			server = GetDatabaseEncoding();
	Oid			proc;

	/* looking up a conversion reads a catalog */
	if (!IsTransactionState())
		return false;
	proc = FindDefaultConversionProc(server, encoding);
	return OidIsValid(proc) &&
		pg_do_encoding_conversion_buf(proc, server, encoding, (unsigned char *) unconstify(char *, str), size,
									  result, MAX_CONVERTED, true) == size;
}

/*
 * Can a message show this character unescaped?  It must not be disruptive, and
 * the client's encoding must have it: otherwise PostgreSQL would send a
 * conversion error in place of the message.
 */
static bool
can_be_shown(const char *str, int size, int encoding)
{
	int			client = pg_get_client_encoding();
	unsigned char converted[MAX_CONVERTED];
	const unsigned char *c = (const unsigned char *) str;

	if (!IS_HIGHBIT_SET(*c))
		return !is_disruptive(*c);
	if (encoding != PG_UTF8)
	{
		if (!convert_character(str, size, PG_UTF8, converted))
			return false;
		c = converted;
	}
	if (is_disruptive(utf8_to_unicode(c)))
		return false;
	if (client == GetDatabaseEncoding() || client == PG_SQL_ASCII)
		return true;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return pg_encoding_verifymbstr(client, str, size) == size;
	return convert_character(str, size, client, converted);
}

/*
 * Append the escape of a character, or of bytes that are not a character.
 */
static void
append_escaped(StringInfo buf, const unsigned char *str, int size, bool is_utf8)
{
	pg_wchar	c = is_utf8 ? utf8_to_unicode(str) : 0;

	if (is_utf8)
		appendStringInfo(buf, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
	else
		for (int i = 0; i < size; i++)
			appendStringInfo(buf, "\\x%02x", str[i]);
}

/*
 * A palloc'd copy of an untrusted string that a message may quote.  It escapes
 * disruptive characters, characters that the client's encoding lacks, and bytes
 * that are not a character.  It has at most max bytes of the string, and an
 * escape has up to six bytes for each. str is in the server encoding and need
 * not be terminated.  In SQL_ASCII it is read as UTF-8, the encoding of JSON.  A
 * quoted string can be quoted again.
 */
char *
quote_untrusted_up_to(const char *str, int len, int max)
{
	int			encoding = GetDatabaseEncoding();
	int			size;
	StringInfoData buf;

	if (encoding == PG_SQL_ASCII)
		encoding = PG_UTF8;
	initStringInfo(&buf);
	for (int i = 0; i < len; i += size)
	{
		bool		valid;

		size = pg_encoding_verifymbchar(encoding, str + i, len - i);
		valid = size > 0;
		if (!valid)
			size = 1;
		if (i + size > max)
		{
			appendStringInfoString(&buf, "...");
			break;
		}
		if (valid && can_be_shown(str + i, size, encoding))
			appendBinaryStringInfo(&buf, str + i, size);
		else
			append_escaped(&buf, (const unsigned char *) str + i, size, valid && encoding == PG_UTF8);
	}
	return buf.data;
}

/*
 * The same for a name or a value, with the usual limit.
 */
char *
quote_untrusted(const char *str, int len)
{
	return quote_untrusted_up_to(str, len, QUOTE_MAX);
}

/*
 * The same for a terminated string.
 */
char *
quote_string(const char *string)
{
	return quote_untrusted(string, (int) strlen(string));
}

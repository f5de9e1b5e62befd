/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  The reasons why a token is refused, and the text of their messages.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "lib/stringinfo.h"
#include "token/failure.h"

/*
 * The maximal number of bytes that a message quotes from an untrusted string.
 */
#define QUOTE_MAX	64

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
 * The same for a one-byte character in an encoding other than UTF-8.  No
 * multibyte character of these encodings has such an effect.
 */
static bool
is_disruptive_byte(int encoding, unsigned char c)
{
	bool		is_c1 = c >= 0x80 && c <= 0x9f;
	bool		is_mark = c == 0xfd || c == 0xfe;

	switch (encoding)
	{
		case PG_LATIN1:
		case PG_LATIN2:
		case PG_LATIN3:
		case PG_LATIN4:
		case PG_LATIN5:
		case PG_LATIN6:
		case PG_LATIN7:
		case PG_LATIN8:
		case PG_LATIN9:
		case PG_LATIN10:
		case PG_ISO_8859_5:
		case PG_ISO_8859_6:
		case PG_ISO_8859_7:
			return c < 0x20 || c == 0x7f || is_c1;
		case PG_ISO_8859_8:
			return c < 0x20 || c == 0x7f || is_c1 || is_mark;
		case PG_WIN1255:
		case PG_WIN1256:
			return c < 0x20 || c == 0x7f || is_mark;
		default:
			return c < 0x20 || c == 0x7f;
	}
}

/*
 * Make a palloc'd copy of an untrusted string that a message can quote.  The
 * copy is bounded, and has no character that can forge a log line, change a
 * terminal's state, or change the order in which a line reads. str is in the
 * server encoding and need not be terminated.  With SQL_ASCII it is read as
 * UTF-8, the encoding of JSON.  Bytes that are not a character of the encoding
 * are shown one by one.
 */
char *
quote_untrusted(const char *str, int len)
{
	return quote_untrusted_up_to(str, len, QUOTE_MAX);
}

/*
 * The same for up to max bytes of str.  A byte may become six bytes.
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
		const unsigned char *c = (const unsigned char *) str + i;
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
		if (valid && encoding == PG_UTF8 && is_disruptive(utf8_to_unicode(c)))
			appendStringInfo(&buf, "\\u%04x", utf8_to_unicode(c));
		else if (!valid || (size == 1 && is_disruptive_byte(encoding, *c)))
			appendStringInfo(&buf, "\\x%02x", *c);
		else
			appendBinaryStringInfo(&buf, str + i, size);
	}
	return buf.data;
}

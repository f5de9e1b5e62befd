/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  The reasons for which a token is refused, and how their facts are worded.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "lib/stringinfo.h"
#include "token/failure.h"

/* Bytes of an untrusted string that a message quotes at most. */
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
 * Note a failure with its detail, and return false, so that a check can end in
 * "return fail(...)".
 */
bool
fail(Failure *failure, FailureCode code, const char *detail)
{
	return fail_hint(failure, code, detail, NULL);
}

/*
 * The same, for failures that somebody can do something about.
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
 * A palloc'd copy of a string from outside that a message may quote: bounded,
 * and without characters that could forge a log line or a terminal's state.
 * str is in the server encoding and need not be terminated.
 */
char *
quote_untrusted(const char *str, int len)
{
	int			keep = len;
	StringInfoData buf;

	if (keep > QUOTE_MAX)
		keep = pg_mbcliplen(str, len, QUOTE_MAX);

	initStringInfo(&buf);
	for (int i = 0; i < keep; i++)
	{
		unsigned char c = (unsigned char) str[i];

		if (c < 0x20 || c == 0x7f)
			appendStringInfo(&buf, "\\x%02x", c);
		else
			appendStringInfoChar(&buf, (char) c);
	}
	if (keep < len)
		appendStringInfoString(&buf, "...");
	return buf.data;
}

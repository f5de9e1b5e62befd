/*-------------------------------------------------------------------------
 *
 * sign.c
 *	  Access tokens: claims, completed by the issuer's policy, and signed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/sign.h"

text *
sign_claims(const TokenPolicy *policy, const TokenRequest *request, TimestampTz *expires)
{
	(void) policy;
	(void) request;
	(void) expires;
	elog(ERROR, "sign_claims is not written yet");
}

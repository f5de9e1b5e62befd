/*-------------------------------------------------------------------------
 *
 * functions.h
 *	  Common parts of the SQL functions: arguments, result rows and errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_FUNCTIONS_H
#define JWT_FUNCTIONS_H

#include "compat.h"

#include "extension/arguments.h"
#include "fmgr.h"
#include "token/failure.h"
#include "token/jws.h"
#include "trust/rows.h"

pg_noreturn extern void raise_failure(const Failure *failure);
pg_noreturn extern void raise_bad_key(const char *reason);
extern TrustIssuer *require_issuer(const Slice *name);
extern void require_new_kid(const char *issuer, const Slice *kid);
extern TimestampTz expiry_of_issued(const TrustIssuer *issuer, TimestampTz issued_before);
extern TimestampTz expiry_of_session(const TrustIssuer *issuer, TimestampTz ended);

#endif							/* JWT_FUNCTIONS_H */

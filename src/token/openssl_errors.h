/*-------------------------------------------------------------------------
 *
 * openssl_errors.h
 *	  OpenSSL's errors: memory, and the queue left clean.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_OPENSSL_ERRORS_H
#define JWT_OPENSSL_ERRORS_H

#include "postgres.h"

#include <openssl/err.h>

/*
 * Try something that calls OpenSSL, and once more if it fails: a lack of memory
 * often passes, and is not always reported.  The attempt is an expression that
 * is true on success, and that leaves nothing allocated when it is false.  The
 * result is the second attempt's, and is a verdict.  Raises an error if memory is
 * lacking.
 */
#define openssl_retry(attempt) \
	openssl_settle((attempt) || (ERR_clear_error(), (attempt)))

extern bool openssl_has_errors(void);
extern void openssl_check_memory(void);
extern void openssl_require_memory(void);
extern bool openssl_settle(bool good);

#endif							/* JWT_OPENSSL_ERRORS_H */

/*-------------------------------------------------------------------------
 *
 * openssl_errors.h
 *	  OpenSSL's errors: detecting a lack of memory, and cleaning the queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_OPENSSL_ERRORS_H
#define JWT_OPENSSL_ERRORS_H

#include "postgres.h"

#include <openssl/err.h>

/*
 * Evaluate an expression that calls OpenSSL, and once more if it fails: a lack
 * of memory is often temporary, and OpenSSL does not always report it.  The
 * expression is true on success, and must leave nothing allocated if it is
 * false.  A second failure is a verdict on the key or signature.  Raises an
 * error if memory is lacking.
 */
#define openssl_retry(attempt) \
	openssl_verdict((attempt) || (ERR_clear_error(), (attempt)))

extern bool openssl_has_errors(void);
extern void openssl_check_memory(void);
extern void openssl_require_memory(void);
extern bool openssl_verdict(bool good);

#endif							/* JWT_OPENSSL_ERRORS_H */

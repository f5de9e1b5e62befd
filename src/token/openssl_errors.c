/*-------------------------------------------------------------------------
 *
 * openssl_errors.c
 *	  OpenSSL's errors: detecting a lack of memory, and cleaning the queue.
 *
 * A lack of memory is not the fault of a key or a token, so it must never
 * become a verdict.  An entry that stays in the queue would look like the
 * error of a later call, of this library or of another one.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "token/openssl_errors.h"

/* More than OpenSSL allocates at once for any key or signature. */
#define PROBE_SIZE	65536

static void
raise_out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("OpenSSL could not allocate memory.")));
}

/*
 * Does this entry of the queue report a lack of memory?
 */
static bool
is_lack_of_memory(unsigned long code)
{
	if (ERR_SYSTEM_ERROR(code))
		return ERR_GET_REASON(code) == ENOMEM;
	return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
}

/*
 * Is the queue non-empty?  The code of the first entry does not suffice: it is
 * 0 if OpenSSL lacked memory while it reported an error.
 */
bool
openssl_has_errors(void)
{
	return ERR_peek_error() != 0 || ERR_peek_last_error() != 0;
}

/*
 * Empty the queue, and raise an error if it reports a lack of memory.  Free
 * all OpenSSL objects of the call before.
 */
void
openssl_check_memory(void)
{
	bool		lacked_memory = false;

	/* an entry of code 0 is not the end of the queue, so count */
	for (int i = 0; i < ERR_NUM_ERRORS; i++)
		lacked_memory = is_lack_of_memory(ERR_get_error()) || lacked_memory;
	if (lacked_memory)
		raise_out_of_memory();
}

/*
 * The same, and check that memory is available now: before 3.2 OpenSSL does
 * not always report a lack of memory.  Call this before reporting a failure as
 * the verdict on a key or a signature.
 */
void
openssl_require_memory(void)
{
	EVP_MD_CTX *small;
	void	   *large;
	bool		good;

	openssl_check_memory();
	small = EVP_MD_CTX_new();
	large = OPENSSL_malloc(PROBE_SIZE);
	good = small != NULL && large != NULL;
	EVP_MD_CTX_free(small);
	OPENSSL_free(large);
	ERR_clear_error();
	if (!good)
		raise_out_of_memory();
}

/*
 * See openssl_retry().
 */
bool
openssl_verdict(bool good)
{
	if (good)
		ERR_clear_error();
	else
		openssl_require_memory();
	return good;
}

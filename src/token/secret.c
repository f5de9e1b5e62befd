/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Memory for secret bytes, which is cleansed before it is freed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>

#include "token/secret.h"
#include "utils/memutils.h"

typedef struct Secret
{
	MemoryContextCallback cleanse_callback;
	Size		size;
	uint8		bytes[FLEXIBLE_ARRAY_MEMBER];
} Secret;

static void
cleanse(void *arg)
{
	Secret	   *secret = arg;

	OPENSSL_cleanse(secret->bytes, secret->size);
}

/*
 * Allocate memory for secret bytes.  It is cleansed when the context is reset
 * or deleted, also after an error.  It must not be freed by pfree(): a caller
 * that is done with it earlier calls OPENSSL_cleanse().
 */
uint8 *
secret_alloc(MemoryContext context, Size size)
{
	Secret	   *secret = MemoryContextAlloc(context, offsetof(Secret, bytes) + size);

	secret->size = size;
	secret->cleanse_callback.func = cleanse;
	secret->cleanse_callback.arg = secret;
	MemoryContextRegisterResetCallback(context, &secret->cleanse_callback);
	return secret->bytes;
}

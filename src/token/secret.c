/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Memory for secrets, which is overwritten before it is freed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/crypto.h>

#include "token/secret.h"
#include "utils/memutils.h"

typedef struct Secret
{
	MemoryContextCallback callback;
	Size		size;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} Secret;

static void
cleanse(void *arg)
{
	Secret	   *secret = arg;

	OPENSSL_cleanse(secret->data, secret->size);
}

/*
 * Allocate zeroed memory for a secret in the current memory context.  When the
 * context is reset or deleted, also after an error, the memory is overwritten.
 * It must not be freed or enlarged before that.  If the context lives long, call
 * secret_cleanse() as soon as the secret has been used.
 */
void *
secret_alloc(Size size)
{
	Secret	   *secret = palloc0(offsetof(Secret, data) + size);

	secret->size = size;
	secret->callback.func = cleanse;
	secret->callback.arg = secret;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &secret->callback);
	return secret->data;
}

/*
 * Overwrite a secret now.  The memory stays allocated.
 */
void
secret_cleanse(void *secret)
{
	cleanse((char *) secret - offsetof(Secret, data));
}

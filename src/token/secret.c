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

/* More of the stack than OpenSSL uses for a signature or a new key. */
#define STACK_SIZE	16384

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

/*
 * Overwrite what functions that have returned left on the stack.  OpenSSL does not
 * always do that: after a signature by ES256 its nonce is there, which together
 * with the signature gives the private key.  Call this where the function of OpenSSL
 * was called.
 */
pg_noinline void
secret_cleanse_stack(void)
{
	char		stack[STACK_SIZE];

	OPENSSL_cleanse(stack, sizeof(stack));
}

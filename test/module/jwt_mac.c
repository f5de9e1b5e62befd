/*-------------------------------------------------------------------------
 *
 * jwt_mac.c
 *	  The EVP_MAC_init() of OpenSSL 3.0.0 to 3.0.2, to be preloaded by the
 *	  dynamic linker: without a key it does nothing, so a context that has given
 *	  out a MAC does not begin a new one.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

#include <openssl/evp.h>

int
EVP_MAC_init(EVP_MAC_CTX *ctx, const unsigned char *key, size_t keylen, const OSSL_PARAM params[])
{
	static int	(*init) (EVP_MAC_CTX *, const unsigned char *, size_t, const OSSL_PARAM *);

	if (key == NULL && params == NULL)
		return 1;
	if (init == NULL)
		init = (int (*) (EVP_MAC_CTX *, const unsigned char *, size_t, const OSSL_PARAM *)) dlsym(RTLD_NEXT, "EVP_MAC_init");
	return init(ctx, key, keylen, params);
}

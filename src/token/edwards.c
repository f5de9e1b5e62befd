/*-------------------------------------------------------------------------
 *
 * edwards.c
 *	  Ed25519 and Ed448 public keys: canonical, on the curve, not of small
 *	  order (RFC 8032 sections 5.1.3 and 5.2.3).
 *
 * OpenSSL accepts any bytes as a key of these curves, and
 * EVP_PKEY_public_check() checks only their number.  With a key of small
 * order, the equation for a signature does not depend on the message.  So
 * signing for such a key needs no private key.
 *
 * Both curves are a x^2 + y^2 = 1 + d x^2 y^2, with another a and d, over the
 * integers modulo a prime p.  A key is y, little-endian, and above it the lowest
 * bit of x.  With u = y^2 - 1 and v = d y^2 - a, the equation is x^2 = u / v, and
 * v is never 0.  So there is an x if u v is a square, and x itself is not needed.
 *
 * A point of small order has the order 1, 2, 4 or 8. For orders 1 and 2, x is
 * 0, and so is u. For order 4, y is 0. Doubling gives y = (y^2 - a x^2) / (2 -
 * y^2 - a x^2). Doubling a point of order 8 gives a point of order 4, so y^2 v
 * - a u = 0.
 *
 * Public keys are not secret, so nothing here needs constant time.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>

#include "token/edwards.h"

#define MAX_SIZE	57

typedef struct Curve
{
	const char *crv;
	const char *p;
	const char *d;
	const char *a;
} Curve;

static const Curve curves[] = {
	{
		"Ed25519",
		"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
		"52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3",
		"-1"
	},
	{
		"Ed448",
		"fffffffffffffffffffffffffffffffffffffffffffffffffffffffe"
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"-98a9",
		"1"
	},
};

static const char not_computed[] = "cannot be checked by the OpenSSL that is loaded";

/*
 * Check a key by the bytes of its y.
 */
static const char *
fault_of_y(const Curve *curve, const uint8 *bytes, int len, BN_CTX *ctx)
{
	BIGNUM	   *p = BN_CTX_get(ctx);
	BIGNUM	   *d = BN_CTX_get(ctx);
	BIGNUM	   *a = BN_CTX_get(ctx);
	BIGNUM	   *y = BN_CTX_get(ctx);
	BIGNUM	   *y2 = BN_CTX_get(ctx);
	BIGNUM	   *u = BN_CTX_get(ctx);
	BIGNUM	   *v = BN_CTX_get(ctx);
	BIGNUM	   *t = BN_CTX_get(ctx);
	int			symbol;

	/* after BN_CTX_get() has failed, it returns only NULL */
	if (t == NULL || !BN_lebin2bn(bytes, len, y) ||
		!BN_hex2bn(&p, curve->p) || !BN_hex2bn(&d, curve->d) || !BN_hex2bn(&a, curve->a))
		return not_computed;
	if (BN_cmp(y, p) >= 0)
		return "is not encoded canonically";

	if (!BN_mod_sqr(y2, y, p, ctx) ||
		!BN_copy(u, y2) || !BN_sub_word(u, 1) ||
		!BN_mul(v, d, y2, ctx) || !BN_sub(v, v, a))
		return not_computed;

	/* y u (y^2 v - a u) */
	if (!BN_mul(t, y2, v, ctx) || !BN_mul(a, a, u, ctx) || !BN_sub(t, t, a) ||
		!BN_mod_mul(t, t, u, p, ctx) || !BN_mod_mul(t, t, y, p, ctx))
		return not_computed;
	if (BN_is_zero(t))
		return "is a point of small order, for which anybody can sign";

	/* p is a prime, so the symbol is 1 for a square and -1 otherwise */
	if (!BN_mod_mul(t, u, v, p, ctx) || (symbol = BN_kronecker(t, p, ctx)) < -1)
		return not_computed;
	return symbol == 1 ? NULL : "is not a point on the curve";
}

/*
 * Check a public key of this curve, which has the right size.  Returns NULL if
 * it is good, else the end of a sentence about the key.  A lack of memory is
 * also reported as a fault, so call this by openssl_retry().
 */
const char *
edwards_fault(const char *crv, const uint8 *key, int len)
{
	const Curve *curve = strcmp(crv, curves[0].crv) == 0 ? &curves[0] : &curves[1];
	const char *fault = not_computed;
	uint8		y[MAX_SIZE];
	BN_CTX	   *ctx = BN_CTX_new();

	Assert(strcmp(crv, curve->crv) == 0 && len <= MAX_SIZE);
	memcpy(y, key, len);
	y[len - 1] &= 0x7f;			/* the bit of x */
	if (ctx != NULL)
	{
		BN_CTX_start(ctx);
		fault = fault_of_y(curve, y, len, ctx);
		BN_CTX_end(ctx);
	}
	BN_CTX_free(ctx);
	return fault;
}

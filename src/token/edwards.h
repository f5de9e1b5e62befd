/*-------------------------------------------------------------------------
 *
 * edwards.h
 *	  Ed25519 and Ed448 public keys: canonical, on the curve, not of small
 *	  order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_EDWARDS_H
#define JWT_EDWARDS_H

#include "postgres.h"

extern const char *edwards_fault(const char *crv, const uint8 *key, int len);

#endif							/* JWT_EDWARDS_H */

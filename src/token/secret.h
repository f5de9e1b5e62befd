/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  Memory for secrets, which is overwritten before it is freed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SECRET_H
#define JWT_SECRET_H

#include "postgres.h"

extern void *secret_alloc(Size size);
extern void secret_cleanse(void *secret);
extern void secret_cleanse_stack(void);

#endif							/* JWT_SECRET_H */

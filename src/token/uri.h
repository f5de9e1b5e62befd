/*-------------------------------------------------------------------------
 *
 * uri.h
 *	  The normal form of an HTTP URI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_URI_H
#define JWT_URI_H

#include "postgres.h"

#include "token/slice.h"

extern char *uri_normal_form(const Slice *uri);

#endif							/* JWT_URI_H */

/*-------------------------------------------------------------------------
 *
 * slice.h
 *	  A part of a string: a pointer and a length.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SLICE_H
#define JWT_SLICE_H

#include "postgres.h"

/*
 * The data is not terminated.  It belongs to another object and lives as long
 * as that object.  An absent string has null data and length 0.
 */
typedef struct Slice
{
	const char *data;
	int			len;
} Slice;

/*
 * The whole of a terminated string.  A null pointer gives an absent string.
 */
static inline Slice
slice_of(const char *string)
{
	Slice		slice = {string, string != NULL ? (int) strlen(string) : 0};

	return slice;
}

/*
 * An absent string equals only an absent one.
 */
static inline bool
slice_equal(const Slice *a, const Slice *b)
{
	if (a->data == NULL || b->data == NULL)
		return a->data == b->data;
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/*
 * The same for a terminated string.
 */
static inline bool
slice_is(const Slice *slice, const char *string)
{
	Slice		other = slice_of(string);

	return slice_equal(slice, &other);
}

#endif							/* JWT_SLICE_H */

/*-------------------------------------------------------------------------
 *
 * slice.h
 *	  A string that is part of something else: where it starts, and its length.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_SLICE_H
#define JWT_SLICE_H

#include "postgres.h"

/*
 * Not terminated, and not owned: it lives as long as what it is a part of.  An
 * absent string has null data and length 0.
 */
typedef struct Slice
{
	const char *data;
	int			len;
} Slice;

/*
 * All of a terminated string; an absent string for a null pointer.
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

#endif							/* JWT_SLICE_H */

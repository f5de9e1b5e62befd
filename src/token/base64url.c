/*-------------------------------------------------------------------------
 *
 * base64url.c
 *	  Strict decoding and encoding of base64url without padding.
 *
 * Strict means that every byte string has exactly one encoding: only the
 * alphabet of RFC 4648 section 5, no padding, and zeros in the unused bits of
 * the last character (section 3.5).
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/base64url.h"

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/*
 * The contribution of each of four characters to their 24 bits, plus a marker
 * bit for each position.  Characters outside the alphabet have no marker.
 */
#define FIRST(value)	((uint32) (value) << 18 | 1 << 24)
#define SECOND(value)	((uint32) (value) << 12 | 1 << 25)
#define THIRD(value)	((uint32) (value) << 6 | 1 << 26)
#define FOURTH(value)	((uint32) (value) | 1 << 27)
#define ALL_MARKS		0xf

#define OF_ALPHABET(V) { \
	['A'] = V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12), \
	V(13), V(14), V(15), V(16), V(17), V(18), V(19), V(20), V(21), V(22), V(23), V(24), V(25), \
	['a'] = V(26), V(27), V(28), V(29), V(30), V(31), V(32), V(33), V(34), V(35), V(36), V(37), V(38), \
	V(39), V(40), V(41), V(42), V(43), V(44), V(45), V(46), V(47), V(48), V(49), V(50), V(51), \
	['0'] = V(52), V(53), V(54), V(55), V(56), V(57), V(58), V(59), V(60), V(61), \
	['-'] = V(62), \
	['_'] = V(63), \
}

static const uint32 values[4][256] = {
	OF_ALPHABET(FIRST), OF_ALPHABET(SECOND), OF_ALPHABET(THIRD), OF_ALPHABET(FOURTH)
};

/*
 * Decode len characters into dst, which has room for
 * base64url_decoded_size(len) bytes.  Returns the number of bytes, or -1 if
 * the text is not strict base64url.
 */
int
base64url_decode(const char *src, int len, uint8 *dst)
{
	const unsigned char *s = (const unsigned char *) src;
	const unsigned char *end = s + (len & ~3);
	uint8	   *d = dst;
	uint32		marks = (uint32) ALL_MARKS << 24;

	while (s < end)
	{
		uint32		v = values[0][s[0]] | values[1][s[1]] | values[2][s[2]] | values[3][s[3]];

		marks &= v;
		d[0] = (uint8) (v >> 16);
		d[1] = (uint8) (v >> 8);
		d[2] = (uint8) v;
		s += 4;
		d += 3;
	}

	if ((len & 3) == 1)
		return -1;
	if ((len & 3) != 0)
	{
		uint32		v = values[0][s[0]] | values[1][s[1]] | FOURTH(0) |
		((len & 3) == 3 ? values[2][s[2]] : THIRD(0));
		uint32		spare = (len & 3) == 3 ? 0xff : 0xffff;

		marks &= v;
		if (v & spare)
			return -1;
		*d++ = (uint8) (v >> 16);
		if ((len & 3) == 3)
			*d++ = (uint8) (v >> 8);
	}

	return marks >> 24 == ALL_MARKS ? (int) (d - dst) : -1;
}

/*
 * Encode len bytes into dst, which has room for base64url_encoded_size(len)
 * characters; no terminator is written.  Returns the number of characters.
 */
int
base64url_encode(const uint8 *src, int len, char *dst)
{
	char	   *d = dst;
	int			i;

	for (i = 0; i + 2 < len; i += 3)
	{
		uint32		v = (uint32) src[i] << 16 | (uint32) src[i + 1] << 8 | src[i + 2];

		*d++ = alphabet[v >> 18];
		*d++ = alphabet[v >> 12 & 0x3f];
		*d++ = alphabet[v >> 6 & 0x3f];
		*d++ = alphabet[v & 0x3f];
	}
	if (len - i == 1)
	{
		*d++ = alphabet[src[i] >> 2];
		*d++ = alphabet[src[i] << 4 & 0x3f];
	}
	else if (len - i == 2)
	{
		*d++ = alphabet[src[i] >> 2];
		*d++ = alphabet[(src[i] << 4 | src[i + 1] >> 4) & 0x3f];
		*d++ = alphabet[src[i + 1] << 2 & 0x3f];
	}
	return (int) (d - dst);
}

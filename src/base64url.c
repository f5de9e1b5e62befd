/*-------------------------------------------------------------------------
 *
 * base64url.c
 *	  Strict decoding and encoding of base64url without padding.
 *
 * Strict means that every byte string has exactly one spelling: the alphabet
 * of RFC 4648 section 5 and nothing else, no padding, and zero bits where the
 * last character has bits to spare (section 3.5).
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "base64url.h"

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/*
 * Value of each character, plus VALID; 0 for a character outside the alphabet.
 * Four values are put together by addition, and the four marks subtracted.
 */
#define VALID	0x40
#define V(value)	(VALID | (value))

static const uint8 value_of[256] = {
	['A'] = V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12),
	V(13), V(14), V(15), V(16), V(17), V(18), V(19), V(20), V(21), V(22), V(23), V(24), V(25),
	['a'] = V(26), V(27), V(28), V(29), V(30), V(31), V(32), V(33), V(34), V(35), V(36), V(37), V(38),
	V(39), V(40), V(41), V(42), V(43), V(44), V(45), V(46), V(47), V(48), V(49), V(50), V(51),
	['0'] = V(52), V(53), V(54), V(55), V(56), V(57), V(58), V(59), V(60), V(61),
	['-'] = V(62),
	['_'] = V(63),
};

#define FOUR_MARKS	((uint32) VALID << 18 | VALID << 12 | VALID << 6 | VALID)

/*
 * Decode len characters into dst, which has room for
 * base64url_decoded_size(len) bytes.  Returns the number of bytes, or -1 when
 * the text is not base64url in its one spelling.
 */
int
base64url_decode(const char *src, int len, uint8 *dst)
{
	const unsigned char *s = (const unsigned char *) src;
	const unsigned char *end = s + (len & ~3);
	uint8	   *d = dst;
	uint32		valid = VALID;

	while (s < end)
	{
		uint32		v0 = value_of[s[0]];
		uint32		v1 = value_of[s[1]];
		uint32		v2 = value_of[s[2]];
		uint32		v3 = value_of[s[3]];
		uint32		v = (v0 << 18) + (v1 << 12) + (v2 << 6) + v3 - FOUR_MARKS;

		valid &= v0 & v1 & v2 & v3;
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
		uint32		v0 = value_of[s[0]];
		uint32		v1 = value_of[s[1]];
		uint32		v2 = (len & 3) == 3 ? value_of[s[2]] : V(0);
		uint32		v = (v0 << 18) + (v1 << 12) + (v2 << 6) + VALID - FOUR_MARKS;
		uint32		spare = (len & 3) == 3 ? 0xff : 0xffff;

		valid &= v0 & v1 & v2;
		if (v & spare)
			return -1;
		*d++ = (uint8) (v >> 16);
		if ((len & 3) == 3)
			*d++ = (uint8) (v >> 8);
	}

	return valid ? (int) (d - dst) : -1;
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

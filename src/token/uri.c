/*-------------------------------------------------------------------------
 *
 * uri.c
 *	  The normal form of an HTTP URI without query and fragment (RFC 3986
 *	  sections 6.2.2 and 6.2.3), for comparisons.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "token/uri.h"

/* RFC 3986 section 2.2.  strchr() would also find the terminator. */
#define is_sub_delimiter(c)	((c) != '\0' && strchr("!$&'()*+,;=", (c)) != NULL)

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static inline bool
is_letter(char c)
{
	return lower(c) >= 'a' && lower(c) <= 'z';
}

static inline bool
is_unreserved(char c)
{
	return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Copy a part of a URI.  It can have unreserved characters, sub-delimiters,
 * escapes, and the characters in others.  An escape of an unreserved character
 * becomes the character; other escapes get capital letters.  Returns the end of
 * the copy, or NULL if there is another character.
 */
static char *
copy_escaped(char *to, const char *from, const char *end, const char *others)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; from < end; from++)
	{
		if (*from == '%')
		{
			int			high = end - from > 2 ? hex_value(from[1]) : -1;
			int			low = end - from > 2 ? hex_value(from[2]) : -1;
			char		c = (char) (high * 16 + low);

			if (high < 0 || low < 0)
				return NULL;
			from += 2;
			if (is_unreserved(c))
				*to++ = c;
			else
			{
				*to++ = '%';
				*to++ = digits[high];
				*to++ = digits[low];
			}
		}
		else if (is_unreserved(*from) || is_sub_delimiter(*from) ||
				 (*from != '\0' && strchr(others, *from) != NULL))
			*to++ = *from;
		else
			return NULL;
	}
	return to;
}

/*
 * Copy a host in small letters, except for escapes (RFC 3986 section 3.2.2).
 * Returns the end of the copy, or NULL if it is not a host.
 */
static char *
copy_host(char *to, const char *host, const char *end)
{
	char	   *start = to;

	if (host == end)
		return NULL;
	if (*host == '[')
	{
		if (end[-1] != ']' || end - host < 4)
			return NULL;
		for (const char *c = host + 1; c < end - 1; c++)
			if (hex_value(*c) < 0 && *c != ':' && *c != '.')
				return NULL;
		memcpy(to, host, end - host);
		to += end - host;
	}
	else if ((to = copy_escaped(to, host, end, "")) == NULL)
		return NULL;
	for (char *c = start; c < to; c++)
	{
		if (*c == '%')
			c += 2;
		else
			*c = lower(*c);
	}
	return to;
}

/*
 * Remove "." and ".." from a path in place (RFC 3986 section 5.2.4).  The path
 * begins with a slash.  Returns its new end.
 */
static char *
remove_dots(char *path, const char *end)
{
	char	   *to = path;
	const char *segment = path;

	while (segment < end)
	{
		const char *next = memchr(segment + 1, '/', end - segment - 1);
		int			len;
		bool		one;
		bool		two;

		if (next == NULL)
			next = end;
		len = (int) (next - segment);
		one = len == 2 && segment[1] == '.';
		two = len == 3 && segment[1] == '.' && segment[2] == '.';
		if (two && to > path)
			while (*--to != '/')
				;
		if (!one && !two)
		{
			memmove(to, segment, len);
			to += len;
		}
		else if (next == end)
			*to++ = '/';
		segment = next;
	}
	return to;
}

/*
 * The normal form of an absolute http or https URI, palloc'd.  NULL if it is
 * not such a URI, or contains a user.
 */
char *
uri_normal_form(const Slice *uri)
{
	const char *from = uri->data;
	const char *end = from + uri->len;
	char	   *result = palloc(uri->len + 2);
	char	   *to = result;
	char	   *path;
	const char *authority;
	const char *host_end;
	const char *port;
	bool		is_https;

	/* omit the query and the fragment */
	for (const char *c = from; c < end; c++)
		if (*c == '?' || *c == '#')
			end = c;

	is_https = end - from > 8 && pg_strncasecmp(from, "https://", 8) == 0;
	if (!is_https && !(end - from > 7 && pg_strncasecmp(from, "http://", 7) == 0))
		return NULL;
	authority = from + (is_https ? 8 : 7);
	for (; *from != '/'; from++)
		*to++ = lower(*from);
	*to++ = '/';
	*to++ = '/';

	from = memchr(authority, '/', end - authority);
	if (from == NULL)
		from = end;
	host_end = from;
	while (host_end > authority && is_digit(host_end[-1]))
		host_end--;
	port = host_end;
	if (host_end > authority && host_end[-1] == ':')
		host_end--;
	else
		host_end = port = from;
	if ((to = copy_host(to, authority, host_end)) == NULL)
		return NULL;
	if (port < from && !(from - port == (is_https ? 3 : 2) &&
						 memcmp(port, is_https ? "443" : "80", from - port) == 0))
	{
		*to++ = ':';
		memcpy(to, port, from - port);
		to += from - port;
	}

	path = to;
	if (from == end)
		*to++ = '/';
	else if ((to = copy_escaped(to, from, end, ":@/")) == NULL)
		return NULL;
	to = remove_dots(path, to);
	*to = '\0';
	return result;
}

/*-------------------------------------------------------------------------
 *
 * address.c
 *	  The allowed hosts and addresses.
 *
 * The owner of a database can store a URL, and the server fetches it.  This
 * must not give the owner access to the server's network, so a superuser lists
 * the allowed hosts.  The list has patterns separated by commas: a host name,
 * "*.suffix" or "*", with a port after a colon unless it is 443.  The port "*"
 * means any port.  A host that is allowed only by a pattern with "*" is
 * contacted at public addresses only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "fetcher/address.h"

#define DEFAULT_PORT	443
#define ANY_PORT		0

/* One pattern of the list; the strings are not terminated. */
typedef struct Pattern
{
	const char *host;
	int			len;
	int			port;
} Pattern;

/*
 * Read the next pattern of a list, and advance the list.  Returns false at its
 * end.  An invalid pattern has no host.
 */
static bool
next_pattern(const char **list, Pattern *pattern)
{
	const char *start = *list;
	const char *end;
	const char *colon;

	while (*start == ' ' || *start == ',')
		start++;
	if (*start == '\0')
		return false;
	end = start + strcspn(start, ",");
	*list = end;
	while (end[-1] == ' ')
		end--;

	pattern->host = start;
	pattern->port = DEFAULT_PORT;
	for (colon = end; colon > start && colon[-1] != ':' && colon[-1] != ']';)
		colon--;
	if (colon > start && colon[-1] == ':')
	{
		if (end - colon == 1 && *colon == '*')
			pattern->port = ANY_PORT;
		else
		{
			pattern->port = 0;
			for (const char *p = colon; p < end && pattern->port < 65536; p++)
				pattern->port = *p < '0' || *p > '9' ? 65536 : pattern->port * 10 + (*p - '0');
			if (colon == end || pattern->port == 0 || pattern->port > 65535)
				pattern->host = NULL;
		}
		end = colon - 1;
	}
	pattern->len = (int) (end - start);

	/* only the first label can be "*" */
	if (pattern->len == 0 ||
		memchr(start + 1, '*', pattern->len - 1) != NULL ||
		(start[0] == '*' && pattern->len > 1 && start[1] != '.') ||
		memchr(start, ' ', pattern->len) != NULL || memchr(start, '/', pattern->len) != NULL)
		pattern->host = NULL;
	return true;
}

/*
 * Is this a list of patterns?
 */
bool
address_check_list(const char *list, char **reason)
{
	Pattern		pattern;

	while (next_pattern(&list, &pattern))
		if (pattern.host == NULL)
		{
			*reason = "Accepted are host names, \"*.suffix\" and \"*\", each with \":port\" or \":*\" where the port is not 443, separated by commas.";
			return false;
		}
	return true;
}

static bool
matches(const Pattern *pattern, const char *host, int port)
{
	int			len = (int) strlen(host);

	if (pattern->host == NULL || (pattern->port != ANY_PORT && pattern->port != port))
		return false;
	if (pattern->len == 1 && pattern->host[0] == '*')
		return true;
	if (pattern->host[0] == '*')
		return len > pattern->len - 1 &&
			pg_strncasecmp(host + len - (pattern->len - 1), pattern->host + 1, pattern->len - 1) == 0;
	return len == pattern->len && pg_strncasecmp(host, pattern->host, len) == 0;
}

/*
 * Is this host of a URL allowed?
 */
HostPermission
address_host_permission(const char *list, const char *host, int port)
{
	HostPermission permission = HOST_FORBIDDEN;
	Pattern		pattern;

	while (next_pattern(&list, &pattern))
	{
		if (!matches(&pattern, host, port))
			continue;
		if (pattern.host != NULL && pattern.host[0] != '*')
			return HOST_AT_ANY_ADDRESS;
		permission = HOST_AT_PUBLIC_ADDRESS;
	}
	return permission;
}

/*
 * IPv4 networks that are not the public Internet (the IANA registry of special
 * purpose addresses, RFC 6890 and later), cloud metadata among them.
 */
static const struct
{
	uint32		network;
	int			bits;
}			special_ipv4[] = {
	{0x00000000, 8},			/* this network */
	{0x0a000000, 8},			/* private */
	{0x64400000, 10},			/* shared by carriers; metadata of some clouds */
	{0x7f000000, 8},			/* loopback */
	{0xa9fe0000, 16},			/* link local; metadata */
	{0xac100000, 12},			/* private */
	{0xc0000000, 24},			/* IETF protocol assignments; metadata */
	{0xc0000200, 24},			/* documentation */
	{0xc0586300, 24},			/* 6to4 relays */
	{0xc0a80000, 16},			/* private */
	{0xc6120000, 15},			/* benchmarks */
	{0xc6336400, 24},			/* documentation */
	{0xcb007100, 24},			/* documentation */
	{0xe0000000, 3},			/* multicast and reserved */
	{0xa83f8110, 32},			/* metadata of Azure, 168.63.129.16 */
};

static bool
ipv4_is_public(uint32 address)
{
	for (int i = 0; i < (int) lengthof(special_ipv4); i++)
		if ((address >> (32 - special_ipv4[i].bits)) ==
			(special_ipv4[i].network >> (32 - special_ipv4[i].bits)))
			return false;
	return true;
}

/* The last four bytes of an IPv6 address that embeds an IPv4 one. */
static uint32
embedded_ipv4(const uint8 *bytes)
{
	return (uint32) bytes[12] << 24 | (uint32) bytes[13] << 16 | (uint32) bytes[14] << 8 | bytes[15];
}

static bool
is_ipv4_mapped(const uint8 *bytes)
{
	static const uint8 prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	return memcmp(bytes, prefix, sizeof(prefix)) == 0;
}

static bool
ipv6_is_public(const uint8 *bytes)
{
	static const uint8 nat64[12] = {0x00, 0x64, 0xff, 0x9b};

	if (is_ipv4_mapped(bytes) || memcmp(bytes, nat64, sizeof(nat64)) == 0)
		return ipv4_is_public(embedded_ipv4(bytes));
	if ((bytes[0] & 0xe0) != 0x20)
		return false;			/* not global unicast */
	if (bytes[0] == 0x20 && bytes[1] == 0x01 &&
		((bytes[2] & 0xfe) == 0x00 || (bytes[2] == 0x0d && bytes[3] == 0xb8)))
		return false;			/* protocol assignments, Teredo; documentation */
	if (bytes[0] == 0x20 && bytes[1] == 0x02)
		return false;			/* 6to4 */
	if (bytes[0] == 0x3f && bytes[1] == 0xff && (bytes[2] & 0xf0) == 0)
		return false;			/* documentation */
	return true;
}

/*
 * Is it an address of the public Internet?  An unknown kind of address is not.
 */
bool
address_is_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ipv4_is_public(ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return ipv6_is_public(((const struct sockaddr_in6 *) address)->sin6_addr.s6_addr);
	return false;
}

/*
 * Is it a loopback address?
 */
bool
address_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr) >> 24 == 127;
	if (address->sa_family == AF_INET6)
	{
		const uint8 *bytes = ((const struct sockaddr_in6 *) address)->sin6_addr.s6_addr;

		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *) address)->sin6_addr) ||
			(is_ipv4_mapped(bytes) && bytes[12] == 127);
	}
	return false;
}

/*-------------------------------------------------------------------------
 *
 * jwt_net.c
 *	  A clock, a resolver and routes under control of a test, to be
 *	  preloaded by the dynamic linker. Sockets and TLS are real.
 *
 * The folder JWT_NET has three files. "clock" has seconds that are added to
 * the time of day.  Each line of "hosts" has a name, the delay of the answer
 * in milliseconds, and addresses.  If a name has several lines, lookups return
 * them in turn. libc resolves all other names.  Each line of "routes" has two
 * IPv4 addresses: a connection to the first reaches the second.  Each lookup
 * of a name in "hosts" adds a line to "lookups".
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Open a file of the folder; -1 if there is none. */
static int
open_file(const char *name, int flags)
{
	const char *folder = getenv("JWT_NET");
	char		path[1024];

	if (folder == NULL || snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int) sizeof(path))
		return -1;
	return open(path, flags | O_CLOEXEC, 0600);
}

/* Read a file, terminated. Returns its length, 0 if there is none. */
static int
read_file(const char *name, char *text, int size)
{
	int			fd = open_file(name, O_RDONLY);
	int			n;

	text[0] = '\0';
	if (fd < 0)
		return 0;
	n = (int) read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	static int	(*real) (struct timeval *restrict, void *restrict);
	char		offset[32];
	int			result;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "gettimeofday");
	result = real(tv, zone);
	if (read_file("clock", offset, sizeof(offset)) > 0)
		tv->tv_sec += atol(offset);
	return result;
}

/*
 * The number of earlier lookups of a name; adds this one.  Separate queries
 * for both kinds of addresses count as one lookup.
 */
static int
count_lookup(const char *name, bool add)
{
	char		lookups[65536];
	char	   *rest = lookups;
	char	   *line;
	int			n = 0;
	int			fd;

	read_file("lookups", lookups, sizeof(lookups));
	while ((line = strsep(&rest, "\n")) != NULL)
		n += strcmp(line, name) == 0;
	if (add && (fd = open_file("lookups", O_WRONLY | O_CREAT | O_APPEND)) >= 0)
	{
		dprintf(fd, "%s\n", name);
		close(fd);
	}
	return n;
}

int
getaddrinfo(const char *restrict node, const char *restrict service,
			const struct addrinfo *restrict hints, struct addrinfo **restrict answer)
{
	static int	(*real) (const char *restrict, const char *restrict,
						 const struct addrinfo *restrict, struct addrinfo **restrict);
	struct addrinfo **end = answer;
	char		hosts[4096];
	char	   *rest = hosts;
	char	   *line;
	char	   *of_name[8];
	int			n = 0;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node == NULL || read_file("hosts", hosts, sizeof(hosts)) <= 0)
		return real(node, service, hints, answer);
	while ((line = strsep(&rest, "\n")) != NULL)
		if (strcmp(strsep(&line, " "), node) == 0 && line != NULL && n < 8)
			of_name[n++] = line;
	if (n == 0)
		return real(node, service, hints, answer);
	line = of_name[count_lookup(node, hints == NULL || hints->ai_family != AF_INET6) % n];
	usleep((useconds_t) atol(strsep(&line, " ")) * 1000);
	*answer = NULL;
	while ((node = strsep(&line, " ")) != NULL)
		if (real(node, service, hints, end) == 0)
			while (*end != NULL)
				end = &(*end)->ai_next;
	return *answer ? 0 : EAI_NONAME;
}

int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
	static int	(*real) (int, const struct sockaddr *, socklen_t);
	struct sockaddr_in to;
	char		routes[1024];
	char	   *rest = routes;
	char	   *line;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "connect");
	if (address->sa_family != AF_INET || len != sizeof(to) || read_file("routes", routes, sizeof(routes)) <= 0)
		return real(fd, address, len);
	memcpy(&to, address, sizeof(to));
	while ((line = strsep(&rest, "\n")) != NULL)
		if (inet_addr(strsep(&line, " ")) == to.sin_addr.s_addr && line != NULL)
		{
			to.sin_addr.s_addr = inet_addr(line);
			break;
		}
	return real(fd, (const struct sockaddr *) &to, len);
}

/*-------------------------------------------------------------------------
 *
 * jwt_net.c
 *	  A clock and a resolver that a test sets, to be preloaded by the dynamic
 *	  linker.  They stand in for nothing else: sockets and TLS are real.
 *
 * The folder JWT_NET has a file "clock" with seconds that are added to the time
 * of day, and "hosts" with lines of a name, the milliseconds that the answer takes,
 * and addresses.  Names that are not there are libc's business.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* Read a file of the folder, terminated; its length, 0 when it has none. */
static int
read_file(const char *name, char *text, int size)
{
	const char *folder = getenv("JWT_NET");
	char		path[1024];
	int			fd;
	int			n;

	text[0] = '\0';
	if (folder == NULL || snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int) sizeof(path) ||
		(fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
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

int
getaddrinfo(const char *restrict node, const char *restrict service,
			const struct addrinfo *restrict hints, struct addrinfo **restrict answer)
{
	static int	(*real) (const char *restrict, const char *restrict,
						 const struct addrinfo *restrict, struct addrinfo **restrict);
	char		hosts[4096];
	char	   *rest = hosts;
	char	   *line;

	if (real == NULL)
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (node == NULL || read_file("hosts", hosts, sizeof(hosts)) <= 0)
		return real(node, service, hints, answer);
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		struct addrinfo **end = answer;
		char	   *name = strsep(&line, " ");
		char	   *delay = strsep(&line, " ");
		char	   *address;

		if (delay == NULL || strcmp(name, node) != 0)
			continue;
		usleep((useconds_t) atol(delay) * 1000);
		*answer = NULL;
		while ((address = strsep(&line, " ")) != NULL)
			if (real(address, service, hints, end) == 0)
				while (*end != NULL)
					end = &(*end)->ai_next;
		return *answer ? 0 : EAI_NONAME;
	}
	return real(node, service, hints, answer);
}

/*-------------------------------------------------------------------------
 *
 * address.h
 *	  The allowed hosts and addresses.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_ADDRESS_H
#define JWT_JWKS_ADDRESS_H

#include "postgres.h"

#include <sys/socket.h>

typedef enum HostPermission
{
	HOST_FORBIDDEN,
	HOST_AT_PUBLIC_ADDRESS,		/* allowed by a pattern */
	HOST_AT_ANY_ADDRESS			/* listed by name */
} HostPermission;

extern bool address_check_list(const char *list, char **reason);
extern HostPermission address_host_permission(const char *list, const char *host, int port);
extern bool address_is_public(const struct sockaddr *address);
extern bool address_is_loopback(const struct sockaddr *address);

#endif							/* JWT_JWKS_ADDRESS_H */

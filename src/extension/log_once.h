/*-------------------------------------------------------------------------
 *
 * log_once.h
 *	  The interface by which jwt_auth logs a message once, when a worker of
 *	  jwt_jwks calls it again and again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_LOG_ONCE_H
#define JWT_LOG_ONCE_H

#include "postgres.h"

/*
 * The rendezvous variable with a LogOnce in a worker of jwt_jwks, and NULL
 * elsewhere.  It returns whether a message with this hash is new.
 */
#define LOG_ONCE_RENDEZVOUS	"jwt_jwks log once"

typedef bool (*LogOnce) (uint64 hash);

#endif							/* JWT_LOG_ONCE_H */

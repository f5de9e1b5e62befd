/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that starts a worker for each database that has work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_LAUNCHER_H
#define JWT_JWKS_LAUNCHER_H

extern void launcher_register(void);

#endif							/* JWT_JWKS_LAUNCHER_H */

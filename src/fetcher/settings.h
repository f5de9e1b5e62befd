/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings of jwt_jwks, by which a superuser limits it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_SETTINGS_H
#define JWT_JWKS_SETTINGS_H

#include "postgres.h"

#include "fetcher/fetch.h"

extern void settings_init(void);
extern bool settings_serve_database(const char *name);
extern void settings_reload(void);
extern const FetchLimits *settings_fetch_limits(void);
extern int	settings_cooldown_ms(void);

#endif							/* JWT_JWKS_SETTINGS_H */

/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The entry point of jwt_jwks, the library that fetches key sets.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "fetcher/launcher.h"
#include "fetcher/settings.h"
#include "fetcher/shared.h"
#include "miscadmin.h"

/* before the macro, which does not export it in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt_jwks");

extern JWT_EXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_init();
	if (process_shared_preload_libraries_in_progress)
	{
		shared_init();
		launcher_register();
	}
}

/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The entry point of jwt_jwks, the library that fetches key sets.
 *
 *-------------------------------------------------------------------------
 */
#include "../compat.h"

#include "launcher.h"
#include "miscadmin.h"
#include "settings.h"
#include "shared.h"

/* before the macro, which does not make it visible in every version */
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

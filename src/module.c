/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The library's entry point.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "miscadmin.h"
#include "session/replay.h"
#include "session/session.h"
#include "token/jws.h"
#include "trust/refresh.h"
#include "trust/catalog.h"
#include "trust/key_cache.h"
#include "utils/guc.h"

/* before the macro, which does not export it in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt");

extern JWT_EXPORT void _PG_init(void);

/*
 * Initialise all files.  Each defines its settings last, because a setting
 * cannot be defined twice.
 */
static void (*const inits[]) (void) =
{
	jws_init, catalog_init, key_cache_init, verify_init, verify_cache_init,
		replay_init, confirmation_init, session_init, refresh_init
};

/*
 * If this raises an error for lack of memory, the library stays loaded, and the
 * next call of one of its functions runs this again.
 */
void
_PG_init(void)
{
	static int	done;

	for (; done < (int) lengthof(inits); done++)
		inits[done] ();
	if (process_shared_preload_libraries_in_progress)
		jws_warm_up();
	MarkGUCPrefixReserved("jwt");
}

/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The library's entry point.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "miscadmin.h"
#include "session/session.h"
#include "token/jws.h"
#include "trust/refresh.h"
#include "trust/catalog.h"
#include "trust/key_cache.h"
#include "utils/guc.h"

/* before the macro, which does not make it visible in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt");

extern JWT_EXPORT void _PG_init(void);

/*
 * What the rooms have to be told.  Their settings come last in each, as they
 * cannot be defined twice.
 */
static void (*const inits[]) (void) =
{
	jws_init, catalog_init, key_cache_init, verify_init, verify_cache_init, session_init, refresh_init
};

/*
 * An error, for lack of memory, leaves the library where it is, and the next call
 * of one of its functions begins here again.
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

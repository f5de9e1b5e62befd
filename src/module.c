/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The library's entry point.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "jws.h"
#include "miscadmin.h"
#include "refresh.h"
#include "revocation.h"
#include "session.h"
#include "trust.h"
#include "utils/guc.h"

/* before the macro, which does not make it visible in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt");

extern JWT_EXPORT void _PG_init(void);

void
_PG_init(void)
{
	jws_init();
	if (process_shared_preload_libraries_in_progress)
		jws_warm_up();
	trust_init();
	revocation_init();
	verify_init();
	verify_cache_init();
	session_init();
	refresh_init();
	MarkGUCPrefixReserved("jwt");
}

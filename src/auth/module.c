/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The entry point of the library jwt_auth.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/key_file.h"
#include "auth/session.h"
#include "auth/signing_key.h"
#include "auth/tables.h"
#include "token/jws.h"
#include "utils/guc.h"

/* before the macro, which does not export it in every version */
extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt_auth");

extern JWT_EXPORT void _PG_init(void);

/*
 * Initialise all files.  Each defines its settings last, because a setting
 * cannot be defined twice.
 */
static void (*const inits[]) (void) =
{
	jws_init, key_file_init, tables_init, signing_key_init, session_init
};

/*
 * After an error, for lack of memory, the library stays loaded, and the next
 * call of one of its functions runs this again.
 */
void
_PG_init(void)
{
	static int	done;

	for (; done < (int) lengthof(inits); done++)
		inits[done] ();
	MarkGUCPrefixReserved("jwt_auth");
}

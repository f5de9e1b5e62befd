/*-------------------------------------------------------------------------
 *
 * key_command.h
 *	  The output of the command that prints the key file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_AUTH_KEY_COMMAND_H
#define JWT_AUTH_KEY_COMMAND_H

#include "postgres.h"

extern void key_command_init(void);
extern void key_command_assign(const char *command, void *extra);
extern bool key_command_is_supported(void);
extern int	key_command_output(char *text);

#endif							/* JWT_AUTH_KEY_COMMAND_H */

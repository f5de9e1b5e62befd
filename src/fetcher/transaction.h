/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  The transactions of workers in a database. They act as
 *	  pg_database_owner, with tables and functions of the extension only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_JWKS_TRANSACTION_H
#define JWT_JWKS_TRANSACTION_H

#include "postgres.h"

extern bool transaction_begin(void);
extern void transaction_commit(void);
extern void transaction_execute(const char *format, int expected,
								int n, Oid *types, Datum *values, const char *nulls);
extern Datum transaction_column(int row, int column, Oid type, bool *isnull);
extern char *transaction_copy_text(int row, int column, bool null_ok);
extern bool transaction_is_subscribed(const char *table);
extern Oid	transaction_find_function(const char *name, int n, const Oid *types);
extern Oid	transaction_find_auth_function(const char *name);
extern char *transaction_attempt(void (*function) (void *), void *arg);

#endif							/* JWT_JWKS_TRANSACTION_H */

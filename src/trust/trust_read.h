/*-------------------------------------------------------------------------
 *
 * trust_read.h
 *	  Finding the tables of issuers and keys, and reading their rows.
 *
 * For those who remember what was read, and who check what is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRUST_READ_H
#define JWT_TRUST_READ_H

#include "postgres.h"

#include "trust.h"
#include "utils/array.h"
#include "utils/rel.h"

extern bool trust_read_knows_tables(void);
extern bool trust_read_is_issuer_table(Oid relid);
extern bool trust_read_is_key_table(Oid relid);
extern bool trust_read_is_invalidated(void);
extern void trust_read_forget_tables(void);
extern void trust_read_find_tables(void);
extern Oid	trust_read_find_table(const char *name);
extern Oid	trust_read_find_index(Relation rel, AttrNumber first, AttrNumber second);
extern bool trust_read_always_fires(Oid table, const char *name);
extern bool trust_find_flags(TupleDesc desc, AttrNumber flags[2]);
extern bool trust_read_knows_revocations(void);
extern Oid	trust_read_find_function(const char *name, int n, const Oid *types);
extern TrustIssuer *trust_read_issuer_row(const JwsString *name);
extern void trust_read_answer(const TrustQuestion *question, TrustAnswer *answer);
extern TrustRevokedKeys trust_read_revoked_rows(const JwsString *issuer);
extern int	trust_read_count(const JwsString *issuer);
extern bool trust_issuer_allows(const TrustIssuer *issuer, const Algorithm *algorithm);
extern char **trust_text_array(ArrayType *array, int *n);
extern int64 trust_interval_usec(const Interval *interval);

#endif							/* JWT_TRUST_READ_H */

/*-------------------------------------------------------------------------
 *
 * trust.h
 *	  The keys and the policy by which a token is judged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRUST_H
#define JWT_TRUST_H

#include "postgres.h"

#include "trust/trust_read.h"

extern void trust_init(void);

extern uint64 trust_generation(void);
extern const TrustAnswer *trust_find_keys(const TrustQuestion *question);
extern TrustIssuer *trust_read_issuer(const char *name, int len);
extern TrustRevokedKeys trust_read_revoked_keys(const TrustIssuer *issuer);
extern void trust_table_changed(Oid relid);
extern bool trust_is_issuer_table(Oid relid);
extern bool trust_is_key_table(Oid relid);
extern Oid	trust_find_function(const char *name, int n, const Oid *types);

#endif							/* JWT_TRUST_H */

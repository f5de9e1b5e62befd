/*-------------------------------------------------------------------------
 *
 * write.h
 *	  Rows that C code inserts into the extension's tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_WRITE_H
#define JWT_WRITE_H

#include "postgres.h"

#include "trust/catalog.h"
#include "trust/revocation.h"
#include "utils/timestamp.h"

extern void write_require(const char *function);
extern void write_require_with_hint(const char *function, const char *hint);
extern Datum write_new_id(void);
extern void write_insert(TrustTable table, Datum *values, bool *nulls);
extern void write_revocation(RevocationKind kind, const Slice *issuer, const Slice *value,
							 TimestampTz issued_before, TimestampTz expires_at, const Slice *reason);
extern bool write_is_revoked(RevocationKind kind, const Slice *issuer, const Slice *value,
							 TimestampTz issued_before, TimestampTz until);

#endif							/* JWT_WRITE_H */

/*-------------------------------------------------------------------------
 *
 * write.h
 *	  Rows that C code writes into the extension's tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_WRITE_H
#define JWT_WRITE_H

#include "postgres.h"

#include "trust/catalog.h"
#include "trust/revocation.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

extern void write_insert(TrustTable table, const Datum *values, const bool *nulls);
extern bool write_key_end(const pg_uuid_t *id, TimestampTz not_after);
extern bool write_key_delete(const pg_uuid_t *id, TimestampTz ended_before);
extern void write_revocation(RevocationKind kind, const Slice *issuer, const Slice *value,
							 TimestampTz issued_before, TimestampTz expires_at, const Slice *reason);
extern bool write_is_revoked(RevocationKind kind, const Slice *issuer, const Slice *value,
							 TimestampTz issued_before, TimestampTz until);

#endif							/* JWT_WRITE_H */

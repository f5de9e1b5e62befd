/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  Rows of jwt_issuer and jwt_key as C structs, and the reason why a row
 *	  cannot be used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_ROWS_H
#define JWT_ROWS_H

#include "postgres.h"

#include "access/genam.h"
#include "token/claims.h"
#include "token/jws.h"
#include "trust/catalog.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* A row of jwt_issuer. */
typedef struct TrustIssuer
{
	ClaimsPolicy policy;		/* of access tokens */
	ClaimsPolicy events;		/* of events */
	int			n_algorithms;
	char	  **algorithms;
	char	   *role_claim;		/* or NULL */
	int			n_roles;
	char	  **roles;			/* that role_claim may name */
	int64		session_lifetime;	/* in microseconds */
	bool		event_without_exp;
	int			n_events_for;
	char	  **events_for;		/* other issuers whose subjects its events may
								 * name */
	bool		event_opaque_is_sub;
	bool		confirms_elsewhere; /* confirmation is gateway */
	char	   *unusable;		/* why it verifies nothing: a sentence, or
								 * NULL */
} TrustIssuer;

/* A row of jwt_key, without an OpenSSL key. */
typedef struct KeyRow
{
	pg_uuid_t	id;
	char	   *issuer;			/* or NULL */
	char	   *kid;			/* or NULL */
	char	   *alg;			/* or NULL */
	char	   *source;			/* or NULL */
	TimestampTz not_before;		/* DT_NOBEGIN when open */
	TimestampTz not_after;		/* DT_NOEND when open */
	TimestampTz retired_at;		/* DT_NOEND when not retired */
	TimestampTz created_at;
	Jsonb	   *jsonb;
	Jwk			jwk;			/* valid if unusable is NULL or the fit failed */
	bool		jwk_read;		/* jwk has been filled in */
	const Algorithm *algorithm; /* the meaning of alg for this key, or NULL */
	char	   *unusable;		/* why it verifies nothing: a sentence, or
								 * NULL */
	bool		disallowed;		/* the issuer is the reason */
} KeyRow;

/* A scan over rows of a table. */
typedef struct RowScan
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;			/* the current row */
} RowScan;

extern RowScan rows_begin(TrustTable table, TrustIndex index,
						  AttrNumber first, const Slice *first_value,
						  AttrNumber second, const Slice *second_value);
extern bool rows_next(RowScan *scan);
extern void rows_end(RowScan *scan);
extern Datum rows_column(const RowScan *scan, AttrNumber column, bool *isnull);
extern char *rows_text(const RowScan *scan, AttrNumber column);
extern TimestampTz rows_time(const RowScan *scan, AttrNumber column, TimestampTz null_value);

extern TrustIssuer *rows_read_issuer(const Datum *values, const bool *nulls);
extern TrustIssuer *rows_find_issuer(const char *name, int len);
extern TrustIssuer *rows_current_issuer(const RowScan *scan);
extern bool rows_issuer_allows(const TrustIssuer *issuer, const Algorithm *algorithm);
extern char *rows_show_algorithms(const TrustIssuer *issuer);
extern void rows_read_key(const RowScan *scan, KeyRow *key);
extern void rows_check_key(KeyRow *key, const TrustIssuer *issuer);
extern void rows_try_key(KeyRow *key);
extern void rows_check_key_fully(KeyRow *key);
extern bool rows_uri_has_user(const char *uri);
extern char *rows_thumbprint(const Jwk *jwk);
extern char *rows_missing_roles(const TrustIssuer *issuer);
extern char *rows_check_source(const char *uri, const Interval *refresh_interval, const Interval *grace);

#endif							/* JWT_ROWS_H */

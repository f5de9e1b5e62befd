/*-------------------------------------------------------------------------
 *
 * verify_cache.h
 *	  The tokens that this backend has verified.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_VERIFY_CACHE_H
#define JWT_VERIFY_CACHE_H

#include "postgres.h"

#include "session/request.h"
#include "trust/key_cache.h"
#include "trust/revocation.h"

/* For jwt_cache(). */
typedef struct CacheStatistics
{
	int64		entries;
	int64		bytes;
	int64		hits;
	int64		misses;
	int64		evictions;
	int64		invalidations;	/* how often all entries were dropped */
} CacheStatistics;

extern void verify_cache_init(void);
extern bool verify_cache_find(const VerifyRequest *request, VerifiedClaims *verified);
extern void verify_cache_add(const VerifyRequest *request, uint64 generation,
							 const TrustKey *key, const ClaimsTimes *times,
							 uint64 not_revoked, VerifiedClaims *verified);
extern void verify_cache_statistics(CacheStatistics *statistics);

#endif							/* JWT_VERIFY_CACHE_H */

/*-------------------------------------------------------------------------
 *
 * key_cache.h
 *	  The keys that may have signed a token, ready to verify.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_KEY_CACHE_H
#define JWT_KEY_CACHE_H

#include "postgres.h"

#include "trust/rows.h"

/* Keys that are tried for a token at most: of one issuer, and of all. */
#define MAX_KEYS_OF_ISSUER	8
#define MAX_KEYS			64

/* Which keys may have signed a token?  A string with null data was not given. */
typedef struct KeyLookup
{
	Slice		issuer;			/* from the caller, never from the token */
	Slice		kid;
	Slice		alg;
} KeyLookup;

/* A key that can verify. */
typedef struct TrustKey
{
	const TrustIssuer *issuer;
	char	   *kid;			/* or NULL */
	const Algorithm *algorithm; /* its pin */
	JwsVerifier *verifier;
	char	   *thumbprint;
	bool		published;		/* it came from its issuer's key set */
	TimestampTz not_before;		/* DT_NOBEGIN when open */
	TimestampTz not_after;		/* DT_NOEND when open */
	TimestampTz revoked_at;		/* of a revoked key */
} TrustKey;

/*
 * How far a key came that cannot verify: the further, the more it says to whoever
 * wonders.
 */
typedef enum KeyFault
{
	KEY_ABSENT,					/* there is no row */
	KEY_NOT_YET,				/* its window has not opened */
	KEY_NO_LONGER,				/* its window has closed */
	KEY_UNUSABLE,				/* see TrustKey's why */
	KEY_OF_OTHER_ALGORITHM,
	KEY_NOT_ALLOWED				/* the issuer does not name its algorithm */
} KeyFault;

/*
 * The keys that can verify at a time, and when there is none, why the one that
 * came furthest cannot.  keys are at most MAX_KEYS.
 */
typedef struct KeyLookupResult
{
	uint64		denylist_generation;	/* for which none of the keys is
										 * revoked */
	int			n_keys;
	TrustKey   *keys;
	int			n_revoked;		/* at most MAX_KEYS_OF_ISSUER are kept */
	TrustKey   *revoked;
	bool		too_many;		/* some were left out, see the limits */
	bool		doubtful;		/* OpenSSL has failed: not to be remembered */

	KeyFault	fault;			/* of a row, when there is no key */
	char	   *fault_issuer;	/* of that row, or NULL */
	char	   *fault_kid;		/* of that row, or NULL */
	char	   *fault_why;		/* a sentence, for KEY_UNUSABLE */
	const Algorithm *fault_algorithm;
	TimestampTz fault_time;
} KeyLookupResult;

extern void key_cache_init(void);
extern const KeyLookupResult *key_cache_find(const KeyLookup *lookup, TimestampTz at);
extern int	key_cache_count(const Slice *issuer, int limit);

#endif							/* JWT_KEY_CACHE_H */

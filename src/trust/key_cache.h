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

/*
 * The maximal number of keys that are tried for a token: of one issuer, and in
 * total.
 */
#define MAX_KEYS_OF_ISSUER	8
#define MAX_KEYS			64

/*
 * The question which keys may have signed a token.  A string with null data
 * was not given.
 */
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
	const Algorithm *algorithm; /* the algorithm it is pinned to */
	JwsVerifier *verifier;
	char	   *thumbprint;
	bool		published;		/* from the issuer's key set */
	TimestampTz not_before;		/* DT_NOBEGIN when open */
	TimestampTz not_after;		/* DT_NOEND when open */
	TimestampTz revoked_at;		/* if the key is revoked */
} TrustKey;

/*
 * The reasons why no key can verify, the most helpful one last.
 */
typedef enum KeyFault
{
	KEY_ABSENT,					/* no row */
	KEY_NOT_YET,				/* the window is in the future */
	KEY_NO_LONGER,				/* the window is in the past */
	KEY_UNUSABLE,				/* see fault_why */
	KEY_OF_OTHER_ALGORITHM,
	KEY_NOT_ALLOWED				/* the issuer does not allow the algorithm */
} KeyFault;

/*
 * The keys that can verify at a time; at most MAX_KEYS.  If there is none, the
 * most helpful reason why a row cannot verify.
 */
typedef struct KeyLookupResult
{
	uint64		denylist_generation;	/* in which no key is revoked */
	int			n_keys;
	TrustKey   *keys;
	int			n_revoked;		/* at most MAX_KEYS_OF_ISSUER are kept */
	TrustKey   *revoked;
	bool		too_many;		/* a limit excluded some keys */

	KeyFault	fault;			/* of a row, if there is no key */
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

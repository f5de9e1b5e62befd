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

#include "token/claims.h"
#include "token/jws.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Rows of jwt_key that one question reads at most. */
#define TRUST_MAX_KEYS	64

/* Bytes of an issuer's name and of a kid at most, so that indexes hold them. */
#define TRUST_MAX_NAME	1024

/* A row of jwt_issuer. */
typedef struct TrustIssuer
{
	ClaimsPolicy policy;
	int			n_algorithms;
	char	  **algorithms;
	char	   *role_claim;		/* or NULL */
	int			n_roles;
	char	  **roles;			/* that role_claim may name */
	bool		has_revoked_ids;	/* jwt_revocation may have rows of it */
	bool		has_revoked_subjects;
} TrustIssuer;

/* A row of jwt_key, ready to verify. */
typedef struct TrustKey
{
	const TrustIssuer *issuer;
	char	   *kid;			/* or NULL */
	const Algorithm *algorithm; /* its pin; NULL when it is not usable */
	JwsVerifier *verifier;		/* NULL when it is not usable */
	char	   *unusable;		/* then why: a sentence */
	bool		doubtful;		/* OpenSSL has failed, the row is good */
	bool		algorithm_allowed;	/* by the issuer */
	bool		revoked;
	bool		published;		/* it came from its issuer's key set */
	TimestampTz not_before;		/* DT_NOBEGIN when open */
	TimestampTz not_after;		/* DT_NOEND when open */
} TrustKey;

/* Which keys may have signed a token?  Strings with null data were not given. */
typedef struct TrustQuestion
{
	JwsString	issuer;			/* from the caller, never from the token */
	JwsString	kid;
	JwsString	alg;			/* looked at only without a kid */
} TrustQuestion;

/* The keys, and when there is none, facts for a message. */
typedef struct TrustAnswer
{
	int			n_keys;
	TrustKey   *keys;
	bool		too_many;		/* there are more than TRUST_MAX_KEYS */
	bool		doubtful;		/* a key is: not to be remembered */
	bool		issuer_known;	/* the issuer that was named has a row */
	int			n_other_keys;	/* of that issuer, or of all, up to
								 * TRUST_MAX_KEYS */
} TrustAnswer;

/* Keys of an issuer that have been revoked. */
typedef struct TrustRevokedKeys
{
	int			n;
	char	  **kids;			/* each may be NULL */
	Jsonb	  **jwks;
} TrustRevokedKeys;

/* Moves whenever the tables may have changed, as far as we have been told. */
extern uint64 trust_last_generation;

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

/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  The DPoP proofs that this server has accepted, so that none is twice
 *	  (RFC 9449 section 11.1).
 *
 * They are in shared memory, which no rollback undoes, and which the library has if
 * it is preloaded.  Each server has its own: a standby accepts a proof that the
 * primary has accepted.
 *
 * A proof is forgotten when it is too old to be accepted: it stays for the longest
 * time that one accepted now can still be good.  So proofs leave in the order in
 * which they came, and a ring holds them.  A server that has just started does not
 * know what it accepted before, and refuses whatever that can have been.
 *
 * Memory is bounded, for each key and in all, and where it is full proofs are
 * refused.  Whoever fills it has tokens, and keys that they are bound to.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "session/replay.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* How long a proof stays that has been accepted. */
#define RETENTION	(DPOP_MAX_AGE + DPOP_MAX_AHEAD)

/* The part of the memory that the proofs of one key may fill. */
#define KEYS_TO_FILL	16

/* Proofs that are forgotten at a time, unless more are in the way. */
#define FORGET_AT_ONCE	64

/*
 * Bytes of the digest that stands for a proof.  Whoever finds two jti of one digest
 * has a proof of their own refused.
 */
#define ID_SIZE		16

/* An index of a proof in the ring, or none. */
#define NONE		PG_UINT32_MAX

typedef struct Proof
{
	uint8		id[ID_SIZE];
	TimestampTz until;			/* when it is forgotten */
	uint32		next;			/* in its bucket */
	uint32		key;			/* its counter */
} Proof;

/*
 * Buckets and counters are chosen by hashes with a seed that nobody knows.  Keys
 * that share a counter share a bound: so does one in n_slots with another.
 */
typedef struct Shared
{
	LWLock	   *lock;
	uint64		seed;
	TimestampTz forgotten;		/* until when the last one forgotten stayed */
	uint32		first;			/* the oldest in the ring */
	uint32		n;
	uint32		n_max;
	uint32		n_slots;		/* buckets, and counters: a power of two */
	Proof	   *ring;
	uint32	   *buckets;
	uint32	   *counters;
} Shared;

static Shared *shared;			/* NULL when we were not preloaded */

/* jwt.dpop_max_proofs */
static int	max_proofs;

static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static uint32
count_slots(void)
{
	return pg_nextpower2_32(max_proofs);
}

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(Shared));

	size = add_size(size, mul_size(max_proofs, sizeof(Proof)));
	return add_size(size, mul_size(count_slots(), 2 * sizeof(uint32)));
}

static void
request_memory(void)
{
	if (next_request_hook)
		next_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("jwt", 1);
}

static void
start_memory(void)
{
	bool		found;

	if (next_startup_hook)
		next_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("jwt", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		shared->lock = &GetNamedLWLockTranche("jwt")->lock;
		if (!pg_strong_random(&shared->seed, sizeof(shared->seed)))
			elog(ERROR, "could not generate a random seed");
		shared->forgotten = GetCurrentTimestamp() + RETENTION;
		shared->n_max = max_proofs;
		shared->n_slots = count_slots();
		shared->ring = (Proof *) ((char *) shared + MAXALIGN(sizeof(Shared)));
		shared->buckets = (uint32 *) (shared->ring + shared->n_max);
		shared->counters = shared->buckets + shared->n_slots;
		memset(shared->buckets, 0xff, shared->n_slots * sizeof(uint32));
		memset(shared->counters, 0, shared->n_slots * sizeof(uint32));
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Ask for shared memory, while libraries are preloaded.
 */
void
replay_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("jwt.dpop_max_proofs",
							"Sets how many DPoP proofs the server remembers, for 65 seconds each.",
							"When there are as many, further ones are refused; one key may fill a sixteenth.",
							&max_proofs,
							65536, 1024, 16 * 1024 * 1024,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	next_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

/*
 * Can proofs be remembered here?  If not, none can be accepted.
 */
bool
replay_can_remember(Failure *failure)
{
	return shared != NULL ||
		fail_hint(failure, FAILURE_CONFIRMATION,
				  "DPoP proofs are not accepted, as this server cannot remember which ones it has seen.",
				  "Add jwt to shared_preload_libraries, and restart the server.");
}

static uint32
slot_of(const void *bytes, int len)
{
	return (uint32) hash_bytes_extended(bytes, len, shared->seed) & (shared->n_slots - 1);
}

/*
 * Forget the oldest proof.  The lock is held.
 */
static void
forget_first(void)
{
	Proof	   *proof = &shared->ring[shared->first];
	uint32	   *link = &shared->buckets[slot_of(proof->id, ID_SIZE)];

	while (*link != shared->first)
		link = &shared->ring[*link].next;
	*link = proof->next;
	shared->counters[proof->key]--;
	shared->forgotten = Max(shared->forgotten, proof->until);
	shared->first = (shared->first + 1) % shared->n_max;
	shared->n--;
}

/*
 * The newest proof, or NULL.  The lock is held.
 */
static Proof *
last_proof(void)
{
	return shared->n == 0 ? NULL : &shared->ring[(shared->first + shared->n - 1) % shared->n_max];
}

/*
 * Remember a proof, whose token and signature are good, unless it has been accepted
 * before.  thumbprint is its key's.
 */
bool
replay_enter(const DpopProof *proof, const char *thumbprint, Failure *failure)
{
	char	   *name = palloc(SHA256_TEXT_SIZE + proof->jti.len);
	uint8		id[SHA256_SIZE];
	uint32		key;
	uint32		limit;
	uint32	   *bucket;
	TimestampTz now;
	const char *fault = NULL;

	memcpy(name, thumbprint, SHA256_TEXT_SIZE);
	memcpy(name + SHA256_TEXT_SIZE, proof->jti.data, proof->jti.len);
	if (!sha256(name, SHA256_TEXT_SIZE + proof->jti.len, id))
		return fail(failure, FAILURE_CONFIRMATION, "OpenSSL cannot compute SHA-256.");
	key = slot_of(thumbprint, SHA256_TEXT_SIZE);
	limit = shared->n_max / KEYS_TO_FILL;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	now = GetCurrentTimestamp();
	for (int i = 0; shared->n > 0 && shared->ring[shared->first].until <= now &&
		 (i < FORGET_AT_ONCE || shared->counters[key] >= limit); i++)
		forget_first();

	/* from here on, what has been forgotten cannot be accepted again */
	if (proof->issued + DPOP_MAX_AGE <= shared->forgotten)
		fault = "The DPoP proof may have been used before this server started; make a new one.";
	bucket = &shared->buckets[slot_of(id, ID_SIZE)];
	for (uint32 i = *bucket; i != NONE && fault == NULL; i = shared->ring[i].next)
		if (memcmp(shared->ring[i].id, id, ID_SIZE) == 0)
			fault = "The DPoP proof has been used before.";
	if (fault == NULL && shared->counters[key] >= limit)
		fault = "Too many DPoP proofs of this key have been used in the last minute.";
	if (fault == NULL && shared->n == shared->n_max)
		fault = "Too many DPoP proofs have been used in the last minute.";
	if (fault == NULL)
	{
		const Proof *last = last_proof();
		uint32		place = (shared->first + shared->n) % shared->n_max;
		Proof	   *entry = &shared->ring[place];

		memcpy(entry->id, id, ID_SIZE);
		/* the clock may have been set back */
		entry->until = last == NULL ? now + RETENTION : Max(now + RETENTION, last->until);
		entry->key = key;
		entry->next = *bucket;
		*bucket = place;
		shared->counters[key]++;
		shared->n++;
	}
	LWLockRelease(shared->lock);
	return fault == NULL || fail(failure, FAILURE_CONFIRMATION, fault);
}

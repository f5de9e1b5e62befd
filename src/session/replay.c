/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  The DPoP proofs that this server has accepted, so that none is accepted
 *	  twice (RFC 9449 section 11.1).
 *
 * They are in shared memory, which a rollback does not revert.  The library has
 * shared memory only if it is preloaded.  Each server has its own: a standby
 * accepts a proof that the primary has accepted.
 *
 * All proofs are kept for the same time, the longest for which a proof that is
 * accepted now can be good.  So they are removed in the order of their arrival,
 * and a ring holds them.  A server that has just started does not have the
 * proofs that it accepted before, so it refuses all proofs of that time.
 *
 * Memory is bounded, for each key and in all.  When it is full, proofs are
 * refused.  Only senders with tokens and the keys of these tokens can fill it.
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

/* How long an accepted proof is kept. */
#define RETENTION	(DPOP_MAX_AGE + DPOP_MAX_AHEAD)

/* The proofs of one key may fill this fraction of the memory: a sixteenth. */
#define KEY_FRACTION	16

/* The number of proofs that are removed before other backends get the lock. */
#define REMOVED_AT_ONCE	64

/*
 * The number of bytes of the digest that identifies a proof.  A collision only
 * refuses a proof of the same key.
 */
#define ID_SIZE		16

/* An index of a proof in the ring, or none. */
#define NONE		PG_UINT32_MAX

typedef struct Proof
{
	uint8		id[ID_SIZE];
	TimestampTz until;			/* when it can be removed */
	uint32		next;			/* in its bucket */
	uint32		key;			/* the counter of its key */
} Proof;

/*
 * Buckets and counters are chosen by hashes with a random seed.  Two keys may
 * share a counter, with probability 1 / n_slots, and then share a bound.
 */
typedef struct Shared
{
	LWLock	   *lock;
	uint64		seed;
	TimestampTz removed_until;	/* the latest "until" of a removed proof */
	uint32		first;			/* the oldest in the ring */
	uint32		n;
	uint32		n_max;
	uint32		n_slots;		/* buckets, and counters: a power of two */
	Proof	   *ring;
	uint32	   *buckets;
	uint32	   *counters;
} Shared;

static Shared *shared;			/* NULL if the library was not preloaded */

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
		shared->removed_until = GetCurrentTimestamp() + RETENTION;
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
 * Request shared memory during preloading.
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
 * Check that this server can store proofs.  Otherwise it can accept none.
 */
bool
replay_is_available(Failure *failure)
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
 * Remove the oldest proof.  The caller holds the lock.
 */
static void
remove_first(void)
{
	Proof	   *proof = &shared->ring[shared->first];
	uint32	   *link = &shared->buckets[slot_of(proof->id, ID_SIZE)];

	while (*link != shared->first)
		link = &shared->ring[*link].next;
	*link = proof->next;
	shared->counters[proof->key]--;
	shared->removed_until = Max(shared->removed_until, proof->until);
	shared->first = (shared->first + 1) % shared->n_max;
	shared->n--;
}

/*
 * Take the lock, and remove proofs that are too old: some, or if the key has too
 * many, all that may be its.  Returns the time.
 */
static TimestampTz
lock_and_remove(uint32 key, uint32 limit)
{
	for (;;)
	{
		TimestampTz now;

		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		now = GetCurrentTimestamp();
		for (int i = 0; i < REMOVED_AT_ONCE; i++)
		{
			if (shared->n == 0 || shared->ring[shared->first].until > now)
				return now;
			remove_first();
		}
		if (shared->counters[key] < limit)
			return now;
		/* there may be millions */
		LWLockRelease(shared->lock);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * The newest proof, or NULL.  The caller holds the lock.
 */
static Proof *
last_proof(void)
{
	return shared->n == 0 ? NULL : &shared->ring[(shared->first + shared->n - 1) % shared->n_max];
}

/*
 * Store a proof that is good for a valid token.  Returns false with the failure
 * if it was accepted before, or if there is no room. thumbprint is that of its
 * key.
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
	limit = shared->n_max / KEY_FRACTION;

	now = lock_and_remove(key, limit);

	/* the proof may be one that was removed, or accepted before the start */
	if (proof->issued + DPOP_MAX_AGE <= shared->removed_until)
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

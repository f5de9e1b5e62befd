/*-------------------------------------------------------------------------
 *
 * signing_key.c
 *	  The keys that sign: rows of jwt_signing_key, and the opened ones.
 *
 * Times decide which key of an issuer signs: of the keys whose activate_at has
 * passed, the latest that the tables let sign; see signing_key_find_current().  If
 * that one cannot be opened, no other one takes its place.
 *
 * A backend caches opened keys, for the generations of the tables that they
 * depend on.  Each is in a memory context of its own, which cleanses it.  When a
 * generation has changed, the next look-up drops all of them.  If it is that of
 * our own tables, the end of the transaction does so before.  While a key is being opened,
 * it belongs to the caller's memory context, so an error cleanses it, too.
 *
 * Somebody who can write to jwt_signing_key or jwt_key could change the public
 * half of a key.  Two signatures of Ed25519 under two public halves reveal the
 * private one.  So the public half comes from what was opened, is part of what
 * authenticates the sealed key, and is compared with both rows.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "auth/seal.h"
#include "auth/signing_key.h"
#include "auth/tables.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "token/jws.h"
#include "token/secret.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The maximal number of opened keys. */
#define MAX_OPENED	16

/* The type of access tokens if jwt_issuer.token_type has none (RFC 9068). */
#define DEFAULT_TYPE	"at+jwt"

static struct
{
	uint64		generation;		/* of our tables */
	uint64		jwt_generation; /* of jwt_issuer and jwt_key */
	uint64		errors;			/* jws_errors */
	int			n;
	int			next;			/* is replaced next */
	SigningKey *keys[MAX_OPENED];
}			cache;

/*
 * Close and cleanse all cached keys.
 */
static void
drop_all(void)
{
	while (cache.n > 0)
		MemoryContextDelete(cache.keys[--cache.n]->context);
	cache.next = 0;
}

/*
 * Called at the end of each transaction, so that an idle backend keeps no key
 * that this transaction has seen change.
 */
static void
transaction_ends(XactEvent event, void *arg)
{
	(void) arg;
	if ((event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) &&
		cache.n > 0 && (cache.generation != tables_known_generation() || cache.errors != jws_errors))
		drop_all();
}

/*
 * Register the callback.
 */
void
signing_key_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
}

/*
 * ---- rows ----
 */

static int
compare_rows(const void *a, const void *b)
{
	const SigningRow *x = a;
	const SigningRow *y = b;

	if (x->activate_at != y->activate_at)
		return x->activate_at < y->activate_at ? -1 : 1;
	if (x->created_at != y->created_at)
		return x->created_at < y->created_at ? -1 : 1;
	return memcmp(&x->id, &y->id, sizeof(x->id));
}

/*
 * The thumbprint of a public key, or NULL if it is none.
 */
static char *
thumbprint_of(Datum jsonb)
{
	Jwk			jwk;
	char	   *reason;

	return jwk_read(DatumGetJsonbPCopy(jsonb), &jwk, &reason) ? jwk_thumbprint(&jwk) : NULL;
}

static void
read_row(const Datum *values, const bool *nulls, SigningRow *row)
{
#define COLUMN(column) values[Anum_signing_key_##column - 1]
#define IS_NULL(column) nulls[Anum_signing_key_##column - 1]
	row->id = *DatumGetUUIDP(COLUMN(id));
	row->kid = IS_NULL(kid) ? NULL : TextDatumGetCString(COLUMN(kid));
	row->alg = IS_NULL(alg) ? NULL : TextDatumGetCString(COLUMN(alg));
	row->thumbprint = IS_NULL(jwk) ? NULL : thumbprint_of(COLUMN(jwk));
	row->activate_at = DatumGetTimestampTz(COLUMN(activate_at));
	row->created_at = IS_NULL(created_at) ? DT_NOBEGIN : DatumGetTimestampTz(COLUMN(created_at));
	row->salt = IS_NULL(salt) ? NULL : DatumGetByteaPCopy(COLUMN(salt));
	row->sealed = IS_NULL(sealed) || row->salt == NULL ? NULL : DatumGetByteaPCopy(COLUMN(sealed));
#undef IS_NULL
#undef COLUMN
}

/*
 * The rows of an issuer that have activate_at, in its order, in the current memory
 * context.
 */
SigningRow *
signing_key_rows(const Slice *issuer, int *n)
{
	Relation	rel = tables_open(AUTH_SIGNING_KEY, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	SysScanDesc scan = tables_scan(rel, INDEX_SIGNING_KEY_ISSUER, issuer, NULL);
	int			size = 8;
	SigningRow *rows = palloc(sizeof(SigningRow) * size);
	int			read = 0;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, desc, values, nulls);
		if (nulls[Anum_signing_key_activate_at - 1])
			continue;
		if (read == size)
			rows = repalloc_huge(rows, sizeof(SigningRow) * (size *= 2));
		read_row(values, nulls, &rows[read++]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(rows, read, sizeof(SigningRow), compare_rows);
	*n = read;
	return rows;
}

/*
 * Why can a key not sign now, or when its time has come, as far as the tables say?
 * A sentence, or NULL.  *from and *until get the times between which its row of
 * jwt_key verifies.
 */
static const char *
why_unusable(const Slice *issuer, const SigningRow *row, TimestampTz now, TimestampTz *from, TimestampTz *until)
{
	const JwtEntries *jwt = tables_jwt();
	TimestampTz at = Max(now, row->activate_at);
	const char *why;

	if (row->sealed == NULL)
		return "Its private half has been erased.";
	if (row->kid == NULL || row->alg == NULL || row->thumbprint == NULL)
		return "Its row in jwt_signing_key has no kid, algorithm or public key.";
	why = jwt->why_key_fails(&row->id, issuer, row->kid, row->alg, row->thumbprint, from, until);
	if (why == NULL && jwt->key_is_revoked(row->thumbprint))
		why = "It has been revoked.";
	if (why == NULL && (at < *from || (at >= *until && *until != DT_NOEND)))
		why = "Its row in jwt_key does not verify when it signs, because of not_before or not_after.";
	return why;
}

/*
 * Can a key sign now, or when its time has come?  The sealed half is not opened.
 */
bool
signing_key_is_usable(const Slice *issuer, const SigningRow *row, TimestampTz now)
{
	TimestampTz from;
	TimestampTz until;

	return row->activate_at < DT_NOEND && why_unusable(issuer, row, now, &from, &until) == NULL;
}

/*
 * Which of the sorted rows signs at this time?  -1 for none.
 *
 * It is the latest of those whose time has come.  If it is not usable, because
 * its row of jwt_key was deleted or it was revoked, the one before it goes on.
 * A private half is erased once another key signs.  So if the latest is erased
 * and no other is usable, then the clock was set back, or the key that signed was
 * deleted, and the next one signs.
 * If none can, the result is the one that should.
 */
int
signing_key_find_current(const Slice *issuer, const SigningRow *rows, int n, TimestampTz now)
{
	int			latest = n - 1;

	while (latest >= 0 && rows[latest].activate_at > now)
		latest--;
	for (int i = latest; i >= 0; i--)
		if (signing_key_is_usable(issuer, &rows[i], now))
			return i;
	if (latest >= 0 && rows[latest].sealed == NULL)
		for (int i = latest + 1; i < n; i++)
			if (signing_key_is_usable(issuer, &rows[i], now))
				return i;
	return latest;
}

/*
 * The claim typ of an issuer's tokens.
 */
const char *
signing_key_type(const TokenPolicy *policy)
{
	const char *type = policy->terms->policy->token_type;

	return type != NULL ? type : DEFAULT_TYPE;
}

/*
 * ---- opening ----
 */

static bool
fail_to_sign(KeyFailure *failure, const char *detail, const char *hint)
{
	failure->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	failure->detail = detail;
	failure->hint = hint;
	return false;
}

/*
 * The statement that makes an issuer sign again.
 */
static char *
rotate_hint(const TokenPolicy *policy)
{
	return psprintf("SELECT jwt_rotate_signing_key(%s);", quote_literal_cstr(quote_string(policy->issuer)));
}

/*
 * Open the sealed key of a row.
 */
static PrivateKey *
unseal(const TokenPolicy *policy, const SigningRow *row, MemoryContext context, KeyFailure *failure)
{
	SealBinding binding = {
		.id = row->id,
		.issuer = slice_of(policy->issuer),
		.kid = slice_of(row->kid),
		.alg = slice_of(row->alg),
		.thumbprint = slice_of(row->thumbprint)
	};
	PrivateKey *key;
	uint8	   *der;
	int			len;
	char	   *reason;
	char	   *detail;

	if (!seal_open(&binding, row->sealed, row->salt, &der, &len, failure))
	{
		/* the primary message will name the key */
		detail = failure->detail ? psprintf("%s: %s", failure->message, failure->detail) :
			psprintf("%s.", failure->message);
		detail[0] = (char) pg_toupper((unsigned char) detail[0]);
		failure->detail = detail;
		return NULL;
	}
	key = private_key_from_der(der, len, row->alg, context, &reason);
	secret_cleanse(der);
	if (key == NULL)
		(void) fail_to_sign(failure, reason, NULL);
	return key;
}

/*
 * Sign something, and verify it with the key that jwt_verify() uses: do the
 * halves fit?
 */
static bool
halves_fit(JwsSigner *signer, const PrivateKey *key)
{
	static const char nothing[] = "{}";
	char	   *reason;
	JwsVerifier *verifier = jws_verifier_create(&key->half, key->algorithm, CurrentMemoryContext, &reason);
	text	   *token = jws_sign(signer, nothing, 2, nothing, 2);
	Jws			jws;
	Failure		failure;

	return verifier != NULL &&
		jws_split(VARDATA_ANY(token), (int) VARSIZE_ANY_EXHDR(token), JWS_MAX_SIZE, &jws, &failure) &&
		jws_signature_is_good(verifier, jws.signing_input, jws.signing_input_len,
							  jws.signature, jws.signature_len);
}

/*
 * Open a key into its context, which is also the current one.
 */
static bool
open_key(const TokenPolicy *policy, const SigningRow *row, TimestampTz now, SigningKey *key, KeyFailure *failure)
{
	Slice		issuer = slice_of(policy->issuer);
	PrivateKey *private_key;
	const char *derived;
	const char *why = why_unusable(&issuer, row, now, &key->from, &key->until);
	char	   *reason;

	if (why != NULL)
		return fail_to_sign(failure, why, rotate_hint(policy));
	private_key = unseal(policy, row, key->context, failure);
	if (private_key == NULL)
		return false;
	derived = private_key_thumbprint(private_key);
	if (derived == NULL || strcmp(derived, row->thumbprint) != 0)
		return fail_to_sign(failure, "Its private half belongs to another public half.", rotate_hint(policy));
	key->signer = jws_signer_create(private_key, key->context, &reason);
	if (key->signer == NULL)
		return fail_to_sign(failure, reason, NULL);
	if (!halves_fit(key->signer, private_key))
		return fail_to_sign(failure, "What it signs does not verify with its public half.", rotate_hint(policy));

	key->issuer = pstrdup(policy->issuer);
	key->kid = pstrdup(row->kid);
	key->alg = pstrdup(row->alg);
	key->thumbprint = pstrdup(row->thumbprint);
	key->header = jws_header_text(key->alg, key->kid, signing_key_type(policy));
	key->header_len = (int) strlen(key->header);
	return true;
}

/*
 * Open the key of a row, as a child of a memory context.  Returns NULL and the
 * failure if it cannot sign; then the failure is in the current memory context.
 */
SigningKey *
signing_key_open(const TokenPolicy *policy, const SigningRow *row, TimestampTz now,
				 MemoryContext parent, KeyFailure *failure)
{
	MemoryContext context = AllocSetContextCreate(parent, "jwt_auth signing key", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SigningKey *key = palloc0(sizeof(SigningKey));
	bool		opened;

	key->context = context;
	failure->detail = failure->hint = NULL;
	opened = open_key(policy, row, now, key, failure);
	MemoryContextSwitchTo(old);
	if (opened)
		return key;

	failure->message = psprintf("the signing key \"%s\" of issuer \"%s\" cannot sign",
								row->kid ? quote_string(row->kid) : "",
								quote_string(policy->issuer));
	failure->detail = failure->detail ? pstrdup(failure->detail) : NULL;
	failure->hint = failure->hint ? pstrdup(failure->hint) : NULL;
	MemoryContextDelete(context);
	return NULL;
}

/*
 * Raise the error that none of the rows of an issuer signs now.
 */
void
signing_key_raise_none(const TokenPolicy *policy, const SigningRow *rows, int n)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("issuer \"%s\" has no signing key", quote_string(policy->issuer)),
			 n > 0 ? errdetail("The key \"%s\" will sign from %s on.",
							   rows[0].kid ? quote_string(rows[0].kid) : "", timestamptz_to_str(rows[0].activate_at)) : 0,
			 n > 0 ? errhint("To let it sign at once: %s", rotate_hint(policy)) :
			 errhint("SELECT jwt_create_signing_key(%s);", quote_literal_cstr(quote_string(policy->issuer)))));
}

/*
 * Open the key that signs now, in the given memory context.
 */
static SigningKey *
open_current(const TokenPolicy *policy, TimestampTz now, MemoryContext context)
{
	Slice		issuer = slice_of(policy->issuer);
	int			n;
	SigningRow *rows = signing_key_rows(&issuer, &n);
	int			current = signing_key_find_current(&issuer, rows, n, now);
	KeyFailure	failure;
	SigningKey *key;

	if (current < 0)
		signing_key_raise_none(policy, rows, n);
	key = signing_key_open(policy, &rows[current], now, context, &failure);
	if (key == NULL)
		key_file_raise(&failure);
	key->since = Max(Min(rows[current].activate_at, now), key->from);
	key->next = key->until;
	for (int i = 0; i < n; i++)
		if (rows[i].activate_at > now)
			key->next = Min(key->next, rows[i].activate_at);
	return key;
}

/*
 * A cached key that signs at this time, or NULL.
 */
static SigningKey *
find_cached(const TokenPolicy *policy, TimestampTz now)
{
	for (int i = 0; i < cache.n; i++)
	{
		SigningKey *key = cache.keys[i];

		if (strcmp(key->issuer, policy->issuer) != 0)
			continue;
		if (now >= key->since && now < key->next)
			return key;

		/* another key signs now */
		cache.keys[i] = cache.keys[--cache.n];
		MemoryContextDelete(key->context);
		break;
	}
	return NULL;
}

/*
 * Add a key to the cache.
 */
static void
remember(SigningKey *key)
{
	if (cache.n == MAX_OPENED)
	{
		cache.next = (cache.next + 1) % MAX_OPENED;
		MemoryContextDelete(cache.keys[cache.next]->context);
		cache.keys[cache.next] = key;
	}
	else
		cache.keys[cache.n++] = key;
	MemoryContextSetParent(key->context, CacheMemoryContext);
}

/*
 * Close a cached key, which has been revoked.
 */
void
signing_key_forget(SigningKey *key)
{
	for (int i = 0; i < cache.n; i++)
	{
		if (cache.keys[i] != key)
			continue;
		cache.keys[i] = cache.keys[--cache.n];
		MemoryContextDelete(key->context);
		return;
	}
}

/*
 * The key of an issuer that signs at this time.  It lives until the next call.
 * Raises an error with the reason if there is none.
 */
SigningKey *
signing_key_current(const TokenPolicy *policy, TimestampTz now)
{
	const JwtEntries *jwt = tables_jwt();

	for (;;)
	{
		uint64		jwt_generation = jwt->generation();
		uint64		generation = tables_generation();
		uint64		errors = jws_errors;
		MemoryContext context;
		MemoryContext old;
		SigningKey *key;

		if (cache.generation != generation || cache.jwt_generation != jwt_generation || cache.errors != errors)
			drop_all();
		cache.generation = generation;
		cache.jwt_generation = jwt_generation;
		cache.errors = errors;
		key = find_cached(policy, now);
		if (key != NULL)
			return key;

		CHECK_FOR_INTERRUPTS();
		context = AllocSetContextCreate(CurrentMemoryContext, "jwt_auth opening", ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(context);
		key = open_current(policy, now, old);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		if (jwt->unchanged(jwt_generation) && tables_unchanged(generation))
		{
			remember(key);
			return key;
		}
		MemoryContextDelete(key->context);
	}
}

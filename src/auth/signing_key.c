/*-------------------------------------------------------------------------
 *
 * signing_key.c
 *	  The keys that sign: rows of jwt_signing_key, and the opened ones.
 *
 * Times alone decide which key of an issuer signs: the one whose activate_at is
 * the latest that has passed.  If it cannot sign, no other one takes its place.
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
	HeapTuple	tuple;

	*n = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, desc, values, nulls);
		if (nulls[Anum_signing_key_activate_at - 1])
			continue;
		if (*n == size)
			rows = repalloc_huge(rows, sizeof(SigningRow) * (size *= 2));
		read_row(values, nulls, &rows[(*n)++]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(rows, *n, sizeof(SigningRow), compare_rows);
	return rows;
}

/*
 * Which of the sorted rows signs at this time?  -1 for none.
 */
int
signing_key_find_current(const SigningRow *rows, int n, TimestampTz now)
{
	while (n > 0 && rows[n - 1].activate_at > now)
		n--;
	return n - 1;
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
open_key(const TokenPolicy *policy, const SigningRow *row, SigningKey *key, KeyFailure *failure)
{
	const JwtEntries *jwt = tables_jwt();
	Slice		issuer = slice_of(policy->issuer);
	PrivateKey *private_key;
	const char *derived;
	const char *why;
	char	   *reason;

	if (row->sealed == NULL)
		return fail_to_sign(failure, "Its private half has been erased.", rotate_hint(policy));
	if (row->kid == NULL || row->alg == NULL || row->thumbprint == NULL)
		return fail_to_sign(failure, "Its row in jwt_signing_key has no kid, algorithm or public key.", rotate_hint(policy));
	why = jwt->why_key_fails(&row->id, &issuer, row->kid, row->alg, row->thumbprint, &key->from, &key->until);
	if (why != NULL)
		return fail_to_sign(failure, why, rotate_hint(policy));
	if (jwt->key_is_revoked(row->thumbprint))
		return fail_to_sign(failure, "It has been revoked.", rotate_hint(policy));

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
	key->activate_at = row->activate_at;
	key->header = jws_header_text(key->alg, key->kid, signing_key_type(policy));
	key->header_len = (int) strlen(key->header);
	return true;
}

/*
 * Open one of an issuer's rows, as a child of a memory context.  Returns NULL
 * and the failure if it cannot sign; then the failure is in the current memory
 * context.
 */
SigningKey *
signing_key_open(const TokenPolicy *policy, const SigningRow *rows, int n, int current,
				 MemoryContext parent, KeyFailure *failure)
{
	MemoryContext context = AllocSetContextCreate(parent, "jwt_auth signing key", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SigningKey *key = palloc0(sizeof(SigningKey));
	bool		opened;

	key->context = context;
	key->next = current + 1 < n ? rows[current + 1].activate_at : DT_NOEND;
	failure->detail = failure->hint = NULL;
	opened = open_key(policy, &rows[current], key, failure);
	MemoryContextSwitchTo(old);
	if (opened)
		return key;

	failure->message = psprintf("the signing key \"%s\" of issuer \"%s\" cannot sign",
								rows[current].kid ? quote_string(rows[current].kid) : "",
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
			 n > 0 ? 0 : errhint("SELECT jwt_create_signing_key(%s);",
								 quote_literal_cstr(quote_string(policy->issuer)))));
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
	int			current = signing_key_find_current(rows, n, now);
	KeyFailure	failure;
	SigningKey *key;

	if (current < 0)
		signing_key_raise_none(policy, rows, n);
	key = signing_key_open(policy, rows, n, current, context, &failure);
	if (key == NULL)
		key_file_raise(&failure);
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
		if (now >= key->activate_at && now < key->next)
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
 * The key of an issuer that signs at this time.  It lives until the next call.
 * Raises an error with the reason if there is none.
 */
SigningKey *
signing_key_current(const TokenPolicy *policy, TimestampTz now)
{
	const JwtEntries *jwt = tables_jwt();
	SigningKey *key;

	for (;;)
	{
		uint64		jwt_generation = jwt->generation();
		uint64		generation = tables_generation();
		uint64		errors = jws_errors;
		MemoryContext context;
		MemoryContext old;

		if (cache.generation != generation || cache.jwt_generation != jwt_generation || cache.errors != errors)
			drop_all();
		cache.generation = generation;
		cache.jwt_generation = jwt_generation;
		cache.errors = errors;
		key = find_cached(policy, now);
		if (key != NULL)
			break;

		CHECK_FOR_INTERRUPTS();
		context = AllocSetContextCreate(CurrentMemoryContext, "jwt_auth opening", ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(context);
		key = open_current(policy, now, old);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		if (jwt->unchanged(jwt_generation) && tables_unchanged(generation))
		{
			remember(key);
			break;
		}
		MemoryContextDelete(key->context);
	}
	if (now < key->from || now >= key->until)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the signing key \"%s\" of issuer \"%s\" cannot sign",
						quote_string(key->kid), quote_string(key->issuer)),
				 errdetail("Its row in jwt_key does not verify now, because of not_before or not_after."),
				 errhint("%s", rotate_hint(policy))));
	return key;
}

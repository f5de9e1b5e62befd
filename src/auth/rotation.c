/*-------------------------------------------------------------------------
 *
 * rotation.c
 *	  SQL functions that make signing keys, and let one follow the other.
 *
 * The state of a key follows from the times, and from which keys can sign:
 *
 *	  standby	until its activate_at: published, so that verifiers that cache the
 *				JWK Set know it before its first token arrives
 *	  current	until the activate_at of the next key that can sign
 *	  previous	then its private half is erased; its row of jwt_key verifies until
 *				the last token that it has signed has expired
 *
 * All functions lock the issuer's row of jwt_token_policy, so that only one of
 * them changes its keys at a time.  Each first does what is due: it erases the
 * private halves of previous keys and sets their end, and deletes the rows of those
 * that ended long ago.  Nothing of that happens before another key signs.  So a
 * standby key can be postponed or deleted, and its predecessor goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/table.h"
#include "auth/seal.h"
#include "auth/signing_key.h"
#include "auth/tables.h"
#include "common/hashfn.h"
#include "extension/arguments.h"
#include "extension/log_once.h"
#include "extension/row.h"
#include "extension/subtransaction.h"
#include "miscadmin.h"
#include "token/failure.h"
#include "token/json.h"
#include "token/secret.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

JWT_SQL_FUNCTION(jwt_sql_create_signing_key);
JWT_SQL_FUNCTION(jwt_sql_import_signing_key);
JWT_SQL_FUNCTION(jwt_sql_rotate_signing_key);
JWT_SQL_FUNCTION(jwt_sql_rotate_due_signing_keys);

/* The maximal size of a kid, in bytes: as in the triggers of jwt. */
#define MAX_KID		1024

/*
 * How long a key verifies after another one signs: until its last token has
 * expired.  An hour is for leeway, and for a transaction that commits late.
 */
#define VERIFIES_AFTER	(POLICY_MAX_ACCESS_LIFETIME + USECS_PER_HOUR)

/*
 * How long the rows of a key stay after its end: as for keys of a JWK Set, see
 * jwt_import_jwks().
 */
#define KEPT_AFTER		(90 * USECS_PER_DAY)

/* For an activate_at that the caller has not given. */
#define BY_POLICY	DT_NOBEGIN

/* An issuer whose policy is locked, and its keys. */
typedef struct Keys
{
	const TokenPolicy *policy;
	Slice		issuer;
	TimestampTz now;			/* after the lock */
	SigningRow *rows;			/* in the order in which they sign */
	int			n;
	int			current;		/* index, or -1 */
	int			changes;		/* rows that were made or changed */
} Keys;

/* An issuer whose keys may be due. */
typedef struct Issuer
{
	char	   *name;
	TransactionId version;		/* of its row of jwt_token_policy */
} Issuer;

/* An attempt to do what is due for an issuer. */
typedef struct Rotation
{
	const Issuer *issuer;
	Keys		keys;
	int			changes;		/* if it succeeded */
} Rotation;

/*
 * Raise the error for a key that cannot be one.
 */
pg_noreturn static void
refuse_key(const char *reason, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key is not acceptable"),
			 errdetail_internal("%s", reason),
			 hint != NULL ? errhint("%s", hint) : 0,
			 errhidesecret()));
}

/*
 * Raise an error for the algorithms of shared secrets.
 */
static void
require_key_pair(const Algorithm *algorithm)
{
	if (algorithm != NULL && algorithm->family == FAMILY_HMAC)
		refuse_key(psprintf("The algorithm %s has a secret that every verifier must know, and no key pair.", algorithm->name),
				   "Sign with a secret in hand by jws_sign().");
}

/*
 * Read the keys again, after a change or a lock.
 */
static void
read_keys(Keys *keys)
{
	keys->rows = signing_key_rows(&keys->issuer, &keys->n);
	keys->current = signing_key_find_current(&keys->issuer, keys->rows, keys->n, keys->now);
}

/*
 * When does the row of jwt_key of a signing key end?  DT_NOBEGIN if there is no
 * such row.
 */
static TimestampTz
end_of_key(const Keys *keys, const SigningRow *row)
{
	TimestampTz from;
	TimestampTz until = DT_NOBEGIN;

	(void) tables_jwt()->why_key_fails(&row->id, &keys->issuer, row->kid ? row->kid : "", row->alg ? row->alg : "",
									   row->thumbprint ? row->thumbprint : "", &from, &until);
	return until;
}

/*
 * Change the row of a key: erase its private half, or for erase = false, set its
 * activate_at.
 */
static void
change_row(Keys *keys, const SigningRow *row, bool erase, TimestampTz activate_at)
{
	Relation	rel = tables_open(AUTH_SIGNING_KEY, RowExclusiveLock);
	TupleTableSlot *slot = row_lock(rel, UUIDPGetDatum(&row->id));
	Datum		values[Natts_signing_key];
	bool		nulls[Natts_signing_key];

	if (slot != NULL)
	{
		memcpy(values, slot->tts_values, sizeof(values));
		memcpy(nulls, slot->tts_isnull, sizeof(nulls));
		if (erase)
			nulls[Anum_signing_key_salt - 1] = nulls[Anum_signing_key_sealed - 1] = true;
		else
			values[Anum_signing_key_activate_at - 1] = TimestampTzGetDatum(activate_at);
		row_update(rel, slot, Natts_signing_key, values, nulls);
		ExecDropSingleTupleTableSlot(slot);
		tables_changed();
		keys->changes++;
	}
	table_close(rel, NoLock);
}

/*
 * Delete the rows of a previous key that ended before a time.
 */
static void
delete_rows(Keys *keys, const SigningRow *row, TimestampTz ended_before)
{
	Relation	rel;
	TupleTableSlot *slot;

	if (!tables_jwt()->delete_key(&row->id, ended_before))
		return;
	rel = tables_open(AUTH_SIGNING_KEY, RowExclusiveLock);
	slot = row_lock(rel, UUIDPGetDatum(&row->id));
	if (slot != NULL)
	{
		row_delete(rel, slot);
		ExecDropSingleTupleTableSlot(slot);
		tables_changed();
		keys->changes++;
	}
	table_close(rel, NoLock);
}

/*
 * Can the current key be opened, and sign?  There must be one.
 */
static bool
current_opens(const Keys *keys, KeyFailure *failure)
{
	SigningKey *key = signing_key_open(keys->policy, &keys->rows[keys->current], keys->now, CurrentMemoryContext, failure);

	if (key != NULL)
		MemoryContextDelete(key->context);
	return key != NULL;
}

/*
 * Is there a current key that can sign?
 */
static bool
current_can_sign(const Keys *keys)
{
	KeyFailure	failure;

	return keys->current >= 0 && current_opens(keys, &failure);
}

/*
 * Do what is due: see above.  If only_look, change nothing.  Returns whether
 * anything was due.
 *
 * A previous key may have signed until now, whatever activate_at says: that may
 * have been changed.
 */
static bool
settle(Keys *keys, bool only_look)
{
	const TimestampTz end = keys->now + VERIFIES_AFTER;
	const TimestampTz ended_before = keys->now - KEPT_AFTER;
	bool		due = false;

	for (int i = 0; i < keys->current; i++)
	{
		SigningRow *row = &keys->rows[i];

		CHECK_FOR_INTERRUPTS();

		/*
		 * looking for its end takes time, so this first asks when it can be
		 * at the earliest
		 */
		if (row->sealed == NULL &&
			(keys->rows[i + 1].activate_at >= ended_before - VERIFIES_AFTER || end_of_key(keys, row) >= ended_before))
			continue;
		if (!due && !current_can_sign(keys))
			return false;
		due = true;
		if (only_look)
			break;
		if (row->sealed == NULL)
			delete_rows(keys, row, ended_before);
		else
		{
			if (end_of_key(keys, row) > end)
				(void) tables_jwt()->end_key(&row->id, end);
			change_row(keys, row, true, 0);
		}
	}
	if (due && !only_look)
		read_keys(keys);
	return due;
}

/*
 * Lock the policy of an issuer, and read its keys.  Raises an error if it cannot
 * sign.
 */
static void
lock_keys(const Slice *issuer, Keys *keys)
{
	Relation	rel;
	TupleTableSlot *slot;

	/* raises errors with hints */
	(void) policy_require(issuer);

	memset(keys, 0, sizeof(*keys));
	rel = tables_open(AUTH_POLICY, RowExclusiveLock);
	slot = row_lock(rel, PointerGetDatum(cstring_to_text_with_len(issuer->data, issuer->len)));
	if (slot != NULL)
		ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);

	/* once more: it may have been changed while this waited for the lock */
	keys->policy = policy_require(issuer);
	keys->issuer = slice_of(keys->policy->issuer);
	keys->now = GetCurrentTimestamp();
	read_keys(keys);
	(void) settle(keys, false);
}

/*
 * The first usable key that stands by, or NULL.
 */
static SigningRow *
find_standby(const Keys *keys)
{
	for (int i = keys->current + 1; i < keys->n; i++)
		if (signing_key_is_usable(&keys->issuer, &keys->rows[i], keys->now))
			return &keys->rows[i];
	return NULL;
}

/*
 * The earliest time from which on the next key can sign.  If the clock was set back,
 * that is later than now.
 */
static TimestampTz
earliest_activation(const Keys *keys)
{
	return keys->current < 0 ? keys->now : Max(keys->now, keys->rows[keys->current].activate_at + 1);
}

/*
 * From when on does a new key sign?  If nothing else signs, there is nothing to
 * wait for.
 */
static TimestampTz
choose_activation(const Keys *keys)
{
	return current_can_sign(keys) ? keys->now + keys->policy->publish_ahead : keys->now;
}

/*
 * Seal a key, and insert its row.  What was sealed is cleansed with the memory
 * context.
 */
static void
insert_row(Keys *keys, const PrivateKey *key, const SealBinding *binding, Jsonb *jwk, TimestampTz activate_at)
{
	int			len;
	uint8	   *der = private_key_to_der(key, CurrentMemoryContext, &len);
	bytea	   *salt;
	bytea	   *sealed = seal_close(binding, der, len, &salt);
	Datum		values[Natts_signing_key] = {0};
	bool		nulls[Natts_signing_key] = {false};
	Relation	rel = tables_open(AUTH_SIGNING_KEY, RowExclusiveLock);

#define SET(column, datum) (values[Anum_signing_key_##column - 1] = (datum))
#define SET_TEXT(column) SET(column, PointerGetDatum(cstring_to_text_with_len(binding->column.data, binding->column.len)))
	SET(id, UUIDPGetDatum(&binding->id));
	SET_TEXT(issuer);
	SET_TEXT(kid);
	SET_TEXT(alg);
	SET(jwk, JsonbPGetDatum(jwk));
	SET(activate_at, TimestampTzGetDatum(activate_at));
	SET(created_at, TimestampTzGetDatum(keys->now));
	SET(salt, PointerGetDatum(salt));
	SET(sealed, PointerGetDatum(sealed));
#undef SET_TEXT
#undef SET
	row_insert(rel, Natts_signing_key, values, nulls);
	table_close(rel, NoLock);
	tables_changed();
	keys->changes++;
}

/*
 * Add a key.  kid has null data if it was not given.  Returns the kid.
 */
static char *
add_key(Keys *keys, const PrivateKey *key, const char *alg, const Slice *kid, TimestampTz activate_at)
{
	char	   *thumbprint = private_key_thumbprint(key);
	Jsonb	   *jwk = private_key_public_jwk(key);
	char	   *name;
	SealBinding binding;

	if (thumbprint == NULL)
		refuse_key("OpenSSL could not compute a SHA-256 digest.", NULL);
	if (kid->data != NULL)
		name = pnstrdup(kid->data, kid->len);
	else
		name = key->half.kid != NULL ? pnstrdup(key->half.kid, key->half.kid_len) : thumbprint;
	if (name[0] == '\0' || strlen(name) > MAX_KID)
		refuse_key(psprintf("Its kid must have between 1 and %d bytes.", MAX_KID), NULL);
	if (activate_at == BY_POLICY)
		activate_at = choose_activation(keys);
	if (TIMESTAMP_NOT_FINITE(activate_at))
		refuse_key("The time from which on it signs must be finite.", NULL);
	activate_at = Max(activate_at, earliest_activation(keys));

	binding.id = *DatumGetUUIDP(row_new_id());
	binding.issuer = keys->issuer;
	binding.kid = slice_of(name);
	binding.alg = slice_of(alg);
	binding.thumbprint = slice_of(thumbprint);
	tables_jwt()->add_key(&binding.id, &keys->issuer, name, alg, jwk);
	if (tables_jwt()->key_is_revoked(thumbprint))
		refuse_key("It has been revoked.", NULL);
	insert_row(keys, key, &binding, jwk, activate_at);

	/* it may sign at once */
	read_keys(keys);
	(void) settle(keys, false);
	return name;
}

/*
 * Make a key of an algorithm, and add it.
 */
static char *
generate_key(Keys *keys, const char *alg, const Slice *kid, TimestampTz activate_at)
{
	char	   *reason;
	PrivateKey *key;

	require_key_pair(algorithm_by_name(alg, (int) strlen(alg)));
	key = private_key_generate(alg, CurrentMemoryContext, &reason);
	if (key == NULL)
		refuse_key(reason, NULL);
	return add_key(keys, key, alg, kid, activate_at);
}

static TimestampTz
activation_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? BY_POLICY : PG_GETARG_TIMESTAMPTZ(n);
}

/*
 * Make a memory context for private keys.  It is deleted with the current one, also after an
 * error, and then cleanses what is in it.
 */
static MemoryContext
begin_private(void)
{
	return MemoryContextSwitchTo(AllocSetContextCreate(CurrentMemoryContext, "jwt_auth private key",
													   ALLOCSET_DEFAULT_SIZES));
}

/*
 * Leave it, with a result.
 */
static Datum
end_private(MemoryContext outer, const char *kid)
{
	MemoryContext context = MemoryContextSwitchTo(outer);
	Datum		result = CStringGetTextDatum(kid);

	MemoryContextDelete(context);
	return result;
}

/*
 * jwt_create_signing_key(issuer, alg, kid, activate_at): make a key; returns its kid.
 */
Datum
jwt_sql_create_signing_key(PG_FUNCTION_ARGS)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		alg = required_argument(fcinfo, 1, "alg");
	Slice		kid = text_argument(fcinfo, 2);
	TimestampTz activate_at = activation_argument(fcinfo, 3);
	MemoryContext outer;
	Keys		keys;

	row_require_write("jwt_create_signing_key()");
	outer = begin_private();
	lock_keys(&issuer, &keys);
	PG_RETURN_DATUM(end_private(outer, generate_key(&keys, pnstrdup(alg.data, alg.len), &kid, activate_at)));
}

/*
 * The name of the algorithm of an imported key, if the caller has given none.
 * EdDSA is the name that most verifiers know.
 */
static const char *
algorithm_name(const Keys *keys, const PrivateKey *key)
{
	const IssuerTerms *terms = keys->policy->terms;

	for (int i = 0; i < terms->n_algorithms; i++)
		if (key->algorithm->family == FAMILY_EDDSA && strcmp(terms->algorithms[i], ALGORITHM_EDDSA) == 0)
			return ALGORITHM_EDDSA;
	return key->algorithm->name;
}

/*
 * The text of a private key, in UTF-8.  A copy of it is cleansed with the current memory
 * context.
 */
static Slice
key_argument(FunctionCallInfo fcinfo, int n)
{
	Slice		text = required_argument(fcinfo, n, "key");
	char	   *converted = json_from_server(text.data, text.len);

	if (converted != text.data)
	{
		text.len = (int) strlen(converted);
		text.data = memcpy(secret_alloc(text.len), converted, text.len);
		explicit_bzero(converted, text.len);
	}
	return text;
}

static Datum
import_key(FunctionCallInfo fcinfo)
{
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	Slice		key_text;
	Slice		alg_argument = text_argument(fcinfo, 2);
	Slice		kid = text_argument(fcinfo, 3);
	TimestampTz activate_at = activation_argument(fcinfo, 4);
	const char *alg = alg_argument.data ? pnstrdup(alg_argument.data, alg_argument.len) : NULL;
	MemoryContext outer;
	Keys		keys;
	PrivateKey *key;
	char	   *reason;

	row_require_write("jwt_import_signing_key()");
	outer = begin_private();
	if (alg != NULL)
		require_key_pair(algorithm_by_name(alg, (int) strlen(alg)));
	key_text = key_argument(fcinfo, 1);
	key = private_key_from_text(key_text.data, key_text.len, alg, CurrentMemoryContext, &reason);
	if (key == NULL)
		refuse_key(reason, NULL);
	require_key_pair(key->algorithm);
	lock_keys(&issuer, &keys);
	if (alg == NULL)
		alg = algorithm_name(&keys, key);
	return end_private(outer, add_key(&keys, key, alg, &kid, activate_at));
}

/*
 * jwt_import_signing_key(issuer, key, alg, kid, activate_at): add the private key of a PEM
 * or a JWK; returns its kid.
 */
Datum
jwt_sql_import_signing_key(PG_FUNCTION_ARGS)
{
	return call_with_secret(import_key, fcinfo);
}

/*
 * jwt_rotate_signing_key(issuer): make the key that follows the current one; returns
 * its kid.
 *
 * If the current key cannot sign, the new one does at once.  If there is one
 * that stands by already, it is not doubled: it signs at once if the current key
 * cannot, else this raises an error.
 */
Datum
jwt_sql_rotate_signing_key(PG_FUNCTION_ARGS)
{
	static const Slice no_kid = {NULL, 0};
	Slice		issuer = required_argument(fcinfo, 0, "issuer");
	MemoryContext outer;
	Keys		keys;
	SigningRow *standby;
	const char *kid;

	row_require_write("jwt_rotate_signing_key()");
	outer = begin_private();
	lock_keys(&issuer, &keys);
	if (keys.n == 0)
		signing_key_raise_none(keys.policy, keys.rows, keys.n);
	standby = find_standby(&keys);
	if (standby == NULL)
	{
		const char *alg = keys.rows[keys.current < 0 ? keys.n - 1 : keys.current].alg;

		kid = generate_key(&keys, alg ? alg : "", &no_kid, BY_POLICY);
		PG_RETURN_DATUM(end_private(outer, kid));
	}
	if (current_can_sign(&keys))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("issuer \"%s\" already has a standby key", quote_string(keys.policy->issuer)),
				 errdetail("The key \"%s\" will sign from %s on.", standby->kid ? quote_string(standby->kid) : "",
						   timestamptz_to_str(standby->activate_at)),
				 errhint("If verifiers know it already, let it sign earlier: update jwt_signing_key.activate_at.")));
	kid = standby->kid ? standby->kid : "";
	change_row(&keys, standby, false, earliest_activation(&keys));
	read_keys(&keys);
	(void) settle(&keys, false);
	PG_RETURN_DATUM(end_private(outer, kid));
}

/*
 * Is the next key due by the schedule of the policy?
 */
static bool
is_due(const Keys *keys)
{
	const TokenPolicy *policy = keys->policy;
	const SigningRow *row = keys->current >= 0 ? &keys->rows[keys->current] : NULL;

	return policy->rotate_every > 0 && row != NULL && row->alg != NULL &&
		row->activate_at <= keys->now - (policy->rotate_every - policy->publish_ahead) &&
		find_standby(keys) == NULL;
}

/*
 * Do what is due for an issuer.  Returns the number of keys that were made or
 * changed.
 *
 * If the current key cannot sign, a new one would sign at once, unknown to
 * verifiers, and go on when the current one can sign again, as after a restore that
 * has not come to jwt_key yet.  So that is left to a person.
 */
static int
rotate_if_due(const Slice *issuer, Keys *keys)
{
	static const Slice no_kid = {NULL, 0};
	KeyFailure	failure;

	/* look before locking: mostly there is nothing to do */
	keys->policy = policy_require(issuer);
	keys->issuer = *issuer;
	keys->now = GetCurrentTimestamp();
	read_keys(keys);
	if (!settle(keys, true) && !is_due(keys))
		return 0;

	lock_keys(issuer, keys);
	if (is_due(keys))
	{
		if (!current_opens(keys, &failure))
			key_file_raise(&failure);
		(void) generate_key(keys, keys->rows[keys->current].alg, &no_kid, BY_POLICY);
	}
	return keys->changes;
}

/*
 * Must this error be logged?  A person is always told.  A worker logs it once,
 * until the policy changes or there is a newer key.
 */
static bool
is_new_error(const Issuer *issuer, const Keys *keys, const ErrorData *error)
{
	LogOnce		is_new = (LogOnce) *find_rendezvous_variable(LOG_ONCE_RENDEZVOUS);
	const char *const texts[] = {issuer->name, error->message, error->detail};
	uint64		hash = hash_combine64(MyDatabaseId, issuer->version);

	if (is_new == NULL)
		return true;
	for (int i = 0; i < (int) lengthof(texts); i++)
		if (texts[i] != NULL)
			hash = hash_bytes_extended((const unsigned char *) texts[i], (int) strlen(texts[i]), hash);
	if (keys->n > 0)
		hash = hash_bytes_extended(keys->rows[keys->n - 1].id.data, UUID_LEN, hash);
	return is_new(hash);
}

static void
rotate(void *arg)
{
	Rotation   *rotation = arg;
	Slice		name = slice_of(rotation->issuer->name);

	rotation->changes = rotate_if_due(&name, &rotation->keys);
}

/*
 * Do what is due in a subtransaction, so that an error concerns this issuer only.
 * It is logged.
 */
static int
try_to_rotate(const Issuer *issuer)
{
	MemoryContext outer = begin_private();
	MemoryContext context = CurrentMemoryContext;
	Rotation	rotation = {.issuer = issuer};
	ErrorData  *error = subtransaction_attempt(rotate, &rotation);

	if (error != NULL && is_new_error(issuer, &rotation.keys, error))
		ereport(WARNING,
				(errmsg("the signing keys of issuer \"%s\" could not be rotated: %s",
						quote_string(issuer->name), error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0));
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	return error != NULL ? 0 : rotation.changes;
}

/*
 * jwt_rotate_due_signing_keys(): do what is due for each issuer.  Returns the number of
 * keys that were made or changed.  The worker of jwt_jwks calls it.
 */
Datum
jwt_sql_rotate_due_signing_keys(PG_FUNCTION_ARGS)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *issuers = NIL;
	ListCell   *lc;
	int			changes = 0;

	row_require_write("jwt_rotate_due_signing_keys()");
	(void) fcinfo;
	rel = tables_open(AUTH_POLICY, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		name = heap_getattr(tuple, Anum_policy_issuer, RelationGetDescr(rel), &isnull);
		Issuer	   *issuer = palloc(sizeof(Issuer));

		if (isnull)
			continue;
		issuer->name = TextDatumGetCString(name);
		issuer->version = HeapTupleHeaderGetRawXmin(tuple->t_data);
		issuers = lappend(issuers, issuer);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	foreach(lc, issuers)
	{
		CHECK_FOR_INTERRUPTS();
		changes += try_to_rotate(lfirst(lc));
	}
	PG_RETURN_INT32(changes);
}

/*-------------------------------------------------------------------------
 *
 * jwt_test.c
 *	  Functions for tests only: signatures, key sets and quoting below SQL,
 *	  OpenSSL's errors, mutated tokens, requests to fetch key sets, memory
 *	  usage, failing allocations, and entries of other versions of jwt.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <dlfcn.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <sys/mman.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "entries.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "token/base64url.h"
#include "token/dpop.h"
#include "token/failure.h"
#include "token/jwk_set.h"
#include "token/jws.h"
#include "token/jws_sign.h"
#include "token/openssl_errors.h"
#include "token/private_key.h"
#include "token/uri.h"
#include "trust/refresh.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

PG_MODULE_MAGIC;

JWT_SQL_FUNCTION(jwt_test_signature);
JWT_SQL_FUNCTION(jwt_test_available);
JWT_SQL_FUNCTION(jwt_test_ed25519);
JWT_SQL_FUNCTION(jwt_test_private_key);
JWT_SQL_FUNCTION(jwt_test_sign);
JWT_SQL_FUNCTION(jwt_test_residue);
JWT_SQL_FUNCTION(jwt_test_jwk_set);
JWT_SQL_FUNCTION(jwt_test_uri);
JWT_SQL_FUNCTION(jwt_test_dpop);
JWT_SQL_FUNCTION(jwt_test_quote);
JWT_SQL_FUNCTION(jwt_test_check_memory);
JWT_SQL_FUNCTION(jwt_test_has_errors);
JWT_SQL_FUNCTION(jwt_test_properties);
JWT_SQL_FUNCTION(jwt_test_mutate);
JWT_SQL_FUNCTION(jwt_test_memory);
JWT_SQL_FUNCTION(jwt_test_noop);
JWT_SQL_FUNCTION(jwt_test_wakes);
JWT_SQL_FUNCTION(jwt_test_fail_allocation);
JWT_SQL_FUNCTION(jwt_test_allocations);
JWT_SQL_FUNCTION(jwt_test_no_entries);
JWT_SQL_FUNCTION(jwt_test_other_entries);
JWT_SQL_FUNCTION(jwt_test_fewer_entries);

/*
 * jwt_test_signature(alg, jwk, message, signature)
 */
Datum
jwt_test_signature(PG_FUNCTION_ARGS)
{
	text	   *alg = PG_GETARG_TEXT_PP(0);
	Jsonb	   *jsonb = PG_GETARG_JSONB_P(1);
	bytea	   *message = PG_GETARG_BYTEA_PP(2);
	bytea	   *signature = PG_GETARG_BYTEA_PP(3);
	Jwk			jwk;
	const Algorithm *algorithm;
	JwsVerifier *verifier;
	char	   *reason;
	bool		first;
	bool		second;

	if (!jwk_read(jsonb, &jwk, &reason) ||
		!jwk_fits(&jwk, VARDATA_ANY(alg), (int) VARSIZE_ANY_EXHDR(alg), &algorithm, &reason) ||
		(verifier = jws_verifier_create(&jwk, algorithm, CurrentMemoryContext, &reason)) == NULL)
		PG_RETURN_NULL();

	/*
	 * a verifier is used many times, and must give the same verdict each time
	 */
	first = jws_signature_is_good(verifier, (uint8 *) VARDATA_ANY(message), (int) VARSIZE_ANY_EXHDR(message),
								  (uint8 *) VARDATA_ANY(signature), (int) VARSIZE_ANY_EXHDR(signature));
	second = jws_signature_is_good(verifier, (uint8 *) VARDATA_ANY(message), (int) VARSIZE_ANY_EXHDR(message),
								   (uint8 *) VARDATA_ANY(signature), (int) VARSIZE_ANY_EXHDR(signature));
	if (first != second)
		elog(ERROR, "a verifier gave two verdicts");
	PG_RETURN_BOOL(first);
}

/*
 * jwt_test_available(alg)
 */
Datum
jwt_test_available(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	const Algorithm *algorithm = algorithm_by_name(VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name));
	EVP_PKEY_CTX *ctx;

	if (algorithm == NULL || algorithm->family != FAMILY_ML_DSA)
		PG_RETURN_BOOL(algorithm != NULL);
	ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm->key_name, NULL);
	EVP_PKEY_CTX_free(ctx);
	PG_RETURN_BOOL(ctx != NULL);
}

/*
 * jwt_test_ed25519(seed)
 */
Datum
jwt_test_ed25519(PG_FUNCTION_ARGS)
{
	text	   *seed = PG_GETARG_TEXT_PP(0);
	uint8		private_key[32];
	uint8		public_key[32];
	size_t		len = sizeof(public_key);
	char	   *x = palloc(base64url_encoded_size(sizeof(public_key)) + 1);
	EVP_PKEY   *pkey = NULL;
	bool		good;

	if (EVP_Digest(VARDATA_ANY(seed), VARSIZE_ANY_EXHDR(seed), private_key, NULL, EVP_sha256(), NULL) == 1)
		pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private_key, sizeof(private_key));
	good = pkey != NULL && EVP_PKEY_get_raw_public_key(pkey, public_key, &len) == 1;
	EVP_PKEY_free(pkey);
	if (!good)
		elog(ERROR, "OpenSSL made no key");
	x[base64url_encode(public_key, (int) len, x)] = '\0';
	PG_RETURN_TEXT_P(cstring_to_text(x));
}

/*
 * jwt_test_private_key(how, key, alg)
 */
Datum
jwt_test_private_key(PG_FUNCTION_ARGS)
{
	char	   *how = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *bytes = PG_ARGISNULL(1) ? NULL : PG_GETARG_BYTEA_PP(1);
	char	   *data = bytes ? VARDATA_ANY(bytes) : "";
	int			len = bytes ? (int) VARSIZE_ANY_EXHDR(bytes) : 0;
	char	   *alg = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {true, true, true, true, true, true};
	PrivateKey *key;
	char	   *reason;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (strcmp(how, "new") == 0)
		key = private_key_generate(alg, CurrentMemoryContext, &reason);
	else if (strcmp(how, "der") == 0)
		key = private_key_from_der((uint8 *) data, len, alg, CurrentMemoryContext, &reason);
	else if (strcmp(how, "jwk") == 0)
		key = private_key_from_jwk(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(data, len)))),
								   alg, CurrentMemoryContext, &reason);
	else
		key = private_key_from_text(data, len, alg, CurrentMemoryContext, &reason);

	if (key == NULL)
	{
		values[5] = CStringGetTextDatum(reason);
		nulls[5] = false;
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	}
	values[0] = CStringGetTextDatum(key->algorithm->name);
	nulls[0] = false;
	if (key->pkey != NULL)
	{
		int			der_len;
		uint8	   *der = private_key_to_der(key, CurrentMemoryContext, &der_len);

		values[1] = JsonbPGetDatum(private_key_public_jwk(key));
		values[2] = CStringGetTextDatum(private_key_thumbprint(key));
		values[4] = PointerGetDatum(cstring_to_text_with_len((char *) der, der_len));
		nulls[1] = nulls[2] = nulls[4] = false;
	}
	if (key->half.kid != NULL)
	{
		values[3] = CStringGetTextDatum(key->half.kid);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * jwt_test_sign(key, alg, header, payload): signs twice.
 */
Datum
jwt_test_sign(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	char	   *data = VARDATA_ANY(bytes);
	int			len = (int) VARSIZE_ANY_EXHDR(bytes);
	char	   *alg = text_to_cstring(PG_GETARG_TEXT_PP(1));
	text	   *header = PG_GETARG_TEXT_PP(2);
	bytea	   *payload = PG_GETARG_BYTEA_PP(3);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jwt_test", ALLOCSET_SMALL_SIZES);
	PrivateKey *key;
	JwsSigner  *signer = NULL;
	text	   *token = NULL;
	char	   *reason;

	if (len > 0 && data[0] == '{')
		key = private_key_from_text(data, len, alg, context, &reason);
	else
		key = private_key_from_der((uint8 *) data, len, alg, context, &reason);
	if (key != NULL)
		signer = jws_signer_create(key, CurrentMemoryContext, &reason);
	MemoryContextDelete(context);
	if (signer == NULL)
		elog(ERROR, "%s", reason);
	for (int i = 0; i < 2; i++)
		token = jws_sign(signer, VARDATA_ANY(header), (int) VARSIZE_ANY_EXHDR(header),
						 VARDATA_ANY(payload), (int) VARSIZE_ANY_EXHDR(payload));
	PG_RETURN_TEXT_P(token);
}

/*
 * jwt_test_residue(alg): see the SQL.
 */
Datum
jwt_test_residue(PG_FUNCTION_ARGS)
{
	char	   *alg = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			der_len;
	uint8		wanted[2][16];
	int64		found = -2;
	FILE	   *maps;
	FILE	   *memory;
	char		line[512];

	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jwt_test", ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		char	   *reason;
		PrivateKey *key = private_key_generate(alg, context, &reason);
		uint8	   *der = key ? private_key_to_der(key, context, &der_len) : NULL;
		JwsSigner  *signer;
		int			at;

		if (key == NULL || (key = private_key_from_der(der, der_len, alg, context, &reason)) == NULL ||
			(signer = jws_signer_create(key, context, &reason)) == NULL)
			elog(ERROR, "%s", reason);
		(void) jws_sign(signer, "{}", 2, "{}", 2);
		/* of the private half, masked so that these are no copies */
		at = der_len - 20;
		for (int i = 0; i < 16; i++)
		{
			wanted[0][i] = der[at + i] ^ 0x55;
			wanted[1][15 - i] = der[at + i] ^ 0x55;
		}
		found += 2;
		MemoryContextSwitchTo(old);
		if (!PG_GETARG_BOOL(1))
			MemoryContextDelete(context);
	}

	maps = fopen("/proc/self/maps", "r");
	memory = fopen("/proc/self/mem", "r");
	if (maps == NULL || memory == NULL)
		elog(ERROR, "this process cannot read its memory");
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long start;
		unsigned long end;
		char		mode[8];
		uint8	   *copy;
		size_t		n;

		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) != 3 || mode[0] != 'r' || mode[1] != 'w' || mode[3] == 's')
			continue;
		copy = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (copy == MAP_FAILED)
			elog(ERROR, "out of memory");
		(void) fseek(memory, (long) start, SEEK_SET);
		n = fread(copy, 1, end - start, memory);
		for (size_t i = 0; i + 16 <= n; i++)
			for (int k = 0; k < 2; k++)
			{
				int			j = 0;

				while (j < 16 && (copy[i + j] ^ 0x55) == wanted[k][j])
					j++;
				found += j == 16;
			}
		munmap(copy, end - start);
	}
	fclose(maps);
	fclose(memory);
	PG_RETURN_INT64(found);
}

/*
 * jwt_test_jwk_set(document)
 */
Datum
jwt_test_jwk_set(PG_FUNCTION_ARGS)
{
	bytea	   *document = PG_GETARG_BYTEA_PP(0);
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {true, true, true, true};
	JsonbValue *members;
	int			n;
	char	   *reason;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (jwk_set_read(VARDATA_ANY(document), (int) VARSIZE_ANY_EXHDR(document), &members, &n, &reason))
	{
		values[0] = Int32GetDatum(n);
		values[1] = JsonbPGetDatum(JsonbValueToJsonb(&members[0]));
		values[2] = JsonbPGetDatum(JsonbValueToJsonb(&members[n - 1]));
		nulls[0] = nulls[1] = nulls[2] = false;
	}
	else
	{
		values[3] = CStringGetTextDatum(reason);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static Slice
text_slice(text *t)
{
	Slice		slice = {VARDATA_ANY(t), (int) VARSIZE_ANY_EXHDR(t)};

	return slice;
}

/*
 * jwt_test_uri(uri)
 */
Datum
jwt_test_uri(PG_FUNCTION_ARGS)
{
	Slice		uri = text_slice(PG_GETARG_TEXT_PP(0));
	char	   *normal = uri_normal_form(&uri);

	if (normal == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(normal));
}

/*
 * jwt_test_dpop(token, proof, thumbprint, at)
 */
Datum
jwt_test_dpop(PG_FUNCTION_ARGS)
{
	Slice		token = text_slice(PG_GETARG_TEXT_PP(0));
	DpopProof	proof = {
		.text = text_slice(PG_GETARG_TEXT_PP(1)), .method = slice_of("GET"),
		.uri = slice_of("https://api.example/things"), .max_size = JWS_MAX_SIZE
	};
	char	   *thumbprint = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Failure		failure;

	if (!dpop_check(&proof, &token, thumbprint, PG_GETARG_TIMESTAMPTZ(3), &failure))
		PG_RETURN_TEXT_P(cstring_to_text(failure.detail));
	PG_RETURN_TEXT_P(cstring_to_text("good"));
}

/*
 * jwt_test_quote(string, encoding)
 */
Datum
jwt_test_quote(PG_FUNCTION_ARGS)
{
	bytea	   *string = PG_GETARG_BYTEA_PP(0);
	int			ours = GetDatabaseEncoding();
	char	   *quoted;

	SetDatabaseEncoding(pg_char_to_encoding(NameStr(*PG_GETARG_NAME(1))));
	quoted = quote_untrusted(VARDATA_ANY(string), (int) VARSIZE_ANY_EXHDR(string));
	SetDatabaseEncoding(ours);
	PG_RETURN_BYTEA_P((bytea *) cstring_to_text(quoted));
}

/*
 * jwt_test_check_memory(entries): see the SQL.
 */
Datum
jwt_test_check_memory(PG_FUNCTION_ARGS)
{
	Datum	   *entries;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &entries, NULL, &n);
	ERR_clear_error();
	for (int i = 0; i < n; i++)
	{
		char	   *entry = TextDatumGetCString(entries[i]);

		/* the state after a failure while OpenSSL reported another one */
		if (strcmp(entry, "nothing") == 0)
			ERR_new();
		else if (strcmp(entry, "malloc") == 0)
			ERR_raise(ERR_LIB_EVP, ERR_R_MALLOC_FAILURE);
		else if (strcmp(entry, "ENOMEM") == 0)
			ERR_raise(ERR_LIB_SYS, ENOMEM);
		else if (strcmp(entry, "EACCES") == 0)
			ERR_raise(ERR_LIB_SYS, EACCES);
		else if (strcmp(entry, "reason 12") == 0)
			ERR_raise(ERR_LIB_RSA, ENOMEM);
		else
			elog(ERROR, "there is no entry \"%s\"", entry);
	}
	openssl_check_memory();
	PG_RETURN_VOID();
}

/*
 * jwt_test_has_errors()
 */
Datum
jwt_test_has_errors(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(openssl_has_errors());
}

/*
 * jwt_test_properties(query)
 */
Datum
jwt_test_properties(PG_FUNCTION_ARGS)
{
	if (EVP_set_default_properties(NULL, text_to_cstring(PG_GETARG_TEXT_PP(0))) != 1)
		elog(ERROR, "OpenSSL did not accept the properties");
	PG_RETURN_VOID();
}

/* splitmix64: the same sequence everywhere for the same seed. */
static uint64 state;

static uint32
roll(uint32 sides)
{
	uint64		z = (state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return (uint32) ((z ^ (z >> 31)) % sides);
}

static char *
encode(const char *data, int len)
{
	char	   *text = palloc(base64url_encoded_size(len) + 1);

	text[base64url_encode((const uint8 *) data, len, text)] = '\0';
	return text;
}

/* A part of a token, decoded; terminated for convenience. */
static char *
decode(const char *part, int *len)
{
	int			part_len = (int) strlen(part);
	char	   *data = palloc(base64url_decoded_size(part_len) + 1);

	*len = base64url_decode(part, part_len, (uint8 *) data);
	Assert(*len >= 0);
	data[*len] = '\0';
	return data;
}

/* Replace the first occurrence, or append if there is none. */
static char *
replace(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	if (at == NULL)
		return psprintf("%s%s", text, to);
	return psprintf("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
}

static const char base64url_alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static const char *const header_members[] = {
	"{\"crit\":[\"exp\"],", "{\"b64\":false,", "{\"jku\":\"https://evil.example/\",", "{\"jwk\":{},",
	"{\"x5u\":\"https://evil.example/\",", "{\"x5c\":[],", "{\"alg\":\"none\",", "{\"kid\":\"../k\",",
	"{\"typ\":\"at+jwt\",", "{\"zip\":\"DEF\",", "{\"\":0,", "{ ",
};

static const char *const algorithm_names_to_try[] = {
	"none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
	"PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448", "ML-DSA-44", "rs256",
};

static const char *const claims_to_try[] = {
	"\"sub\":\"mallory\"", "\"sub\":\"root\"", "\"exp\":99999999999", "\"aud\":\"admin\"", "\"iss\":\"x\"", "\"admin\":true",
};

/*
 * Change the parts of a token by one rule.
 */
static void
mutate_parts(char **part, char **other)
{
	int			len;
	int			at;
	char	   *data;
	int			which = (int) roll(3);

	switch (roll(17))
	{
		case 0:					/* one bit of the bytes of a part */
		case 1:
			data = decode(part[which], &len);
			if (len > 0)
				data[roll(len)] ^= (char) (1 << roll(8));
			part[which] = encode(data, len);
			break;
		case 2:					/* one character */
		case 3:
			len = (int) strlen(part[which]);
			if (len > 0)
				part[which][roll(len)] = base64url_alphabet[roll(64)];
			break;
		case 4:					/* one byte of any value */
			len = (int) strlen(part[which]);
			if (len > 0)
				part[which][roll(len)] = (char) (1 + roll(127));
			break;
		case 5:					/* a character more */
			len = (int) strlen(part[which]);
			at = (int) roll(len + 1);
			part[which] = psprintf("%.*s%c%s", at, part[which], base64url_alphabet[roll(64)], part[which] + at);
			break;
		case 6:					/* a part cut off */
			len = (int) strlen(part[which]);
			part[which][roll(len + 1)] = '\0';
			break;
		case 7:					/* a part of another token */
			part[which] = other[which];
			break;
		case 8:					/* parts in another order */
			data = part[0];
			part[0] = part[1 + roll(2)];
			part[2] = data;
			break;
		case 9:					/* another algorithm */
			data = decode(part[0], &len);
			at = (int) (strstr(data, "\"alg\":\"") - data) + 7;
			part[0] = psprintf("%.*s%s%s", at, data,
							   algorithm_names_to_try[roll(lengthof(algorithm_names_to_try))], strchr(data + at, '"'));
			part[0] = encode(part[0], (int) strlen(part[0]));
			if (roll(2))
				part[2] = pstrdup("");
			break;
		case 10:				/* another member in the header */
			data = replace(decode(part[0], &len), "{", header_members[roll(lengthof(header_members))]);
			part[0] = encode(data, (int) strlen(data));
			break;
		case 11:				/* another claim */
			data = decode(part[1], &len);
			data = replace(data, roll(2) ? "\"sub\":\"alice\"" : "}", claims_to_try[roll(lengthof(claims_to_try))]);
			part[1] = encode(data, (int) strlen(data));
			break;
		case 12:				/* a signature of nothing but one byte */
			data = decode(part[2], &len);
			memset(data, roll(2) ? 0 : (int) roll(256), len);
			part[2] = encode(data, len);
			break;
		case 13:				/* the halves of the signature swapped */
			data = decode(part[2], &len);
			part[2] = psprintf("%s%s", encode(data + len / 2, len - len / 2), encode(data, len / 2));
			break;
		case 14:				/* padding, white space, another alphabet */
			part[which] = psprintf("%s%c", part[which], "= \n.+/\t~"[roll(8)]);
			break;
		case 15:				/* a signature that is longer by a zero */
			data = decode(part[2], &len);
			data = memcpy(palloc0(len + 1), data, len);
			part[2] = encode(data, len + 1);
			break;
		case 16:				/* nothing */
			break;
	}
}

/*
 * jwt_test_mutate(tokens, seed, n): one mutation, and sometimes up to four.
 */
Datum
jwt_test_mutate(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *tokens;
	int			n_tokens;
	char	   *part[3];
	char	   *other[3];

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &tokens, NULL, &n_tokens);
	state = (uint64) PG_GETARG_INT64(1) * UINT64CONST(1000000007) + (uint64) PG_GETARG_INT64(2);

	for (int i = 0; i < 2; i++)
	{
		char	  **parts = i == 0 ? part : other;

		parts[0] = TextDatumGetCString(tokens[roll(n_tokens)]);
		parts[1] = strchr(parts[0], '.');
		*parts[1]++ = '\0';
		parts[2] = strchr(parts[1], '.');
		*parts[2]++ = '\0';
	}
	mutate_parts(part, other);

	/* only parts that are still base64url can be mutated again */
	for (int more = roll(4) == 0 ? 1 + (int) roll(3) : 0; more > 0; more--)
	{
		uint8	   *scratch = palloc(strlen(part[0]) + strlen(part[1]) + strlen(part[2]) + 3);
		char	   *header;
		int			len;

		for (int i = 0; i < 3; i++)
			if (base64url_decode(part[i], (int) strlen(part[i]), scratch) < 0)
				more = 0;
		if (more == 0)
			break;
		header = decode(part[0], &len);
		if (strstr(header, "\"alg\":\"") == NULL || strchr(strstr(header, "\"alg\":\"") + 7, '"') == NULL)
			break;
		mutate_parts(part, other);
	}
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s.%s.%s", part[0], part[1], part[2])));
}

/*
 * jwt_test_memory()
 */
Datum
jwt_test_memory(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	struct mallinfo2 info = mallinfo2();

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum((int64) MemoryContextMemAllocated(TopMemoryContext, true));
	values[1] = Int64GetDatum((int64) (info.uordblks + info.hblkhd));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * jwt_test_noop(token): reads its argument, as every function must, and
 * returns a pointer.
 */
Datum
jwt_test_noop(PG_FUNCTION_ARGS)
{
	static struct
	{
		int32		header;
		uint32		container;
	}			empty;

	SET_VARSIZE(&empty, sizeof(empty));
	empty.container = JB_FOBJECT;
	if (PG_ARGISNULL(0) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(&empty);
}

/*
 * jwt_test_fail_allocation(who, nth): see jwt_alloc.c.  Raises an error if
 * that is not preloaded.
 */
Datum
jwt_test_fail_allocation(PG_FUNCTION_ARGS)
{
	int			(*arm) (const char *, long) = (int (*) (const char *, long)) dlsym(RTLD_DEFAULT, "jwt_alloc_arm");

	if (arm == NULL || !arm(text_to_cstring(PG_GETARG_TEXT_PP(0)), (long) PG_GETARG_INT64(1)))
		elog(ERROR, "jwt_alloc.so was not preloaded");
	PG_RETURN_VOID();
}

/*
 * jwt_test_allocations(): stops failing; see jwt_alloc.c.
 */
Datum
jwt_test_allocations(PG_FUNCTION_ARGS)
{
	long		(*state) (int *) = (long (*) (int *)) dlsym(RTLD_DEFAULT, "jwt_alloc_state");
	int			fired = 0;
	long		live = state ? state(&fired) : 0;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(fired != 0);
	values[1] = Int64GetDatum(live);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static int64 wakes;

static void
count_wake(Oid database, const char *issuer, int len, bool force)
{
	(void) database;
	(void) issuer;
	(void) len;
	(void) force;
	wakes++;
}

/*
 * jwt_test_wakes(): takes the place of a preloaded jwt_jwks.
 */
Datum
jwt_test_wakes(PG_FUNCTION_ARGS)
{
	void	  **hook = find_rendezvous_variable(REFRESH_RENDEZVOUS);
	int64		result = wakes;

	(void) fcinfo;
	*hook = count_wake;
	wakes = 0;
	PG_RETURN_INT64(result);
}

/*
 * In place of jwt_entries(): what a library jwt of another version gives.
 */
Datum
jwt_test_no_entries(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_POINTER(NULL);
}

Datum
jwt_test_other_entries(PG_FUNCTION_ARGS)
{
	static const JwtEntries entries = {.version = JWT_ENTRIES_VERSION - 1, .size = sizeof(JwtEntries)};

	(void) fcinfo;
	PG_RETURN_POINTER(&entries);
}

Datum
jwt_test_fewer_entries(PG_FUNCTION_ARGS)
{
	static const JwtEntries entries = {.version = JWT_ENTRIES_VERSION, .size = sizeof(JwtEntries) - sizeof(void *)};

	(void) fcinfo;
	PG_RETURN_POINTER(&entries);
}

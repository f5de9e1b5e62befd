/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *	  Fuzz targets for all readers of external input.
 *
 * They run inside a real backend.  A function calls libFuzzer's driver, or
 * AFL++'s driver of the same name.  So the JSON lexer, jsonb and memory
 * contexts are PostgreSQL's own.  A target fails if it crashes, if a sanitizer
 * reports an error, if it raises an error, or if an assertion fails:
 * PostgreSQL's jsonb_in and OpenSSL's base64 must read everything that our
 * strict readers accept, with the same result.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <unistd.h>

#include "auth/refresh_token.h"
#include "auth/seal.h"
#include "catalog/pg_type.h"
#include "fetcher/address.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "session/event.h"
#include "session/verify.h"
#include "token/algorithm.h"
#include "token/base64url.h"
#include "token/claims.h"
#include "token/dpop.h"
#include "token/json.h"
#include "token/jwk.h"
#include "token/jws.h"
#include "token/key_text.h"
#include "token/private_key.h"
#include "token/secret.h"
#include "token/uri.h"
#include "trust/catalog.h"
#include "trust/key_set.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt_fuzz");
JWT_SQL_FUNCTION(jwt_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *data, size_t size));
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assertion that holds for every input. */
#define claim(condition) \
	((condition) ? (void) 0 : (fprintf(stderr, "does not hold: %s (line %d)\n", #condition, __LINE__), abort()))

typedef struct Target
{
	const char *name;
	void		(*run) (const char *data, int len);
} Target;

static const Target *target;
static MemoryContext context;

/* The thumbprint of a key that run has revoked, the one of RFC 8037 appendix A.3. */
#define REVOKED "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>

/*
 * Under AddressSanitizer each allocation is a malloc() block of its own,
 * because it is too large to share one.  Bytes after the requested size are
 * poisoned.  Freeing the block removes the poison.
 */
#define UNSHARED_SIZE	8200

extern void *__real_palloc(Size size);
extern void *__real_palloc0(Size size);
extern void *__real_MemoryContextAlloc(MemoryContext owner, Size size);
extern void *__real_MemoryContextAllocZero(MemoryContext owner, Size size);

static void *
fence(void *chunk, Size size)
{
	__asan_poison_memory_region((char *) chunk + size, UNSHARED_SIZE);
	return chunk;
}

#define WRAP(name, params, args) \
	extern void *__wrap_##name params; \
	void * \
	__wrap_##name params \
	{ \
		return fence(__real_##name args, size); \
	}

WRAP(palloc, (Size size), (size + UNSHARED_SIZE))
WRAP(palloc0, (Size size), (size + UNSHARED_SIZE))
WRAP(MemoryContextAlloc, (MemoryContext owner, Size size), (owner, size + UNSHARED_SIZE))
WRAP(MemoryContextAllocZero, (MemoryContext owner, Size size), (owner, size + UNSHARED_SIZE))
#endif

/*
 * Does OpenSSL's base64 decode the text to these bytes?
 */
static bool
openssl_reads(const char *text, int len, const uint8 *bytes, int n)
{
	int			padded = (len + 3) / 4 * 4;
	unsigned char *base64 = palloc(padded);
	unsigned char *theirs = palloc(padded / 4 * 3);

	memset(base64, '=', padded);
	for (int i = 0; i < len; i++)
		base64[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : (unsigned char) text[i];
	return EVP_DecodeBlock(theirs, base64, padded) == padded / 4 * 3 &&
		n == len * 3 / 4 && memcmp(theirs, bytes, n) == 0;
}

/*
 * base64url: an accepted text has one encoding, and OpenSSL decodes it to the
 * same bytes.
 */
static void
fuzz_base64url(const char *data, int len)
{
	uint8	   *decoded = palloc(base64url_decoded_size(len));
	int			n = base64url_decode(data, len, decoded);
	char	   *encoded;

	if (n < 0)
		return;
	claim(n == base64url_decoded_size(len));
	encoded = palloc(base64url_encoded_size(n));
	claim(base64url_encode(decoded, n, encoded) == len);
	claim(memcmp(encoded, data, len) == 0);
	claim(openssl_reads(data, len, decoded, n));
}

/*
 * The tree of the strict reader as jsonb, which must equal the result of
 * jsonb_in.
 */
static Jsonb *
same_jsonb(JsonbValue *object, const char *text, int len)
{
	Jsonb	   *ours = JsonbValueToJsonb(object);
	Jsonb	   *theirs;

	claim(memchr(text, '\0', len) == NULL);
	theirs = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(text, len))));
	claim(VARSIZE(ours) == VARSIZE(theirs));
	claim(memcmp(ours, theirs, VARSIZE(ours)) == 0);
	return ours;
}

/*
 * PostgreSQL itself does not write jsonb in the form of our claims, and must
 * read it the same way.
 */
static void
check_claims_form(JsonbValue *object, const Jsonb *jsonb)
{
	Jsonb	   *claims = json_to_jsonb(object);

	claim(VARSIZE(claims) == VARSIZE(jsonb));
	claim(compareJsonbContainers(&claims->root, unconstify(JsonbContainer *, &jsonb->root)) == 0);
	for (int i = 0; i < object->val.object.nPairs; i++)
	{
		const JsonbValue *key = &object->val.object.pairs[i].key;
		JsonbValue	value;
		const JsonbValue *meant = &object->val.object.pairs[i].value;

		claim(getKeyJsonValueFromContainer(&claims->root, key->val.string.val, key->val.string.len, &value) != NULL);
		if (meant->type != jbvObject && meant->type != jbvArray)
			claim(value.type == meant->type);
		else
			claim(value.type == jbvBinary);
		if (meant->type == jbvString)
			claim(value.val.string.len == meant->val.string.len &&
				  memcmp(value.val.string.val, meant->val.string.val, value.val.string.len) == 0);
	}
}

/*
 * JSON as jsonb, if the strict reader accepts it.
 */
static Jsonb *
read_json(const char *data, int len)
{
	JsonbValue	object;
	Jsonb	   *jsonb;

	if (json_read_object(data, len, &object) != NULL)
		return NULL;
	jsonb = same_jsonb(&object, data, len);
	check_claims_form(&object, jsonb);
	return jsonb;
}

/*
 * JSON: accepted input is the same after writing and reading it.
 */
static void
fuzz_json(const char *data, int len)
{
	Jsonb	   *ours = read_json(data, len);
	char	   *text;
	Jsonb	   *again;

	if (ours == NULL)
		return;
	text = JsonbToCString(NULL, &ours->root, VARSIZE(ours));

	again = read_json(text, (int) strlen(text));
	claim(again != NULL && VARSIZE(again) == VARSIZE(ours) && memcmp(again, ours, VARSIZE(ours)) == 0);
}

/*
 * The bytes of a key equal those that OpenSSL decodes from the JWK's members.
 * Integers have the same value.
 */
static void
check_parts(const Jsonb *jsonb, const Jwk *jwk)
{
	static const struct
	{
		const char *kty;
		const char *parts[2];
		bool		is_integer;
	}			types[] = {
		{"RSA", {"n", "e"}, true},
		{"EC", {"x", "y"}, true},
		{"OKP", {"x"}, false},
		{"AKP", {"pub"}, false},
		{"oct", {"k"}, false},
	};

	for (int i = 0; i < (int) lengthof(types); i++)
		for (int j = 0; strcmp(types[i].kty, jwk->kty) == 0 && j < 2 && types[i].parts[j] != NULL; j++)
		{
			const char *part = types[i].parts[j];
			JsonbValue	value;
			const uint8 *bytes = jwk->part[j].data;
			int			len = jwk->part[j].len;
			int			written;
			uint8	   *whole;

			claim(getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &jsonb->root),
											   part, (int) strlen(part), &value) != NULL);
			claim(value.type == jbvString);
			written = value.val.string.len * 3 / 4;
			whole = palloc0(written);
			if (types[i].is_integer)
				for (; len > written; bytes++, len--)
					claim(*bytes == 0);
			claim(len == written || (types[i].is_integer && len < written));
			memcpy(whole + written - len, bytes, len);
			claim(openssl_reads(value.val.string.val, value.val.string.len, whole, written));
		}
}

/*
 * The normal form of an accepted JWK is its own normal form, with the same
 * thumbprint.  A key that fits an algorithm does not verify a random
 * signature.
 */
static void
check_jwk(const Jsonb *jsonb)
{
	Jwk			jwk;
	Jwk			normal;
	Jsonb	   *form;
	Jsonb	   *again;
	char	   *reason;
	const Algorithm *listed;

	if (!jwk_read(jsonb, &jwk, &reason))
	{
		claim(reason != NULL && reason[0] != '\0');
		return;
	}
	check_parts(jsonb, &jwk);
	form = jwk_normal_form(&jwk, false);
	claim(jwk_read(form, &normal, &reason));
	again = jwk_normal_form(&normal, false);
	claim(VARSIZE(form) == VARSIZE(again) && memcmp(form, again, VARSIZE(form)) == 0);
	claim(strcmp(jwk_thumbprint(&jwk), jwk_thumbprint(&normal)) == 0);

	for (int i = 0; (listed = algorithm_at(i)) != NULL; i++)
	{
		const Algorithm *algorithm;
		JwsVerifier *verifier;
		uint8		signature[256] = {0};

		if (!jwk_fits(&jwk, listed->name, (int) strlen(listed->name), &algorithm, &reason))
			continue;
		claim(strcmp(algorithm->kty, jwk.kty) == 0);
		(void) jwk_check_key(&jwk, algorithm, &reason);
		verifier = jws_verifier_create(&jwk, algorithm, CurrentMemoryContext, &reason);
		if (verifier == NULL)
			continue;
		for (int n = 0; n <= (int) sizeof(signature); n += 32)
			claim(!jws_signature_is_good(verifier, (const uint8 *) "x", 1, signature, n));
	}
}

static void
fuzz_jwk(const char *data, int len)
{
	Jsonb	   *jsonb = read_json(data, len);

	if (jsonb != NULL)
		check_jwk(jsonb);
}

/*
 * An accepted PEM PUBLIC KEY is the key that OpenSSL's own reader reads.
 */
static void
check_pem(const char *data, int len, const Jwk *jwk)
{
	BIO		   *bio = BIO_new_mem_buf(data, len);
	EVP_PKEY   *theirs = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
	const Algorithm *listed;

	claim(theirs != NULL);
	for (int i = 0; (listed = algorithm_at(i)) != NULL; i++)
	{
		const Algorithm *algorithm;
		EVP_PKEY   *ours;
		char	   *reason;

		if (EVP_PKEY_is_a(theirs, "RSA-PSS") ||
			!jwk_fits(jwk, listed->name, (int) strlen(listed->name), &algorithm, &reason) ||
			!jwk_make_key(jwk, algorithm, &ours, &reason))
			continue;
		claim(ours != NULL && EVP_PKEY_eq(ours, theirs) == 1);
		EVP_PKEY_free(ours);
	}
	EVP_PKEY_free(theirs);
	BIO_free(bio);
	ERR_clear_error();
}

/*
 * PEM, certificates and JWKs as text: the result is a JWK.
 */
static void
fuzz_key_text(const char *data, int len)
{
	Jsonb	   *jsonb;
	Jwk			jwk;
	char	   *reason;

	if (!key_text_to_jwk(data, len, &jsonb, &reason))
	{
		claim(reason != NULL && reason[0] != '\0');
		return;
	}
	claim(jwk_read(jsonb, &jwk, &reason));
	while (len > 0 && strchr(" \t\r\n", *data) != NULL)
		data++, len--;
	if (len > 26 && memcmp(data, "-----BEGIN PUBLIC KEY-----", 26) == 0)
		check_pem(data, len, &jwk);
	else if (data[0] == '{')
		claim(VARSIZE(read_json(data, len)) == VARSIZE(jsonb));
}

/*
 * Private keys: PKCS#8 of an accepted key gives the same key, and no message
 * has the text.
 */
static void
fuzz_private_key(const char *data, int len)
{
	char	   *reason = NULL;
	PrivateKey *key = private_key_from_text(data, len, NULL, CurrentMemoryContext, &reason);
	PrivateKey *again;
	uint8	   *der;
	uint8	   *der_again;
	int			der_len;
	int			len_again;

	if (key == NULL)
		key = private_key_from_text(data, len, "RS256", CurrentMemoryContext, &reason);
	if (key == NULL)
	{
		claim(reason != NULL && reason[strlen(reason) - 1] == '.');
		return;
	}
	claim(key->pkey != NULL);
	der = private_key_to_der(key, CurrentMemoryContext, &der_len);
	again = private_key_from_der(der, der_len, key->algorithm->name, CurrentMemoryContext, &reason);
	claim(again != NULL && again->algorithm == key->algorithm);
	claim(strcmp(private_key_thumbprint(again), private_key_thumbprint(key)) == 0);
	der_again = private_key_to_der(again, CurrentMemoryContext, &len_again);
	claim(len_again == der_len && memcmp(der_again, der, der_len) == 0);
}

/*
 * An accepted compact JWS consists of three base64url parts.
 */
static void
fuzz_jws(const char *data, int len)
{
	Jws			jws;
	Failure		failure;
	int			dots = 0;
	int			header_len;
	int			payload_len;
	uint8	   *header;

	if (!jws_split(data, len, 8192, &jws, &failure))
	{
		claim(failure.code != FAILURE_NONE && failure.detail != NULL);
		return;
	}
	for (int i = 0; i < len; i++)
	{
		dots += data[i] == '.';
		claim(data[i] == '.' || data[i] == '-' || data[i] == '_' || isalnum((unsigned char) data[i]));
	}
	claim(dots == 2);
	claim(jws.signing_input_len < len && data[jws.signing_input_len] == '.');
	claim(memcmp(jws.signing_input, data, jws.signing_input_len) == 0);

	header_len = (int) ((const char *) memchr(data, '.', len) - data);
	payload_len = jws.signing_input_len - header_len - 1;
	claim(openssl_reads(data + header_len + 1, payload_len, jws.payload, jws.payload_len));
	claim(openssl_reads(data + jws.signing_input_len + 1, len - jws.signing_input_len - 1,
						jws.signature, jws.signature_len));
	header = palloc(base64url_decoded_size(header_len));
	claim(base64url_decode(data, header_len, header) == base64url_decoded_size(header_len));
	claim(openssl_reads(data, header_len, header, base64url_decoded_size(header_len)));
	(void) same_jsonb(&jws.header, (char *) header, base64url_decoded_size(header_len));

	if (jws_check_header(&jws, &failure))
		claim(jws.alg.data != NULL);
	else
		claim(failure.code != FAILURE_NONE && failure.detail != NULL);
}

static Datum
as_numeric(const char *str)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(str), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/*
 * Converting seconds to microseconds gives the same result as numeric.
 */
static void
check_time(const JsonbValue *object, const char *text, const char *name)
{
	const JsonbPair *member = json_member(object, name);
	int64		usec = PG_INT64_MIN;
	Datum		value;

	if (member == NULL || member->value.type != jbvNumeric)
		return;
	value = NumericGetDatum(member->value.val.numeric);
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, value, as_numeric("9223372036854.775807"))))
		usec = PG_INT64_MAX;
	else if (DatumGetBool(DirectFunctionCall2(numeric_gt, value, as_numeric("-9223372036854.775808"))))
	{
		value = DirectFunctionCall2(numeric_mul, value, as_numeric("1000000"));
		value = DirectFunctionCall2(numeric_trunc, value, Int32GetDatum(0));
		usec = DatumGetInt64(DirectFunctionCall1(numeric_int8, value));
	}
	claim(json_number_usec(text, member) == usec);
}

/*
 * Claims under a policy that the first byte of the input selects.  Accepted
 * claims have not expired, and have our audience and the issuer.  A claim
 * "typ" becomes the header's typ, and the policy requires a type.  A claim
 * "azp" becomes the audience of the caller.
 */
static void
fuzz_claims(const char *data, int len)
{
	static char *audience[] = {"api", "other", "1", "2", "3", "4", "5", "6", "7", "8"};
	static const int n_audience[] = {0, 1, lengthof(audience), 1};
	static const char *const ids[] = {"sub", "jti", CLAIMS_SESSION};
	static char *required[] = {"exp", "jti"};
	int			choice = len > 0 ? (uint8) data[0] : 0;
	ClaimsPolicy policy = {
		.issuer = choice & 1 ? "https://idp.example" : "",
		.any_audience = (choice & 6) == 6,
		.n_audience = n_audience[(choice >> 1) & 3],
		.audience = audience,
		.n_required = (choice >> 3) & 3 ? Min((choice >> 3) & 3, 2) : 0,
		.required = required,
		.leeway = choice & 32 ? 30 * USECS_PER_SEC : 0,
		.max_lifetime = choice & 64 ? USECS_PER_HOUR : CLAIMS_NO_LIMIT,
		.max_age = choice & 128 ? USECS_PER_HOUR : CLAIMS_NO_LIMIT
	};
	Slice		wanted = {NULL, 0};
	TimestampTz at = 820540800 * USECS_PER_SEC; /* 2026-01-01 */
	Jws			jws = {0};
	ClaimsIds	read;
	ClaimsTimes times;
	JsonbValue	object;
	Failure		failure;

	if (len < 1 || json_read_object(data + 1, len - 1, &object) != NULL)
		return;
	(void) same_jsonb(&object, data + 1, len - 1);
	check_time(&object, data + 1, "exp");
	check_time(&object, data + 1, "nbf");
	check_time(&object, data + 1, "iat");
	if (json_member(&object, "typ") != NULL)
	{
		jws.typ.data = json_string(&json_member(&object, "typ")->value, &jws.typ.len);
		policy.token_type = "application/at+jwt";
	}
	if (json_member(&object, "azp") != NULL)
		wanted.data = json_string(&json_member(&object, "azp")->value, &wanted.len);
	if (!claims_check(&object, data + 1, &jws, &policy, &wanted, at, &read, &times, &failure))
	{
		claim(failure.code != FAILURE_NONE && failure.detail != NULL);
		return;
	}
	claim(!times.has_expires || times.expires + policy.leeway > at || times.expires == DT_NOEND);
	claim(times.not_before == DT_NOBEGIN || times.not_before - policy.leeway <= at);
	claim((json_member(&object, "iss") == NULL) == (policy.issuer[0] == '\0'));
	claim(policy.n_audience > 0 || policy.any_audience || json_member(&object, "aud") == NULL);
	for (int i = 0; i < policy.n_required; i++)
		claim(json_member(&object, policy.required[i]) != NULL);
	claim(policy.token_type == NULL ||
		  (jws.typ.len >= 6 && pg_strncasecmp(jws.typ.data + jws.typ.len - 6, "at+jwt", 6) == 0));
	claim(wanted.data == NULL || json_member(&object, "aud") != NULL);
	for (int i = 0; i < (int) lengthof(ids); i++)
	{
		const JsonbPair *member = json_member(&object, ids[i]);

		claim(member == NULL || (member->value.type == jbvString && member->value.val.string.len <= CLAIMS_MAX_ID));
	}
}

/*
 * A JWK Set: a usable member is a public key that the issuer allows and that
 * is not revoked.  The script run has added one key from a set to the issuer,
 * and revoked another one.
 */
static void
fuzz_jwks(const char *data, int len)
{
	static char *algorithms[] = {"RS256", "ES256", "EdDSA", "HS256"};
	TrustIssuer issuer = {.policy = {.issuer = "https://idp.example"}, .n_algorithms = 4, .algorithms = algorithms};
	KeySetMember *members;
	char	   *reason;
	int			n;
	int			keys = 0;

	if (!key_set_read(data, len, &issuer, &members, &n, &reason))
	{
		claim(reason != NULL && reason[0] != '\0');
		return;
	}
	claim(read_json(data, len) != NULL);
	for (int i = 0; i < n; i++)
	{
		Jwk			jwk;

		keys += members[i].jwk != NULL;
		if (members[i].reason != NULL)
			continue;
		claim(members[i].jwk != NULL && members[i].alg != NULL);
		claim(jwk_read(members[i].jwk, &jwk, &reason));
		claim(strcmp(jwk.kty, "oct") != 0);
		claim(strcmp(jwk_thumbprint(&jwk), REVOKED) != 0);
	}
	claim(keys > 0);
}

/*
 * The normal form of a URI is its own normal form.  It has no query, no fragment
 * and no dot segment.
 */
static void
fuzz_uri(const char *data, int len)
{
	Slice		uri = {data, len};
	char	   *normal = uri_normal_form(&uri);
	char	   *path;
	char	   *again;

	if (normal == NULL)
		return;
	claim((int) strlen(normal) <= len + 1);
	claim(strncmp(normal, "http://", 7) == 0 || strncmp(normal, "https://", 8) == 0);
	claim(strpbrk(normal, "?# ") == NULL);
	/* a host may be a dot */
	path = strchr(strstr(normal, "://") + 3, '/');
	claim(path != NULL && strstr(path, "/./") == NULL && strstr(path, "/../") == NULL);
	uri = slice_of(normal);
	again = uri_normal_form(&uri);
	claim(again != NULL && strcmp(again, normal) == 0);
}

/*
 * A DPoP proof.  An input that begins with a space is a whole proof.  Other
 * inputs are the payload of a proof by the key of RFC 8037 appendix A.1.
 */
static void
fuzz_dpop(const char *data, int len)
{
	static const char private_key[] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
	static const char header[] = "{\"typ\":\"dpop+jwt\",\"alg\":\"Ed25519\",\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}";
	static EVP_PKEY *pkey = NULL;
	Slice		token = slice_of("token");
	DpopProof	proof = {
		.text = {data + 1, len - 1}, .method = slice_of("GET"), .uri = slice_of("https://api.example/things"),
		.nonce = slice_of(len % 2 ? "n" : NULL), .max_size = 8192
	};
	TimestampTz at = 820540800 * USECS_PER_SEC; /* 2026-01-01 */
	Failure		failure = {FAILURE_NONE, NULL, NULL};

	if (len < 1)
		return;
	if (data[0] != ' ')
	{
		uint8		raw[32];
		uint8		signature[64];
		size_t		signature_len = sizeof(signature);
		char	   *text = palloc(base64url_encoded_size(sizeof(header)) + base64url_encoded_size(len) + 100);
		int			n = base64url_encode((const uint8 *) header, sizeof(header) - 1, text);
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();

		if (pkey == NULL)
		{
			(void) base64url_decode(private_key, sizeof(private_key) - 1, raw);
			pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
		}
		text[n++] = '.';
		n += base64url_encode((const uint8 *) data, len, text + n);
		claim(EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
			  EVP_DigestSign(ctx, signature, &signature_len, (const uint8 *) text, n) == 1);
		EVP_MD_CTX_free(ctx);
		text[n++] = '.';
		n += base64url_encode(signature, sizeof(signature), text + n);
		proof.text.data = text;
		proof.text.len = n;
	}
	if (!dpop_check(&proof, &token, REVOKED, at, &failure))
	{
		claim(failure.code == FAILURE_CONFIRMATION && failure.detail != NULL);
		return;
	}
	claim(proof.jti.len > 0 && proof.issued >= at - DPOP_MAX_AGE && proof.issued <= at + DPOP_MAX_AHEAD);
}

/* What verify_signature() finds: the target "event" fills it in. */
static Verdict signed_event;

/*
 * The step before the claims, which the target "event" leaves out: it would need a
 * signature.
 */
bool
verify_signature(const VerifyRequest *request, Verdict *verdict)
{
	claim(request->fetch_nothing);
	*verdict = signed_event;
	return true;
}

/*
 * Has an object, at any depth, a member of one of these names that is this string?
 */
static bool
has_string(const JsonbValue *value, const char *const *names, const Slice *wanted)
{
	bool		found = false;

	if (value->type == jbvArray)
		for (int i = 0; i < value->val.array.nElems && !found; i++)
			found = has_string(&value->val.array.elems[i], names, wanted);
	if (value->type != jbvObject)
		return found;
	for (int i = 0; i < value->val.object.nPairs && !found; i++)
		found = has_string(&value->val.object.pairs[i].value, names, wanted);
	for (; *names != NULL && !found; names++)
	{
		const JsonbPair *member = json_member(value, *names);
		Slice		string;

		if (member == NULL)
			continue;
		string.data = json_string(&member->value, &string.len);
		found = slice_equal(&string, wanted);
	}
	return found;
}

/*
 * What an event ends is named in it, and is of the sender or an issuer that it may
 * speak for.
 */
static void
check_effect(const EventEffect *effect, const JsonbValue *object, const TrustIssuer *sender, bool is_set)
{
	static const char *const subjects[] = {"sub", "id", NULL};
	static const char *const sessions[] = {CLAIMS_SESSION, "id", NULL};
	static const char *const tokens[] = {"jti", NULL};
	static const char *const issuers[] = {"iss", NULL};
	Slice		issuer = slice_of(effect->issuer->policy.issuer);
	bool		own = slice_is(&issuer, sender->policy.issuer);

	claim(effect->value.len > 0 && effect->value.len <= TRUST_MAX_NAME);
	claim(effect->kind == REVOKED_SUBJECT || effect->kind == REVOKED_SESSION || effect->kind == REVOKED_ID);
	claim(has_string(object, effect->kind == REVOKED_SUBJECT ? subjects :
					 effect->kind == REVOKED_SESSION ? sessions : tokens, &effect->value));
	claim(has_string(object, issuers, &issuer));
	if (!own)
	{
		claim(is_set && effect->kind == REVOKED_SUBJECT);
		own = false;
		for (int i = 0; i < sender->n_events_for; i++)
			own = own || slice_is(&issuer, sender->events_for[i]);
		claim(own);
	}
}

/*
 * The claims of an event with a good signature.  The first byte of the input selects
 * the issuer, one of those that run has added, and the header's typ.
 */
static void
fuzz_event(const char *data, int len)
{
	static const char *const senders[] = {"https://op.example", "https://hub.example", "https://api.example", "https://gone.example"};
	static const char *const types[] = {NULL, "JWT", "logout+jwt", "application/logout+jwt", "secevent+jwt", "application/SecEvent+JWT", "at+jwt", ""};
	static const char *const errors[] = {"invalid_request", "invalid_issuer", "invalid_audience", "access_denied"};
	int			choice = len > 0 ? (uint8) data[0] : 0;
	const char *sender_name = senders[choice & 3];
	TrustIssuer *sender = rows_find_issuer(sender_name, (int) strlen(sender_name));
	TrustIssuer nobody = {.policy.issuer = unconstify(char *, sender_name)};
	TrustKey	key = {.issuer = &nobody};
	JsonbValue	object;
	Slice		token = {data, len};
	Slice		iss;
	Event		event;
	bool		is_set;
	bool		known = false;

	if (len < 1 || json_read_object(data + 1, len - 1, &object) != NULL)
		return;
	memset(&signed_event, 0, sizeof(signed_event));
	signed_event.key = &key;
	signed_event.claims = object;
	signed_event.jws.payload = (uint8 *) unconstify(char *, data + 1);
	signed_event.jws.payload_len = len - 1;
	signed_event.jws.typ = slice_of(types[(choice >> 2) & 7]);

	event_verify(&token, &event);
	if (event.err != NULL)
	{
		for (int i = 0; i < (int) lengthof(errors); i++)
			known = known || strcmp(event.err, errors[i]) == 0;
		claim(known && event.description != NULL && event.description[0] != '\0');
		return;
	}
	claim(sender != NULL && !sender->events.accepts_none);
	claim((event.ignored == NULL) == (event.n_effects > 0));
	iss.data = json_string(&json_member(&object, "iss")->value, &iss.len);
	claim(slice_is(&iss, sender_name) && slice_is(&event.issuer, sender_name));
	claim(json_member(&object, "aud") != NULL);
	claim(json_member(&object, "jti")->value.type == jbvString);
	claim(json_member(&object, "iat")->value.type == jbvNumeric);
	claim(json_member(&json_member(&object, "events")->value, pnstrdup(event.type.data, event.type.len)) != NULL);

	is_set = !slice_is(&event.type, "http://schemas.openid.net/event/backchannel-logout");
	if (is_set)
		claim(json_member(&object, "exp") == NULL && json_member(&object, "sub") == NULL &&
			  json_member(&object, "sub_id") != NULL && claims_type_is(&signed_event.jws.typ, "secevent+jwt"));
	else
		claim(event.n_effects == 1 && json_member(&object, "nonce") == NULL &&
			  (sender->event_without_exp || json_member(&object, "exp") != NULL));

	claim(event.n_effects <= 100);
	for (int i = 0; i < event.n_effects; i++)
		check_effect(&event.effects[i], &object, sender, is_set);

	/* nothing is ended that began after the event, or after its token, or now */
	if (event.n_effects == 0)
		return;
	claim(IS_VALID_TIMESTAMP(event.ended) && IS_VALID_TIMESTAMP(event.issued_before) && IS_VALID_TIMESTAMP(event.issued));
	claim(event.ended <= event.issued && event.ended <= event.issued_before);
	claim(event.issued_before <= GetCurrentTimestamp());
	claim(event.issued_before < event.issued + USECS_PER_SEC && event.issued_before < event.ended + USECS_PER_SEC);
	claim(event.issued <= verify_now() + sender->events.leeway);
}

/*
 * Allowed hosts and addresses: the lines of the input are a list of patterns,
 * a host and an address.  A host is allowed only if the list contains its end.
 * An IPv4 address embedded in IPv6 is not more public, and loopback is never
 * public.
 */
static void
fuzz_address(const char *data, int len)
{
	char	   *list = palloc(len + 1);
	char	   *host;
	char	   *address;
	char	   *reason;
	HostPermission permission;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	memcpy(list, data, len);
	list[len] = '\0';
	if ((host = strchr(list, '\n')) == NULL)
		return;
	*host++ = '\0';
	if ((address = strchr(host, '\n')) != NULL)
		*address++ = '\0';
	if (!address_check_list(list, &reason))
	{
		claim(reason != NULL);
		return;
	}
	permission = address_host_permission(list, host, 443);
	if (strchr(list, '*') == NULL && permission != HOST_FORBIDDEN)
	{
		claim(permission == HOST_AT_ANY_ADDRESS);
		claim(strcasestr(list, host) != NULL);
	}
	if (list[strspn(list, " ,")] == '\0')
		claim(permission == HOST_FORBIDDEN);

	if (address == NULL || list + len - address < 16)
		return;
	memcpy(&v6.sin6_addr, address, 16);
	if (address_is_loopback((struct sockaddr *) &v6))
		claim(!address_is_public((struct sockaddr *) &v6));
	memcpy(&v4.sin_addr, address + 12, 4);
	memset(&v6.sin6_addr, 0, 10);
	memset(v6.sin6_addr.s6_addr + 10, 0xff, 2);
	claim(address_is_public((struct sockaddr *) &v4) == address_is_public((struct sockaddr *) &v6));
	claim(address_is_loopback((struct sockaddr *) &v4) == address_is_loopback((struct sockaddr *) &v6));
	if (address_is_loopback((struct sockaddr *) &v4))
		claim(!address_is_public((struct sockaddr *) &v4));
}

/* The key that stands for each key of a key file. */
static const DerivedKey derived_key = {{1, 2, 3}, "k1"};

/*
 * The step before a sealed key is opened, or a refresh token is made, which needs a
 * key file.
 */
DerivedKey *
key_file_derive(const char *name, const uint8 *salt, int salt_len, const char *info, int info_len)
{
	DerivedKey *key = secret_alloc(sizeof(DerivedKey));

	claim(salt != NULL && salt_len > 0 && info_len == (int) strlen(info));
	memcpy(key, &derived_key, sizeof(*key));
	if (name != NULL)
	{
		claim(key_name_is_valid(name, (int) strlen(name)));
		strlcpy(key->name, name, sizeof(key->name));
	}
	return key;
}

DerivedKey *
key_file_try_derive(const char *name, const uint8 *salt, int salt_len,
					const char *info, int info_len, KeyFailure *failure)
{
	(void) failure;
	return key_file_derive(name, salt, salt_len, info, info_len);
}

/*
 * A refresh token: one of the right form has one spelling, and is genuine only if it
 * is the one that is made for its session, counter and key.  An input that begins
 * with a space is not the text, but the bytes of the token.
 */
static void
fuzz_refresh_token(const char *data, int len)
{
	char	   *text = palloc(base64url_encoded_size(len) + 1);
	DerivedKey	key = derived_key;
	RefreshToken token;
	RefreshToken again;
	char	   *made;

	if (len > 0 && data[0] == ' ')
	{
		len = base64url_encode((const uint8 *) data + 1, len - 1, text);
		data = text;
	}
	if (!refresh_token_parse(data, len, &token))
		return;
	claim(key_name_is_valid(token.key_name, (int) strlen(token.key_name)));
	claim(base64url_encoded_size(token.signed_len + REFRESH_MAC_SIZE) == len);
	claim(openssl_reads(data, token.signed_len / 3 * 4, token.signed_part, token.signed_len / 3 * 3));

	strlcpy(key.name, token.key_name, sizeof(key.name));
	made = refresh_token_make(&key, &token.sid, token.counter);
	claim((int) strlen(made) == len);
	claim(refresh_token_is_genuine(&token, &key) == (memcmp(made, data, len) == 0));
	claim(refresh_token_parse(made, len, &again));
	claim(refresh_token_is_genuine(&again, &key));
	claim(again.counter == token.counter && memcmp(&again.sid, &token.sid, UUID_LEN) == 0);
	claim(strcmp(again.key_name, token.key_name) == 0);
	claim(again.signed_len == token.signed_len && memcmp(again.signed_part, token.signed_part, token.signed_len) == 0);
}

/*
 * A sealed private key in a row: no bytes open but those that were sealed.
 */
static void
fuzz_sealed(const char *data, int len)
{
	static const Slice name = {"x", 1};
	SealBinding binding = {.issuer = name, .kid = name, .alg = name, .thumbprint = name};
	bytea	   *sealed = palloc(VARHDRSZ + len);
	bytea	   *good;
	bytea	   *salt;
	char		key_name[KEY_NAME_MAX + 1];
	KeyFailure	failure;
	uint8	   *der;
	int			der_len;

	SET_VARSIZE(sealed, VARHDRSZ + len);
	memcpy(VARDATA(sealed), data, len);
	salt = palloc0(VARHDRSZ + SEAL_SALT_SIZE);
	SET_VARSIZE(salt, VARHDRSZ + SEAL_SALT_SIZE);
	if (seal_key_name(sealed, key_name))
		claim(key_name_is_valid(key_name, (int) strlen(key_name)));
	claim(!seal_open(&binding, sealed, salt, &der, &der_len, &failure));
	claim(failure.sqlstate == ERRCODE_DATA_CORRUPTED && failure.detail != NULL);
	if (len == 0)
		return;

	/* what was sealed opens, and does not with one bit changed */
	good = seal_close(&binding, (const uint8 *) data, len, &salt);
	claim(seal_key_name(good, key_name) && strcmp(key_name, derived_key.name) == 0);
	claim(seal_open(&binding, good, salt, &der, &der_len, &failure));
	claim(der_len == len && memcmp(der, data, len) == 0);
	secret_cleanse(der);
	((uint8 *) VARDATA(good))[((uint8) data[0] << 8 | (uint8) data[len - 1]) % VARSIZE_ANY_EXHDR(good)] ^= 1 << (len & 7);
	claim(!seal_open(&binding, good, salt, &der, &der_len, &failure));
}

/*
 * The lines of a key file.  The first two lines of the input are the name and the
 * database to look for; an empty name stands for none.  A key that is found is in the
 * file, and a bad line anywhere makes all of it unusable.
 */
static void
fuzz_key_lines(const char *data, int len)
{
	const char *database_start = memchr(data, '\n', len);
	const char *text = database_start == NULL ? NULL :
	memchr(database_start + 1, '\n', data + len - database_start - 1);
	FileKey    *key = secret_alloc(sizeof(FileKey));
	FileKey    *again = secret_alloc(sizeof(FileKey));
	char	   *reason = NULL;
	char	   *why = NULL;
	char	   *name;
	char	   *database;
	char	   *longer;
	int			text_len;
	bool		found;

	if (text == NULL || memchr(data, '\0', text - data) != NULL)
		return;
	name = database_start == data ? NULL : pnstrdup(data, database_start - data);
	database = pnstrdup(database_start + 1, text - database_start - 1);
	text++;
	text_len = (int) (data + len - text);
	found = key_lines_find(text, text_len, name, database, key, &reason);
	claim(!found || reason == NULL);
	if (reason != NULL)
		claim(strncmp(reason, "Line ", 5) == 0 && reason[strlen(reason) - 1] == '.');

	/* a comment changes nothing, and one more bad line spoils all */
	longer = psprintf("%.*s\n#\n\nx", text_len, text);
	if (memchr(text, '\0', text_len) == NULL)
	{
		claim(key_lines_find(longer, text_len + 4, name, database, again, &why) == found);
		claim((why == NULL) == (reason == NULL));
		claim(!key_lines_find(longer, text_len + 5, name, database, again, &why) && why != NULL);
	}
	if (found)
	{
		const char *line = text;
		int			line_len;
		int			name_len = (int) strlen(key->name);

		claim(key_name_is_valid(key->name, name_len) && (name == NULL || strcmp(key->name, name) == 0));
		/* the only line with this name has the key, and names the database */
		while (memcmp(line, key->name, name_len) != 0 || line[name_len] != ':')
			line = (const char *) memchr(line, '\n', text + text_len - line) + 1;
		line_len = (int) strcspn(pnstrdup(line, text + text_len - line), "\n");
		claim(line_len > name_len + 46 && line[name_len + 44] == '=' && line[name_len + 45] == ':');
		claim(memchr(line + name_len + 1, '-', 43) == NULL && memchr(line + name_len + 1, '_', 43) == NULL);
		claim(openssl_reads(line + name_len + 1, 43, key->key, FILE_KEY_SIZE));
		claim(strchr(database, '"') != NULL ||
			  strstr(pnstrdup(line + name_len + 46, line_len - name_len - 46), database) != NULL ||
			  memchr(line + name_len + 46, '*', line_len - name_len - 46) != NULL);
		claim(key_lines_find(text, text_len, key->name, database, again, &why));
		claim(strcmp(again->name, key->name) == 0 && memcmp(again->key, key->key, FILE_KEY_SIZE) == 0);
	}
	claim(!key_lines_find(text, text_len, name, NULL, again, &why));
	secret_cleanse(key);
	secret_cleanse(again);
}

static const Target targets[] = {
	{"base64url", fuzz_base64url},
	{"json", fuzz_json},
	{"jwk", fuzz_jwk},
	{"key_text", fuzz_key_text},
	{"private_key", fuzz_private_key},
	{"jws", fuzz_jws},
	{"claims", fuzz_claims},
	{"jwks", fuzz_jwks},
	{"uri", fuzz_uri},
	{"dpop", fuzz_dpop},
	{"event", fuzz_event},
	{"address", fuzz_address},
	{"refresh_token", fuzz_refresh_token},
	{"sealed", fuzz_sealed},
	{"key_lines", fuzz_key_lines},
};

/*
 * Run one input.  A raised error is a finding.  AFL++'s driver, which also has
 * a main(), requires this name.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *copy = palloc(size);

	/* as in a datum: not terminated */
	memcpy(copy, data, size);
	PG_TRY();
	{
		target->run(copy, (int) size);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		fprintf(stderr, "raised: %s\n", error->message);
		abort();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	return 0;
}

/*
 * jwt_fuzz(target, arguments): the driver's status.  AFL++ forks in the
 * driver, and its children must exit without touching the data directory.
 */
Datum
jwt_fuzz(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *elements;
	int			n;
	int			argc;
	char	  **argv;
	int			status;

	target = NULL;
	for (int i = 0; i < (int) lengthof(targets); i++)
		if (strcmp(targets[i].name, name) == 0)
			target = &targets[i];
	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no fuzz target \"%s\"", name)));
	context = AllocSetContextCreate(TopMemoryContext, "jwt_fuzz", ALLOCSET_DEFAULT_SIZES);
	jws_init();
	catalog_init();

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	argc = n + 1;
	argv = palloc0(sizeof(char *) * (argc + 1));
	argv[0] = name;
	for (int i = 0; i < n; i++)
		argv[i + 1] = TextDatumGetCString(elements[i]);
	status = LLVMFuzzerRunDriver(&argc, &argv, LLVMFuzzerTestOneInput);
	if (getenv("__AFL_SHM_ID") != NULL)
		_exit(status);
	PG_RETURN_INT32(status);
}

/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *	  Fuzz targets over everything that reads what comes from outside.
 *
 * They run inside a real backend, by a function that calls libFuzzer's driver,
 * so the JSON lexer, jsonb and memory contexts below our code are PostgreSQL's
 * own.  A target is wrong when it crashes, when a sanitizer speaks, when it
 * raises where nothing may be raised, or when one of its claims does not hold:
 * whatever our strict readers accept, PostgreSQL's jsonb_in and OpenSSL's base64
 * read the same way.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/evp.h>

#include "algorithm.h"
#include "base64url.h"
#include "claims.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "json.h"
#include "jwk.h"
#include "jwks.h"
#include "jws.h"
#include "key_text.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

extern JWT_EXPORT const Pg_magic_struct *PG_MAGIC_FUNCTION_NAME(void);

JWT_MODULE_MAGIC("jwt_fuzz");
JWT_SQL_FUNCTION(jwt_fuzz);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *data, size_t size));

/* What must hold of every input. */
#define claim(condition) \
	((condition) ? (void) 0 : (fprintf(stderr, "does not hold: %s (line %d)\n", #condition, __LINE__), abort()))

typedef struct Target
{
	const char *name;
	void		(*run) (const char *data, int len);
} Target;

static const Target *target;
static MemoryContext context;

/*
 * base64url: what is accepted has one spelling, and OpenSSL decodes it so too.
 */
static void
fuzz_base64url(const char *data, int len)
{
	uint8	   *decoded = palloc(base64url_decoded_size(len) + 1);
	int			n = base64url_decode(data, len, decoded);
	char	   *encoded;
	unsigned char *theirs;
	int			padded = (len + 3) / 4 * 4;

	if (n < 0)
		return;
	claim(n == base64url_decoded_size(len));
	encoded = palloc(base64url_encoded_size(n) + 1);
	claim(base64url_encode(decoded, n, encoded) == len);
	claim(memcmp(encoded, data, len) == 0);

	memset(encoded = palloc(padded + 1), '=', padded);
	for (int i = 0; i < len; i++)
		encoded[i] = data[i] == '-' ? '+' : data[i] == '_' ? '/' : data[i];
	theirs = palloc(padded / 4 * 3 + 1);
	claim(EVP_DecodeBlock(theirs, (unsigned char *) encoded, padded) == padded / 4 * 3);
	claim(memcmp(theirs, decoded, n) == 0);
}

/*
 * JSON as jsonb, when the strict reader accepts it.
 */
static Jsonb *
read_json(const char *data, int len)
{
	JsonbValue	object;

	if (json_read_object(data, len, &object) != NULL)
		return NULL;
	return JsonbValueToJsonb(&object);
}

/*
 * JSON: what is accepted, jsonb_in accepts too, and it is the same; also when it
 * is written out and read again.
 */
static void
fuzz_json(const char *data, int len)
{
	Jsonb	   *ours = read_json(data, len);
	Jsonb	   *theirs;
	char	   *text;
	Jsonb	   *again;

	if (ours == NULL)
		return;
	claim(memchr(data, '\0', len) == NULL);
	theirs = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(data, len))));
	claim(VARSIZE(ours) == VARSIZE(theirs));
	claim(memcmp(ours, theirs, VARSIZE(ours)) == 0);

	text = JsonbToCString(NULL, &ours->root, VARSIZE(ours));

	again = read_json(text, (int) strlen(text));
	claim(again != NULL && VARSIZE(again) == VARSIZE(ours) && memcmp(again, ours, VARSIZE(ours)) == 0);
}

/*
 * A JWK that is accepted has a normal form, which is its own, with the same
 * thumbprint; and a key that fits an algorithm verifies nothing at random.
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
 * PEM, certificates and JWKs as text: what comes out is a JWK.
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
	claim(jwk_read(jsonb, &jwk, &reason) || data[strspn(data, " \t\r\n")] == '{');
}

/*
 * A compact JWS that is accepted is three parts of base64url, and nothing else.
 */
static void
fuzz_jws(const char *data, int len)
{
	Jws			jws;
	Failure		failure;
	int			dots = 0;

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
	if (jws_check_header(&jws, &failure))
		claim(jws.alg.data != NULL);
	else
		claim(failure.code != FAILURE_NONE && failure.detail != NULL);
}

/*
 * Claims under a policy of which the first byte of the input chooses the parts:
 * what is accepted has not expired, is for us, and is of the issuer.
 */
static void
fuzz_claims(const char *data, int len)
{
	static char *audience[] = {"api", "other"};
	static char *required[] = {"exp", "jti"};
	int			choice = len > 0 ? (uint8) data[0] : 0;
	ClaimsPolicy policy = {
		.issuer = choice & 1 ? "https://idp.example" : "",
		.any_audience = (choice & 6) == 6,
		.n_audience = (choice >> 1) & 3 ? Min((choice >> 1) & 3, 2) : 0,
		.audience = audience,
		.n_required = (choice >> 3) & 3 ? Min((choice >> 3) & 3, 2) : 0,
		.required = required,
		.leeway = choice & 32 ? 30 * USECS_PER_SEC : 0,
		.max_lifetime = choice & 64 ? USECS_PER_HOUR : CLAIMS_NO_LIMIT,
		.max_age = choice & 128 ? USECS_PER_HOUR : CLAIMS_NO_LIMIT
	};
	JwsString	none = {NULL, 0};
	TimestampTz at = 820454400 * USECS_PER_SEC; /* 2026-01-01 */
	Jws			jws = {0};
	ClaimsTimes times;
	JsonbValue	object;
	Failure		failure;

	if (len < 1 || json_read_object(data + 1, len - 1, &object) != NULL)
		return;
	if (!claims_check(&object, data + 1, &jws, &policy, &none, at, &times, &failure))
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
}

/*
 * A JWK Set: what is usable is a public key that the issuer allows.
 */
static void
fuzz_jwks(const char *data, int len)
{
	static char *algorithms[] = {"RS256", "ES256", "EdDSA", "HS256"};
	TrustIssuer issuer = {.policy = {.issuer = "https://idp.example"}, .n_algorithms = 4, .algorithms = algorithms};
	Jsonb	   *set = read_json(data, len);
	TrustRevokedKeys revoked = {0};
	JwksMember *members;
	char	   *reason;
	int			n;
	int			usable = 0;

	if (set == NULL || !jwks_read(set, &issuer, &revoked, &members, &n, &reason))
		return;
	for (int i = 0; i < n; i++)
	{
		Jwk			jwk;

		if (members[i].reason != NULL)
			continue;
		usable++;
		claim(members[i].jwk != NULL && members[i].alg != NULL);
		claim(jwk_read(members[i].jwk, &jwk, &reason));
		claim(strcmp(jwk.kty, "oct") != 0);
	}
	claim(usable > 0);
}

static const Target targets[] = {
	{"base64url", fuzz_base64url},
	{"json", fuzz_json},
	{"jwk", fuzz_jwk},
	{"key_text", fuzz_key_text},
	{"jws", fuzz_jws},
	{"claims", fuzz_claims},
	{"jwks", fuzz_jwks},
};

/*
 * One input.  An error is a finding: nothing here may raise.
 */
static int
run_one(const uint8_t *data, size_t size)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *copy = palloc(size + 1);

	/* terminated, and with whatever NUL bytes there are: no pnstrdup() */
	memcpy(copy, data, size);
	copy[size] = '\0';
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
 * jwt_fuzz(target, arguments): libFuzzer's status.
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

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	argc = n + 1;
	argv = palloc0(sizeof(char *) * (argc + 1));
	argv[0] = name;
	for (int i = 0; i < n; i++)
		argv[i + 1] = TextDatumGetCString(elements[i]);
	PG_RETURN_INT32(LLVMFuzzerRunDriver(&argc, &argv, run_one));
}

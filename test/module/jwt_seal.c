/*-------------------------------------------------------------------------
 *
 * jwt_seal.c
 *	  Functions for tests only: the key file, and sealed secrets.
 *
 * The secrets are made and digested here, so that SQL has no copy of them.  The
 * first call defines the settings of jwt_auth, so do not call these functions
 * where the library jwt_auth is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "access/htup_details.h"
#include "auth/refresh_token.h"
#include "auth/seal.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "token/secret.h"
#include "token/sha256.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define SECRET_BLOCKS	5

extern JWT_EXPORT void _PG_init(void);

JWT_SQL_FUNCTION(jwt_test_derive);
JWT_SQL_FUNCTION(jwt_test_has_key);
JWT_SQL_FUNCTION(jwt_test_seal);
JWT_SQL_FUNCTION(jwt_test_open);
JWT_SQL_FUNCTION(jwt_test_refresh_mac);

static void
need_settings(void)
{
	static bool done;

	if (!done)
		key_file_init();
	done = true;
}

/*
 * Preloaded, be the library that runs the key command.  The postmaster inherits
 * orphans, as it does as the first process of a container.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	need_settings();
#ifdef PR_SET_CHILD_SUBREAPER
	(void) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
#endif
}

static Slice
text_slice(text *value)
{
	Slice		slice = {VARDATA_ANY(value), (int) VARSIZE_ANY_EXHDR(value)};

	return slice;
}

/*
 * The arguments id, issuer, kid, alg, thumbprint from the first one on.
 */
static SealBinding
get_binding(FunctionCallInfo fcinfo, int first)
{
	SealBinding binding;

	binding.id = *PG_GETARG_UUID_P(first);
	binding.issuer = text_slice(PG_GETARG_TEXT_PP(first + 1));
	binding.kid = text_slice(PG_GETARG_TEXT_PP(first + 2));
	binding.alg = text_slice(PG_GETARG_TEXT_PP(first + 3));
	binding.thumbprint = text_slice(PG_GETARG_TEXT_PP(first + 4));
	return binding;
}

static bytea *
make_bytea(const void *data, int len)
{
	bytea	   *bytes = palloc(VARHDRSZ + len);

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), data, len);
	return bytes;
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum first, Datum second)
{
	TupleDesc	desc;
	Datum		values[2] = {first, second};
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * jwt_test_derive(name, salt, info)
 */
Datum
jwt_test_derive(PG_FUNCTION_ARGS)
{
	bytea	   *salt = PG_GETARG_BYTEA_PP(1);
	text	   *info = PG_GETARG_TEXT_PP(2);
	DerivedKey *key;

	need_settings();
	key = key_file_derive(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)),
						  (uint8 *) VARDATA_ANY(salt), (int) VARSIZE_ANY_EXHDR(salt),
						  VARDATA_ANY(info), (int) VARSIZE_ANY_EXHDR(info));
	PG_RETURN_DATUM(make_row(fcinfo, CStringGetTextDatum(key->name),
							 PointerGetDatum(make_bytea(key->bytes, DERIVED_KEY_SIZE))));
}

/*
 * jwt_test_has_key(name)
 */
Datum
jwt_test_has_key(PG_FUNCTION_ARGS)
{
	need_settings();
	PG_RETURN_BOOL(key_file_has(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * jwt_test_seal(seed, id, issuer, kid, alg, thumbprint)
 */
Datum
jwt_test_seal(PG_FUNCTION_ARGS)
{
	char	   *seed = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SealBinding binding = get_binding(fcinfo, 1);
	uint8	   *der = secret_alloc(SECRET_BLOCKS * SHA256_SIZE);
	bytea	   *sealed;
	bytea	   *salt;

	need_settings();
	for (int i = 0; i < SECRET_BLOCKS; i++)
	{
		char	   *input = psprintf("%s%d", seed, i);

		if (!sha256(input, (int) strlen(input), der + i * SHA256_SIZE))
			elog(ERROR, "OpenSSL has no SHA-256");
	}
	sealed = seal_close(&binding, der, SECRET_BLOCKS * SHA256_SIZE, &salt);
	secret_cleanse(der);
	PG_RETURN_DATUM(make_row(fcinfo, PointerGetDatum(sealed), PointerGetDatum(salt)));
}

/*
 * jwt_test_open(sealed, salt, id, issuer, kid, alg, thumbprint)
 */
Datum
jwt_test_open(PG_FUNCTION_ARGS)
{
	SealBinding binding = get_binding(fcinfo, 2);
	KeyFailure	failure;
	uint8	   *der;
	int			len;
	uint8		digest[SHA256_SIZE];
	char		hex[2 * SHA256_SIZE + 1];

	need_settings();
	if (!seal_open(&binding, PG_GETARG_BYTEA_PP(0), PG_GETARG_BYTEA_PP(1), &der, &len, &failure))
		PG_RETURN_TEXT_P(cstring_to_text(failure.message));
	if (!sha256(der, len, digest))
		elog(ERROR, "OpenSSL has no SHA-256");
	secret_cleanse(der);
	hex[hex_encode((char *) digest, SHA256_SIZE, hex)] = '\0';
	PG_RETURN_TEXT_P(cstring_to_text(hex));
}

/*
 * jwt_test_refresh_mac(name, seed, issuer, data)
 */
Datum
jwt_test_refresh_mac(PG_FUNCTION_ARGS)
{
	bytea	   *seed = PG_GETARG_BYTEA_PP(1);
	bytea	   *data = PG_GETARG_BYTEA_PP(3);
	KeyFailure	failure;
	DerivedKey *key;
	uint8		mac[REFRESH_MAC_SIZE];

	need_settings();
	key = refresh_key_derive(text_to_cstring(PG_GETARG_TEXT_PP(0)), (uint8 *) VARDATA_ANY(seed),
							 (int) VARSIZE_ANY_EXHDR(seed), text_slice(PG_GETARG_TEXT_PP(2)), &failure);
	if (key == NULL)
		PG_RETURN_NULL();
	refresh_mac(key, VARDATA_ANY(data), (int) VARSIZE_ANY_EXHDR(data), mac);
	secret_cleanse(key);
	PG_RETURN_BYTEA_P(make_bytea(mac, REFRESH_MAC_SIZE));
}

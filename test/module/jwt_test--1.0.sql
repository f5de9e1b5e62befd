/* jwt_test: see jwt_test.c */
\echo Use "CREATE EXTENSION jwt_test" to load this file. \quit

CREATE FUNCTION jwt_test_signature(alg text, jwk jsonb, message bytea, signature bytea) RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_signature(text, jsonb, bytea, bytea)
IS 'whether a raw signature is good; null when the key is refused';

CREATE FUNCTION jwt_test_available(alg text) RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_available(text)
IS 'whether the OpenSSL that is loaded has the algorithm';

CREATE FUNCTION jwt_test_ed25519(seed text) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT IMMUTABLE;
COMMENT ON FUNCTION jwt_test_ed25519(text)
IS 'the member x of a JWK for Ed25519, another for each seed';

CREATE FUNCTION jwt_test_private_key(how text, key bytea, alg text,
	OUT algorithm text, OUT jwk jsonb, OUT thumbprint text, OUT kid text, OUT der bytea, OUT reason text)
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION jwt_test_private_key(text, bytea, text)
IS 'a private key from text, from DER ("der"), from jsonb ("jwk") or a new one ("new"), or why it is none';

CREATE FUNCTION jwt_test_sign(key bytea, alg text, header text, payload bytea) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_sign(bytea, text, text, bytea)
IS 'a compact JWS by a private key in DER or the text of a JWK';

CREATE FUNCTION jwt_test_residue(alg text, is_open boolean) RETURNS bigint
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_residue(text, boolean)
IS 'makes a key, writes it, reads it and signs; then how often this process still has a part of it in memory, before or after all is freed';

CREATE FUNCTION jwt_test_jwk_set(document bytea, OUT n integer, OUT first jsonb, OUT last jsonb, OUT reason text)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_jwk_set(bytea)
IS 'the members of a JWK Set, how many, and the first and the last, or why it is none';

CREATE FUNCTION jwt_test_uri(uri text) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_uri(text)
IS 'the normal form of an HTTP URI without query and fragment; null when it is none';

CREATE FUNCTION jwt_test_dpop(token text, proof text, thumbprint text, at timestamptz) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_dpop(text, text, text, timestamptz)
IS 'why the DPoP proof of a GET of https://api.example/things is refused at a time; "good" when it is not';

CREATE FUNCTION jwt_test_quote(string bytea, encoding name) RETURNS bytea
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_quote(bytea, name)
IS 'what a message of a server of this encoding quotes of a string';

CREATE FUNCTION jwt_test_check_memory(entries text[]) RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_check_memory(text[])
IS 'puts entries into OpenSSL''s queue of errors (malloc, ENOMEM, EACCES, reason 12, nothing), and has the queue looked at';

CREATE FUNCTION jwt_test_has_errors() RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_has_errors()
IS 'whether OpenSSL''s queue of errors has any';

CREATE FUNCTION jwt_test_properties(query text) RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_properties(text)
IS 'restricts what this session can fetch from OpenSSL to what has these properties';

CREATE FUNCTION jwt_test_mutate(tokens text[], seed bigint, n bigint) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_mutate(text[], bigint, bigint)
IS 'the n-th mutation of good tokens under a seed';

CREATE FUNCTION jwt_test_memory(OUT contexts bigint, OUT malloced bigint)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_memory()
IS 'bytes in memory contexts, and bytes given out by malloc';

CREATE FUNCTION jwt_test_noop(token text) RETURNS jsonb
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION jwt_test_noop(text)
IS 'an empty object: what a call costs that does nothing';

CREATE FUNCTION jwt_test_fail_allocation(who text, nth bigint) RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_fail_allocation(text, bigint)
IS 'lets the nth allocation from now on fail that openssl or postgres makes, and all later ones if nth is negative; jwt_alloc.so must be preloaded';

CREATE FUNCTION jwt_test_allocations(OUT fired boolean, OUT live bigint)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_allocations()
IS 'lets no more fail; whether one has, and how many blocks OpenSSL has';

CREATE FUNCTION jwt_test_wakes() RETURNS bigint
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_wakes()
IS 'how often this session has asked for key sets to be fetched since the last call; from the first call on';

CREATE FUNCTION jwt_test_derive(name text, salt bytea, info text, OUT used text, OUT derived bytea)
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION jwt_test_derive(text, bytea, text)
IS 'what is derived from a key of the key file, or without a name from the first that fits this database';

CREATE FUNCTION jwt_test_has_key(name text) RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_has_key(text)
IS 'whether the key file has a key for this database';

CREATE FUNCTION jwt_test_seal(seed text, id uuid, issuer text, kid text, alg text, thumbprint text, OUT sealed bytea, OUT salt bytea)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_seal(text, uuid, text, text, text, text)
IS 'a sealed secret for a row: SHA-256 of the seed and each of 0 to 4';

CREATE FUNCTION jwt_test_open(sealed bytea, salt bytea, id uuid, issuer text, kid text, alg text, thumbprint text) RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_open(bytea, bytea, uuid, text, text, text, text)
IS 'the SHA-256 of what opens, in hexadecimal, or why it does not';

CREATE FUNCTION jwt_test_refresh_mac(name text, seed bytea, issuer text, data bytea) RETURNS bytea
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
COMMENT ON FUNCTION jwt_test_refresh_mac(text, bytea, text, bytea)
IS 'the MAC of a refresh token; null when there is no such key';

--
-- signing: each algorithm with a key that is made, imported and rotated; its tokens
-- verify by the key set that is published, and by no other key
--
\if `psql -XAtqc "SELECT current_setting('jwt_auth.key_file', true) IS NULL"`
SELECT plan(0) \g /dev/null
\echo '1..0 # SKIP there is no key file'
\quit
\endif
SELECT plan(10);
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS jwt_auth;

-- Private keys that OpenSSL's program writes; null where it lacks the algorithm.
\set rsa `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null`
\set p256 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null`
\set p384 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 2>/dev/null`
\set p521 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 2>/dev/null`
\set k256 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 2>/dev/null`
\set ed25519 `openssl genpkey -algorithm ED25519 2>/dev/null`
\set ed448 `openssl genpkey -algorithm ED448 2>/dev/null`
\set mldsa44 `openssl genpkey -algorithm ML-DSA-44 2>/dev/null || true`
\set mldsa65 `openssl genpkey -algorithm ML-DSA-65 2>/dev/null || true`
\set mldsa87 `openssl genpkey -algorithm ML-DSA-87 2>/dev/null || true`
CREATE TEMP TABLE algorithm (alg text PRIMARY KEY, pem text);
INSERT INTO algorithm
SELECT a, :'rsa' FROM unnest('{RS256,RS384,RS512,PS256,PS384,PS512}'::text[]) a UNION ALL
SELECT * FROM (VALUES ('ES256', :'p256'), ('ES384', :'p384'), ('ES512', :'p521'), ('ES256K', :'k256'), ('Ed25519', :'ed25519'),
	('EdDSA', :'ed25519'), ('Ed448', :'ed448'), ('ML-DSA-44', :'mldsa44'), ('ML-DSA-65', :'mldsa65'), ('ML-DSA-87', :'mldsa87')) v
WHERE column2 <> '';
SELECT cmp_ok(count(*)::int, '>=', 13, 'OpenSSL has the algorithms') FROM algorithm;

-- An issuer for each algorithm and each way to get a key. Making an RSA key is slow, and
-- the same for all of its algorithms, so only two of them make keys.
CREATE TEMP TABLE issuer AS SELECT 'https://' || lower(alg) || '.' || way AS issuer, alg, pem, way
FROM algorithm, unnest('{create,import,rotate}'::text[]) way
WHERE way = 'import' OR alg !~ '^[RP]S' OR (alg, way) IN (('RS256', 'create'), ('PS512', 'rotate'));
SELECT jwt_add_issuer(issuer, '{api}', ARRAY[alg]) FROM issuer \g /dev/null
INSERT INTO jwt_token_policy (issuer, audience) SELECT issuer, '{api}' FROM issuer;
SELECT jwt_create_signing_key(issuer, alg) FROM issuer WHERE way <> 'import' \g /dev/null
SELECT jwt_import_signing_key(issuer, pem, alg) FROM issuer WHERE way = 'import' \g /dev/null
SELECT jwt_rotate_signing_key(issuer) FROM issuer WHERE way = 'rotate' \g /dev/null
UPDATE jwt_signing_key SET activate_at = clock_timestamp() WHERE activate_at > now() + interval '1 hour';

CREATE TEMP TABLE token AS SELECT i.*, jwt_sign('{"sub":"alice"}', issuer) AS token FROM issuer i;
CREATE TEMP TABLE current AS SELECT DISTINCT ON (issuer) * FROM jwt_signing_key ORDER BY issuer, activate_at DESC;
SELECT is_empty('SELECT issuer FROM issuer LEFT JOIN token USING (issuer) WHERE token IS NULL', 'each issuer signs');
SELECT is_empty($$ SELECT issuer, jwt_header(token) FROM token t JOIN current c USING (issuer)
	WHERE jwt_header(token) IS DISTINCT FROM jsonb_build_object('alg', t.alg, 'kid', c.kid, 'typ', 'at+jwt') $$, 'the header has the algorithm and the current kid');
SELECT is_empty($$ SELECT t.issuer, r.* FROM token t, jwt_inspect(token) r WHERE NOT valid $$, 'the tokens verify');
SELECT is_empty($$ SELECT issuer FROM token t WHERE jws_verify(token,
	(SELECT k FROM jsonb_array_elements(jwt_jwks(issuer) -> 'keys') k WHERE k ->> 'kid' = jwt_header(token) ->> 'kid'), alg) IS NULL $$,
	'also by the published key set alone');
SELECT results_eq($$ SELECT way, count(*)::int FROM issuer i, jsonb_array_elements(jwt_jwks(issuer) -> 'keys') GROUP BY way ORDER BY way $$,
	$$ SELECT way, (count(*) * CASE way WHEN 'rotate' THEN 2 ELSE 1 END)::int FROM issuer GROUP BY way ORDER BY way $$, 'which has the previous key, too');
-- No token verifies under the key of another issuer.
CREATE FUNCTION pg_temp.verified(token text, jwk jsonb, alg text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jws_verify(token, jwk, alg);
	RETURN true;
EXCEPTION WHEN SQLSTATE '28J04' THEN
	RETURN false;
END $$;
SELECT is_empty($$ SELECT a.issuer, b.issuer FROM token a JOIN current b ON a.alg = b.alg AND a.issuer <> b.issuer
	WHERE a.way = 'create' AND pg_temp.verified(a.token, b.jwk, a.alg) $$, 'and by no key of another issuer');

-- The key of RFC 8037 appendix A, imported from a JWK.
SELECT jwt_add_issuer('https://rfc', '{api}', '{EdDSA}') \g /dev/null
INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://rfc', '{api}');
SELECT is(jwt_import_signing_key('https://rfc', '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'),
	'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k', 'the kid is the thumbprint of the RFC');
-- There is no signing key for HMAC or none.
SELECT throws_ok(format('SELECT jwt_create_signing_key(%L, %L)', 'https://rfc', alg), '22023', 'key is not acceptable', alg)
FROM unnest('{HS256,none}'::text[]) alg;
DROP EXTENSION jwt_auth;
DELETE FROM jwt_issuer;
SELECT * FROM finish();

--
-- signing: private keys, and what they sign
--
CREATE EXTENSION IF NOT EXISTS jwt_auth;
SELECT plan(11);

-- New keys of each algorithm that the loaded OpenSSL has. RSA keys take long.
CREATE TEMP TABLE new_key AS
SELECT a AS alg, k.*
FROM unnest('{PS256,ES256,ES384,ES512,ES256K,Ed25519,Ed448,EdDSA,ML-DSA-44,ML-DSA-65,ML-DSA-87}'::text[]) a, jwt_test_private_key('new', NULL, a) k
WHERE a !~ '^ML' OR jwt_test_available(a);
SELECT is_empty('SELECT alg, reason FROM new_key WHERE der IS NULL OR reason IS NOT NULL', 'each algorithm gives a key');
SELECT is_empty($$ SELECT alg FROM new_key n, jwt_test_private_key('der', der, alg) k WHERE n.der <> k.der OR n.jwk <> k.jwk OR n.thumbprint <> k.thumbprint OR k.reason IS NOT NULL $$,
	'its PKCS #8 gives the same key');
SELECT is_empty($$ SELECT alg FROM new_key WHERE convert_from(jws_verify(jwt_test_sign(der, alg, '{"alg":"' || alg || '"}', 'x'), jwk, alg), 'UTF8') <> 'x' $$, 'what it signs verifies');
SELECT is_empty($$ SELECT alg FROM new_key, LATERAL (SELECT E'-----BEGIN PRIVATE KEY-----\n' || encode(der, 'base64') || E'\n-----END PRIVATE KEY-----\n') p (pem),
	jwt_test_private_key('text', convert_to(pem, 'UTF8'), alg) k WHERE k.der IS DISTINCT FROM new_key.der $$, 'its PEM gives the same key');
SELECT is_empty($$ SELECT alg, n FROM new_key, generate_series(0, length(der) - 1) n, jwt_test_private_key('der', substr(der, 1, n), alg) k WHERE k.reason IS NULL $$, 'no part of it is a key');

-- The private keys of RFC 7515 appendix A.3 and RFC 8037 appendix A.
CREATE TEMP TABLE example (alg text, jwk jsonb);
INSERT INTO example VALUES
	('ES256', '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}'),
	('EdDSA', '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'),
	('HS256', '{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}');
SELECT is(jws_sign('Example of Ed25519 signing', jwk, alg),
	'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg', 'RFC 8037 appendix A.4')
FROM example WHERE alg = 'EdDSA';
SELECT is_empty($$ SELECT alg FROM example WHERE convert_from(jws_verify(jws_sign('x', jwk, alg, '{"kid":"k"}'), jwk - 'd', alg), 'UTF8') <> 'x' $$, 'a private JWK signs');

-- Keys that are refused, next to these.
CREATE FUNCTION pg_temp.outcome(jwk jsonb, alg text, header jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN CASE WHEN jws_sign('x', jwk, alg, header) IS NOT NULL THEN 'signed' END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN sqlstate || ' ' || sqlerrm || ': ' || detail;
END $$;
CREATE TEMP TABLE bad (what text, alg text, change jsonb);
INSERT INTO bad VALUES
	('halves do not fit', 'ES256', '{"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LM"}'),
	('d is 0', 'ES256', '{"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
	('d is n', 'ES256', '{"d":"_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"}'),
	('d is n + 1', 'ES256', '{"d":"_____wAAAAD__________7zm-q2nF56E87nKwvxjJVI"}'),
	('d is too long', 'ES256', '{"d":"AI6bEJ5xkJi_mASH3x9dd-nLKWBuvtImO19XwhPfhPSy"}'),
	('d is no base64url', 'ES256', '{"d":"="}'),
	('d is no string', 'ES256', '{"d":1}'),
	('wrong curve', 'ES256', '{"crv":"secp256k1"}'),
	('not to sign', 'ES256', '{"key_ops":["verify"]}'),
	('to encrypt', 'ES256', '{"use":"enc"}'),
	('another alg', 'ES256', '{"alg":"ES384"}'),
	('halves do not fit', 'EdDSA', '{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2E"}'),
	('d is short', 'EdDSA', '{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyufw"}'),
	('another curve', 'EdDSA', '{"crv":"Ed448"}'),
	('short secret', 'HS256', '{"k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}');
SELECT is_empty($$ SELECT what, alg, o FROM bad JOIN example USING (alg), LATERAL pg_temp.outcome(jwk || change, alg) o
	WHERE o NOT LIKE '22023 key is not acceptable: %.' OR position(change ->> 'd' IN o) > 1 $$, 'bad keys are refused, without a byte of them');
SELECT is_empty($$ SELECT alg, o FROM example, LATERAL pg_temp.outcome(jwk - 'd' - 'k', alg) o WHERE o NOT LIKE '22023 key is not acceptable: The JWK has no member "_"%' $$, 'a public key is refused');
SELECT is_empty($$ SELECT h, o FROM example, unnest('{"{\"alg\":\"none\"}","{\"crit\":[\"b64\"]}","{\"b64\":true}","{\"kid\":1}","[]"}'::jsonb[] ||
	jsonb_build_object('jwk', jwk)) h, LATERAL pg_temp.outcome(jwk, alg, h) o WHERE alg = 'ES256' AND o NOT LIKE '22023 header is not acceptable: %' $$, 'bad headers are refused');

-- OpenSSL itself leaves one for Ed448 on its stack.
SELECT is_empty($$ SELECT alg FROM new_key WHERE alg <> 'Ed448' AND (jwt_test_residue(alg, false) > 0 OR jwt_test_residue(alg, true) = 0) $$, 'no private key stays in memory');

SELECT * FROM finish();
DROP EXTENSION jwt_auth;

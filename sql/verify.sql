--
-- verify: an issuer, its keys, and tokens
--
SET timezone = 'UTC';
-- An issuer with its audience and its algorithms.
SELECT jwt_add_issuer('https://idp.example', '{api}',
	'{RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,ES256K,EdDSA}');
SELECT * FROM jwt_issuer \gx

-- Its public keys, as JWK or PEM. An RSA key fits six algorithms, so it is pinned to
-- one. A curve has only one algorithm.
SELECT jwt_add_key('https://idp.example', fixture('pem', 'rsa spki'), 'RS256', 'RS256') IS NOT NULL AS added;
SELECT name, jwt_add_key('https://idp.example', value, kid => name) IS NOT NULL AS added
FROM fixture WHERE kind = 'key' AND name <> 'RS256' ORDER BY name COLLATE "C";
SELECT name, jwt_add_key('https://idp.example', fixture('pem', 'rsa certificate'), name, name) IS NOT NULL AS added
FROM unnest('{RS384,RS512,PS256,PS384,PS512}'::text[]) name;
SELECT kid, alg, jwk ->> 'kty' AS kty, jwk ->> 'crv' AS crv, source FROM jwt_key ORDER BY kid;
-- No problems: twelve keys verify, and their windows do not end.
SELECT ok, problems, usable_keys, keys_end FROM jwt_status WHERE issuer = 'https://idp.example';

-- The claims of a token that verifies.
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past());
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past()) ->> 'sub' AS sub;

-- Every algorithm. For this key Ed25519 and EdDSA are two names of one algorithm.
SELECT name, jwt_verify(value, at => half_past()) ->> 'sub' AS sub
FROM fixture WHERE kind = 'token' AND name NOT IN ('other key', 'short salt', 'bob')
ORDER BY name COLLATE "C";

-- The same tokens with one bit of the signature or of the payload changed.
SELECT name, i.sqlstate, i.claims
FROM fixture, jwt_inspect(
	left(value, -10) || CASE substr(right(value, 10), 1, 1) WHEN 'A' THEN 'B' ELSE 'A' END || right(value, 9),
	at => half_past()) i
WHERE kind = 'token' AND name NOT IN ('other key', 'short salt', 'bob')
ORDER BY name COLLATE "C";
SELECT name, i.sqlstate, i.claims
FROM fixture, jwt_inspect(
	split_part(value, '.', 1) || '.' ||
	b64url('{"iss":"https://idp.example","aud":"api","sub":"mallory","iat":1767225600,"exp":1767229200}') || '.' ||
	split_part(value, '.', 3), at => half_past()) i
WHERE kind = 'token' AND name NOT IN ('other key', 'short salt', 'bob')
ORDER BY name COLLATE "C";

-- Two years later the token has expired. jwt_verify raises an error, jwt_try_verify
-- returns null, and jwt_inspect returns the reason.
SELECT jwt_verify(fixture('token', 'RS256'), at => '2028-01-01');
\echo :SQLSTATE
SELECT jwt_try_verify(fixture('token', 'RS256'), at => '2028-01-01');
SELECT * FROM jwt_inspect(fixture('token', 'RS256'), at => '2028-01-01') \gx
SELECT * FROM jwt_inspect(fixture('token', 'RS256'), at => half_past()) \gx

-- A null token gives null and no error.
SELECT jwt_verify(NULL) IS NULL AS verified, jwt_try_verify(NULL) IS NULL AS tried, jwt_inspect(NULL) IS NULL AS inspected;

-- An exception handler can distinguish the reasons.
DO $$
BEGIN
	PERFORM jwt_verify(fixture('token', 'RS256'), at => '2028-01-01');
EXCEPTION WHEN SQLSTATE '28J05' THEN
	RAISE NOTICE 'expired';
END $$;

-- audience and issuer narrow what the policy accepts, and never widen it.
UPDATE jwt_issuer SET audience = '{api,admin}';
SELECT v.audience, v.issuer, i.valid, i.sqlstate, i.detail
FROM (VALUES (NULL, NULL), ('api', NULL), ('admin', NULL), ('other', NULL),
			 (NULL, 'https://idp.example'), (NULL, 'https://other.example'),
			 (NULL, ''), ('', NULL)) v (audience, issuer),
	jwt_inspect(fixture('token', 'RS256'), audience, issuer, half_past()) i;
UPDATE jwt_issuer SET audience = '{api}';

-- The time must be finite.
SELECT jwt_verify(fixture('token', 'RS256'), at => 'infinity');

-- The header and the claims without verification.
SELECT jwt_header(fixture('token', 'RS256'));
SELECT jwt_unverified_claims(fixture('token', 'other key'));

-- jws_verify takes the key as an argument, checks no claims, and returns the payload.
SELECT convert_from(jws_verify(fixture('token', 'ES256'), fixture('key', 'ES256')::jsonb, 'ES256'), 'UTF8');
SELECT jws_verify(fixture('token', 'ES256'), fixture('key', 'RS256')::jsonb, 'RS256');
\echo :SQLSTATE
SELECT jws_verify(fixture('token', 'other key'), fixture('key', 'RS256')::jsonb, 'RS256');
\echo :SQLSTATE
SELECT jws_verify(fixture('token', 'ES256'), fixture('key', 'ES256')::jsonb, 'ES384');
\echo :SQLSTATE

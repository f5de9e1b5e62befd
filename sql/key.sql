--
-- key: key formats, and the rows of jwt_key
--
INSERT INTO jwt_issuer (issuer, audience, algorithms)
VALUES ('https://key.example', '{api}', '{RS256,ES256,ES384,EdDSA,HS256}'),
	   ('https://two.example', '{api}', '{RS256,PS256}');
-- The result of adding a key in two ways. jwt_add_key raises an error if the key cannot
-- be used. INSERT stores the row, which verifies nothing: it is "inert" if
-- jwt_key_status has the same reason as the error of jwt_add_key.
CREATE FUNCTION try_key(jwk jsonb, alg text DEFAULT NULL, issuer text DEFAULT 'https://key.example', OUT added text, OUT as_row text)
LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
	key_id uuid;
BEGIN
	added := refusal(format('SELECT jwt_add_key(%L, %L, %L)', issuer, jwk, alg));
	INSERT INTO jwt_key (issuer, alg, jwk) VALUES (issuer, alg, jwk) RETURNING id INTO key_id;
	SELECT CASE s.state WHEN 'unusable' THEN concat_ws(': ', 'inert', CASE WHEN right(added, length(s.unusable)) <> s.unusable THEN s.unusable END) ELSE s.state END
	INTO as_row FROM jwt_key_status s WHERE s.id = key_id;
	DELETE FROM jwt_key k WHERE k.issuer = try_key.issuer;
EXCEPTION WHEN not_null_violation OR check_violation THEN
	GET STACKED DIAGNOSTICS as_row = PG_EXCEPTION_DETAIL;
	as_row := SQLSTATE || ' ' || as_row;
END $$;

-- jwt_jwk converts PEM to a JWK. Private keys have an error of their own.
SELECT name, regexp_replace(jwt_jwk(value)::text, '(?<="[nxy]": "....)[^"]+', '...', 'g') AS jwk FROM fixture
WHERE kind = 'pem' AND name NOT IN ('rsa private', 'rsa certificate for encryption', 'p-224 spki') ORDER BY name COLLATE "C";
SELECT name, jwt_jwk(value) = jwt_jwk(fixture('key', 'RS256')) AS same FROM fixture
WHERE kind = 'pem' AND name IN ('rsa spki', 'rsa pkcs1', 'rsa certificate') ORDER BY name;
SELECT what, refusal(format('SELECT jwt_jwk(%L)', key)) FROM (VALUES
	('private', fixture('pem', 'rsa private')),
	('certificate for encryption', fixture('pem', 'rsa certificate for encryption')),
	('a curve of no algorithm', fixture('pem', 'p-224 spki')),
	('empty', ''),
	('no key', 'no key'),
	('two keys', fixture('pem', 'rsa spki') || fixture('pem', 'ec spki')),
	('another block', E'-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n'),
	('truncated', left(fixture('pem', 'rsa spki'), 200)),
	('garbage in the block', E'-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'),
	('private JWK', '{"kty":"EC","crv":"P-256","x":"","y":"","d":""}'),
	('JWK with duplicate members', '{"kty":"oct","kty":"RSA"}'),
	('not JSON', '{"kty":}'),
	('a JWK Set', '{"keys":[]}'),
	('too long', repeat('x', 65537))
	) t (what, key);

-- jwt_add_key takes alg and kid from the JWK. Without alg, the curve or the issuer's
-- only fitting algorithm decides.
BEGIN;
SELECT jwt_add_key('https://key.example', (fixture('key', 'RS256')::jsonb || '{"alg":"RS256","kid":"in the JWK","use":"sig"}')::text) IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('key', 'RS256'), kid => 'from the issuer') IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('pem', 'ec spki'), kid => 'from the curve') IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('pem', 'ed25519 spki'), 'EdDSA', 'by its other name') IS NOT NULL AS added;
SELECT jwt_add_secret('https://key.example', secret(), 'HS256') IS NOT NULL AS added;
SELECT kid, alg, CASE WHEN alg LIKE 'HS%' THEN '"hidden"' ELSE regexp_replace(jwk::text, '(?<="[nxy]": "....)[^"]+', '...', 'g') END AS jwk
FROM jwt_key WHERE issuer = 'https://key.example' ORDER BY kid;
-- The normal form is stored: different spellings of a key give the same jwk.
SELECT count(DISTINCT jwk) FROM jwt_key WHERE issuer = 'https://key.example' AND alg = 'RS256';
ROLLBACK;
SELECT refusal($$SELECT jwt_add_key('https://two.example', fixture('key', 'RS256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://nobody.example', fixture('key', 'ES256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://two.example', fixture('key', 'ES256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://key.example', NULL)$$);
SELECT refusal($$SELECT jwt_add_key('https://key.example', fixture('pem', 'rsa 1024'), 'RS256')$$);

-- Form: each member is present, of its type, and in canonical base64url.
SELECT jwk, t.* FROM (VALUES
	('[]'), ('"x"'), ('{}'), ('{"kty":1}'), ('{"kty":"ec"}'), ('{"kty":"EC"}'), ('{"kty":"EC","crv":"P-256","x":"AA"}'),
	('{"kty":"EC","crv":"P-192","x":"AA","y":"AA"}'), ('{"kty":"EC","crv":1,"x":"AA","y":"AA"}'),
	('{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}'), ('{"kty":"EC","crv":"P-256","x":"AA==","y":"AA"}'), ('{"kty":"EC","crv":"P-256","x":1,"y":"AA"}'),
	('{"kty":"OKP","crv":"X25519","x":"AA"}'), ('{"kty":"OKP","crv":"P-256","x":"AA"}'), ('{"kty":"AKP","alg":"ES256","pub":"AA"}'), ('{"kty":"AKP","pub":"AA"}')
	) v (jwk), try_key(jwk::jsonb, 'ES256') t;
SELECT changes, t.* FROM (VALUES
	('{"d":"AA"}'), ('{"use":"enc"}'), ('{"use":1}'), ('{"key_ops":["sign"]}'), ('{"key_ops":"verify"}'), ('{"key_ops":["verify",1]}'), ('{"key_ops":[]}'),
	('{"alg":"ES384"}'), ('{"alg":"RS256"}'), ('{"alg":8384}'), ('{"kid":1}'), ('{"crv":"secp256k1"}'), ('{"x":"AAAA"}')
	) v (changes), try_key(fixture('key', 'ES256')::jsonb || changes::jsonb, 'ES256') t;
-- A point that is not on the curve.
SELECT * FROM try_key(fixture('key', 'ES256')::jsonb || jsonb_build_object('y', b64url(sha256('x'))), 'ES256');
-- A JWK that is too large.
SELECT left(added, 60) AS added, as_row FROM try_key(fixture('key', 'ES256')::jsonb || jsonb_build_object('x5c', repeat('x', 65536)), 'ES256');

-- The key fits its algorithm, and the algorithm its issuer.
SELECT name, alg, t.* FROM (VALUES
	('ES256', 'none'), ('ES256', ''), ('ES256', 'es256'), ('ES256', 'ES384'), ('ES256', 'HS256'), ('RS256', 'ES256'), ('RS256', 'HS256'),
	('Ed25519', 'Ed448'), ('Ed448', 'Ed25519'), ('ES256', 'EdDSA'), ('RS256', 'RS512'), ('ES256K', 'ES256K')
	) v (name, alg), try_key(fixture('key', name)::jsonb, alg) t;
-- The algorithm comes from the curve, or it is the issuer's only one that fits. A row
-- of jwt_key gets it only from the curve.
SELECT name, t.* FROM (VALUES ('ES256'), ('RS256')) v (name), try_key(fixture('key', name)::jsonb) t;
SELECT * FROM try_key(fixture('key', 'RS256')::jsonb, issuer => 'https://two.example');
SELECT * FROM try_key(fixture('key', 'ES256')::jsonb, issuer => 'https://nobody.example');
SELECT * FROM try_key(fixture('key', 'ES256')::jsonb, issuer => NULL);
SELECT left(added, 40) AS added, as_row FROM try_key(fixture('key', 'ES256')::jsonb, issuer => repeat('x', 1025));
SELECT * FROM try_key(NULL);
SELECT * FROM try_key(fixture('key', 'ES256')::jsonb || jsonb_build_object('kid', repeat('k', 1025)));

-- A coordinate with or without leading zeros is the same integer.
SELECT jwt_thumbprint(k || jsonb_build_object('x', b64url('\x00' || decode(translate(k ->> 'x', '-_', '+/') || '=', 'base64')))) = jwt_thumbprint(k) AS same
FROM (SELECT fixture('key', 'ES256')::jsonb) t (k);
SELECT jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AQ","y":""}');
SELECT jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AQ","y":"AA"}') =
	jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}') AS same;

-- Ed25519 and Ed448: the encoding of a point is canonical, and the point has no small
-- order. test/pgtap/points.sql has all such points.
SELECT what, refusal(format('SELECT jwt_jwk(%L)', jwk)) FROM (VALUES
	('order 1', 'Ed25519', '01' || repeat('00', 31)),
	('order 8', 'Ed25519', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'),
	('p + 1', 'Ed25519', 'ee' || repeat('ff', 30) || '7f'),
	('no point', 'Ed25519', '02' || repeat('00', 31)),
	('a point', 'Ed25519', '03' || repeat('00', 31)),
	('order 4', 'Ed448', repeat('00', 57)),
	('p', 'Ed448', repeat('ff', 28) || 'fe' || repeat('ff', 27) || '00'),
	('no point', 'Ed448', '02' || repeat('00', 56)),
	('a point', 'Ed448', '03' || repeat('00', 56))
	) t (what, crv, hex), LATERAL (SELECT jsonb_build_object('kty', 'OKP', 'crv', crv, 'x', b64url(decode(hex, 'hex')))) k (jwk);

-- RSA: 2048 to 8192 bits, odd, with an odd exponent of at least 3.
SELECT changes, t.* FROM (VALUES
	('{"e":""}'), ('{"e":"AA"}'), ('{"e":"AQ"}'), ('{"e":"Ag"}'), ('{"e":"AQAA"}'), ('{"e":"AQAAAAAAAAAB"}'), ('{"n":""}'), ('{"n":"AA"}')
	) v (changes), try_key(fixture('key', 'RS256')::jsonb || changes::jsonb, 'RS256') t;
SELECT t.* FROM (VALUES (2040, 'ff'), (2048, 'fe'), (8200, 'ff')) v (bits, last),
	try_key(jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64url(decode(repeat('ff', bits / 8 - 1) || last, 'hex'))), 'RS256') t;
-- A modulus that is prime or a multiple of 3 is refused. The test takes milliseconds,
-- so only functions do it.
SELECT * FROM try_key(jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64url(decode(repeat('ff', 256), 'hex'))), 'RS256');
-- A leading zero byte is removed. Some issuers publish one.
BEGIN;
INSERT INTO jwt_key (issuer, alg, jwk)
SELECT 'https://key.example', 'RS256', k || jsonb_build_object('n', b64url('\x00' || decode(translate(k ->> 'n', '-_', '+/') || '==', 'base64')))
FROM (SELECT fixture('key', 'RS256')::jsonb) t (k);
SELECT jwk = fixture('key', 'RS256')::jsonb AS same FROM jwt_key WHERE issuer = 'https://key.example';
ROLLBACK;

-- HMAC: the secret is at least as long as the hash, and not easily guessed.
SELECT what, a.added = t.added AS the_same, t.* FROM (VALUES
	('empty', ''::bytea),
	('31 bytes', substr(secret(), 1, 31)),
	('all zero', decode(repeat('00', 32), 'hex')),
	('a PEM', fixture('pem', 'rsa spki')::bytea),
	('a PEM in the middle', (repeat(' ', 99) || fixture('pem', 'ec spki'))::bytea),
	('a JWK', fixture('key', 'ES256')::bytea),
	('a JWK Set', '{"keys":[],"x":"0123456789012345678901234567"}'),
	('an SSH key', 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ'),
	('DER', (SELECT decode(translate(regexp_replace(fixture('pem', 'ec spki'), '-----[A-Z ]+-----', '', 'g'), E'\n', ''), 'base64'))),
	('too long', decode(repeat('42', 4097), 'hex'))
	) v (what, secret), refusal(format('SELECT jwt_add_secret(%L, %L, %L)', 'https://key.example', secret, 'HS256')) a (added),
	try_key(jsonb_build_object('kty', 'oct', 'k', b64url(secret)), 'HS256') t;
SELECT * FROM try_key(jsonb_build_object('kty', 'oct', 'k', b64url(secret())), 'HS512');
SELECT refusal($$SELECT jwt_add_secret('https://key.example', NULL, 'HS256')$$), refusal($$SELECT jwt_add_secret('https://key.example', '', NULL)$$);

-- Only imports read the source of a row.
BEGIN;
INSERT INTO jwt_key (issuer, kid, alg, jwk, source) VALUES ('https://key.example', 'k', 'ES256', fixture('key', 'ES256')::jsonb, 'elsewhere');
SELECT kid, source, state FROM jwt_key_status WHERE issuer = 'https://key.example';
ROLLBACK;

-- A window that never opens is an error.
SELECT refusal(format('SELECT jwt_add_key(%L, %L, not_before => %L, not_after => %L)',
	'https://key.example', fixture('key', 'ES256'), '2026-01-02', '2026-01-02'));
SELECT refusal(format('SELECT jwt_add_key(%L, %L, kid => %L)', 'https://key.example', fixture('key', 'ES256'), repeat('k', 1025)));

-- Several keys can have the same kid, and each is tried. jwt_add_key does not add a
-- second one.
BEGIN;
SELECT jwt_add_key('https://key.example', fixture('key', 'Ed25519'), kid => 'shared') IS NOT NULL AS added;
SELECT refusal($$SELECT jwt_add_key('https://key.example', fixture('key', 'ES256'), kid => 'shared')$$);
INSERT INTO jwt_key (issuer, kid, jwk) VALUES ('https://key.example', 'shared', fixture('key', 'ES256')::jsonb);
SELECT kid, alg, state FROM jwt_key_status WHERE issuer = 'https://key.example' ORDER BY alg;
ROLLBACK;

-- session_replication_role = replica: rows are refused, too, but there are no warnings.
SET session_replication_role = replica;
SELECT refusal($$INSERT INTO jwt_key (issuer, jwk) VALUES ('https://key.example', '{"kty":"EC","d":"AA"}')$$);
INSERT INTO jwt_key (issuer, jwk) VALUES ('https://key.example', '{"kty":"EC"}');
RESET session_replication_role;
INSERT INTO jwt_key (issuer, jwk) VALUES ('https://key.example', '{"kty":"EC"}'), ('https://key.example', '{}');
SELECT unusable, count(*) FROM jwt_key_status WHERE issuer = 'https://key.example' GROUP BY 1 ORDER BY 1;
DELETE FROM jwt_key WHERE issuer = 'https://key.example';

-- The examples of RFC 7638 and RFC 8037.
SELECT jwt_thumbprint('{"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}');
SELECT jwt_thumbprint('{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
SELECT refusal($$SELECT jwt_thumbprint('{"kty":"RSA","d":"AA"}')$$);
SELECT refusal($$SELECT jwt_thumbprint('{"kty":"EC","crv":"\"}","x":"","y":""}')$$);
DROP FUNCTION try_key;
DELETE FROM jwt_issuer WHERE issuer IN ('https://key.example', 'https://two.example');

--
-- key: keys as people have them, and what may be written into jwt_key
--
INSERT INTO jwt_issuer (issuer, audience, algorithms)
VALUES ('https://key.example', '{api}', '{RS256,ES256,ES384,EdDSA,HS256}'),
	   ('https://two.example', '{api}', '{RS256,PS256}');
CREATE FUNCTION try_key(jwk jsonb, alg text DEFAULT NULL, issuer text DEFAULT 'https://key.example') RETURNS text LANGUAGE sql
RETURN refusal(format('INSERT INTO jwt_key (issuer, alg, jwk) VALUES (%L, %L, %L)', issuer, alg, jwk));

-- jwt_jwk makes a JWK of what people have, and refuses private keys by name.
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

-- jwt_add_key takes alg and kid from the JWK when it has them, and a curve or
-- the issuer's only fitting algorithm decides where nobody else does.
BEGIN;
SELECT jwt_add_key('https://key.example', (fixture('key', 'RS256')::jsonb || '{"alg":"RS256","kid":"in the JWK","use":"sig"}')::text) IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('key', 'RS256'), kid => 'from the issuer') IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('pem', 'ec spki'), kid => 'from the curve') IS NOT NULL AS added;
SELECT jwt_add_key('https://key.example', fixture('pem', 'ed25519 spki'), 'EdDSA', 'by its other name') IS NOT NULL AS added;
SELECT jwt_add_secret('https://key.example', secret(), 'HS256') IS NOT NULL AS added;
SELECT kid, alg, CASE WHEN alg LIKE 'HS%' THEN '"hidden"' ELSE regexp_replace(jwk::text, '(?<="[nxy]": "....)[^"]+', '...', 'g') END AS jwk
FROM jwt_key WHERE issuer = 'https://key.example' ORDER BY kid;
-- What is stored is normal form: another spelling of it is the same.
SELECT count(DISTINCT jwk) FROM jwt_key WHERE issuer = 'https://key.example' AND alg = 'RS256';
SELECT refusal($$SELECT jwt_add_key('https://key.example', fixture('pem', 'ec spki'), kid => 'from the curve')$$);
ROLLBACK;
SELECT refusal($$SELECT jwt_add_key('https://two.example', fixture('key', 'RS256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://nobody.example', fixture('key', 'ES256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://two.example', fixture('key', 'ES256'))$$);
SELECT refusal($$SELECT jwt_add_key('https://key.example', NULL)$$);
SELECT refusal($$SELECT jwt_add_key('https://key.example', fixture('pem', 'rsa 1024'), 'RS256')$$);

-- Form: each member there, of its type, in its one spelling.
SELECT jwk, try_key(jwk::jsonb, 'ES256') FROM (VALUES
	('[]'), ('"x"'), ('{}'), ('{"kty":1}'), ('{"kty":"ec"}'), ('{"kty":"EC"}'), ('{"kty":"EC","crv":"P-256","x":"AA"}'),
	('{"kty":"EC","crv":"P-192","x":"AA","y":"AA"}'), ('{"kty":"EC","crv":1,"x":"AA","y":"AA"}'),
	('{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}'), ('{"kty":"EC","crv":"P-256","x":"AA==","y":"AA"}'), ('{"kty":"EC","crv":"P-256","x":1,"y":"AA"}'),
	('{"kty":"OKP","crv":"X25519","x":"AA"}'), ('{"kty":"OKP","crv":"P-256","x":"AA"}'), ('{"kty":"AKP","alg":"ES256","pub":"AA"}'), ('{"kty":"AKP","pub":"AA"}')
	) t (jwk);
SELECT changes, try_key(fixture('key', 'ES256')::jsonb || changes::jsonb, 'ES256') FROM (VALUES
	('{"d":"AA"}'), ('{"use":"enc"}'), ('{"use":1}'), ('{"key_ops":["sign"]}'), ('{"key_ops":"verify"}'), ('{"key_ops":["verify",1]}'), ('{"key_ops":[]}'),
	('{"alg":"ES384"}'), ('{"alg":"RS256"}'), ('{"alg":8384}'), ('{"kid":1}'), ('{"crv":"secp256k1"}'), ('{"x":"AAAA"}')
	) t (changes);
-- A point that is not on the curve.
SELECT try_key(fixture('key', 'ES256')::jsonb || jsonb_build_object('y', b64url(sha256('x'))), 'ES256');

-- The key fits its algorithm, and the algorithm its issuer.
SELECT name, alg, try_key(fixture('key', name)::jsonb, alg) FROM (VALUES
	('ES256', 'none'), ('ES256', ''), ('ES256', 'es256'), ('ES256', 'ES384'), ('ES256', 'HS256'), ('RS256', 'ES256'), ('RS256', 'HS256'),
	('Ed25519', 'Ed448'), ('Ed448', 'Ed25519'), ('ES256', 'EdDSA'), ('RS256', 'RS512'), ('ES256K', 'ES256K')
	) t (name, alg);

-- A coordinate that lost its leading zeros, or gained one, is the same integer.
SELECT jwt_thumbprint(k || jsonb_build_object('x', b64url('\x00' || decode(translate(k ->> 'x', '-_', '+/') || '=', 'base64')))) = jwt_thumbprint(k) AS same
FROM (SELECT fixture('key', 'ES256')::jsonb) t (k);
SELECT jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AQ","y":""}');
SELECT jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AQ","y":"AA"}') =
	jwt_thumbprint('{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}') AS same;

-- Ed25519 and Ed448: a point in its one encoding, that only its owner can sign
-- for.  test/pgtap/points.sql has all of them.
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
SELECT changes, try_key(fixture('key', 'RS256')::jsonb || changes::jsonb, 'RS256') FROM (VALUES
	('{"e":""}'), ('{"e":"AA"}'), ('{"e":"AQ"}'), ('{"e":"Ag"}'), ('{"e":"AQAA"}'), ('{"e":"AQAAAAAAAAAB"}'), ('{"n":""}'), ('{"n":"AA"}')
	) t (changes);
SELECT try_key(jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64url(decode(repeat('ff', bits / 8 - 1) || last, 'hex'))), 'RS256')
FROM (VALUES (2040, 'ff'), (2048, 'fe'), (8200, 'ff')) t (bits, last);
-- A modulus that is a prime number, or a multiple of 3, is none.
SELECT try_key(jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64url(decode(repeat('ff', 256), 'hex'))), 'RS256');
-- A leading zero byte, which some issuers publish, is not kept.
BEGIN;
INSERT INTO jwt_key (issuer, alg, jwk)
SELECT 'https://key.example', 'RS256', k || jsonb_build_object('n', b64url('\x00' || decode(translate(k ->> 'n', '-_', '+/') || '==', 'base64')))
FROM (SELECT fixture('key', 'RS256')::jsonb) t (k);
SELECT jwk = fixture('key', 'RS256')::jsonb AS same FROM jwt_key WHERE issuer = 'https://key.example';
ROLLBACK;

-- HMAC: a secret as long as the hash at least, and that is one.
SELECT what, refusal(format('SELECT jwt_add_secret(%L, %L, %L)', 'https://key.example', secret, 'HS256')) FROM (VALUES
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
	) t (what, secret);
SELECT try_key(jsonb_build_object('kty', 'oct', 'k', b64url(secret())), 'HS512', 'https://key.example');
SELECT refusal($$SELECT jwt_add_secret('https://key.example', NULL, 'HS256')$$);
-- A refused row shows nothing of the key, whatever is wrong with it.
SELECT refusal(format('INSERT INTO jwt_key (issuer, alg, jwk, source) VALUES (%L, %L, %L, %L)',
	'https://key.example', 'HS256', jsonb_build_object('kty', 'oct', 'k', b64url(secret())), v)) FROM (VALUES ('other'), (NULL)) t (v);
SELECT refusal(format('INSERT INTO jwt_key (issuer, alg, jwk) VALUES (%L, %L, %L)',
	v, 'HS256', jsonb_build_object('kty', 'oct', 'k', b64url(secret())))) FROM (VALUES ('https://nobody.example'), (NULL)) t (v);

-- Windows.
SELECT refusal(format('SELECT jwt_add_key(%L, %L, not_before => %L, not_after => %L)',
	'https://key.example', fixture('key', 'ES256'), '2026-01-02', '2026-01-02'));
SELECT refusal(format('SELECT jwt_add_key(%L, %L, kid => %L)', 'https://key.example', fixture('key', 'ES256'), repeat('k', 1025)));
-- Also under session_replication_role = replica.
SET session_replication_role = replica;
SELECT try_key('{"kty":"EC"}', 'ES256');
RESET session_replication_role;

-- RFC 7638, its own example; and RFC 8037's.
SELECT jwt_thumbprint('{"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}');
SELECT jwt_thumbprint('{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
SELECT refusal($$SELECT jwt_thumbprint('{"kty":"RSA","d":"AA"}')$$);
SELECT refusal($$SELECT jwt_thumbprint('{"kty":"EC","crv":"\"}","x":"","y":""}')$$);
DELETE FROM jwt_issuer WHERE issuer IN ('https://key.example', 'https://two.example');

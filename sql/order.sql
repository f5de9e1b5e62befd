--
-- order: the steps of verification, and the SQLSTATE of each refusal
--
-- Every refusal stands beside the nearest token that is accepted.
--
SET timezone = 'UTC';
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://hmac.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://hmac.example', secret(), 'HS256', 'h1') IS NOT NULL AS added;

CREATE FUNCTION verdict(token text, OUT sqlstate text, OUT detail text) LANGUAGE sql STABLE
RETURN (SELECT (coalesce(i.sqlstate, 'valid'), i.detail) FROM jwt_inspect(token, at => half_past()) i);
\set good '{"iss":"https://hmac.example","aud":"api","exp":1767229200}'
\set header '{"alg":"HS256","kid":"h1"}'

-- 1. Size, alphabet, exactly two dots.
SELECT what, v.* FROM (VALUES
	('the good one', sign(:'good')),
	('empty', ''),
	('one byte', 'x'),
	('two dots only', '..'),
	('no signature', rtrim(sign(:'good'), '-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')),
	('two parts', split_part(sign(:'good'), '.', 1) || '.' || split_part(sign(:'good'), '.', 2)),
	('four parts', sign(:'good') || '.x'),
	('five parts (JWE)', 'a.b.c.d.e'),
	('JSON serialization', '{"payload":"x","signatures":[]}'),
	('with its scheme', 'Bearer ' || sign(:'good')),
	('a trailing newline', sign(:'good') || E'\n'),
	('padding', sign(:'good') || '='),
	('trailing bits', left(sign(:'good'), -1) || translate(right(sign(:'good'), 1), 'AEIMQUYcgkosw048', 'BFJNRVZdhlptx159')),
	('standard alphabet', '+/+/.e30.e30'),
	('more than jwt.max_token_size', repeat('x', 8193))
	) t (what, token), verdict(token) v;

-- 2. The header: a strict JSON object with members of the right types.
SELECT header, v.* FROM (VALUES
	('{"alg":"HS256","kid":"h1","typ":"JWT","jku":"https://evil.example","jwk":{},"x5c":[]}'),
	('{"alg":"HS256","kid":"h1","b64":true}'),
	('[]'), ('"x"'), (''), ('{'), ('{}'), ('{"alg":"HS256"'), ('{"alg":"HS256"} x'), ('{"alg":"HS256",}'),
	('{"kid":"h1"}'), ('{"alg":null}'), ('{"alg":["HS256"]}'), ('{"alg":1}'),
	('{"alg":"HS256","kid":1}'), ('{"alg":"HS256","kid":null}'), ('{"alg":"HS256","kid":"h1","typ":1}'),
	('{"alg":"HS256","alg":"HS256"}'), ('{"alg":"HS256","\u0061lg":"none"}'),
	('{"alg":"HS256","kid":"h\u0000"}'), ('{"alg":"HS256","kid":"\ud800"}'),
	('{"alg":"HS256","kid":"h1","crit":["b64"]}'), ('{"alg":"HS256","kid":"h1","crit":[]}'),
	('{"alg":"HS256","kid":"h1","b64":false}'), ('{"alg":"HS256","kid":"h1","b64":null}'),
	('{"alg":"HS256","kid":"h1","x":1e999999999}')
	) t (header), verdict(sign(:'good', header)) v;

-- The algorithm is the key's, byte for byte; "none" is in no table.
SELECT header, v.* FROM (VALUES
	('{"alg":"none"}'), ('{"alg":"none","kid":"h1"}'), ('{"alg":"None","kid":"h1"}'),
	('{"alg":"hs256","kid":"h1"}'), ('{"alg":"HS256 ","kid":"h1"}'), ('{"alg":"","kid":"h1"}'),
	('{"alg":"HS384","kid":"h1"}'), ('{"alg":"RS256","kid":"h1"}'), ('{"alg":"HS256","kid":"ES256"}')
	) t (header), verdict(sign(:'good', header)) v;
SELECT v.* FROM verdict(b64url('{"alg":"none","kid":"h1"}') || '.' || b64url(convert_to(:'good', 'UTF8')) || '.') v;

-- 3. The key: by kid, inside its window and not revoked.
SELECT header, v.* FROM (VALUES
	('{"alg":"HS256","kid":"h2"}'), ('{"alg":"HS256","kid":""}'), ('{"alg":"HS256","kid":"../../h1"}'),
	('{"alg":"HS256","kid":"h1'' OR true --"}'), ('{"alg":"HS256","kid":"' || repeat('k', 100) || '"}'),
	('{"alg":"HS256","kid":"a\u001b[2Jb\nc"}')
	) t (header), verdict(sign(:'good', header)) v;
SELECT sqlstate, detail FROM jwt_inspect(sign(:'good', '{"alg":"HS256","kid":"' || repeat('k', 2000) || '"}'), issuer => 'https://hmac.example');
UPDATE jwt_key SET not_before = '2026-01-01 00:45' WHERE kid = 'h1';
SELECT * FROM verdict(sign(:'good'));
UPDATE jwt_key SET not_before = NULL, not_after = '2026-01-01 00:30' WHERE kid = 'h1';
SELECT * FROM verdict(sign(:'good'));
UPDATE jwt_key SET not_after = '2026-01-01 00:30:00.000001' WHERE kid = 'h1';
SELECT * FROM verdict(sign(:'good'));
UPDATE jwt_key SET not_after = NULL WHERE kid = 'h1';
SELECT * FROM verdict(sign(:'good'));
-- A token that a revoked key has signed is revoked, at any time. For other tokens the
-- key does not exist.
BEGIN;
SELECT jwt_revoke_key('https://hmac.example', 'h1') = now() AS revoked;
SELECT sqlstate, detail LIKE 'The key "h1" of the issuer "https://hmac.example" was revoked at %.' AS says_when FROM verdict(sign(:'good'));
SELECT * FROM verdict(left(sign(:'good'), -43) || repeat('A', 43));
ROLLBACK;
SELECT * FROM verdict(sign(:'good'));

-- Without a kid: the keys of that algorithm. For their number see sql/limits.sql.
SELECT * FROM verdict(sign(:'good', '{"alg":"HS256"}'));
SELECT * FROM verdict(sign(:'good', '{"alg":"HS512"}'));

-- Two issuers can use the same kid. The signature decides which of them issued a
-- token, and iss must agree.
SELECT jwt_add_secret('https://second.example', sha256('second'), 'HS256', 'h1') IS NOT NULL AS added;
SELECT * FROM verdict(sign(:'good'));
SELECT * FROM verdict(sign('{"iss":"https://second.example","aud":"api","exp":1767229200}'));
SELECT sqlstate, detail FROM jwt_inspect(sign(:'good'), issuer => 'https://second.example', at => half_past());
-- Two issuers can share a key, as tenants of some providers do. Then iss decides
-- which of them issued the token.
UPDATE jwt_key SET jwk = (SELECT jwk FROM jwt_key WHERE issuer = 'https://hmac.example' AND kid = 'h1')
WHERE issuer = 'https://second.example' AND kid = 'h1';
SELECT i.issuer, v.* FROM (VALUES ('https://hmac.example'), ('https://second.example'), ('https://third.example')) t (iss),
	LATERAL (SELECT sign(replace(:'good', 'https://hmac.example', iss)) AS token) s,
	verdict(token) v, jwt_inspect(token, at => half_past()) i;
SELECT i.issuer, v.* FROM (VALUES ('https://hmac.example'), ('https://second.example'), ('https://third.example')) t (iss),
	LATERAL (SELECT sign(replace(:'good', 'https://hmac.example', iss), '{"alg":"HS256"}') AS token) s,
	verdict(token) v, jwt_inspect(token, at => half_past()) i;
DELETE FROM jwt_issuer WHERE issuer = 'https://second.example';

-- If an issuer no longer allows an algorithm, its keys verify nothing. They can still
-- be revoked, and verify again when the algorithm is allowed.
UPDATE jwt_issuer SET algorithms = '{HS512}' WHERE issuer = 'https://hmac.example';
SELECT * FROM verdict(sign(:'good'));
BEGIN;
SELECT jwt_revoke_key('https://hmac.example', 'h1') IS NOT NULL AS revoked;
UPDATE jwt_issuer SET algorithms = '{HS256}' WHERE issuer = 'https://hmac.example';
SELECT sqlstate FROM verdict(sign(:'good'));
ROLLBACK;
UPDATE jwt_issuer SET algorithms = '{HS256}' WHERE issuer = 'https://hmac.example';
SELECT * FROM verdict(sign(:'good'));

-- 4. The signature.
SELECT * FROM verdict(left(sign(:'good'), -4));
SELECT * FROM verdict(left(sign(:'good'), -43) || repeat('A', 43));
SELECT * FROM verdict(overlay(sign(:'good') placing CASE right(left(sign(:'good'), -1), 1) WHEN 'A' THEN 'B' ELSE 'A' END from length(sign(:'good')) - 1 for 1));
SELECT * FROM verdict(fixture('token', 'other key'));
-- RSASSA-PSS with a salt that is not as long as the hash (RFC 7518 section 3.5).
SELECT * FROM verdict(fixture('token', 'PS256'));
SELECT * FROM verdict(fixture('token', 'short salt'));

-- 5. The payload: a strict JSON object, and parsed only now.
SELECT payload, v.* FROM (VALUES
	('[]'), ('"x"'), ('1'), (''), ('{'), ('{"a":1'), ('{"a":}'), ('{a:1}'), ('{"a":1}{}'), ('{"a":01}'), ('{"a":+1}'),
	('{"a":NaN}'), ('{"a":.5}'), ('{''a'':1}'), ('{"a":"' || E'\t' || '"}'), ('{"a":"\x"}'), ('{"a":tru}'), ('{"a":[1,]}'),
	('{"a":[1}}'), ('{"a":{"b":[]}]'), ('{"a":1,"a":1}'), ('{"a":1,"\u0061":1}'), ('{"a":{"b":1,"b":2}}'),
	('{"a":"\u0000"}'), ('{"a":"\udc00"}'), ('{"a":"\ud800x"}'), ('{"a":"\ud800\u0041"}'),
	('{"a":1e131073}'), ('{"a":1e999999999}'), ('{"a":1e-16384}'), ('{"a":1e-999999999}')
	) t (payload), verdict(sign(payload)) v;
SELECT * FROM verdict(sign('\xefbbbf7b7d'::bytea));
SELECT * FROM verdict(sign('\x7b2261223a22c0af227d'::bytea));
SELECT * FROM verdict(sign('\x7b2261223a2200227d'::bytea));
SELECT i, v.* FROM generate_series(62, 64) i, verdict(sign('{"a":' || repeat('[', i) || repeat(']', i) || '}')) v;
-- With a wrong signature, a payload that is not JSON is not parsed.
SELECT * FROM verdict(left(sign('not JSON'), -43) || repeat('A', 43));
-- The claims are what a cast of the payload to jsonb gives.
SELECT jwt_verify(sign('{"iss":"https://hmac.example","aud":"api","exp":1767229200, "a" : [ -0, 1.50, 1e2, 12345678901234567890, true, null, "\u00e9\ud83d\ude00\/\n\"", {}, [] ], "":"" }'), at => half_past());
SELECT jwt_verify(sign(:'good', :'header'), at => half_past());

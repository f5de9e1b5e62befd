--
-- attacks: attacks that have worked against JWT libraries, in the order of
-- doc/security.md. Each is refused, and is shown beside a token that is accepted.
--
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://attack.example', '{api}', '{HS256,RS256}'), ('https://other.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://attack.example', secret(), 'HS256', 'a1') IS NOT NULL AS added;
CREATE FUNCTION claims_of(more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
RETURN (jsonb_build_object('iss', 'https://attack.example', 'aud', 'api', 'sub', 'alice', 'exp', 1767229200) || more)::text;
-- A token with any header, payload and secret.
CREATE FUNCTION forge(header text, payload text, key bytea) RETURNS text LANGUAGE sql
RETURN b64url(convert_to(header, 'UTF8')) || '.' || b64url(convert_to(payload, 'UTF8')) || '.' ||
	b64url(hmac(convert_to(b64url(convert_to(header, 'UTF8')) || '.' || b64url(convert_to(payload, 'UTF8')), 'UTF8'), key, 'sha256'));
CREATE FUNCTION part(token text, n int) RETURNS text LANGUAGE sql RETURN split_part(token, '.', n);
CREATE FUNCTION signature(token text) RETURNS bytea LANGUAGE sql
RETURN decode(translate(split_part(token, '.', 3), '-_', '+/') || repeat('=', (4 - length(split_part(token, '.', 3)) % 4) % 4), 'base64');
-- An integer and a signature in DER.
CREATE FUNCTION der(x bytea) RETURNS bytea LANGUAGE sql
RETURN '\x02' || CASE WHEN get_byte(x, 0) < 128 THEN set_byte('\x00', 0, length(x)) || x ELSE set_byte('\x0000', 0, length(x) + 1) || x END;
CREATE FUNCTION der(r bytea, s bytea) RETURNS bytea LANGUAGE sql
RETURN '\x30' || set_byte('\x00', 0, length(der(r) || der(s))) || der(r) || der(s);
CREATE FUNCTION attack(token text) RETURNS text LANGUAGE sql
RETURN coalesce((jwt_inspect(token, at => half_past())).sqlstate, 'ACCEPTED');
SELECT attack(forge('{"alg":"HS256","kid":"a1"}', claims_of(), secret())) AS good, attack(fixture('token', 'RS256')) AS rs256, attack(fixture('token', 'ES256')) AS es256;

-- alg none, in every spelling, with the signature and without.
SELECT alg, attack(t || '.') AS unsigned, attack(t || '.' || part(fixture('token', 'RS256'), 3)) AS signed
FROM (VALUES ('none'), ('None'), ('NONE'), ('nOnE'), (' none'), ('none '), (''), ('null')) a (alg),
	LATERAL (SELECT b64url(convert_to(format('{"alg":%s,"kid":"RS256"}', to_json(alg)), 'UTF8')) || '.' || part(fixture('token', 'RS256'), 2)) h (t)
UNION ALL SELECT 'RS256', attack(part(fixture('token', 'RS256'), 1) || '.' || part(fixture('token', 'RS256'), 2) || '.'), attack(fixture('token', 'RS256'));

-- RS256 turned into HS256, with the public key in every form as the secret.
SELECT name, attack(forge('{"alg":"HS256","kid":"RS256"}', claims_of('{"iss":"https://idp.example"}'), convert_to(value, 'UTF8')))
FROM fixture WHERE (kind, name) IN (('pem', 'rsa spki'), ('pem', 'rsa pkcs1'), ('pem', 'rsa certificate'), ('key', 'RS256'))
UNION ALL SELECT 'RS256, by its private key', attack(fixture('token', 'RS256')) ORDER BY 1;

-- Such a key is refused as a secret, and so are weak secrets.
SELECT what, left(refusal(format('SELECT jwt_add_secret(%L, %L, %L)', 'https://attack.example', secret, 'HS256')), 80) FROM (VALUES
	('PEM', convert_to(fixture('pem', 'rsa spki'), 'UTF8')), ('JWK', convert_to(fixture('key', 'RS256'), 'UTF8')), ('zero bytes long', ''::bytea),
	('all zero', decode(repeat('00', 32), 'hex')), ('short', 'secret'), ('DER', decode(regexp_replace(fixture('pem', 'rsa spki'), '-----[^-]*-----|\n', '', 'g'), 'base64')),
	('a secret', secret())) t (what, secret);

-- ECDSA: zero signatures (CVE-2022-21449), r or s out of range, DER, other lengths.
SELECT what, attack(part(fixture('token', 'ES256'), 1) || '.' || part(fixture('token', 'ES256'), 2) || '.' || b64url(s))
FROM (SELECT signature(fixture('token', 'ES256')) g) g, LATERAL (VALUES
	(1, 'as it is', g), (2, 'all zero', decode(repeat('00', 64), 'hex')), (3, 'r is zero', decode(repeat('00', 32), 'hex') || substr(g, 33)), (4, 's is zero', substr(g, 1, 32) || decode(repeat('00', 32), 'hex')),
	(5, 'the order', decode(repeat('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 2), 'hex')), (6, 'all ones', decode(repeat('ff', 64), 'hex')),
	(7, 'DER', der(substr(g, 1, 32), substr(g, 33))), (8, 'a byte less', substr(g, 1, 63)), (9, 'a byte more', g || '\x00'::bytea),
	(10, 'empty', ''::bytea), (11, 'padded halves', '\x00'::bytea || substr(g, 1, 32) || '\x00'::bytea || substr(g, 33)), (12, 'halves swapped', substr(g, 33) || substr(g, 1, 32))) s (n, what, s) ORDER BY n;

-- The attacker's key in the header, or its URL.
SELECT header, attack(forge(header, claims_of(), 'attacker')) AS by_it, attack(forge(header, claims_of(), secret())) AS by_ours FROM (VALUES
	('{"alg":"HS256","kid":"a1","jwk":{"kty":"oct","k":"YXR0YWNrZXI"}}'), ('{"alg":"HS256","kid":"a1","jku":"https://evil.example/jwks.json"}'),
	('{"alg":"HS256","kid":"a1","x5u":"https://evil.example/x"}'), ('{"alg":"HS256","kid":"a1","x5c":["MIIB"]}'), ('{"alg":"HS256","jwk":{"kty":"oct","k":"YXR0YWNrZXI"}}')) t (header);

-- kid as a path, as SQL, as a URL, as the name of a table, empty.
SELECT kid, attack(forge(jsonb_build_object('alg', 'HS256', 'kid', kid)::text, claims_of(), '')) AS by_nothing, attack(forge(jsonb_build_object('alg', 'HS256', 'kid', kid)::text, claims_of(), secret())) AS by_ours FROM (VALUES
	('a1'), ('../../../../dev/null'), ('a1'' OR ''1''=''1'), ('a1'' UNION SELECT ''secret'), ('https://evil.example/k'), ('jwt_key'), (''), ('%'), ('a_'), (E'a1\u0001')) t (kid);

-- crit and b64.
SELECT header, attack(forge(header, claims_of(), secret())) FROM (VALUES ('{"alg":"HS256","kid":"a1"}'), ('{"alg":"HS256","kid":"a1","crit":["b64"],"b64":false}'), ('{"alg":"HS256","kid":"a1","b64":false}'),
	('{"alg":"HS256","kid":"a1","crit":["exp"]}'), ('{"alg":"HS256","kid":"a1","crit":[]}'), ('{"alg":"HS256","kid":"a1","crit":null}')) t (header);

-- Duplicate members: JSON readers differ in which one they use.
SELECT payload, attack(forge('{"alg":"HS256","kid":"a1"}', payload, secret())) FROM (VALUES
	('{"iss":"https://attack.example","aud":"api","exp":1767229200,"sub":"alice"}'), ('{"iss":"https://attack.example","aud":"api","exp":1767229200,"a":{"sub":1},"b":{"sub":2}}'),
	('{"iss":"https://attack.example","aud":"api","exp":1767229200,"sub":"alice","sub":"admin"}'), ('{"iss":"https://attack.example","aud":"api","exp":1767229200,"sub":"alice","\u0073ub":"admin"}'),
	('{"iss":"https://attack.example","aud":"api","exp":1,"exp":1767229200}'), ('{"iss":"https://attack.example","aud":"api","exp":1767229200,"a":{"b":1,"b":2}}')) t (payload);

-- RSA-PSS with a salt that is shorter than the hash, and RSA keys that verify anything.
SELECT attack(fixture('token', 'PS256')) AS ps256, attack(fixture('token', 'short salt')) AS short_salt;
SELECT e, left(refusal(format('SELECT jwt_add_key(%L, %L, %L)', 'https://attack.example', fixture('key', 'RS256')::jsonb || jsonb_build_object('e', e), 'RS256')), 90)
FROM (VALUES ('AQ'), ('Ag'), ('AA'), (''), ('BA'), ('AQAB')) t (e);

-- JWE, JSON serialization, a token within a token.
SELECT left(token, 24) AS token, attack(token) FROM (VALUES
	(forge('{"alg":"HS256","kid":"a1"}', claims_of(), secret())), ('eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA'), ('{"payload":"e30","protected":"e30","signature":"AA"}'), ('{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}'),
	(forge('{"alg":"HS256","kid":"a1","cty":"JWT"}', forge('{"alg":"HS256","kid":"a1"}', claims_of(), secret()), secret()))) t (token);

-- Another issuer's key with the same kid; a token for another service; the
-- signature of another token.
SELECT jwt_add_secret('https://other.example', 'another secret that is long enough', 'HS256', 'a1') IS NOT NULL AS added;
SELECT attack(forge('{"alg":"HS256","kid":"a1"}', claims_of(), 'another secret that is long enough')) AS as_the_other_issuer,
	attack(forge('{"alg":"HS256","kid":"a1"}', claims_of('{"iss":"https://other.example"}'), 'another secret that is long enough')) AS as_itself,
	attack(forge('{"alg":"HS256","kid":"a1"}', claims_of('{"aud":"another api"}'), secret())) AS for_another_service,
	attack(part(fixture('token', 'RS256'), 1) || '.' || part(fixture('token', 'bob'), 2) || '.' || part(fixture('token', 'RS256'), 3)) AS spliced;

-- The cache has no entry for a token that differs in bytes that are not hashed, nor
-- for the same token with another audience or issuer.
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past()) ->> 'sub' AS sub FROM generate_series(1, 2);
SELECT jwt_try_verify(overlay(fixture('token', 'RS256') PLACING 'X' FROM 200), at => half_past()) IS NULL AS changed,
	jwt_try_verify(fixture('token', 'RS256'), 'other', at => half_past()) IS NULL AS for_another,
	jwt_try_verify(fixture('token', 'RS256'), issuer => 'https://attack.example', at => half_past()) IS NULL AS of_another,
	jwt_try_verify(fixture('token', 'RS256'), at => half_past() + interval '2 hours') IS NULL AS later;

-- Settings that any user can write have no effect.
SELECT set_config(name, '{"sub":"admin","role":"postgres"}', false) IS NOT NULL AS set FROM (VALUES ('request.jwt.claims'), ('request.jwt.claim.sub')) t (name);
SELECT jwt_claims() IS NULL AS claims, jwt_subject() IS NULL AS subject;
SELECT left(refusal('SET jwt.claims = ''{"sub":"admin"}'''), 60);

-- Nothing that depends on the time, a table or a setting is folded into a plan.
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt'
WHERE provolatile = 'i' OR proleakproof OR (prosecdef AND proconfig IS NULL) ORDER BY 1;

DROP FUNCTION claims_of, forge, part, signature, der(bytea), der(bytea, bytea), attack;
DELETE FROM jwt_issuer WHERE issuer IN ('https://attack.example', 'https://other.example');

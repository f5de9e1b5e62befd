--
-- limits: the number of keys that are tried for a token without kid
--
-- A token without kid may be signed by any key of its algorithm. To try all keys would
-- take too long, so there are limits: 8 keys of an issuer, and 64 in all.
SET timezone = 'UTC';
SELECT jwt_add_issuer('https://limit.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://limit.example', sha256('ours'), 'HS256', 'ours') IS NOT NULL AS added;
CREATE FUNCTION add_secrets(issuer text, n int) RETURNS bigint LANGUAGE sql
RETURN (SELECT count(jwt_add_secret(issuer, sha256((issuer || i)::bytea), 'HS256', 'key ' || i)) FROM generate_series(1, n) i);
CREATE FUNCTION nameless(issuer text, kid text DEFAULT NULL) RETURNS text LANGUAGE sql STABLE
RETURN sign(jsonb_build_object('iss', issuer, 'aud', 'api', 'sub', 'alice', 'exp', 4102444800)::text,
	jsonb_strip_nulls(jsonb_build_object('alg', 'HS256', 'kid', kid))::text,
	CASE issuer WHEN 'https://limit.example' THEN sha256('ours') ELSE secret() END);

-- Eight keys: each is tried.
SELECT add_secrets('https://limit.example', 7);
SELECT * FROM verdict(nameless('https://limit.example'));
-- Nine keys: none is tried, so the order of the rows does not matter. To name the
-- issuer does not help, as this issuer has too many itself. A kid helps.
SELECT jwt_add_secret('https://limit.example', sha256('the ninth'), 'HS256', 'ninth') IS NOT NULL AS added;
SELECT * FROM verdict(nameless('https://limit.example'));
SELECT sqlstate, detail FROM jwt_inspect(nameless('https://limit.example'), issuer => 'https://limit.example');
SELECT * FROM verdict(nameless('https://limit.example', 'ours'));
-- Tokens of another issuer are not affected.
SELECT * FROM verdict(nameless('https://hmac.example'));

-- Only keys that can verify now count: not those outside their window, revoked, or
-- unusable.
UPDATE jwt_key SET not_after = '2026-01-01' WHERE kid = 'ninth';
SELECT * FROM verdict(nameless('https://limit.example'));
UPDATE jwt_key SET not_after = NULL, not_before = '2026-02-01' WHERE kid = 'ninth';
SELECT * FROM verdict(nameless('https://limit.example'));
UPDATE jwt_key SET not_before = NULL WHERE kid = 'ninth';
SELECT * FROM verdict(nameless('https://limit.example'));
BEGIN;
SELECT jwt_revoke_key('https://limit.example', 'ninth') IS NOT NULL AS revoked;
SELECT * FROM verdict(nameless('https://limit.example'));
ROLLBACK;
SELECT * FROM verdict(nameless('https://limit.example'));
UPDATE jwt_key SET jwk = '{"kty":"oct","k":"c2hvcnQ"}' WHERE kid = 'ninth';
SELECT * FROM verdict(nameless('https://limit.example'));
DELETE FROM jwt_key WHERE kid = 'ninth';

-- 64 keys in all. Here eight issuers have eight keys each, and hmac.example has one:
-- that is one too many.
SELECT i, add_secrets(format('https://limit%s.example', i), 8)
FROM generate_series(1, 7) i, LATERAL (SELECT jwt_add_issuer(format('https://limit%s.example', i), '{api}', '{HS256}')) a;
SELECT count(*) FROM jwt_key WHERE alg = 'HS256';
SELECT * FROM verdict(nameless('https://limit.example'));
SELECT * FROM verdict(nameless('https://hmac.example'));
-- If the caller names the issuer, only its keys count.
SELECT jwt_verify(nameless('https://limit.example'), issuer => 'https://limit.example') ->> 'sub' AS sub;
SELECT jwt_verify(nameless('https://hmac.example'), issuer => 'https://hmac.example') ->> 'sub' AS sub;
BEGIN;
SELECT jwt_authenticate(nameless('https://limit.example'), issuer => 'https://limit.example') ->> 'sub' AS sub;
SELECT jwt_subject(), current_setting('jwt.issuer');
SELECT jwt_authenticate(nameless('https://hmac.example'), issuer => 'https://hmac.example') ->> 'sub' AS sub;
SELECT jwt_subject(), current_setting('jwt.issuer');
SELECT left(refusal(format('SELECT jwt_authenticate(%L, issuer => %L)', nameless('https://limit.example'), 'https://hmac.example')), 5);
SELECT jwt_authenticate(NULL) IS NULL AS nobody, current_setting('jwt.issuer') = '' AS any_issuer;
COMMIT;
-- One key less is within the limit. An issuer with nine keys is left out as a whole.
BEGIN;
DELETE FROM jwt_key WHERE issuer = 'https://limit1.example' AND kid = 'key 1';
SELECT * FROM verdict(nameless('https://limit.example'));
ROLLBACK;
BEGIN;
SELECT jwt_add_secret('https://limit1.example', sha256('the ninth'), 'HS256', 'ninth') IS NOT NULL AS added;
SELECT * FROM verdict(nameless('https://limit.example'));
ROLLBACK;

-- The limits also hold for a kid that many issuers use.
SELECT * FROM verdict(nameless('https://limit.example', 'key 1'));
UPDATE jwt_key SET kid = 'the same' WHERE issuer LIKE 'https://limit%.example';
SELECT * FROM verdict(nameless('https://limit.example', 'the same'));
INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://hmac.example', 'the same', alg, jwk FROM jwt_key WHERE issuer = 'https://hmac.example';
SELECT * FROM verdict(nameless('https://limit.example', 'the same'));
SELECT jwt_verify(nameless('https://limit.example', 'the same'), issuer => 'https://limit.example') ->> 'sub' AS sub;
DELETE FROM jwt_key WHERE kid = 'the same';

-- Thousands of candidates are read, but not kept in memory.
INSERT INTO jwt_key (issuer, alg, jwk)
SELECT 'https://limit.example', 'HS256', jsonb_build_object('kty', 'oct', 'k', encode(sha256(i::text::bytea), 'hex')) FROM generate_series(1, 3000) i;
SELECT * FROM verdict(nameless('https://limit.example'));
SELECT sum(total_bytes) < 1000000 AS few_bytes FROM pg_backend_memory_contexts WHERE name LIKE 'jwt key%';

DROP FUNCTION add_secrets, nameless;
DELETE FROM jwt_issuer WHERE issuer LIKE 'https://limit%.example';

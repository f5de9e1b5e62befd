--
-- rows: a key in every possible state of its row. It verifies if it has no fault, for
-- every form of the token, and the views agree
--
SELECT plan(8);

-- The possible faults of a key.
CREATE TEMP TABLE state AS
SELECT row_number() OVER () AS n, * FROM
	(VALUES ('open', NULL, NULL), ('opens', '2100-01-01', NULL), ('closed', NULL, '2020-01-01'), ('within', '2020-01-01', '2100-01-01')) w (window_is, not_before, not_after),
	(VALUES ('good'), ('too short'), ('all zero'), ('no key')) j (jwk_is),
	(VALUES ('HS256'), ('HS384'), ('XX256'), (NULL)) a (alg),
	(VALUES ('there'), ('allows another'), ('makes no sense'), ('not there')) i (issuer_is),
	(VALUES (false), (true)) r (revoked);
CREATE FUNCTION pg_temp.issuer(s state) RETURNS text LANGUAGE sql RETURN format('https://%s.example', replace(s.issuer_is, ' ', '-'));
CREATE FUNCTION pg_temp.secret_of(s state) RETURNS bytea LANGUAGE sql RETURN
	CASE s.jwk_is WHEN 'good' THEN sha256(('key ' || s.n)::bytea) WHEN 'too short' THEN substr(sha256(('key ' || s.n)::bytea), 1, 31) WHEN 'all zero' THEN decode(repeat('00', 32), 'hex') END;
CREATE FUNCTION pg_temp.jwk(s state) RETURNS jsonb LANGUAGE sql RETURN
	CASE s.jwk_is WHEN 'no key' THEN '{"kty":"oct"}'::jsonb ELSE jsonb_build_object('kty', 'oct', 'k', b64url(pg_temp.secret_of(s))) END;
CREATE FUNCTION pg_temp.expected(s state) RETURNS boolean LANGUAGE sql RETURN
	s.window_is IN ('open', 'within') AND s.jwk_is = 'good' AND s.alg IS NOT DISTINCT FROM 'HS256' AND s.issuer_is = 'there' AND NOT s.revoked;

SET client_min_messages = error;
INSERT INTO jwt_issuer (issuer, audience, algorithms, leeway) VALUES
	('https://there.example', '{api}', '{HS256}', '0'), ('https://allows-another.example', '{api}', '{HS512}', '0'), ('https://makes-no-sense.example', '{api}', '{HS256}', '1 day');
INSERT INTO jwt_denylist (kind, value) SELECT 'key', jwt_thumbprint(pg_temp.jwk(s)) FROM state s WHERE revoked AND jwk_is IN ('good', 'too short');
-- HS384 needs 48 bytes, so such a row cannot verify either; the token is HS256.
INSERT INTO jwt_key (issuer, kid, alg, jwk, not_before, not_after)
SELECT pg_temp.issuer(s), s.n, s.alg, pg_temp.jwk(s), s.not_before::timestamptz, s.not_after::timestamptz FROM state s ORDER BY md5(s.n::text);
RESET client_min_messages;
SELECT is((SELECT count(*) FROM jwt_key), (SELECT count(*) FROM state), 'every row is stored');

CREATE TEMP TABLE outcome AS
SELECT s.n, pg_temp.expected(s) AS expected, v.verdict, k.verifies, k.state, k.unusable
FROM state s JOIN jwt_key_status k ON k.kid = s.n::text,
	LATERAL (SELECT verdict(sign(jsonb_build_object('iss', pg_temp.issuer(s), 'aud', 'api', 'exp', 4102444800)::text, jsonb_build_object('alg', 'HS256', 'kid', s.n::text)::text, coalesce(pg_temp.secret_of(s), '')))) v (verdict);
SELECT is_empty('SELECT s, o.* FROM outcome o JOIN state s USING (n) WHERE o.expected <> (o.verdict = ''valid'')', 'one verifies when nothing stands against it: ' || (SELECT count(*) FROM outcome WHERE verdict = 'valid') || ' of ' || (SELECT count(*) FROM outcome));
SELECT is_empty('SELECT s, o.* FROM outcome o JOIN state s USING (n) WHERE o.expected <> o.verifies', 'jwt_key_status says of the same that they verify');
SELECT is_empty('SELECT s, o.* FROM outcome o JOIN state s USING (n) WHERE (o.unusable IS NULL) <> (s.jwk_is = ''good'' AND s.alg = ''HS256'' AND s.issuer_is = ''there'') IS TRUE', 'it says why, and of no other');
SELECT is((SELECT usable_keys FROM jwt_status WHERE issuer = 'https://there.example'), (SELECT count(*)::int FROM outcome WHERE expected), 'jwt_status counts them');
SELECT set_eq('SELECT verdict FROM outcome', '{valid,28J02,28J03,28J11}'::text[], 'each verdict occurs');

-- For a token without kid, the same rows are candidates: only one of them verifies.
DELETE FROM jwt_key WHERE kid IN (SELECT n::text FROM (SELECT n FROM outcome WHERE expected ORDER BY n OFFSET 1) o);
SELECT is((SELECT count(*) FROM jwt_key_status WHERE verifies), 1::bigint, 'but for one of these');
SELECT set_eq($$ SELECT DISTINCT s.n, verdict(sign(jsonb_build_object('iss', pg_temp.issuer(s), 'aud', 'api', 'exp', 4102444800)::text, '{"alg":"HS256"}', pg_temp.secret_of(s))) = 'valid' FROM state s WHERE jwk_is = 'good' AND issuer_is = 'there' $$,
	$$ SELECT s.n, s.n = (SELECT min(n) FROM outcome WHERE expected) FROM state s WHERE jwk_is = 'good' AND issuer_is = 'there' $$, 'it verifies a token that names no key, and no other does');

SELECT * FROM finish();
DELETE FROM jwt_issuer;
DELETE FROM jwt_key;
TRUNCATE jwt_denylist;

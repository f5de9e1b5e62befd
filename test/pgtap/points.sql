--
-- points: Ed25519 and Ed448 public keys for which anybody can sign, that are not a
-- point, or that are not canonical; in every way to add a key
--
SELECT plan(18);

CREATE FUNCTION pg_temp.fill(hex text, crv text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN rpad(hex, CASE crv WHEN 'Ed25519' THEN 64 ELSE 114 END, '0');
-- The same with the sign bit of x.
CREATE FUNCTION pg_temp.negative(key bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN set_bit(key, length(key) * 8 - 1, 1);

CREATE TEMP TABLE point (crv text, what text, fault text, key bytea);
-- y, little-endian, of each order, with either bit of x
INSERT INTO point
SELECT crv, what, 'small order', k
FROM (VALUES
	('Ed25519', 'order 1', '01'),
	('Ed25519', 'order 2', 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
	('Ed25519', 'order 4', '00'),
	('Ed25519', 'order 8', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'),
	('Ed25519', 'order 8, the other', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'),
	('Ed448', 'order 1', '01'),
	('Ed448', 'order 2', 'fefffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff'),
	('Ed448', 'order 4', '00')) v (crv, what, hex),
	decode(pg_temp.fill(hex, crv), 'hex') y, unnest(ARRAY[y, pg_temp.negative(y)]) k;
-- y of p and more
INSERT INTO point
SELECT 'Ed25519', 'p + ' || i, 'canonical', k
FROM generate_series(0, 18) i, decode(to_hex(237 + i) || repeat('ff', 30) || '7f', 'hex') y, unnest(ARRAY[y, pg_temp.negative(y)]) k;
INSERT INTO point
SELECT 'Ed448', what, 'canonical', k
FROM (VALUES
	('p', 'fffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff'),
	('p + 1', '00000000000000000000000000000000000000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff'),
	('p + 2', '01000000000000000000000000000000000000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff'),
	('2^448 - 1', repeat('ff', 56)),
	('2^448', repeat('00', 56) || '01'),
	('2^448 + 1', '01' || repeat('00', 55) || '01'),
	('2^454', repeat('00', 56) || '40')) v (what, hex),
	decode(pg_temp.fill(hex, 'Ed448'), 'hex') y, unnest(ARRAY[y, pg_temp.negative(y)]) k;
-- y for which there is no x
INSERT INTO point
SELECT crv, 'y = ' || y, 'not a point', k
FROM (VALUES ('Ed25519', '02'), ('Ed25519', '07'), ('Ed25519', '08'), ('Ed448', '02'), ('Ed448', '06'), ('Ed448', '0a')) v (crv, y),
	decode(pg_temp.fill(y, crv), 'hex') b, unnest(ARRAY[b, pg_temp.negative(b)]) k;
-- Good keys: other small y, the keys of the tests, and sums with a point of small
-- order. RFC 8032 allows such sums, and only the owner can sign for them.
INSERT INTO point
SELECT crv, 'y = ' || y, NULL, k
FROM (VALUES ('Ed25519', '03'), ('Ed25519', '04'), ('Ed25519', '05'), ('Ed448', '03'), ('Ed448', '04'), ('Ed448', '05')) v (crv, y),
	decode(pg_temp.fill(y, crv), 'hex') b, unnest(ARRAY[b, pg_temp.negative(b)]) k;
INSERT INTO point
SELECT name, 'of the tests', NULL, decode(translate(k ->> 'x', '-_', '+/') || CASE name WHEN 'Ed25519' THEN '=' ELSE '' END, 'base64')
FROM fixture, LATERAL (SELECT value::jsonb) j (k) WHERE kind = 'key' AND name LIKE 'Ed%';
INSERT INTO point VALUES
	('Ed25519', 'and one of order 8', NULL, '\xf48432ff9c5788e858e7ecbcd070f1ba90d9b204d8f724ca9ce2be628bba78a8'),
	('Ed25519', 'and one of order 8', NULL, '\xa90fcbffc66f0eab0186749c354673cae5284466dd74474dd795babe4d22d168'),
	('Ed448', 'and one of order 4', NULL, '\xafcf27bbcbca0a566135df71bae81e8c08c3771d714652d1dfcb554540d57a5290e3d7ff28ddc82f32925fd15084df1de0237f6d95f4830200');
ALTER TABLE point ADD jwk jsonb, ADD pem text;
UPDATE point SET jwk = jsonb_build_object('kty', 'OKP', 'crv', crv, 'x', b64url(key)),
	pem = E'-----BEGIN PUBLIC KEY-----\n' || encode((CASE crv WHEN 'Ed25519' THEN '\x302a300506032b6570032100' ELSE '\x3043300506032b6571033a00' END)::bytea || key, 'base64')
		|| E'\n-----END PUBLIC KEY-----\n';
SELECT results_eq('SELECT crv, fault, count(*) FROM point GROUP BY crv, fault ORDER BY crv, fault COLLATE "C" NULLS LAST',
	$$ VALUES ('Ed25519', 'canonical', 38::bigint), ('Ed25519', 'not a point', 6), ('Ed25519', 'small order', 10), ('Ed25519', NULL, 9),
		('Ed448', 'canonical', 14), ('Ed448', 'not a point', 6), ('Ed448', 'small order', 6), ('Ed448', NULL, 8) $$, 'keys of every kind');

-- The SQLSTATE and the detail of a call, or its result.
CREATE FUNCTION pg_temp.outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE call INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS answer = PG_EXCEPTION_DETAIL;
	RETURN sqlstate || ' ' || answer;
END $$;
CREATE FUNCTION pg_temp.refused(outcome text, sqlstate text, fault text) RETURNS boolean LANGUAGE sql
RETURN outcome LIKE sqlstate || ' The public key for Ed% ' || CASE fault WHEN 'canonical' THEN 'is not encoded canonically.'
	WHEN 'not a point' THEN 'is not a point on the curve.' ELSE 'is a point of small order, for which anybody can sign.' END;

INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://points.example', '{api}', '{EdDSA}');

-- The functions with a key as argument.
CREATE TEMP TABLE way (name text, call text, sqlstate text);
INSERT INTO way VALUES
	('jwt_jwk of a JWK', 'SELECT jwt_jwk(%1$L) IS NOT NULL', '22023'),
	('jwt_jwk of a PEM', 'SELECT jwt_jwk(%2$L) IS NOT NULL', '22023'),
	('jwt_add_key of a JWK', 'SELECT jwt_add_key(''https://points.example'', %1$L) IS NOT NULL', NULL),
	('jwt_add_key of a PEM', 'SELECT jwt_add_key(''https://points.example'', %2$L) IS NOT NULL', NULL),
	('jws_verify', 'SELECT jws_verify(%3$L, %1$L, %4$L)', '22023');
-- A signature without a private key, with R = 1 and S = 0. It is good for a key of
-- order 1. For a key of small order n it is good for one of n payloads.
CREATE TEMP TABLE forged AS
SELECT p.*, input || '.' || b64url(set_byte(decode(repeat('00', CASE crv WHEN 'Ed25519' THEN 64 ELSE 114 END), 'hex'), 0, 1)) AS token
FROM point p, generate_series(1, 40) n,
	LATERAL (SELECT b64url(convert_to(jsonb_build_object('alg', crv, 'kid', encode(key, 'hex'))::text, 'UTF8')) || '.' ||
		b64url(convert_to(jsonb_build_object('iss', 'https://points.example', 'aud', 'api', 'sub', 'root', 'exp', 4000000000, 'n', n)::text, 'UTF8'))) i (input)
WHERE fault IS NOT NULL OR n = 1;
CREATE TEMP TABLE outcome AS
SELECT w.name, w.sqlstate, p.*, pg_temp.outcome(format(w.call, p.jwk, p.pem, p.token, p.crv)) AS outcome
FROM way w, forged p;
SELECT is_empty(format($$ SELECT crv, what, key, outcome FROM outcome WHERE name = %L AND fault IS NOT NULL
		AND pg_temp.refused(outcome, coalesce(sqlstate, left(outcome, 5)), fault) IS NOT TRUE $$, name), name || ' refuses each')
FROM way ORDER BY name;
SELECT is_empty(format($$ SELECT crv, what, key, outcome FROM outcome WHERE name = %L AND fault IS NULL AND outcome <> %L $$,
	name, CASE WHEN name = 'jws_verify' THEN '28J04 The key has not signed this token.' ELSE 'true' END), name || ' takes each good one')
FROM way ORDER BY name;
SELECT set_eq($$ SELECT DISTINCT left(outcome, 5) FROM outcome WHERE name LIKE 'jwt_add_key%' AND fault IS NOT NULL $$,
	$$ SELECT DISTINCT left(pg_temp.outcome('SELECT jwt_add_key(''https://points.example'', ''{"kty":"OKP","crv":"Ed25519","x":"AA"}'')'), 5) $$,
	'with the SQLSTATE that other bad keys have');
DELETE FROM jwt_key;

-- Signatures below SQL: null means that the key is refused.
SELECT is_empty($$ SELECT crv, what, key FROM forged WHERE fault IS NOT NULL
	AND jwt_test_signature(crv, jwk, convert_to(token, 'UTF8'), decode(repeat('00', CASE crv WHEN 'Ed25519' THEN 64 ELSE 114 END), 'hex')) IS NOT NULL $$,
	'no verifier is made of any');
SELECT is_empty($$ SELECT crv, what, key FROM forged WHERE fault IS NULL
	AND jwt_test_signature(crv, jwk, convert_to(token, 'UTF8'), decode(repeat('00', CASE crv WHEN 'Ed25519' THEN 64 ELSE 114 END), 'hex')) IS NOT FALSE $$,
	'one is made of each good one');

-- Rows that were written without triggers, as by a restore, verify nothing.
BEGIN;
ALTER TABLE jwt_key DISABLE TRIGGER ALL;
INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://points.example', encode(key, 'hex'), crv, jwk FROM point;
CREATE TEMP TABLE inspected AS
SELECT f.*, v.sqlstate, v.detail FROM forged f, LATERAL jwt_inspect(f.token, at => '2026-01-01') v;
SELECT count(*) FILTER (WHERE fault IS NOT NULL AND NOT is_refused) AS used, count(*) FILTER (WHERE fault IS NULL AND sqlstate IS DISTINCT FROM '28J04') AS unused
FROM inspected, LATERAL (SELECT pg_temp.refused(sqlstate || substr(detail, strpos(detail, ' The public key')), '28J03', fault) IS TRUE) r (is_refused) \gset
ROLLBACK;
SELECT is(:used, 0, 'a row verifies nothing');
SELECT is(:unused, 0, 'a good row is a key');

-- Importing a key set skips such members.
SELECT is(pg_temp.outcome(format('SELECT count(*) FROM jwt_import_jwks(%L, %L)', 'https://points.example',
	(SELECT format('{"keys":%s}', jsonb_agg(jwk || jsonb_build_object('kid', encode(key, 'hex')))) FROM point))), (SELECT count(*)::text FROM point), 'a key set is imported');
SELECT set_eq($$ SELECT kid FROM jwt_key $$, $$ SELECT encode(key, 'hex') FROM point WHERE fault IS NULL $$, 'without those');

SELECT * FROM finish();
DELETE FROM jwt_issuer;

--
-- confirmation: tokens that are bound to a key or a certificate, and the current
-- token, which cannot be read. Proofs and certificates are tested in
-- test/t/020_confirmation.pl and 021_certificate.pl.
--
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://bound.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://bound.example', secret(), 'HS256', 'b1') IS NOT NULL AS added;
CREATE FUNCTION bound(cnf jsonb) RETURNS text LANGUAGE sql STABLE
RETURN sign(jsonb_strip_nulls(jsonb_build_object('iss', 'https://bound.example', 'aud', 'api', 'sub', 'alice', 'cnf', cnf,
	'jti', 'b', 'exp', extract(epoch FROM date_trunc('day', now()) + interval '2 days')::bigint))::text, '{"alg":"HS256","kid":"b1"}');
CREATE TABLE cnf (n int GENERATED ALWAYS AS IDENTITY, cnf jsonb);
INSERT INTO cnf (cnf) VALUES
	(NULL), (jsonb_build_object('jkt', repeat('A', 43))), (jsonb_build_object('x5t#S256', repeat('A', 43))), (jsonb_build_object('jkt', repeat('A', 43), 'kid', 'x')),
	('{"kid":"x"}'), ('{"jwk":{"kty":"oct"}}'), ('{}'), ('{"jkt":"A"}'), ('{"jkt":1}'), ('{"x5t#S256":["A"]}'), ('"x"'), ('[]'), ('1');

-- A bound token is refused without a confirmation.
SELECT cnf, valid, sqlstate, detail FROM cnf, jwt_inspect(bound(cnf)) ORDER BY n;
SELECT cnf, left(refusal(format('SELECT jwt_verify(%L)', bound(cnf))), 5) AS verify, jwt_try_verify(bound(cnf)) IS NOT NULL AS try_verify,
	left(refusal(format('SELECT jwt_authenticate(%L)', bound(cnf))), 5) AS authenticate FROM cnf ORDER BY n;
SELECT set_config('jwt.token', bound(cnf), false) FROM cnf WHERE n = 2;
SELECT jwt_subject();
\echo :SQLSTATE
RESET jwt.token;
-- The errors show no token.
SELECT refusal(format('SELECT jwt_authenticate(%L, true, NULL, %L, %L, %L)', bound(cnf), 'x.y.z', 'GET', 'https://api.example/')) LIKE '28J13%' AS refused FROM cnf WHERE n = 2;
SELECT jwt_authenticate('x', false, NULL, 'x', 'GET', 'https://api.example/');
SELECT jwt_authenticate('x', true, NULL, 'x');
SELECT jwt_authenticate('x', true, NULL, 'x', 'GET', '');

-- A bound token is accepted if a gateway confirms the sender.
UPDATE jwt_issuer SET confirmation = 'gateway' WHERE issuer = 'https://bound.example';
SELECT cnf, valid, sqlstate FROM cnf, jwt_inspect(bound(cnf)) ORDER BY n;
UPDATE jwt_issuer SET confirmation = DEFAULT WHERE issuer = 'https://bound.example';

-- It can be revoked without a confirmation: a thief of the token may lack the key.
BEGIN;
SELECT jwt_revoke(bound(cnf)) IS NOT NULL AS revoked FROM cnf WHERE n = 2;
SELECT n, sqlstate FROM cnf, jwt_inspect(bound(cnf)) WHERE n <= 2 ORDER BY n;
ROLLBACK;

-- No user can write the settings that hold what was confirmed.
SET jwt.confirmed = 'x';
SET LOCAL jwt.certificate = 'x';
SELECT set_config('jwt.confirmed', 'x', true);
SELECT statement, refusal(statement) FROM (VALUES
	('ALTER ROLE regress_jwt_user SET jwt.confirmed = ''x'''), ('ALTER DATABASE postgres SET jwt.certificate = ''x'''),
	('CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.confirmed = ''x'' AS ''SELECT 1'''),
	('CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.confirmed = '''' AS ''SELECT 1''')) t (statement);
ALTER SYSTEM SET jwt.confirmed = 'x';
SET jwt.confirmed = '';
RESET jwt.confirmed;

-- The current token is write-only.
SELECT set_config('jwt.token', bound(NULL), false);
SHOW jwt.token;
SELECT current_setting('jwt.token'), jwt_subject();
SELECT count(*) FROM pg_settings WHERE name IN ('jwt.token', 'jwt.confirmed', 'jwt.certificate');
EXPLAIN (COSTS OFF, SETTINGS) SELECT 1;
SELECT statement, refusal(statement) FROM (VALUES
	('ALTER ROLE regress_jwt_user SET jwt.token FROM CURRENT'), ('ALTER DATABASE postgres SET jwt.token FROM CURRENT'),
	('CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.token FROM CURRENT AS ''SELECT 1'''),
	('ALTER FUNCTION bound SET jwt.token FROM CURRENT')) t (statement);
RESET jwt.token;
SHOW jwt.token;

DROP TABLE cnf;
DROP FUNCTION bound;
DELETE FROM jwt_issuer WHERE issuer = 'https://bound.example';

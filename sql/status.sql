--
-- status: the views jwt_status and jwt_key_status
--
-- jwt_status has a row for each issuer, and one without issuer for the database. A row
-- is ok, or has the problems and what to do. It is the check-list after a restore.
SET timezone = 'UTC';
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://status.example', '{api}', '{RS256,ES256,HS256}');
SELECT issuer, ok, problems FROM jwt_status WHERE issuer IS NULL OR issuer = 'https://status.example';

--
-- The states of keys.
--
SELECT kid, jwt_add_key('https://status.example', fixture('key', alg), alg, kid, since::timestamptz, until::timestamptz) IS NOT NULL AS added FROM (VALUES
	('current', 'ES256', NULL, NULL), ('current, ends', 'ES256', '2020-01-01', '2100-01-01'), ('over', 'ES256', NULL, '2020-01-01'), ('standby', 'RS256', '2100-01-01', NULL)) t (kid, alg, since, until);
SELECT jwt_add_secret('https://status.example', sha256('revoked'), 'HS256', 'revoked') IS NOT NULL AS added;
SELECT jwt_revoke_key('https://status.example', 'revoked') = now() AS revoked;
SELECT jwt_add_secret('https://status.example', sha256('secret'), 'HS256', 'secret') IS NOT NULL AS added;
SELECT kid, alg, source, state, verifies, unusable, not_before::date, not_after::date, retired_at, revoked_at IS NOT NULL AS revoked, created_at <= now() AS created, left(thumbprint, 8) AS thumbprint
FROM jwt_key_status WHERE issuer = 'https://status.example' ORDER BY kid;
SELECT ok, problems, usable_keys, keys_end, standby_keys FROM jwt_status WHERE issuer = 'https://status.example';
-- keys_end is the end of the last window, if all windows end.
UPDATE jwt_key SET not_after = '2050-01-01' WHERE kid IN ('current', 'secret');
SELECT usable_keys, keys_end, standby_keys FROM jwt_status WHERE issuer = 'https://status.example';

-- Rows that verify nothing, and why. All of them were stored, with a warning.
INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES
	('https://status.example', 'unknown algorithm', 'XX256', fixture('key', 'ES256')::jsonb),
	('https://status.example', 'no algorithm', NULL, fixture('key', 'RS256')::jsonb),
	('https://status.example', 'not allowed', 'ES384', fixture('key', 'ES384')::jsonb),
	('https://status.example', 'does not fit', 'RS256', fixture('key', 'ES256')::jsonb),
	('https://status.example', 'weak', 'RS256', jwt_jwk(fixture('pem', 'rsa 1024'))),
	('https://status.example', 'zero', 'HS256', jsonb_build_object('kty', 'oct', 'k', b64url(decode(repeat('00', 32), 'hex')))),
	('https://status.example', 'off the curve', 'ES256', fixture('key', 'ES256')::jsonb || jsonb_build_object('y', b64url(sha256('x')))),
	('https://status.example', NULL, 'ES256', '{}'),
	('https://nobody.example', 'no issuer', 'ES256', fixture('key', 'ES256')::jsonb);
SELECT kid, state, verifies, unusable FROM jwt_key_status WHERE state = 'unusable' ORDER BY kid;
SELECT issuer, ok, usable_keys, problem FROM jwt_status LEFT JOIN unnest(problems) WITH ORDINALITY p (problem, n) ON true
WHERE issuer IS NULL OR issuer = 'https://status.example' ORDER BY issuer, problem;
-- An unacceptable policy is one problem, not one for each key.
UPDATE jwt_issuer SET leeway = '1 hour' WHERE issuer = 'https://status.example';
SELECT ok, problems, usable_keys FROM jwt_status WHERE issuer = 'https://status.example';
SELECT unusable, count(*) FROM jwt_key_status WHERE issuer = 'https://status.example' AND unusable LIKE '%policy%' GROUP BY 1;
UPDATE jwt_issuer SET leeway = DEFAULT WHERE issuer = 'https://status.example';
DELETE FROM jwt_key WHERE id IN (SELECT id FROM jwt_key_status WHERE unusable IS NOT NULL);
SELECT issuer, ok FROM jwt_status WHERE issuer IS NULL OR issuer = 'https://status.example';
-- Of many problems only some are shown.
BEGIN;
INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://status.example', 'bad ' || i, 'ES256', '{}' FROM generate_series(1, 100) i;
SELECT cardinality(problems), problems[21] FROM jwt_status WHERE issuer = 'https://status.example';
ROLLBACK;

--
-- Revocations and sources.
--
SELECT jwt_revoke_id('https://status.example', 'a', NULL), jwt_revoke_subject('https://status.example', 'b', '2026-01-01'), jwt_revoke_issuer('https://status.example', '2026-01-01');
-- This server has no workers that could fetch them, as a writer is warned.
INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://status.example', 'https://status.example/jwks.json');
SELECT problems FROM jwt_status WHERE issuer = 'https://status.example';
SELECT ok, revocations, source, last_success, next_attempt, last_error FROM jwt_status WHERE issuer = 'https://status.example';
-- Revocations of keys count for the database.
SELECT revocations FROM jwt_status WHERE issuer IS NULL;
-- The state that a worker writes after a failure.
INSERT INTO jwt_jwks_state (issuer, last_success, next_attempt, failures, last_error) VALUES ('https://status.example', '2026-01-01', '2026-01-02', 3, 'The server answered 404.');
SELECT ok, problems, last_success, next_attempt, last_error FROM jwt_status WHERE issuer = 'https://status.example';
DELETE FROM jwt_jwks_source;

--
-- Roles that tokens may name, and that do not exist: a role may come later, so this is
-- a warning, once for the statement, and none to a subscriber.
--
INSERT INTO jwt_issuer (issuer, audience, algorithms, roles) VALUES
	('https://roles1.example', '{api}', '{ES256}', '{regress_jwt_user}'),
	('https://roles2.example', '{api}', '{ES256}', '{regress_jwt_user,regress_jwt_first,regress_jwt_second}'),
	('https://roles3.example', '{api}', '{ES256}', ARRAY(SELECT 'regress_jwt_' || i FROM generate_series(1, 12) i));
SELECT issuer, problem FROM jwt_status, unnest(problems) problem WHERE issuer LIKE 'https://roles%' AND problem LIKE '%role%' ORDER BY issuer;
-- A row that verifies nothing is worse, and is what the statement is warned of.
UPDATE jwt_issuer SET audience = CASE issuer WHEN 'https://roles2.example' THEN NULL ELSE audience END WHERE issuer LIKE 'https://roles%';
SET session_replication_role = replica;
UPDATE jwt_issuer SET leeway = leeway WHERE issuer LIKE 'https://roles%';
RESET session_replication_role;
DELETE FROM jwt_issuer WHERE issuer LIKE 'https://roles%';
-- The function warns in its own words.
SELECT jwt_add_issuer('https://roles.example', '{api}', '{ES256}', role_claim => 'role', roles => '{regress_jwt_user,regress_jwt_first}');
CREATE ROLE regress_jwt_first;
SELECT problems FROM jwt_status WHERE issuer = 'https://roles.example';
DROP ROLE regress_jwt_first;
DELETE FROM jwt_issuer WHERE issuer IN ('https://status.example', 'https://roles.example');
DELETE FROM jwt_denylist;

--
-- The database: problems that only a superuser can solve, with the statement.
--
-- A trigger that is not ENABLE ALWAYS, as after pg_restore --disable-triggers. Nothing
-- is cached then, and the verdicts are the same.
ALTER TABLE jwt_key DISABLE TRIGGER ALL;
ALTER TABLE jwt_key ENABLE TRIGGER ALL;
ALTER TABLE jwt_denylist DISABLE TRIGGER jwt_denylist_changed;
-- The owner of a schema can drop indexes in it. Without them there are sequential
-- scans.
DROP INDEX jwt_denylist_value_kind_issuer_idx, jwt_denylist_issuer_kind_idx, jwt_denylist_expires_at_idx, jwt_key_issuer_kid_idx, jwt_key_kid_idx, jwt_key_alg_issuer_idx;
CREATE INDEX jwt_key_kid_idx ON jwt_key (kid) WHERE kid <> 'h1';
SELECT ok, problem FROM jwt_status, unnest(problems) problem WHERE issuer IS NULL;
SELECT sqlstate, valid FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
-- Each statement can be pasted.
SELECT substring(problem FROM 'As a superuser: (.*)$') FROM jwt_status, unnest(problems) problem WHERE issuer IS NULL \gexec
SELECT ok, problems FROM jwt_status WHERE issuer IS NULL;
DROP INDEX jwt_key_kid_idx;
ALTER INDEX jwt_key_kid_idx1 RENAME TO jwt_key_kid_idx;

-- Privileges: those that the owner of the database has granted are listed. A privilege
-- that no role should have is a problem, and so is one that is missing.
CREATE FUNCTION nameless_owner(message text) RETURNS text LANGUAGE sql
RETURN replace(message, '/' || (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = 10), '/owner');
GRANT SELECT, DELETE ON jwt_denylist TO regress_jwt_user;
GRANT EXECUTE ON FUNCTION jwt_revoke_id TO regress_jwt_user;
SELECT ok, problems, nameless_owner(array_to_string(grants, E'\n')) AS grants FROM jwt_status WHERE issuer IS NULL;
GRANT SELECT ON jwt_key TO PUBLIC;
GRANT SELECT (jwk) ON jwt_key TO PUBLIC;
GRANT TRIGGER ON jwt_issuer TO regress_jwt_user;
REVOKE EXECUTE ON FUNCTION jwt_verify FROM PUBLIC;
REVOKE UPDATE ON jwt_issuer FROM pg_database_owner;
SELECT ok, nameless_owner(problem) AS problem FROM jwt_status, unnest(problems) problem WHERE issuer IS NULL ORDER BY problem;
REVOKE ALL ON jwt_denylist, jwt_issuer FROM regress_jwt_user;
REVOKE EXECUTE ON FUNCTION jwt_revoke_id FROM regress_jwt_user;
REVOKE SELECT ON jwt_key FROM PUBLIC;
REVOKE SELECT (jwk) ON jwt_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jwt_verify TO PUBLIC;
GRANT UPDATE ON jwt_issuer TO pg_database_owner WITH GRANT OPTION;
-- The same for the schema: the privilege and its grant option.
REVOKE USAGE ON SCHEMA public FROM PUBLIC, pg_database_owner;
SELECT ok, problems FROM jwt_status WHERE issuer IS NULL;
GRANT USAGE ON SCHEMA public TO PUBLIC, pg_database_owner;
ALTER SCHEMA public OWNER TO CURRENT_USER;
SELECT ok, problems FROM jwt_status WHERE issuer IS NULL;
ALTER SCHEMA public OWNER TO pg_database_owner;
SELECT ok, problems, grants FROM jwt_status WHERE issuer IS NULL;

--
-- Access to the views: a monitoring role gets SELECT on jwt_status. The functions of
-- the views check that privilege, too.
--
SET ROLE regress_jwt_user;
SELECT statement, refusal(statement) FROM (VALUES ('SELECT count(*) FROM jwt_status'), ('SELECT count(*) FROM jwt_status_rows()'), ('SELECT count(*) FROM jwt_key_status'), ('SELECT count(*) FROM jwt_key_status_rows()')) t (statement);
RESET ROLE;
CREATE ROLE regress_jwt_watcher IN ROLE pg_monitor;
SET ROLE regress_jwt_watcher;
SELECT bool_and(ok) AS ok FROM jwt_status;
SELECT refusal('SELECT count(*) FROM jwt_key_status'), refusal('SELECT count(*) FROM jwt_key_status_rows()');
RESET ROLE;
DROP ROLE regress_jwt_watcher;
DROP FUNCTION nameless_owner;

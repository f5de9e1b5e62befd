--
-- privileges: the rights of each role
--
SELECT current_database() AS regression_database \gset
CREATE ROLE regress_jwt_user;
GRANT SELECT ON fixture TO regress_jwt_user;

-- PUBLIC can verify tokens. It can neither read nor write the tables.
SET ROLE regress_jwt_user;
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past()) ->> 'sub' AS sub;
SELECT statement, refusal(statement) FROM (VALUES
	('SELECT jwk FROM jwt_key'), ('SELECT issuer FROM jwt_issuer'),
	($$INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('x', '{*}', '{RS256}')$$),
	('UPDATE jwt_key SET kid = NULL'), ('DELETE FROM jwt_key'), ('TRUNCATE jwt_key'), ('LOCK TABLE jwt_key'), ('DELETE FROM jwt_denylist'),
	($$SELECT jwt_add_issuer('x', '{*}', '{RS256}')$$), ($$SELECT jwt_add_key('https://idp.example', '{}')$$),
	($$SELECT jwt_add_secret('https://idp.example', '', 'HS256')$$),
	('SELECT jwt_trust_changed()'), ('SELECT jwt_key_check()'), ('SELECT jwt_issuers_truncated()'), ('SELECT jwt_install_strip()'),
	($$SET jwt.max_token_size = '1MB'$$), ($$SET jwt.key_cache_size = '1GB'$$), ($$SET jwt.anything = 'x'$$)
	) t (statement);

-- Objects of a user are not used in place of those of the extension.
CREATE TEMP TABLE jwt_key (id int, issuer text, kid text, alg text, jwk jsonb);
CREATE TEMP TABLE jwt_issuer (issuer text);
CREATE FUNCTION pg_temp.texteq(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.texteq, LEFTARG = text, RIGHTARG = text);
SET search_path = pg_temp, public, pg_catalog;
SELECT jwt_verify(public.fixture('token', 'RS256'), at => half_past()) OPERATOR(pg_catalog.->>) 'sub' AS sub;
SELECT sqlstate FROM jwt_inspect(public.fixture('token', 'other key'), at => half_past());
SELECT sqlstate FROM jwt_inspect(public.sign('{}', '{"alg":"HS256","kid":"nobody"}'));
SET search_path = '';
SELECT public.jwt_verify(public.fixture('token', 'RS256'), at => public.half_past()) ->> 'sub' AS sub;
RESET search_path;
DROP TABLE pg_temp.jwt_key, pg_temp.jwt_issuer;

-- Details name issuers and numbers of keys only for roles that can read jwt_key.
RESET ROLE;
UPDATE jwt_key SET not_after = '2020-01-01' WHERE kid = 'ES384';
UPDATE jwt_key SET jwk = '{"kty":"EC"}' WHERE kid = 'ES512';
CREATE TABLE refused AS SELECT * FROM (VALUES
	('an unknown kid', sign('{}', '{"alg":"HS256","kid":"nobody"}'), NULL),
	('and an issuer', sign('{}', '{"alg":"HS256","kid":"nobody"}'), 'https://idp.example'),
	('an unknown issuer', sign('{}', '{"alg":"HS256","kid":"h1"}'), 'https://nobody.example'),
	('no kid', sign('{}', '{"alg":"HS512"}'), NULL),
	('another algorithm', sign('{}', '{"alg":"HS512","kid":"h1"}'), NULL),
	('an old key', fixture('token', 'ES384'), NULL),
	('a key of no use', fixture('token', 'ES512'), NULL),
	('another signature', fixture('token', 'other key'), NULL)) t (what, token, issuer);
GRANT SELECT ON refused TO regress_jwt_user;
SELECT what, sqlstate, detail FROM refused r, jwt_inspect(token, issuer => r.issuer, at => half_past());
SET ROLE regress_jwt_user;
SELECT what, sqlstate, detail FROM refused r, jwt_inspect(token, issuer => r.issuer, at => half_past());
RESET ROLE;
UPDATE jwt_key SET not_after = NULL WHERE kid = 'ES384';
UPDATE jwt_key SET jwk = fixture('key', 'ES512')::jsonb WHERE kid = 'ES512';
DROP TABLE refused;

-- In a function of another owner, in a read-only transaction, in a parallel worker.
RESET ROLE;
CREATE FUNCTION whose(token text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$ SELECT public.jwt_try_verify(token, at => public.half_past()) ->> 'sub' $$;
CREATE TABLE batch AS SELECT fixture('token', CASE i % 3 WHEN 0 THEN 'RS256' WHEN 1 THEN 'bob' ELSE 'other key' END) AS token
FROM generate_series(1, 3000) i;
GRANT SELECT ON batch TO regress_jwt_user;
ALTER TABLE batch SET (parallel_workers = 2);
ANALYZE batch;
SET ROLE regress_jwt_user;
SELECT whose(fixture('token', 'bob'));
BEGIN READ ONLY;
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past()) ->> 'sub' AS sub;
COMMIT;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT count(jwt_try_verify(token, at => half_past())) FROM batch;
SELECT jwt_try_verify(token, at => half_past()) ->> 'sub' AS sub, count(*) FROM batch GROUP BY 1 ORDER BY 1;
RESET parallel_leader_participation;
RESET parallel_tuple_cost;
RESET parallel_setup_cost;
RESET min_parallel_table_scan_size;

-- A policy that shows each user only their own rows.
RESET ROLE;
CREATE TABLE note (owner text, body text);
INSERT INTO note VALUES ('alice', 'hers'), ('bob', 'his'), ('mallory', 'another''s');
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON note USING (owner = (SELECT jwt_verify(current_setting('app.token'), at => half_past()) ->> 'sub'));
GRANT SELECT ON note TO regress_jwt_user;
SELECT set_config('app.token', fixture('token', 'RS256'), false) IS NOT NULL AS alice;
SET ROLE regress_jwt_user;
SELECT * FROM note WHERE true OR owner = 'mallory';
RESET ROLE;
SELECT set_config('app.token', fixture('token', 'bob'), false) IS NOT NULL AS bob;
SET ROLE regress_jwt_user;
SELECT * FROM note;
SELECT set_config('app.token', fixture('token', 'other key'), false) IS NOT NULL AS forged;
SELECT * FROM note;
RESET ROLE;

-- The privileges. The bootstrap superuser owns the objects. The role pg_database_owner
-- manages trust, with grant option (*); its member is the owner of the database. No
-- role has TRIGGER or REFERENCES.
CREATE VIEW member AS SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'jwt' AND d.deptype = 'e';
CREATE FUNCTION rights(acl aclitem[], owner oid) RETURNS text LANGUAGE sql
RETURN (SELECT string_agg(format('%s: %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, rights), '; ' ORDER BY grantee)
	FROM (SELECT grantee, string_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END, ' ' ORDER BY privilege_type) FROM aclexplode(acl)
		WHERE grantee <> owner GROUP BY grantee) a (grantee, rights));
SELECT c.relname, rights(c.relacl, c.relowner) FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid ORDER BY c.relkind, c.relname;
-- The functions with their volatility, parallel safety and privileges. Functions in C
-- write without table privileges; functions in SQL have the caller's rights.
SELECT p.oid::regprocedure AS function, lanname, provolatile, proparallel, proisstrict, rights(p.proacl, p.proowner)
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid ORDER BY p.proname COLLATE "C";
-- No code runs with the rights of an owner: there is no SECURITY DEFINER function, no
-- foreign key, no rule, no trigger in SQL, and no event trigger.
SELECT 'SECURITY DEFINER' AS what, count(*) FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE prosecdef OR proleakproof OR proconfig IS NOT NULL
UNION ALL SELECT 'constraints', count(*) FROM pg_constraint c JOIN member m ON m.objid = c.conrelid WHERE contype NOT IN ('p', 'n')
UNION ALL SELECT 'rules', count(*) FROM pg_rewrite r JOIN member m ON m.objid = r.ev_class WHERE rulename <> '_RETURN'
UNION ALL SELECT 'triggers', count(*) FROM pg_trigger t JOIN member m ON m.objid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang WHERE lanname <> 'c'
UNION ALL SELECT 'event triggers', count(*) FROM pg_event_trigger
UNION ALL SELECT 'owners', count(*) FROM (SELECT proowner FROM pg_proc p JOIN member m ON m.objid = p.oid UNION ALL SELECT relowner FROM pg_class c JOIN member m ON m.objid = c.oid
	UNION ALL SELECT typowner FROM pg_type t JOIN member m ON m.objid = t.oid) o (owner) WHERE owner <> 10;
-- The triggers are ENABLE ALWAYS (A), except those that warn, and those that cascade
-- (O): a replica gets the changes of each table.
SELECT tgrelid::regclass AS table, tgname, tgenabled, CASE WHEN tgtype::int & 1 = 1 THEN 'row' ELSE 'statement' END AS each, CASE WHEN tgtype::int & 2 = 2 THEN 'before' ELSE 'after' END AS when
FROM pg_trigger t JOIN member m ON m.objid = t.tgrelid ORDER BY tgname;
-- Each object of the extension has a comment.
SELECT pg_describe_object(classid, objid, 0) FROM member
WHERE classid IN ('pg_proc'::regclass, 'pg_class'::regclass) AND obj_description(objid, classid::regclass::name) IS NULL;
-- The trigger functions work only on their own tables.
CREATE TABLE other (issuer text);
CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION jwt_issuer_check();
INSERT INTO other VALUES ('x');
CREATE TRIGGER u AFTER DELETE ON other FOR EACH ROW EXECUTE FUNCTION jwt_issuer_cascade();
ALTER TABLE other DISABLE TRIGGER t;
INSERT INTO other VALUES ('x');
DELETE FROM other;
SELECT jwt_trust_changed();
SELECT jwt_install_end();
DROP TABLE other;

-- The owner of a database can install the extension into any schema and manage trust
-- there, without being a superuser.
CREATE ROLE regress_jwt_owner;
CREATE ROLE regress_jwt_guest;
CREATE DATABASE regress_jwt_owned OWNER regress_jwt_owner TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
GRANT CREATE ON DATABASE regress_jwt_owned TO regress_jwt_guest;
\c regress_jwt_owned
-- A role with only CREATE on the database cannot. (Later releases name the script in
-- CONTEXT.)
\set SHOW_CONTEXT never
SET SESSION AUTHORIZATION regress_jwt_guest;
CREATE SCHEMA mine;
CREATE EXTENSION jwt SCHEMA mine;
\set SHOW_CONTEXT errors
-- Default privileges have no effect on the result.
SET SESSION AUTHORIZATION regress_jwt_owner;
CREATE SCHEMA auth;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
RESET SESSION AUTHORIZATION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
SET SESSION AUTHORIZATION regress_jwt_owner;
BEGIN;
CREATE EXTENSION jwt SCHEMA auth;
SELECT current_user;
COMMIT;
SELECT relname, string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, ' ') AS grantees
FROM pg_class c, aclexplode(relacl) WHERE relnamespace = 'auth'::regnamespace AND relkind IN ('r', 'v') AND grantee <> relowner GROUP BY 1 ORDER BY 1;
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee, count(*) AS functions
FROM pg_proc, aclexplode(proacl) WHERE pronamespace = 'auth'::regnamespace AND grantee <> proowner GROUP BY 1 ORDER BY 1;
SELECT nspacl FROM pg_namespace WHERE nspname = 'auth';
SELECT ok, problems, grants FROM auth.jwt_status;
-- The owner of the database can neither alter the tables nor attach objects to them.
\set VERBOSITY sqlstate
ALTER TABLE auth.jwt_key DISABLE TRIGGER ALL;
CREATE TRIGGER t AFTER INSERT ON auth.jwt_key EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE r AS ON INSERT TO auth.jwt_key DO NOTHING;
CREATE TABLE auth.t (issuer text REFERENCES auth.jwt_issuer);
CREATE OR REPLACE FUNCTION auth.jwt_subject() RETURNS text LANGUAGE sql AS $$ SELECT 'admin' $$;
DROP TABLE auth.jwt_key;
\set VERBOSITY default
SELECT auth.jwt_add_issuer('https://rfc.example', '{*}', '{EdDSA}');
SELECT auth.jwt_add_key('https://rfc.example', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}') IS NOT NULL AS added;
UPDATE auth.jwt_key SET kid = 'k1';
SELECT kid, alg FROM auth.jwt_key;
-- The owner can grant what others need: here EXECUTE on the function that adds keys.
GRANT USAGE ON SCHEMA auth TO regress_jwt_user;
GRANT EXECUTE ON FUNCTION auth.jwt_add_key TO regress_jwt_user;
SELECT ok, problems, grants FROM auth.jwt_status WHERE issuer IS NULL;
SET SESSION AUTHORIZATION regress_jwt_user;
-- The example of RFC 8037. Its payload is not JSON.
SELECT sqlstate, detail FROM auth.jwt_inspect('eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg');
SELECT auth.jwt_add_key('https://rfc.example', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}', kid => 'k2') IS NOT NULL AS added;
SELECT kid FROM auth.jwt_key;
DELETE FROM auth.jwt_key;
-- The rights go with the database.
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM auth.jwt_key;
ALTER DATABASE regress_jwt_owned OWNER TO regress_jwt_guest;
SET SESSION AUTHORIZATION regress_jwt_owner;
SELECT count(*) FROM auth.jwt_key;
SET SESSION AUTHORIZATION regress_jwt_guest;
TRUNCATE auth.jwt_key;
SELECT count(*) FROM auth.jwt_key;
RESET SESSION AUTHORIZATION;
\c :regression_database
DROP DATABASE regress_jwt_owned;
DROP ROLE regress_jwt_owner, regress_jwt_guest;
DROP VIEW member;
DROP FUNCTION rights;

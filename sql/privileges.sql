--
-- privileges: who may do what
--
SELECT current_database() AS regression_database \gset
CREATE ROLE regress_jwt_user;
GRANT SELECT ON fixture TO regress_jwt_user;

-- PUBLIC verifies, and neither reads nor writes trust.
SET ROLE regress_jwt_user;
SELECT jwt_verify(fixture('token', 'RS256'), at => half_past()) ->> 'sub' AS sub;
SELECT statement, refusal(statement) FROM (VALUES
	('SELECT jwk FROM jwt_key'), ('SELECT issuer FROM jwt_issuer'),
	($$INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('x', '{*}', '{RS256}')$$),
	('UPDATE jwt_key SET revoked_at = NULL'), ('DELETE FROM jwt_key'), ('TRUNCATE jwt_key'), ('LOCK TABLE jwt_key'),
	($$SELECT jwt_add_key('https://idp.example', '{}')$$),
	($$SELECT jwt_add_secret('https://idp.example', '', 'HS256')$$),
	('SELECT jwt_trust_changed()'), ('SELECT jwt_key_check()'),
	($$SET jwt.max_token_size = '1MB'$$), ($$SET jwt.key_cache_size = '1GB'$$), ($$SET jwt.anything = 'x'$$)
	) t (statement);

-- No object of the user's stands in for one of the extension's.
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

-- In a function that somebody else owns, in a read-only transaction, in a
-- parallel worker.
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

-- A policy that lets each user see their own rows, whatever the query says.
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

-- The functions say of themselves what the planner may assume.
SELECT p.oid::regprocedure AS function, provolatile, proparallel, proisstrict, proleakproof
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt'
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- Each object of the extension has a comment.
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt'
WHERE deptype = 'e' AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass) AND obj_description(objid, classid::regclass::name) IS NULL;
-- What the triggers do, they do on their own tables only.
CREATE TABLE other (issuer text);
CREATE TRIGGER t BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION jwt_issuer_check();
INSERT INTO other VALUES ('x');
SELECT jwt_trust_changed();
DROP TABLE other;

-- A database owner who is no superuser installs the extension into a schema of
-- choice, and manages trust there.
CREATE ROLE regress_jwt_owner;
CREATE DATABASE regress_jwt_owned OWNER regress_jwt_owner TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_jwt_owned
SET SESSION AUTHORIZATION regress_jwt_owner;
CREATE SCHEMA auth;
CREATE EXTENSION jwt SCHEMA auth;
INSERT INTO auth.jwt_issuer (issuer, audience, algorithms) VALUES ('https://rfc.example', '{*}', '{EdDSA}');
SELECT auth.jwt_add_key('https://rfc.example', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}') IS NOT NULL AS added;
UPDATE auth.jwt_key SET kid = 'k1';
SELECT kid, alg FROM auth.jwt_key;
GRANT USAGE ON SCHEMA auth TO regress_jwt_user;
GRANT INSERT, SELECT ON auth.jwt_key TO regress_jwt_user;
GRANT EXECUTE ON FUNCTION auth.jwt_add_key TO regress_jwt_user;
SET SESSION AUTHORIZATION regress_jwt_user;
-- The example of RFC 8037, whose payload is no JSON.
SELECT sqlstate, detail FROM auth.jwt_inspect('eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg');
-- Who was granted it may add keys.
SELECT auth.jwt_add_key('https://rfc.example', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}', kid => 'k2') IS NOT NULL AS added;
DELETE FROM auth.jwt_key;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM auth.jwt_key;
SET SESSION AUTHORIZATION regress_jwt_owner;
TRUNCATE auth.jwt_key;
DROP EXTENSION jwt;
RESET SESSION AUTHORIZATION;
\c :regression_database
DROP DATABASE regress_jwt_owned;
DROP ROLE regress_jwt_owner;

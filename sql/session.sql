--
-- session: the current token, and policies that read its claims
--
-- Tokens of an issuer of this test, which expire after two days.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://session.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://session.example', secret(), 'HS256', 's1') IS NOT NULL AS added;
CREATE FUNCTION token(sub text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN sign((jsonb_build_object('iss', 'https://session.example', 'aud', 'api', 'sub', sub,
	'exp', extract(epoch FROM date_trunc('day', now()) + interval '2 days')::bigint) || more)::text, '{"alg":"HS256","kid":"s1"}');

-- Without a token: null, and no scope.
SELECT jwt_claims() IS NULL AS claims, jwt_claim('sub') IS NULL AS claim, jwt_subject() IS NULL AS subject, jwt_has_scope('read') AS scope;

-- With one: its claims, by path if they are nested.
BEGIN;
SELECT jwt_authenticate(token('alice', '{"org":{"id":7,"teams":["red","blue"]},"admin":true,"none":null}')) ->> 'sub' AS sub;
SELECT jwt_subject(), jwt_claim('sub'), jwt_claim('org', 'id'), jwt_claim('org', 'teams', '1'), jwt_claim('org', 'teams'),
	jwt_claim('admin'), jwt_claim('none') IS NULL AS null, jwt_claim('nobody') IS NULL AS absent, jwt_claims() - 'exp' AS claims;
SELECT jwt_claim(VARIADIC '{org,id}'), jwt_claim(VARIADIC NULL) IS NULL AS no_path, jwt_claim(VARIADIC '{}') LIKE '{%' AS whole;
-- The path may differ from row to row.
SELECT path, jwt_claim(VARIADIC path) FROM (VALUES ('{sub}'::text[]), ('{org,id}'), ('{sub}'), ('{x}')) t (path);
COMMIT;
-- The token was local to the transaction. After it, the setting is ''.
SELECT jwt_subject() IS NULL AS nobody, current_setting('jwt.token') = '' AS empty;

-- Scopes: space-separated in scope, or in scp as a string or an array.
SELECT more, wanted, s.has FROM (VALUES
	('{"scope":"read write"}', 'read'), ('{"scope":"read write"}', 'write'), ('{"scope":"read write"}', 'rea'), ('{"scope":"read write"}', 'read write'),
	('{"scope":"read write"}', ''), ('{"scope":" read "}', 'read'), ('{"scope":""}', ''), ('{"scope":["read"]}', 'read'),
	('{"scp":"read write"}', 'write'), ('{"scp":["read","write"]}', 'write'), ('{"scp":["read write"]}', 'write'), ('{"scp":[1,null,"x"]}', 'x'),
	('{"scp":{"read":true}}', 'read'), ('{"scope":"read","scp":["write"]}', 'write'), ('{}', 'read')
	) t (more, wanted), LATERAL (SELECT jwt_authenticate(token('alice', more::jsonb)) IS NOT NULL) a (ok),
	LATERAL (SELECT ok AND jwt_has_scope(wanted)) s (has);
SELECT jwt_has_scope(NULL) IS NULL AS unknown;

-- SET and set_config() do not verify the token. If it is not valid, the accessors
-- raise an error.
SELECT set_config('jwt.token', token('bob'), false) IS NOT NULL AS set;
SELECT jwt_subject();
SELECT set_config('jwt.token', token('bob') || 'x', false) IS NOT NULL AS set;
SELECT jwt_subject();
\echo :SQLSTATE
SELECT statement, left(refusal(statement), 5) FROM (VALUES ('SELECT jwt_claims()'), ('SELECT jwt_claim(''sub'')'), ('SELECT jwt_has_scope(''x'')'), ('SELECT jwt_subject()')) t (statement);
SELECT set_config('jwt.token', token('bob', '{"exp":1}'), false) IS NOT NULL AS set;
SELECT left(refusal('SELECT jwt_subject()'), 5);
RESET jwt.token;
SELECT jwt_subject() IS NULL AS nobody;
-- jwt_authenticate raises an error at once, and keeps the previous token.
SELECT jwt_authenticate(token('alice'), is_local => false) IS NOT NULL AS alice;
SELECT left(refusal(format('SELECT jwt_authenticate(%L)', token('bob') || 'x')), 5);
SELECT left(refusal(format('SELECT jwt_authenticate(%L)', fixture('token', 'other key'))), 5);
SELECT jwt_subject();
-- Null or an empty string is no token.
SELECT jwt_authenticate(NULL, false) IS NULL AS nobody, jwt_subject() IS NULL AS nobody;

-- Transactions, savepoints and DISCARD treat it like any setting.
BEGIN;
SELECT jwt_authenticate(token('alice'), false) ->> 'sub';
SAVEPOINT s;
SELECT jwt_authenticate(token('bob'), false) ->> 'sub';
SELECT jwt_subject();
ROLLBACK TO s;
SELECT jwt_subject();
SELECT jwt_authenticate(token('carol')) ->> 'sub';
SELECT jwt_subject();
COMMIT;
SELECT jwt_subject();
BEGIN;
SELECT jwt_authenticate(token('dave'), false) ->> 'sub';
ROLLBACK;
SELECT jwt_subject();
DISCARD ALL;
SELECT jwt_subject() IS NULL AS nobody;

-- In PL/pgSQL, which keeps plans and call sites.
DO $$
DECLARE
	who text;
	seen text[];
BEGIN
	FOREACH who IN ARRAY '{alice,bob,alice,carol}'::text[] LOOP
		PERFORM jwt_authenticate(token(who));
		seen := seen || jwt_subject() || jwt_claim('sub') || (jwt_claims() ->> 'sub');
	END LOOP;
	RAISE NOTICE '%', seen;
END $$;
-- The same expression with other arguments gives another value.
DO $$
DECLARE
	name text;
	answers text[];
BEGIN
	PERFORM jwt_authenticate(token('alice', '{"scope":"read","org":{"id":7}}'));
	FOREACH name IN ARRAY '{read,admin,read,write}'::text[] LOOP
		answers := answers || (name || '=' || jwt_has_scope(name));
	END LOOP;
	FOREACH name IN ARRAY '{sub,aud,nobody,sub}'::text[] LOOP
		answers := answers || coalesce(jwt_claim(name), 'null');
	END LOOP;
	RAISE NOTICE '%', answers;
END $$;
PREPARE whoami AS SELECT jwt_subject(), jwt_claim('sub');
SELECT jwt_authenticate(token('alice'), false) ->> 'sub';
EXECUTE whoami;
EXECUTE whoami; EXECUTE whoami; EXECUTE whoami; EXECUTE whoami; EXECUTE whoami;
SELECT jwt_authenticate(token('bob'), false) ->> 'sub';
EXECUTE whoami;
DEALLOCATE whoami;

-- Files, roles, databases and functions cannot hold a token. The message does not
-- show it.
SELECT statement, refusal(statement) FROM (VALUES
	('ALTER ROLE regress_jwt_user SET jwt.token = ''x'''), ('ALTER DATABASE postgres SET jwt.token = ''x'''),
	('CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.token = ''x'' AS ''SELECT 1''')
	) t (statement);
ALTER SYSTEM SET jwt.token = 'x';
-- A function can run without a token.
CREATE FUNCTION without() RETURNS text LANGUAGE sql SET jwt.token = '' AS 'SELECT coalesce(jwt_subject(), ''nobody'')';
SELECT without(), jwt_subject();
SELECT count(*) FROM pg_settings WHERE name = 'jwt.token';

-- Policies.
CREATE TABLE doc (id int PRIMARY KEY, owner text NOT NULL, tenant int NOT NULL, body text);
INSERT INTO doc SELECT i, CASE i % 100 WHEN 0 THEN 'alice' WHEN 1 THEN 'bob' ELSE 'user' || i END, i % 10, repeat('x', 20) FROM generate_series(1, 10000) i;
CREATE INDEX ON doc (owner);
ANALYZE doc;
ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON doc USING (owner = jwt_subject());
GRANT SELECT ON doc TO regress_jwt_user;
SELECT jwt_authenticate(token('alice'), false) ->> 'sub';
SET ROLE regress_jwt_user;
SELECT count(*), min(owner), max(owner) FROM doc;
-- Policies use an index, with and without an initplan.
EXPLAIN (COSTS OFF) SELECT * FROM doc;
RESET ROLE;
ALTER POLICY own ON doc USING (owner = jwt_claim('sub'));
SET ROLE regress_jwt_user;
EXPLAIN (COSTS OFF) SELECT * FROM doc;
SELECT count(*), min(owner), max(owner) FROM doc;
RESET ROLE;
ALTER POLICY own ON doc USING (owner = jwt_claims() ->> 'sub');
SET ROLE regress_jwt_user;
EXPLAIN (COSTS OFF) SELECT * FROM doc;
SELECT count(*), min(owner), max(owner) FROM doc;
RESET ROLE;
ALTER POLICY own ON doc USING (owner = (SELECT jwt_claim('sub')));
SET ROLE regress_jwt_user;
EXPLAIN (COSTS OFF) SELECT * FROM doc;
SELECT count(*), min(owner), max(owner) FROM doc;
RESET ROLE;
ALTER POLICY own ON doc USING (owner = jwt_claims() ->> 'sub' AND jwt_has_scope('docs'));
SET ROLE regress_jwt_user;
SELECT count(*) FROM doc;
RESET jwt.token;
SELECT count(*) FROM doc;
-- In parallel workers.
SELECT set_config('jwt.token', public.token('bob', '{"scope":"docs"}'), false) IS NOT NULL AS bob;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*), min(owner), max(owner) FROM doc;
SELECT count(*), min(owner), max(owner) FROM doc;
RESET ALL;
RESET ROLE;

-- The role of a token: only if the issuer has a role_claim, only a role of its list,
-- and only a role that the session's user can set.
CREATE ROLE regress_jwt_clerk;
CREATE ROLE regress_jwt_admin;
CREATE ROLE regress_jwt_login;
GRANT regress_jwt_clerk TO regress_jwt_login;
UPDATE jwt_issuer SET role_claim = 'role', roles = '{regress_jwt_clerk,regress_jwt_admin,regress_jwt_nobody}' WHERE issuer = 'https://session.example';
CREATE TABLE attempt (role jsonb);
INSERT INTO attempt VALUES ('"regress_jwt_clerk"'), ('"regress_jwt_admin"'), ('"regress_jwt_nobody"'), ('"regress_jwt_login"'), ('"none"'), ('""'), ('["regress_jwt_clerk"]'), ('null');
GRANT SELECT ON attempt TO regress_jwt_login, regress_jwt_clerk;
SET SESSION AUTHORIZATION regress_jwt_login;
SELECT role, refusal(format('SELECT jwt_authenticate(%L)', token('alice', jsonb_build_object('role', role)))) FROM attempt;
BEGIN;
SELECT jwt_authenticate(token('alice', '{"role":"regress_jwt_clerk"}')) ->> 'role';
SELECT current_user, session_user, jwt_subject();
COMMIT;
SELECT current_user, jwt_subject() IS NULL AS nobody;
-- The role stays until the transaction ends, whatever the next token is. It can also
-- be set for the session.
BEGIN;
SELECT jwt_authenticate(token('alice', '{"role":"regress_jwt_clerk"}')) ->> 'role';
SELECT jwt_authenticate(NULL) IS NULL AS nobody;
SELECT current_user, jwt_subject() IS NULL AS nobody;
COMMIT;
SELECT current_user;
SELECT jwt_authenticate(token('alice', '{"role":"regress_jwt_clerk"}'), is_local => false) ->> 'role';
SELECT current_user, jwt_subject();
RESET ROLE;
RESET jwt.token;
SELECT current_user, jwt_subject() IS NULL AS nobody;
RESET SESSION AUTHORIZATION;
-- SET of the token does not switch the role.
SELECT set_config('jwt.token', token('alice', '{"role":"regress_jwt_clerk"}'), false) IS NOT NULL AS set;
SELECT current_user = session_user AS same;
RESET jwt.token;
UPDATE jwt_issuer SET role_claim = NULL WHERE issuer = 'https://session.example';

-- The cache of verified tokens: the second verification is a hit, a change of trust
-- invalidates it, and the times of an entry are checked at each use.
\c -
SELECT jwt_verify(token('alice')) ->> 'sub' AS sub;
SELECT entries, hits, misses, evictions, invalidations, bytes > 0 AS bytes FROM jwt_cache();
SELECT jwt_verify(token('alice')) ->> 'sub' AS sub;
SELECT left(refusal(format('SELECT jwt_verify(%L, at => now() + interval ''3 days'')', token('alice'))), 5);
SELECT jwt_verify(token('alice'), 'api') ->> 'sub' AS sub;
SELECT left(refusal(format('SELECT jwt_verify(%L, %L)', token('alice'), 'other')), 5);
SELECT left(refusal(format('SELECT jwt_verify(%L)', left(token('alice'), 20) || 'x' || substr(token('alice'), 22))), 5);
SELECT entries, hits, misses, evictions, invalidations FROM jwt_cache();
UPDATE jwt_issuer SET leeway = '1 second' WHERE issuer = 'https://session.example';
SELECT jwt_verify(token('alice')) ->> 'sub' AS sub;
SELECT entries, hits, misses, evictions, invalidations FROM jwt_cache();
-- Many tokens in one statement do not grow the cache beyond its limit, and no claims
-- change.
SET jwt.cache_size = '64kB';
SELECT count(*), count(DISTINCT claims), bool_and(claims ->> 'sub' = 'user' || i) AS right, bool_and(again = claims) AS still
FROM (SELECT i, jwt_verify(token('user' || i)) AS claims, jwt_verify(token('user1')) AS first, jwt_verify(token('user' || i)) AS again
	FROM generate_series(1, 2000) i OFFSET 0) t;
SELECT entries BETWEEN 50 AND 200 AS entries, bytes <= 2 * 65536 AS bytes, evictions > 0 AS evictions FROM jwt_cache();
SELECT jwt_verify(token('alice')) ->> 'sub' AS sub;
SELECT bytes <= 65536 + 4096 AS bytes FROM jwt_cache();
SET jwt.cache_size = 0;
SELECT jwt_verify(token('alice')) ->> 'sub' AS sub;
SELECT jwt_verify(token('bob')) ->> 'sub' AS sub;
RESET jwt.cache_size;

DROP TABLE attempt;
DELETE FROM jwt_issuer WHERE issuer = 'https://session.example';
DROP ROLE regress_jwt_clerk, regress_jwt_admin, regress_jwt_login;

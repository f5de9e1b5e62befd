--
-- sessions: a login, its refresh tokens, and how it ends
--
SELECT current_setting('jwt_auth.key_file', true) IS NOT NULL AS has_key_file \gset
\if :has_key_file
\else
\echo These tests need the setting jwt_auth.key_file.
\quit
\endif
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION jwt_auth;
SELECT jwt_add_issuer('https://login.example', '{api}', '{ES256}');
-- Without a grace each refresh makes a new refresh token, also a second after the last.
INSERT INTO jwt_token_policy (issuer, audience, grace) VALUES ('https://login.example', '{api}', '0');
SELECT jwt_create_signing_key('https://login.example') IS NOT NULL AS created;
-- The role of an API. It has no right but these.
CREATE ROLE regress_jwt_api;
GRANT EXECUTE ON FUNCTION jwt_start_session(text, text, jsonb, text, text), jwt_refresh(text, text, text),
	jwt_refresh_session(text, text), jwt_refresh_with(text, jsonb, text, text), jwt_end_session(uuid) TO regress_jwt_api;

-- The number in a refresh token, and an answer without what is different each time.
CREATE FUNCTION bytes(token text) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN decode(rpad(translate(token, '-_', '+/'), (length(token) + 3) / 4 * 4, '='), 'base64');
CREATE FUNCTION number(token text) RETURNS int LANGUAGE sql IMMUTABLE
RETURN get_byte(bytes(token), get_byte(bytes(token), 1) + 25);
CREATE FUNCTION show(answer jsonb) RETURNS jsonb LANGUAGE sql
RETURN CASE WHEN answer ? 'error' THEN answer ELSE answer
	|| jsonb_build_object('access_token', jwt_verify(answer ->> 'access_token') - '{iss,aud,iat,nbf,exp,jti,sid}'::text[],
		'expires_in', (answer ->> 'expires_in')::int BETWEEN 590 AND 600, 'refresh_token', number(answer ->> 'refresh_token')) END;
CREATE FUNCTION refresh(tokens jsonb) RETURNS jsonb LANGUAGE sql RETURN jwt_refresh(tokens ->> 'refresh_token');
-- The verdict on the access token of an answer.
CREATE FUNCTION access(tokens jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect(tokens ->> 'access_token'));

-- A login: the application has checked the password, and starts a session.
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'alice', '{"role": "editor"}') AS t0 \gset
SELECT jsonb_pretty(show(:'t0'));
SELECT jwt_authenticate(:'t0'::jsonb ->> 'access_token') - '{iat,nbf,exp,jti,sid}'::text[] AS claims, jwt_claim('sid')::uuid IS NOT NULL AS sid;

-- A refresh token is redeemed for an access token and its own successor.
SELECT refresh(:'t0') AS t1 \gset
SELECT show(:'t1');
SELECT refresh(:'t1') AS t2 \gset
SELECT show(:'t2');

-- Somebody has copied the second one, and redeems it, too. The session ends for both. Its
-- access tokens are refused at once, also those that were issued later.
SELECT access(:'t0'), access(:'t1'), access(:'t2');
SELECT refresh(:'t1');
SELECT refresh(:'t2') -> 'error' AS error;
SELECT access(:'t0'), access(:'t1'), access(:'t2');
RESET ROLE;
SELECT sub, counter, seed IS NULL AS no_seed, ended_at <= clock_timestamp() AS ended, ended_why FROM jwt_session;
SELECT kind, d.value = s.sid::text AS sid, d.issuer, d.reason, d.expires_at - s.ended_at AS kept FROM jwt_denylist d, jwt_session s;
DELETE FROM jwt_session;

-- Within the grace the last refresh token gives its successor again, so an answer can get
-- lost, and two tabs can refresh at once. The successor gives itself.
UPDATE jwt_token_policy SET grace = '1 minute';
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'alice', '{"role": "editor"}') AS t0 \gset
SELECT show(refresh(:'t0')) = show(:'t0') AS itself;
RESET ROLE;
-- Two minutes later.
UPDATE jwt_session SET rotated_at = rotated_at - interval '2 minutes';
UPDATE jwt_token_policy SET grace = '0';
SELECT refresh(:'t0') AS t1 \gset
UPDATE jwt_token_policy SET grace = '1 minute';
SET ROLE regress_jwt_api;
SELECT show(:'t1') -> 'refresh_token' AS n, show(refresh(:'t0')) -> 'refresh_token' AS again, show(refresh(:'t1')) -> 'refresh_token' AS itself,
	:'t1'::jsonb ->> 'refresh_token' = refresh(:'t0') ->> 'refresh_token' AS the_same;
RESET ROLE;
SELECT counter, repeats FROM jwt_session;
-- A standby that lacked the last refresh has become the server: the client's token is newer
-- than the row. It becomes the current one.
UPDATE jwt_session SET counter = 0, rotated_at = rotated_at - interval '1 day';
SELECT show(refresh(:'t1')) -> 'refresh_token' AS n;
SELECT counter, repeats, rotated_at > now() - interval '1 minute' AS rotated, ended_why FROM jwt_session;
-- A database that was restored from a backup knows neither this token nor the one before.
UPDATE jwt_session SET counter = 7;
SELECT refresh(:'t1') -> 'error' AS error;
DELETE FROM jwt_session;
UPDATE jwt_token_policy SET grace = '0';

-- A session can belong to a client. Another client cannot redeem its tokens, nor end it.
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'bob', client_id => 'web', scope => 'read write') AS t0 \gset
SELECT show(:'t0');
SELECT jwt_refresh(:'t0'::jsonb ->> 'refresh_token') -> 'error' AS no_client, jwt_refresh(:'t0'::jsonb ->> 'refresh_token', 'app') -> 'error' AS another,
	jwt_refresh(:'t0'::jsonb ->> 'refresh_token', '') -> 'error' AS empty;
SELECT jwt_refresh(:'t0'::jsonb ->> 'refresh_token', 'web') AS t1 \gset
SELECT show(:'t1');
-- A scope can be narrowed for an access token. The session keeps its own.
SELECT jwt_refresh(:'t1'::jsonb ->> 'refresh_token', 'web', 'write') AS t2 \gset
SELECT show(:'t2');
SELECT scope, show(jwt_refresh(:'t2'::jsonb ->> 'refresh_token', 'web', scope)) -> 'error' AS error
FROM unnest('{read admin,admin,Read,"read,write","read  write"," read","read ","",rea,"read read read"}'::text[]) scope;
SELECT jwt_refresh(:'t2'::jsonb ->> 'refresh_token', 'web', 'write read') AS t3 \gset
SELECT show(:'t3') -> 'scope' AS scope;
SELECT show(jwt_refresh(:'t3'::jsonb ->> 'refresh_token', 'web')) -> 'scope' AS scope;
-- A session without a scope has none to narrow.
SELECT jwt_refresh(jwt_start_session('https://login.example', 'bob') ->> 'refresh_token', scope => 'read') AS answer;
SELECT jwt_start_session('https://login.example', 'bob', scope => scope) -> 'scope' AS scope FROM (VALUES (NULL), ('a'), ('a b')) t (scope);
SELECT scope, refusal(format('SELECT jwt_start_session(''https://login.example'', ''bob'', scope => %L)', scope)) FROM unnest(ARRAY['', ' ', 'a ', 'a  b', 'a"', 'a\', E'a\tb', 'ä']) scope;

-- What is no refresh token at all is a request of the wrong form. What is one, but not of
-- here, is not good.
SELECT jwt_refresh(NULL);
SELECT DISTINCT jwt_refresh(token) ->> 'error' AS error FROM unnest(ARRAY['', 'x', 'AQ', :'t3'::jsonb ->> 'access_token', (:'t3'::jsonb ->> 'refresh_token') || '=',
	' ' || (:'t3'::jsonb ->> 'refresh_token'), (:'t3'::jsonb ->> 'refresh_token') || 'A', repeat('A', 10000)]) token;
SELECT count(jwt_refresh(overlay(token PLACING CASE substr(token, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i FOR 1)) ->> 'refresh_token') AS good
FROM (SELECT jwt_start_session('https://login.example', 'bob') ->> 'refresh_token' OFFSET 0) s (token), generate_series(length(token), 1, -1) i;
RESET ROLE;
DELETE FROM jwt_session;

-- The application can read roles anew at each refresh. jwt_refresh_session() says whose
-- session it is, and changes nothing. jwt_refresh_with() replaces the claims.
CREATE TABLE account (name text PRIMARY KEY, role text);
INSERT INTO account VALUES ('carol', 'editor'), ('dave', 'editor');
GRANT SELECT ON account TO regress_jwt_api;
CREATE FUNCTION refresh_role(tokens jsonb) RETURNS jsonb LANGUAGE sql RETURN jwt_refresh_with(tokens ->> 'refresh_token',
	(SELECT jsonb_build_object('role', a.role) FROM jwt_refresh_session(tokens ->> 'refresh_token') s JOIN account a ON a.name = s.sub));
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'carol', '{"role": "editor"}') AS t0 \gset
SELECT jwt_start_session('https://login.example', 'dave', '{"role": "editor"}') AS d0 \gset
SELECT sid = (jwt_verify(:'t0'::jsonb ->> 'access_token') ->> 'sid')::uuid AS sid, issuer, sub, claims FROM jwt_refresh_session(:'t0'::jsonb ->> 'refresh_token');
RESET ROLE;
UPDATE account SET role = 'admin' WHERE name = 'carol';
DELETE FROM account WHERE name = 'dave';
SET ROLE regress_jwt_api;
SELECT refresh_role(:'t0') AS t1 \gset
SELECT show(:'t1');
SELECT claims FROM jwt_refresh_session(:'t1'::jsonb ->> 'refresh_token');
-- For a closed account there is no row, so the claims are null, and the session ends.
SELECT refresh_role(:'d0') -> 'error' AS error, access(:'d0');
-- For a token that is not good it gives nulls: stolen, of another client, no token.
SELECT * FROM jwt_refresh_session(:'d0'::jsonb ->> 'refresh_token');
SELECT count(sid) FROM unnest(ARRAY[:'t0'::jsonb ->> 'refresh_token', 'x', NULL]) token, jwt_refresh_session(token);
SELECT sid FROM jwt_refresh_session(:'t1'::jsonb ->> 'refresh_token', 'app');
-- So theft is detected here, too: jwt_refresh_with() then ends the session.
SELECT refresh_role(:'t0') -> 'error' AS error;
SELECT refresh_role(:'t1') -> 'error' AS error;
RESET ROLE;
SELECT sub, claims, ended_why FROM jwt_session ORDER BY sub;
DELETE FROM jwt_session;

-- Claims that the function makes cannot be the caller's.
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'erin') AS t0 \gset
SELECT claim, left(refusal(format('SELECT jwt_start_session(''https://login.example'', ''erin'', jsonb_build_object(%L, 1))', claim)), 5) AS start,
	left(refusal(format('SELECT jwt_refresh_with(%L, jsonb_build_object(%L, 1))', :'t0'::jsonb ->> 'refresh_token', claim)), 5) AS refresh
FROM unnest('{iss,aud,exp,nbf,iat,jti,sid,sub,cnf,client_id,scope,events,nonce,at_hash,name}'::text[]) claim;
SELECT jwt_start_session('https://login.example', 'erin', '{"exp": 4102444800}');
SELECT jwt_start_session('https://login.example', 'erin', '[]');
SELECT jwt_refresh_with('x', '"role"');
SELECT jwt_start_session('https://login.example', NULL);
SELECT jwt_start_session(NULL, 'erin');
SELECT jwt_start_session('https://login.example', '');
SELECT jwt_start_session('https://idp.example', 'erin');
RESET ROLE;
-- The errors have left no session.
SELECT count(*) FROM jwt_session;
DELETE FROM jwt_session;

-- A session ends by itself. idle_lifetime counts from the last refresh, and session_lifetime
-- from the login. An access token does not outlive it.
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'frank') AS t0 \gset
RESET ROLE;
SELECT expires_at - started_at AS lifetime FROM jwt_session;
UPDATE jwt_session SET rotated_at = rotated_at - interval '6 days 23 hours';
SELECT refresh(:'t0') AS t1 \gset
SELECT show(:'t1') -> 'refresh_token' AS n;
UPDATE jwt_session SET rotated_at = rotated_at - interval '7 days';
SELECT refresh(:'t1') -> 'error' AS error;
UPDATE jwt_session SET rotated_at = rotated_at + interval '7 days', expires_at = now() + interval '1 minute';
SELECT refresh(:'t1') AS t2 \gset
SELECT (:'t2'::jsonb -> 'expires_in')::int BETWEEN 1 AND 60 AS lives, to_timestamp((jwt_verify(:'t2'::jsonb ->> 'access_token') -> 'exp')::float8) <= expires_at AS exp FROM jwt_session;
UPDATE jwt_session SET expires_at = now();
SELECT refresh(:'t2') -> 'error' AS error;
-- Nothing was written, and the row can be deleted.
SELECT counter, ended_why, jwt_prune_sessions() FROM jwt_session;

-- What revokes tokens also ends refreshing: jwt_logout() of the current token, a revocation of
-- the session, the subject or the issuer, and an event. A later login is a session of its own.
CREATE FUNCTION ends(statement text, OUT before text, OUT after text, OUT next text) LANGUAGE plpgsql AS $$
DECLARE
	tokens jsonb := jwt_start_session('https://login.example', 'grace');
BEGIN
	PERFORM jwt_authenticate(tokens ->> 'access_token', false);
	tokens := refresh(tokens);
	before := coalesce(tokens ->> 'error', 'refreshed');
	EXECUTE statement USING jwt_claim('sid');
	after := refresh(tokens) ->> 'error';
	-- iat has whole seconds, so wait for the next
	FOR i IN 1 .. 300 LOOP
		BEGIN
			next := coalesce(refresh(jwt_start_session('https://login.example', 'grace')) ->> 'error', 'refreshed');
			EXIT;
		EXCEPTION WHEN invalid_parameter_value THEN
			PERFORM pg_sleep(0.01);
		END;
	END LOOP;
	PERFORM jwt_authenticate(NULL, false);
	DELETE FROM jwt_denylist;
END $$;
SELECT * FROM ends('SELECT jwt_logout()');
SELECT * FROM ends('SELECT jwt_logout(everywhere => true)');
SELECT * FROM ends('SELECT jwt_revoke_session(''https://login.example'', $1)');
SELECT * FROM ends('SELECT jwt_revoke_subject(''https://login.example'', ''grace'')');
SELECT * FROM ends('SELECT jwt_revoke_issuer(''https://login.example'')');
SELECT * FROM ends('SELECT jwt_end_session($1::uuid)');
SELECT * FROM ends('SELECT jwt_end_sessions(''https://login.example'', ''grace'')');
SELECT * FROM ends('SELECT jwt_end_sessions(''https://login.example'')');
SELECT * FROM ends('UPDATE jwt_session SET seed = NULL WHERE sid = $1::uuid');
-- These do not.
SELECT * FROM ends('SELECT jwt_revoke_id(''https://login.example'', jwt_claim(''jti''), ''infinity'')');
SELECT * FROM ends('SELECT jwt_revoke_subject(''https://login.example'', ''grace'', now() - interval ''1 day'')');
SELECT * FROM ends('SELECT jwt_end_sessions(''https://login.example'', ''heidi'')');
-- A provider whose users log in here sends a logout token.
SELECT jwt_add_issuer('https://op.example', '{}', '{HS256}', event_audience => '{app}');
UPDATE jwt_issuer SET events_for = '{https://login.example}' WHERE issuer = 'https://op.example';
SELECT jwt_add_secret('https://op.example', sha256('op'), 'HS256', 'op') IS NOT NULL AS added;
CREATE FUNCTION event(sub text) RETURNS text LANGUAGE sql
RETURN sign(jsonb_build_object('iss', 'https://op.example', 'aud', 'app', 'iat', floor(extract(epoch FROM clock_timestamp())), 'jti', 'e1',
		'sub_id', jsonb_build_object('format', 'iss_sub', 'iss', 'https://login.example', 'sub', sub),
		'events', '{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{}}'::jsonb)::text, '{"alg":"HS256","kid":"op","typ":"secevent+jwt"}', sha256('op'));
SELECT * FROM ends('SELECT jwt_receive_event(event(''grace''))');
SELECT * FROM ends('SELECT jwt_receive_event(event(''heidi''))');
DELETE FROM jwt_session;

-- A revocation is kept as long as the sessions that it ends, and not only as long as their
-- access tokens.
UPDATE jwt_issuer SET max_lifetime = '10 minutes' WHERE issuer = 'https://login.example';
BEGIN;
SELECT jwt_revoke_subject('https://login.example', 'grace') IS NOT NULL AS revoked;
SELECT expires_at - issued_before AS kept FROM jwt_denylist;
ROLLBACK;
-- Where the issuer's sessions last a day at most, they do here.
UPDATE jwt_issuer SET session_lifetime = '1 day' WHERE issuer = 'https://login.example';
SELECT jwt_start_session('https://login.example', 'grace') IS NOT NULL AS started;
SELECT expires_at - started_at AS lifetime FROM jwt_session;
UPDATE jwt_issuer SET session_lifetime = '400 days', max_lifetime = NULL WHERE issuer = 'https://login.example';
DELETE FROM jwt_session;

-- Sessions of one user or of all can be ended. How many there were.
SELECT count(jwt_start_session('https://login.example', sub)) FROM unnest('{heidi,heidi,ivan}'::text[]) sub;
SELECT jwt_end_sessions('https://login.example', 'heidi'), jwt_end_sessions('https://login.example', 'heidi') AS again,
	jwt_end_sessions('https://login.example') AS others, jwt_end_sessions('https://idp.example') AS elsewhere;
SELECT jwt_end_session(sid) FROM jwt_session LIMIT 1;
SELECT jwt_end_session(gen_random_uuid()), jwt_end_session(NULL);
SELECT jwt_end_sessions(NULL);
SELECT sub, ended_why, count(*), count(seed) AS seeds FROM jwt_session GROUP BY sub, ended_why ORDER BY sub;
SELECT count(*), count(DISTINCT value) FROM jwt_denylist WHERE kind = 'sid' AND reason = 'jwt_end_sessions';
DELETE FROM jwt_denylist;

-- Sessions that are over can be deleted: some of them at a time, or all.
SELECT count(jwt_start_session('https://login.example', sub)) FROM unnest('{alive,expired,idle}'::text[]) sub;
UPDATE jwt_session SET expires_at = now() WHERE sub = 'expired';
UPDATE jwt_session SET rotated_at = now() - interval '7 days' WHERE sub = 'idle';
SELECT jwt_prune_sessions(2), jwt_prune_sessions(0) AS none, jwt_prune_sessions(), jwt_prune_sessions() AS again;
SELECT sub FROM jwt_session;
-- A day that has 23 hours in the caller's time zone is one of 24 hours, and a month has 30 days.
BEGIN;
UPDATE jwt_token_policy SET idle_lifetime = '1 month';
UPDATE jwt_session SET rotated_at = now() - interval '29 days 23 hours';
SELECT jwt_prune_sessions();
UPDATE jwt_session SET rotated_at = now() - interval '30 days';
SELECT jwt_prune_sessions();
ROLLBACK;
-- A time or an interval that is too large stands in nobody's way.
BEGIN;
UPDATE jwt_session SET rotated_at = '294276-12-31';
INSERT INTO jwt_token_policy (issuer, idle_lifetime) VALUES ('https://long.example', '170000000 years');
INSERT INTO jwt_session (issuer, rotated_at, expires_at) VALUES ('https://long.example', now(), now()), ('https://long.example', now(), 'infinity');
SELECT jwt_prune_sessions();
ROLLBACK;

-- A row that makes no sense cannot be redeemed, and nothing fails.
SELECT jwt_start_session('https://login.example', 'judy') AS t0 \gset
CREATE FUNCTION nulled(col text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	tokens jsonb := jwt_start_session('https://login.example', 'judy', '{"role": "editor"}', 'web', 'read');
BEGIN
	EXECUTE format('UPDATE jwt_session SET %I = NULL WHERE sid = (jwt_verify($1 ->> ''access_token'') ->> ''sid'')::uuid', col) USING tokens;
	RETURN (SELECT coalesce(show(jwt_refresh(tokens ->> 'refresh_token', 'web')) ->> 'error', 'refreshed'));
END $$;
SELECT attname, nulled(attname::text) FROM pg_attribute WHERE attrelid = 'jwt_session'::regclass AND attnum > 1 ORDER BY attnum;
SELECT jwt_end_sessions('https://login.example') > 0 AS ended;
DELETE FROM jwt_session;
DELETE FROM jwt_denylist;

-- Whoever cannot write cannot refresh. Any token gets the same error.
SET ROLE regress_jwt_api;
SELECT jwt_start_session('https://login.example', 'kim') AS t0 \gset
BEGIN READ ONLY;
SELECT statement, left(refusal(statement), 5) FROM unnest(ARRAY['SELECT jwt_start_session(''https://login.example'', ''kim'')', 'SELECT jwt_refresh(''x'')', 'SELECT jwt_refresh_with(''x'', ''{}'')',
	'SELECT jwt_end_session(gen_random_uuid())']) statement;
SELECT sub FROM jwt_refresh_session(:'t0'::jsonb ->> 'refresh_token');
ROLLBACK;
-- Nor is there a commit in two phases, because what is prepared may be rolled back.
BEGIN;
SELECT show(refresh(:'t0')) -> 'refresh_token' AS n;
PREPARE TRANSACTION 'p';
SELECT refresh(:'t0') AS t1 \gset
-- In one transaction each call sees the one before.
BEGIN;
SELECT number(refresh(refresh(:'t1')) ->> 'refresh_token') AS n;
SAVEPOINT s;
SELECT refresh(:'t0') -> 'error' AS error;
ROLLBACK TO s;
COMMIT;
RESET ROLE;
SELECT counter, ended_why FROM jwt_session;

-- Without EXECUTE nothing can be called, and nobody but the owner of the database can read
-- the tables.
CREATE ROLE regress_jwt_nobody;
SET ROLE regress_jwt_nobody;
SELECT p.proname, left(refusal(format('SELECT %I(%s)', p.proname, (SELECT string_agg('NULL::' || t::regtype, ', ') FROM unnest(p.proargtypes) t))), 5)
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt_auth'
WHERE p.proname ~ 'session|refresh' AND NOT p.proisstrict ORDER BY 1;
SELECT left(refusal(statement), 5) FROM unnest('{SELECT jwt_end_session(gen_random_uuid()),SELECT FROM jwt_session,DELETE FROM jwt_session,TABLE jwt_token_policy}'::text[]) statement;
RESET ROLE;
SET ROLE regress_jwt_api;
SELECT left(refusal(statement), 5) FROM unnest('{SELECT FROM jwt_session,DELETE FROM jwt_session,SELECT jwt_end_sessions(NULL),SELECT jwt_prune_sessions()}'::text[]) statement;
RESET ROLE;

-- If the issuer does not sign any more, the error says what to do, and no session ends.
DELETE FROM jwt_session;
SELECT jwt_start_session('https://login.example', 'leo') AS t0 \gset
BEGIN;
UPDATE jwt_token_policy SET grace = '2 minutes';
SELECT refusal(format('SELECT refresh(%L)', :'t0'));
DELETE FROM jwt_token_policy;
SELECT refusal(format('SELECT refresh(%L)', :'t0'));
SELECT refusal(format('SELECT jwt_refresh_session(%L)', :'t0'::jsonb ->> 'refresh_token'));
ROLLBACK;
BEGIN;
DELETE FROM jwt_signing_key;
SELECT refusal(format('SELECT refresh(%L)', :'t0'));
ROLLBACK;
SELECT show(refresh(:'t0')) -> 'refresh_token' AS n;

DROP FUNCTION show, refresh, refresh_role, access, number, bytes, ends, event, nulled;
DROP TABLE account;
DROP EXTENSION jwt_auth;
DELETE FROM jwt_issuer WHERE issuer IN ('https://login.example', 'https://op.example');
DELETE FROM jwt_denylist;
DROP ROLE regress_jwt_api, regress_jwt_nobody;

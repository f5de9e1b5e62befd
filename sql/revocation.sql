--
-- revocation: revoking a token, a session, a subject, an issuer or a key
--
SET timezone = 'UTC';
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://out.example', '{api}', '{HS256}'), ('', '{api}', '{HS256}');
SELECT jwt_add_secret('https://out.example', secret(), 'HS256', 'o1') IS NOT NULL AS added;
SELECT jwt_add_secret('', sha256('o2'), 'HS256', 'o2') IS NOT NULL AS added;
CREATE TABLE start AS SELECT date_trunc('second', now()) AS at;
GRANT SELECT ON start TO regress_jwt_user;
-- A token with a jti and a sub, issued so many seconds before the start.
CREATE FUNCTION token_of(jti text, sub text, age float8 DEFAULT 60, more jsonb DEFAULT '{}', kid text DEFAULT 'o1') RETURNS text LANGUAGE sql STABLE
RETURN sign(jsonb_strip_nulls(jsonb_build_object('iss', CASE kid WHEN 'o2' THEN NULL ELSE 'https://out.example' END, 'aud', 'api', 'sub', sub, 'jti', jti,
	'iat', extract(epoch FROM (SELECT at FROM start))::bigint - age, 'exp', extract(epoch FROM (SELECT at FROM start))::bigint + 3600) || more)::text,
	json_build_object('alg', 'HS256', 'kid', kid)::text, CASE kid WHEN 'o2' THEN sha256('o2') ELSE secret() END);
CREATE FUNCTION no_times(message text) RETURNS text LANGUAGE sql
RETURN regexp_replace(message, '\d{4}-\d\d-\d\d [0-9:.]+(\+00| UTC)', '...', 'g');
CREATE FUNCTION state(token text) RETURNS text LANGUAGE sql
RETURN coalesce((SELECT sqlstate || ' ' || no_times(detail) FROM jwt_inspect(token)), 'valid');
-- How long a revocation is kept.
CREATE FUNCTION kept(until timestamptz) RETURNS text LANGUAGE sql
RETURN coalesce(CASE WHEN isfinite(until) THEN round(extract(epoch FROM until - now()) / 3600) || ' hours' END, 'for ever');

--
-- One token by its jti: only this token, until it has expired.
--
SELECT jwt_verify(token_of('t1', 'alice')) ->> 'jti' AS jti;
SELECT jwt_revoke(token_of('t1', 'alice'), 'lost phone') = to_timestamp((jwt_unverified_claims(token_of('t1', 'alice')) ->> 'exp')::bigint) + interval '1 s' AS until;
\set VERBOSITY terse
SELECT jwt_verify(token_of('t1', 'alice'));
\echo :SQLSTATE
SELECT jti, state(token_of(jti, 'alice')) FROM (VALUES ('t1'), ('t2'), ('T1'), ('t1 '), (NULL)) t (jti);
SELECT valid, sqlstate, claims ->> 'jti' AS jti FROM jwt_inspect(token_of('t1', 'alice'));
SELECT jwt_try_verify(token_of('t1', 'alice')) IS NULL AS refused;
-- An earlier "at" is refused, too. The same jti of another issuer is another token.
SELECT jwt_try_verify(token_of('t1', 'alice'), at => now() - interval '1 s') IS NULL AS refused;
SELECT state(token_of('t1', 'alice', kid => 'o2'));
SELECT issuer, kind, value, issued_before, reason, revoked_by = session_user AS by_me, revoked_at <= now() AS then FROM jwt_denylist;
-- A token that is not valid, or has neither jti nor session, cannot be revoked.
SELECT no_times(regexp_replace(refusal(format('SELECT jwt_revoke(%L)', token)), ', [0-9]+ days ago', '')) FROM (VALUES
	(token_of('t1', 'alice')), (token_of('t3', 'alice', 60, '{"exp":1}')), (token_of('t3', 'alice') || 'x'), ('x'), (token_of(NULL, 'alice'))) t (token);
SELECT jwt_revoke(NULL) IS NULL AS nothing;
-- Revoke and unrevoke by jti. Each revocation is a row, so none waits for another.
SELECT jwt_revoke_id('https://out.example', 't4', '2100-01-01') AS until;
SELECT jwt_revoke_id('https://out.example', 't4', NULL) AS until;
SELECT state(token_of('t4', 'alice'));
SELECT value, kept(expires_at) FROM jwt_denylist WHERE value = 't4' AND expires_at IS NULL;
SELECT jwt_unrevoke_id('https://out.example', 't4') AS was, jwt_unrevoke_id('https://out.example', 't4') AS was_not;
SELECT state(token_of('t4', 'alice'));

--
-- A session: all of its tokens, also those issued later. The row is kept for the
-- issuer's session_lifetime.
--
SELECT kept(jwt_revoke_session('https://out.example', 's1', reason => 'support'));
SELECT sid, age, state(token_of('x', 'alice', age, jsonb_build_object('sid', sid))) FROM (VALUES ('s1', 3600), ('s1', 0), ('s1', -25), ('s2', 0), (NULL, 0)) t (sid, age);
SELECT state(token_of('x', 'alice', 0, '{"sid":"s1"}', 'o2'));
SELECT kept(jwt_revoke_session('https://out.example', 's2', now() + interval '1 day'));
SELECT kind, value, kept(expires_at), reason FROM jwt_denylist WHERE kind = 'sid' ORDER BY value;
-- A token without jti is revoked by its session, and one with a jti by its jti.
SELECT kept(jwt_revoke(token_of(NULL, 'alice', 0, '{"sid":"s3"}')));
SELECT kept(jwt_revoke(token_of('t6', 'alice', 0, '{"sid":"s4"}')));
SELECT sid, state(token_of('t7', 'alice', 0, jsonb_build_object('sid', sid))) FROM (VALUES ('s3'), ('s4')) t (sid);
-- An issuer can have another claim for the session, and shorter sessions.
UPDATE jwt_issuer SET session_claim = 'session_id', session_lifetime = '12 hours' WHERE issuer = 'https://out.example';
SELECT state(token_of('x', 'alice', 0, '{"sid":"s1"}')), state(token_of('x', 'alice', 0, '{"session_id":"s1"}'));
SELECT kept(jwt_revoke_session('https://out.example', 's5'));
UPDATE jwt_issuer SET session_claim = DEFAULT, session_lifetime = DEFAULT WHERE issuer = 'https://out.example';
SELECT jwt_unrevoke_session('https://out.example', 's1') AS was, jwt_unrevoke_session('https://out.example', 's1') AS was_not;
SELECT state(token_of('x', 'alice', 0, '{"sid":"s1"}'));

--
-- A subject: all of its tokens that were issued until now. Later ones are valid.
--
SELECT jwt_revoke_subject('https://out.example', 'bob') BETWEEN now() AND clock_timestamp() AS moment;
SELECT age, state(token_of('b', 'bob', age)) FROM (VALUES (3600), (1), (0), (-25)) t (age);
SELECT state(token_of('b', 'bobby')), state(token_of('b', 'bob', kid => 'o2'));
-- A token without iat is refused, and so is an iat before all timestamps.
SELECT state(token_of('b', 'bob', 0, '{"iat":null}')), state(token_of('b', 'bob', 0, '{"iat":-1e300}'));
-- iat has whole seconds. A token of the same second may be earlier: refused.
SELECT jwt_revoke_subject('https://out.example', 'carol', (SELECT at FROM start) - interval '10 s') IS NOT NULL AS revoked;
SELECT age, state(token_of('c', 'carol', age)) FROM (VALUES (11), (10), (9.999999), (9)) t (age);
SELECT jwt_revoke_subject('https://out.example', 'carol', (SELECT at FROM start) - interval '9.5 s') IS NOT NULL AS revoked;
SELECT age, state(token_of('c', 'carol', age)) FROM (VALUES (10), (9.5), (9)) t (age);
-- An earlier time does not replace a later one. Only jwt_unrevoke_subject does that.
SELECT jwt_revoke_subject('https://out.example', 'carol', '2020-01-01');
SELECT state(token_of('c', 'carol', 20));
SELECT jwt_unrevoke_subject('https://out.example', 'carol') AS was, jwt_unrevoke_subject('https://out.example', 'carol') AS was_not;
SELECT state(token_of('c', 'carol', 20));
-- With infinity all later tokens are revoked, too. How long a row is kept depends on
-- the maximal lifetime of a token.
SELECT jwt_revoke_subject('https://out.example', 'carol', 'infinity');
SELECT state(token_of('c', 'carol', -25));
UPDATE jwt_issuer SET max_lifetime = '2 hours' WHERE issuer = 'https://out.example';
SELECT jwt_revoke_subject('https://out.example', 'dora', '2026-01-01 00:00');
UPDATE jwt_issuer SET max_lifetime = NULL WHERE issuer = 'https://out.example';
SELECT value, expires_at FROM jwt_denylist WHERE value IN ('carol', 'dora') ORDER BY value;
SELECT refusal($$SELECT jwt_revoke_subject('https://out.example', 'bob', NULL)$$);

--
-- An issuer: all tokens that it has issued until now. This helps after its key was
-- stolen, or after the restore of a backup that lacks the latest revocations.
--
BEGIN;
SELECT jwt_revoke_issuer('https://out.example', (SELECT at FROM start), 'restored') = (SELECT at FROM start) AS moment;
SELECT age, state(token_of('i', 'ivan', age)) FROM (VALUES (3600), (0), (-25)) t (age);
SELECT state(token_of('i', 'ivan', 0, '{"iat":null}')), state(token_of('i', 'ivan', kid => 'o2'));
SELECT issuer, kind, value, kept(expires_at), reason FROM jwt_denylist WHERE kind = 'iss';
SELECT jwt_unrevoke_issuer('https://out.example') AS was, jwt_unrevoke_issuer('https://out.example') AS was_not;
SELECT state(token_of('i', 'ivan'));
ROLLBACK;

--
-- A key: all tokens that it has signed are refused, for any issuer and any kid. Its
-- thumbprint identifies it.
--
SELECT jwt_revoke_key('https://out.example', 'o1', 'stolen') = now() AS revoked;
SELECT state(token_of('k', 'kim')), state(token_of('k', 'kim', kid => 'o2'));
-- A token that it has not signed is not revoked, but has no good signature.
SELECT state(sign('{}', '{"alg":"HS256","kid":"o1"}', 'another'));
SELECT issuer, kind, value = jwt_thumbprint(jsonb_build_object('kty', 'oct', 'k', b64url(secret()))) AS thumbprint, kept(expires_at), reason FROM jwt_denylist WHERE kind = 'key';
SELECT issuer, kid, state, verifies, revoked_at IS NOT NULL AS revoked FROM jwt_key_status WHERE kid IN ('o1', 'o2', 'h1') ORDER BY kid;
-- The key is revoked for other issuers, too, and for issuers that get it later.
SELECT state(sign('{"iss":"https://hmac.example","aud":"api"}', '{"alg":"HS256","kid":"h1"}'));
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://new.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://new.example', secret(), 'HS256', 'n1') IS NOT NULL AS added;
SELECT state(sign('{"iss":"https://new.example","aud":"api"}', '{"alg":"HS256","kid":"n1"}'));
-- It stays revoked with another kid, and when it or its issuer is deleted and added
-- again.
UPDATE jwt_key SET kid = 'o3' WHERE kid = 'o1';
SELECT state(token_of('k', 'kim')), state(token_of('k', 'kim', kid => 'o3')), state(sign('{}', '{"alg":"HS256"}', secret()));
DELETE FROM jwt_key WHERE kid = 'o3';
SELECT state(token_of('k', 'kim', kid => 'o3'));
SELECT jwt_add_secret('https://out.example', secret(), 'HS256', 'o3') IS NOT NULL AS added;
SELECT state(token_of('k', 'kim', kid => 'o3'));
DELETE FROM jwt_issuer WHERE issuer = 'https://out.example';
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://out.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://out.example', secret(), 'HS256', 'o1') IS NOT NULL AS added;
SELECT state(token_of('k', 'kim'));
-- Unrevoke by the thumbprint. jwt_key_status has the thumbprints of public keys.
SELECT jwt_unrevoke_key(value) AS was, jwt_unrevoke_key(value) AS was_not FROM jwt_denylist WHERE kind = 'key';
SELECT state(token_of('k', 'kim'));
-- The other revocations of the deleted issuer are still valid.
SELECT state(token_of('t1', 'alice')), state(token_of('b', 'bob'));
-- If several keys have the kid, all of them are revoked.
BEGIN;
INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://new.example', 'n1', 'HS256', jsonb_build_object('kty', 'oct', 'k', b64url(sha256('n1')));
SELECT jwt_revoke_key('https://new.example', 'n1') = now() AS revoked;
SELECT state, count(*) FROM jwt_key_status WHERE kid = 'n1' GROUP BY 1;
ROLLBACK;
-- A row without a usable key has no thumbprint. It verifies nothing anyway.
BEGIN;
INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('https://new.example', 'n2', 'HS256', '{}');
SELECT refusal($$SELECT jwt_revoke_key('https://new.example', 'n2')$$);
ROLLBACK;
DELETE FROM jwt_issuer WHERE issuer = 'https://new.example';

--
-- The time: the next statement refuses the token, also if the token is cached, the
-- statement is prepared, or the transaction is the same. A rollback undoes that.
--
PREPARE who AS SELECT jwt_subject(), jwt_claim('jti');
SET plan_cache_mode = force_generic_plan;
SELECT jwt_authenticate(token_of('d1', 'dave'), false) IS NOT NULL AS dave;
EXECUTE who;
BEGIN ISOLATION LEVEL REPEATABLE READ;
EXECUTE who;
SAVEPOINT s;
SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked;
EXECUTE who;
ROLLBACK TO s;
EXECUTE who;
SELECT jwt_revoke_key('https://out.example', 'o1') IS NOT NULL AS revoked;
EXECUTE who;
ROLLBACK;
EXECUTE who;
SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked;
SELECT left(refusal('SELECT ' || f), 5) FROM (VALUES ('jwt_subject()'), ('jwt_claims()'), ('jwt_claim(''sub'')'), ('jwt_has_scope(''x'')')) t (f);
EXECUTE who;
-- The next statement in the same message refuses it, too.
SELECT jwt_unrevoke_id('https://out.example', 'd1') AS was;
SELECT jwt_subject() \; SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked \; SELECT jwt_subject();
SELECT jwt_subject();
SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked;
-- So does the rest of the statement that revokes.
SELECT jwt_unrevoke_id('https://out.example', 'd1') AS was;
WITH revoked AS (INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://out.example', 'jti', 'd1') RETURNING value)
SELECT value, left(refusal('SELECT jwt_subject()'), 5) FROM revoked;
SELECT jwt_unrevoke_id('https://out.example', 'd1') AS was;
DO $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		RAISE NOTICE '%', jwt_subject();
		PERFORM jwt_revoke_id('https://out.example', 'd1', 'infinity');
	END LOOP;
END $$;
RESET jwt.token;
-- A revocation does not invalidate the caches.
SELECT jwt_authenticate(token_of('d2', 'dave'), false) IS NOT NULL AS dave;
SELECT invalidations AS before FROM jwt_cache() \gset
SELECT count(jwt_revoke_id('https://out.example', 'many' || i, 'infinity')) FROM generate_series(1, 100) i;
SELECT jwt_subject();
SELECT invalidations - :before AS flushes FROM jwt_cache();
RESET jwt.token;

--
-- jwt_logout(), which can be granted to PUBLIC. It revokes the session of the current
-- token, or a token without a session. With everywhere it revokes the subject.
--
SELECT jwt_logout() AS logged_out;
GRANT EXECUTE ON FUNCTION jwt_logout TO PUBLIC;
SELECT set_config('jwt.token', token_of('e1', 'eve', 60, '{"sid":"s6"}'), false) IS NOT NULL AS set;
SET ROLE regress_jwt_user;
SELECT jwt_logout() AS logged_out;
SELECT left(refusal('SELECT jwt_subject()'), 5), left(refusal('SELECT jwt_logout()'), 5);
RESET ROLE;
SELECT state(token_of('e2', 'eve', 0, '{"sid":"s6"}')), state(token_of('e1', 'eve', 0, '{"sid":"s7"}'));
SELECT set_config('jwt.token', token_of('e3', 'eve'), false) IS NOT NULL AS set;
SET ROLE regress_jwt_user;
SELECT jwt_logout() AS logged_out;
RESET ROLE;
SELECT state(token_of('e3', 'eve')), state(token_of('e4', 'eve'));
-- A new start: the statements below must end within 25 s of it.
UPDATE start SET at = date_trunc('second', now());
SELECT set_config('jwt.token', token_of('e4', 'eve', 60, '{"sid":"s8"}'), false) IS NOT NULL AS set;
SET ROLE regress_jwt_user;
SELECT jwt_logout(everywhere => true) AS logged_out;
RESET ROLE;
RESET jwt.token;
SELECT state(token_of('e4', 'eve')) LIKE '28J11%' AS revoked, state(token_of('e5', 'eve', 0, '{"sid":"s9"}')) LIKE '28J11%' AS revoked, state(token_of('e6', 'eve', -25)), state(token_of('f1', 'frank'));
SELECT kind, value, kept(expires_at), reason, revoked_by = session_user AS by_me FROM jwt_denylist WHERE reason LIKE 'logout%' ORDER BY reason, kind;
-- A token with an iat that is ahead of our clock is revoked, too.
UPDATE start SET at = date_trunc('second', now());
SELECT set_config('jwt.token', token_of('g1', 'grace', -25), false) IS NOT NULL AS set;
SELECT jwt_logout(everywhere => true) AS logged_out;
RESET jwt.token;
SELECT state(token_of('g1', 'grace', -25)) LIKE '28J11%' AS revoked, state(token_of('g2', 'grace', -29));
-- A token without the claims that jwt_logout() needs is an error.
SELECT set_config('jwt.token', token_of(NULL, 'heidi'), false) IS NOT NULL AS set;
SELECT refusal('SELECT jwt_logout()');
SELECT set_config('jwt.token', token_of('i1', NULL), false) IS NOT NULL AS set;
SELECT refusal('SELECT jwt_logout(everywhere => true)');
RESET jwt.token;
-- Tokens without iss belong to the issuer ''.
SELECT jwt_revoke(token_of('n1', 'nina', kid => 'o2')) IS NOT NULL AS revoked;
SELECT state(token_of('n1', 'nina', kid => 'o2')), state(token_of('n1', 'nina'));
-- A read-only transaction cannot revoke.
BEGIN READ ONLY;
SELECT statement, refusal(statement) FROM (VALUES ('SELECT jwt_logout()'), ($$SELECT jwt_revoke_id('https://out.example', 'x', NULL)$$), ($$SELECT jwt_revoke_key('https://out.example', 'o1')$$)) t (statement);
COMMIT;

--
-- The table: rows that come by INSERT, replication or restore.
--
-- Functions require that the issuer exists. Rows can come before it.
SELECT statement, refusal(statement) FROM (VALUES ($$SELECT jwt_revoke_id('https://nobody.example', 'x', NULL)$$), ($$SELECT jwt_revoke_session('https://nobody.example', 'x')$$),
	($$SELECT jwt_revoke_subject('https://nobody.example', 'x')$$), ($$SELECT jwt_revoke_issuer('https://nobody.example')$$),
	($$SELECT jwt_revoke_id('https://out.example', NULL, NULL)$$), ($$SELECT jwt_revoke_session(NULL, 'x')$$), ($$SELECT jwt_revoke_id('https://out.example', repeat('x', 1025), NULL)$$)) t (statement);
SET session_replication_role = replica;
INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://later.example', 'jti', 'r1');
RESET session_replication_role;
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://later.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://later.example', secret(), 'HS256', 'l1') IS NOT NULL AS added;
SELECT jti, state(token_of(jti, 'alice', 0, '{"iss":"https://later.example"}', 'l1')) FROM (VALUES ('r1'), ('r2')) t (jti);
-- A row that cannot revoke anything is refused, because a user would rely on it.
-- A row for a key has no issuer, and one for an issuer has its name as the value.
SELECT row, refusal(format('INSERT INTO jwt_denylist (issuer, kind, value) VALUES %s', row)) FROM (VALUES
	($$('https://out.example', 'user', 'x')$$), ($$('https://out.example', 'JTI', 'x')$$), ($$('https://out.example', NULL, 'x')$$), ($$(NULL, 'jti', 'x')$$), ($$('https://out.example', 'jti', NULL)$$),
	($$('https://out.example', 'jti', repeat('x', 1025))$$), ($$(repeat('x', 1025), 'jti', 'x')$$), ($$('https://out.example', 'jti', repeat('x', 1024))$$),
	($$(NULL, 'key', 'thumbprint')$$), ($$('https://out.example', 'key', 'thumbprint')$$), ($$('https://gone.example', 'iss', NULL)$$)) t (row);
SELECT issuer, kind, value FROM jwt_denylist WHERE kind IN ('key', 'iss');
-- Without issued_before all tokens of the subject are revoked, whenever issued.
INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://out.example', 'sub', 'judy');
SELECT state(token_of('j', 'judy', -25));
-- Without our index a sequential scan gives the same verdict. An index of another
-- kind or order, or a partial one, is not used in its place.
BEGIN;
DROP INDEX jwt_denylist_value_kind_issuer_idx;
SELECT state(token_of('t1', 'alice')), state(token_of('t2', 'alice')), state(token_of('b', 'bob')), state(token_of('k', 'kim'));
CREATE INDEX a_brin ON jwt_denylist USING brin (value, kind, issuer);
CREATE INDEX a_part ON jwt_denylist (value, kind, issuer) WHERE value = 'nothing';
CREATE INDEX an_expression ON jwt_denylist (lower(value), kind, issuer);
CREATE INDEX a_collation ON jwt_denylist (value COLLATE "default", kind, issuer);
SELECT state(token_of('t1', 'alice')), state(token_of('t2', 'alice')), state(token_of('b', 'bob')), state(token_of('k', 'kim'));
ROLLBACK;

--
-- Pruning deletes rows an hour after they expire. Workers do it, too.
--
DELETE FROM jwt_denylist;
INSERT INTO jwt_denylist (issuer, kind, value, expires_at)
SELECT 'https://out.example', 'jti', 'p' || i, now() - interval '30 minutes' * i FROM generate_series(0, 5) i;
SELECT jwt_revoke_subject('https://out.example', 'bob') IS NOT NULL AS revoked;
SELECT jwt_prune_revocations(max_rows => 1);
SELECT jwt_prune_revocations();
SELECT kind, value FROM jwt_denylist ORDER BY value;

--
-- Privileges: PUBLIC has none. To revoke needs EXECUTE, and no privilege on the tables.
-- To unrevoke needs DELETE.
--
REVOKE EXECUTE ON FUNCTION jwt_logout FROM PUBLIC;
SET ROLE regress_jwt_user;
SELECT statement, refusal(statement) FROM (VALUES
	('TABLE jwt_denylist'), ($$INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://out.example', 'jti', 'x')$$), ('DELETE FROM jwt_denylist'),
	($$SELECT jwt_revoke('x')$$), ('SELECT jwt_logout()'), ($$SELECT jwt_revoke_id('https://out.example', 'x', 'infinity')$$), ($$SELECT jwt_revoke_session('https://out.example', 'x')$$),
	($$SELECT jwt_revoke_subject('https://out.example', 'x')$$), ($$SELECT jwt_revoke_issuer('https://out.example')$$), ($$SELECT jwt_revoke_key('https://out.example', 'o1')$$),
	($$SELECT jwt_unrevoke_id('https://out.example', 'x')$$), ($$SELECT jwt_unrevoke_session('https://out.example', 'x')$$), ($$SELECT jwt_unrevoke_subject('https://out.example', 'x')$$),
	($$SELECT jwt_unrevoke_issuer('https://out.example')$$), ($$SELECT jwt_unrevoke_key('x')$$), ('SELECT jwt_prune_revocations()')
	) t (statement);
RESET ROLE;
CREATE ROLE regress_jwt_support;
GRANT EXECUTE ON FUNCTION jwt_revoke, jwt_revoke_id, jwt_revoke_session, jwt_revoke_subject, jwt_revoke_issuer, jwt_revoke_key, jwt_unrevoke_id TO regress_jwt_support;
SELECT token_of('z1', 'zoe') AS token \gset
SET ROLE regress_jwt_support;
SELECT jwt_revoke(:'token') IS NOT NULL AS token, jwt_revoke_id('https://out.example', 'z2', 'infinity') IS NOT NULL AS id, jwt_revoke_session('https://out.example', 's1') IS NOT NULL AS session,
	jwt_revoke_subject('https://out.example', 'zoe') IS NOT NULL AS subject, jwt_revoke_issuer('https://later.example') IS NOT NULL AS issuer, jwt_revoke_key('https://later.example', 'l1') IS NOT NULL AS key;
SELECT refusal($$SELECT jwt_unrevoke_id('https://out.example', 'z1')$$), refusal('SELECT count(*) FROM jwt_issuer');
RESET ROLE;
SELECT kind, count(*) FROM jwt_denylist WHERE revoked_by = session_user GROUP BY 1 ORDER BY 1;
GRANT SELECT, DELETE ON jwt_denylist TO regress_jwt_support;
SET ROLE regress_jwt_support;
SELECT jwt_unrevoke_id('https://out.example', 'z1') AS was;
RESET ROLE;
DROP OWNED BY regress_jwt_support;
DROP ROLE regress_jwt_support;

-- An unacceptable policy does not limit how long a revocation is kept.
BEGIN;
UPDATE jwt_issuer SET max_lifetime = '-1 day', session_lifetime = NULL WHERE issuer = 'https://out.example';
DELETE FROM jwt_denylist;
SELECT jwt_revoke_subject('https://out.example', 'zoe') IS NOT NULL AS subject, jwt_revoke_issuer('https://out.example') IS NOT NULL AS issuer, jwt_revoke_session('https://out.example', 's1') AS session;
SELECT kind, expires_at FROM jwt_denylist ORDER BY kind;
ROLLBACK;
-- A row without a time revokes all tokens, and its detail has no time.
BEGIN;
DELETE FROM jwt_denylist;
INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://out.example', 'iss', '');
SELECT state(token_of('u1', 'ursula', more => '{"iat":null}'));
ROLLBACK;

DROP FUNCTION token_of, state, no_times, kept;
DROP TABLE start;
DEALLOCATE who;
\set VERBOSITY default
RESET plan_cache_mode;
DELETE FROM jwt_denylist;
DELETE FROM jwt_issuer WHERE issuer IN ('https://out.example', '', 'https://later.example');

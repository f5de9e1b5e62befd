--
-- revocation: this token, or all of a subject's
--
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://out.example', '{api}', '{HS256}'), ('', '{api}', '{HS256}');
SELECT jwt_add_secret('https://out.example', secret(), 'HS256', 'o1') IS NOT NULL AS added;
SELECT jwt_add_secret('', secret(), 'HS256', 'o2') IS NOT NULL AS added;
CREATE TABLE start AS SELECT date_trunc('second', now()) AS at;
GRANT SELECT ON start TO regress_jwt_user;
-- A token: named, of a subject, issued so many seconds before the start.
CREATE FUNCTION token_of(jti text, sub text, age float8 DEFAULT 60, more jsonb DEFAULT '{}', kid text DEFAULT 'o1') RETURNS text LANGUAGE sql STABLE
RETURN sign(jsonb_strip_nulls(jsonb_build_object('iss', CASE kid WHEN 'o1' THEN 'https://out.example' END, 'aud', 'api', 'sub', sub, 'jti', jti,
	'iat', extract(epoch FROM (SELECT at FROM start))::bigint - age, 'exp', extract(epoch FROM (SELECT at FROM start))::bigint + 3600) || more)::text,
	json_build_object('alg', 'HS256', 'kid', kid)::text);
CREATE FUNCTION no_times(message text) RETURNS text LANGUAGE sql
RETURN regexp_replace(message, '\d{4}-\d\d-\d\d [0-9:.]+-\d\d', '...');
CREATE FUNCTION state(token text) RETURNS text LANGUAGE sql
RETURN coalesce((SELECT sqlstate || ' ' || no_times(detail) FROM jwt_inspect(token)), 'valid');

-- One token, by its jti: that one and no other.
SELECT has_revoked_ids, has_revoked_subjects FROM jwt_issuer WHERE issuer = 'https://out.example';
SELECT jwt_verify(token_of('t1', 'alice')) ->> 'jti' AS jti;
SELECT jwt_revoke(token_of('t1', 'alice'), 'lost phone') = to_timestamp((jwt_unverified_claims(token_of('t1', 'alice')) ->> 'exp')::bigint) + interval '1 s' AS until;
\set VERBOSITY terse
SELECT jwt_verify(token_of('t1', 'alice'));
\echo :SQLSTATE
SELECT jti, state(token_of(jti, 'alice')) FROM (VALUES ('t1'), ('t2'), ('T1'), ('t1 '), (NULL)) t (jti);
SELECT valid, sqlstate, claims ->> 'jti' AS jti FROM jwt_inspect(token_of('t1', 'alice'));
SELECT jwt_try_verify(token_of('t1', 'alice')) IS NULL AS refused;
-- at does not take that back, and the same jti of another issuer is another token.
SELECT jwt_try_verify(token_of('t1', 'alice'), at => now() - interval '1 s') IS NULL AS refused;
SELECT state(token_of('t1', 'alice', kid => 'o2'));
SELECT has_revoked_ids, has_revoked_subjects FROM jwt_issuer WHERE issuer = 'https://out.example';
SELECT issuer, jti, sub, reason, revoked_by = session_user AS by_me FROM jwt_revocation;

-- A token that is not valid cannot be revoked, and one without jti needs another way.
SELECT no_times(regexp_replace(refusal(format('SELECT jwt_revoke(%L)', token)), ', [0-9]+ days ago', '')) FROM (VALUES
	(token_of('t1', 'alice')), (token_of('t3', 'alice', 60, '{"exp":1}')), (token_of('t3', 'alice') || 'x'), ('x'), (token_of(NULL, 'alice'))) t (token);
SELECT jwt_revoke(NULL) IS NULL AS nothing;
SELECT count(*) FROM jwt_revocation;

-- By its jti alone, with the later expiry of two; and back.
SELECT jwt_revoke_id('https://out.example', 't4', '2100-01-01') AS until;
SELECT jwt_revoke_id('https://out.example', 't4', '2099-01-01') AS until;
SELECT state(token_of('t4', 'alice'));
-- Each is a row, so that none waits for another.
SELECT count(*) FROM jwt_revocation WHERE jti = 't4';
SELECT jwt_unrevoke_id('https://out.example', 't4') AS was, jwt_unrevoke_id('https://out.example', 't5') AS was_not;
SELECT state(token_of('t4', 'alice'));

-- All tokens of a subject that were issued until now; later ones work.
SELECT jwt_revoke_subject('https://out.example', 'bob') BETWEEN now() AND clock_timestamp() AS moment;
SELECT age, state(token_of('b', 'bob', age)) FROM (VALUES (3600), (1), (0), (-25)) t (age);
SELECT state(token_of('b', 'bobby')), state(token_of('b', 'bob', kid => 'o2'));
-- Without iat nobody knows when: refused.
SELECT state(token_of('b', 'bob', 0, '{"iat":null}'));
-- iat has seconds. One of the same second may be earlier or later: refused.
SELECT jwt_revoke_subject('https://out.example', 'carol', (SELECT at FROM start) - interval '10 s') IS NOT NULL AS revoked;
SELECT age, state(token_of('c', 'carol', age)) FROM (VALUES (11), (10), (9.999999), (9)) t (age);
SELECT jwt_revoke_subject('https://out.example', 'carol', (SELECT at FROM start) - interval '9.5 s') IS NOT NULL AS revoked;
SELECT age, state(token_of('c', 'carol', age)) FROM (VALUES (10), (9.5), (9)) t (age);
-- An earlier moment does not take a later one back; that is said explicitly.
SELECT jwt_revoke_subject('https://out.example', 'carol', '2020-01-01') > '2025-01-01' AS still;
SELECT state(token_of('c', 'carol', 20));
SELECT jwt_unrevoke_subject('https://out.example', 'carol') AS was, jwt_unrevoke_subject('https://out.example', 'nobody') AS was_not;
SELECT state(token_of('c', 'carol', 20));
-- A row keeps who revoked and why; what the same person says once more for the
-- same reason takes its place.
SELECT reason, jwt_revoke_subject('https://out.example', 'ivan', at - make_interval(secs => age), reason) - at AS moment
FROM start, (VALUES (30, 'stolen'), (20, 'stolen'), (10, 'logout'), (25, 'stolen')) t (age, reason);
SELECT issued_before - at AS moment, reason FROM jwt_revocation, start WHERE sub = 'ivan' ORDER BY issued_before;
SELECT age, state(token_of('i', 'ivan', age)) FROM (VALUES (30), (15), (10), (9)) t (age);
SELECT jwt_unrevoke_subject('https://out.example', 'ivan') AS was, jwt_unrevoke_subject('https://out.example', 'ivan') AS is_not;
SELECT state(token_of('i', 'ivan', 30));
SELECT refusal($$SELECT jwt_revoke_subject('https://nobody.example', 'alice')$$);
SELECT refusal($$SELECT jwt_revoke_id('https://nobody.example', 't', 'infinity')$$);

-- The next statement refuses, cached or not, prepared or not, in one transaction
-- with the revocation too; and a rollback undoes it.
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
ROLLBACK;
EXECUTE who;
SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked;
SELECT left(refusal('SELECT ' || f), 5) FROM (VALUES ('jwt_subject()'), ('jwt_claims()'), ('jwt_claim(''sub'')'), ('jwt_has_scope(''x'')')) t (f);
EXECUTE who;
-- also in one message with it
SELECT jwt_unrevoke_id('https://out.example', 'd1') AS was;
SELECT jwt_subject() \; SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked \; SELECT jwt_subject();
SELECT jwt_subject();
SELECT jwt_revoke_id('https://out.example', 'd1', 'infinity') IS NOT NULL AS revoked;
RESET jwt.token;
-- A revocation flushes no cache.
SELECT jwt_authenticate(token_of('d2', 'dave'), false) IS NOT NULL AS dave;
SELECT invalidations AS before FROM jwt_cache() \gset
SELECT count(jwt_revoke_id('https://out.example', 'many' || i, 'infinity')) FROM generate_series(1, 100) i;
SELECT jwt_subject();
SELECT invalidations - :before AS flushes FROM jwt_cache();
RESET jwt.token;

-- Logging oneself out, which the owner may grant to everybody.
SELECT jwt_logout() AS logged_out;
GRANT EXECUTE ON FUNCTION jwt_logout TO PUBLIC;
GRANT SELECT ON fixture TO regress_jwt_user;
SELECT set_config('jwt.token', token_of('e1', 'eve'), false) IS NOT NULL AS set;
SET ROLE regress_jwt_user;
SELECT jwt_logout() AS logged_out;
SELECT left(refusal('SELECT jwt_subject()'), 5), left(refusal('SELECT jwt_logout()'), 5);
RESET ROLE;
SELECT state(token_of('e1', 'eve')) LIKE '28J11%' AS revoked, state(token_of('e2', 'eve'));
SELECT set_config('jwt.token', token_of('e2', 'eve'), false) IS NOT NULL AS set;
SET ROLE regress_jwt_user;
SELECT jwt_logout(everywhere => true) AS logged_out;
RESET ROLE;
RESET jwt.token;
SELECT state(token_of('e2', 'eve')) LIKE '28J11%' AS revoked, state(token_of('e3', 'eve')) LIKE '28J11%' AS revoked, state(token_of('e4', 'eve', -25)), state(token_of('f1', 'frank'));
SELECT jti, sub, reason, revoked_by = session_user AS by_me FROM jwt_revocation WHERE reason LIKE 'logout%' ORDER BY reason;
-- A token whose issuer's clock is ahead of ours is out, too.
SELECT set_config('jwt.token', token_of('g1', 'grace', -20), false) IS NOT NULL AS set;
SELECT jwt_logout(everywhere => true) AS logged_out;
RESET jwt.token;
SELECT state(token_of('g1', 'grace', -20)) LIKE '28J11%' AS revoked, state(token_of('g2', 'grace', -21));
-- Without the claim that it needs there is another way.
SELECT set_config('jwt.token', token_of(NULL, 'heidi'), false) IS NOT NULL AS set;
SELECT refusal('SELECT jwt_logout()');
SELECT set_config('jwt.token', token_of('i1', NULL), false) IS NOT NULL AS set;
SELECT refusal('SELECT jwt_logout(everywhere => true)');
RESET jwt.token;
-- Tokens without iss belong to the issuer ''.
SELECT jwt_revoke(token_of('n1', 'nina', kid => 'o2')) IS NOT NULL AS revoked;
SELECT state(token_of('n1', 'nina', kid => 'o2')) LIKE '28J11%' AS revoked, state(token_of('n1', 'nina'));

-- An index of another kind, or order, is not taken for ours.
CREATE INDEX a_brin ON jwt_revocation USING brin (jti, issuer);
CREATE INDEX a_pattern ON jwt_revocation (jti text_pattern_ops, issuer);
SELECT state(token_of('t1', 'alice')) LIKE '28J11%' AS revoked, state(token_of('t2', 'alice'));
DROP INDEX a_brin, a_pattern;

-- An issuer may require jti.
UPDATE jwt_issuer SET required_claims = '{exp,jti}' WHERE issuer = 'https://out.example';
SELECT state(token_of(NULL, 'heidi')), state(token_of('h1', 'heidi'));
UPDATE jwt_issuer SET required_claims = '{exp}' WHERE issuer = 'https://out.example';

-- An issuer that had revocations says so for good, whatever is written, and one
-- that is added again has not forgiven.
UPDATE jwt_issuer SET has_revoked_ids = false, has_revoked_subjects = NULL WHERE issuer = 'https://out.example';
SELECT state(token_of('t1', 'alice')) LIKE '28J11%' AS revoked;
DELETE FROM jwt_issuer WHERE issuer = 'https://out.example';
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://out.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://out.example', secret(), 'HS256', 'o1') IS NOT NULL AS added;
SELECT state(token_of('t1', 'alice')) LIKE '28J11%' AS revoked;
-- Every write of a revocation counts, also by replication.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://replica.example', '{api}', '{HS256}');
SET session_replication_role = replica;
INSERT INTO jwt_revocation (issuer, jti) VALUES ('https://replica.example', 'r1'), ('https://later.example', 'r1');
INSERT INTO jwt_revocation (issuer, sub, issued_before) VALUES ('https://later.example', 's1', now());
RESET session_replication_role;
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://later.example', '{api}', '{HS256}');
SELECT issuer, has_revoked_ids, has_revoked_subjects FROM jwt_issuer WHERE issuer IN ('https://replica.example', 'https://later.example') ORDER BY issuer;

-- What may be written.
SELECT columns, refusal(format('INSERT INTO jwt_revocation (issuer, %s) VALUES (''https://out.example'', %s)', columns, row)) LIKE '23514%' AS refused FROM (VALUES
	('jti', 'NULL'), ('jti, sub, issued_before', '''a'', ''b'', now()'), ('sub', '''b'''), ('jti, issued_before', '''a'', now()'), ('jti', 'repeat(''x'', 1025)'), ('jti', 'repeat(''x'', 1024)')) t (columns, row);
-- A jti that no row can hold is in none, and cannot be revoked.
SELECT state(token_of(repeat('x', 1025), 'alice'));
SELECT left(refusal(format('SELECT jwt_revoke(%L)', token_of(repeat('x', 1025), 'alice'))), 5);
SELECT state(token_of('y', repeat('x', 1025)));

-- What expires with the token is pruned, an hour later.
DELETE FROM jwt_revocation;
INSERT INTO jwt_revocation (issuer, jti, expires_at)
SELECT 'https://out.example', 'p' || i, now() - interval '30 minutes' * i FROM generate_series(0, 5) i;
SELECT jwt_revoke_subject('https://out.example', 'bob') IS NOT NULL AS revoked;
SELECT jwt_prune_revocations(max_rows => 1);
SELECT jwt_prune_revocations();
SELECT jti, sub FROM jwt_revocation ORDER BY jti;

-- PUBLIC has no business here but to verify.
SET ROLE regress_jwt_user;
SELECT statement, refusal(statement) FROM (VALUES
	('TABLE jwt_revocation'), ($$INSERT INTO jwt_revocation (issuer, jti) VALUES ('https://out.example', 'x')$$), ('DELETE FROM jwt_revocation'),
	($$SELECT jwt_revoke('x')$$), ($$SELECT jwt_revoke_id('https://out.example', 'x', 'infinity')$$), ($$SELECT jwt_revoke_subject('https://out.example', 'x')$$),
	($$SELECT jwt_unrevoke_id('https://out.example', 'x')$$), ($$SELECT jwt_unrevoke_subject('https://out.example', 'x')$$),
	('SELECT jwt_prune_revocations()'), ('SELECT jwt_revocation_added()'), ('SELECT jwt_lacks_claim(''x'')'), ('SELECT jwt_expiry(''{}'')')
	) t (statement);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jwt_logout FROM PUBLIC;
-- Somebody who is granted what doc/revocation.md names.
CREATE ROLE regress_jwt_support;
GRANT SELECT, INSERT, UPDATE, DELETE ON jwt_revocation TO regress_jwt_support;
GRANT EXECUTE ON FUNCTION jwt_revoke, jwt_revoke_id, jwt_revoke_subject, jwt_unrevoke_id, jwt_unrevoke_subject,
	jwt_expiry, jwt_lacks_claim TO regress_jwt_support;
SELECT token_of('z1', 'zoe') AS token, token_of(NULL, 'zoe') AS nameless \gset
SET ROLE regress_jwt_support;
SELECT jwt_revoke(:'token') IS NOT NULL AS revoked, jwt_revoke_id('https://out.example', 'z2', 'infinity') AS until, jwt_revoke_subject('https://out.example', 'zoe') IS NOT NULL AS all_revoked;
SELECT jwt_unrevoke_id('https://out.example', 'z1') AS was, jwt_unrevoke_subject('https://out.example', 'zoe') AS was;
SELECT jwt_verify(:'token') ->> 'sub' AS sub;
SELECT jwt_revoke(:'nameless');
SELECT count(*) FROM jwt_issuer;
RESET ROLE;
DROP OWNED BY regress_jwt_support;
DROP ROLE regress_jwt_support;
SELECT jwt_expiry(c::jsonb) FROM (VALUES ('{}'), ('[]'), ('{"exp":"x"}'), ('{"exp":0}'), ('{"exp":1.5}'), ('{"exp":-5}'), ('{"exp":1e300}'), ('{"exp":1767225600}')) t (c);

DROP FUNCTION token_of, state, no_times;
DROP TABLE start;
DEALLOCATE who;
\set VERBOSITY default
RESET plan_cache_mode;
DELETE FROM jwt_revocation;
DELETE FROM jwt_issuer WHERE issuer IN ('https://out.example', '', 'https://replica.example', 'https://later.example');

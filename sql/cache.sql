--
-- cache: a session's caches are correct, and their size is bounded
--
INSERT INTO jwt_issuer (issuer, audience, algorithms, leeway) VALUES ('https://cache.example', '{api}', '{HS256}', '0');
SELECT jwt_add_secret('https://cache.example', secret(), 'HS256', 'c1') IS NOT NULL AS added;
CREATE FUNCTION token_for(sub text, more jsonb DEFAULT '{}', kid text DEFAULT 'c1') RETURNS text LANGUAGE sql
RETURN sign((jsonb_build_object('iss', 'https://cache.example', 'aud', 'api', 'sub', sub, 'exp', 9999999999) || more)::text, jsonb_strip_nulls(jsonb_build_object('alg', 'HS256', 'kid', kid))::text);
CREATE FUNCTION fail_after(token text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM jwt_try_verify(token); RAISE 'it fails'; END $$;

-- A statement that fails changes no trust, even if it has verified a token by rows
-- that it had written.
SELECT refusal(format($$INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT issuer, 'c2', alg, jwk FROM jwt_key WHERE kid = 'c1' RETURNING fail_after(%L)$$, token_for('ghost', kid => 'c2')));
SELECT sqlstate FROM jwt_inspect(token_for('ghost', kid => 'c2'));
SELECT jwt_try_verify(token_for('ghost', kid => 'c2')) IS NULL AS refused;
SELECT refusal(format($$UPDATE jwt_issuer SET audience = '{other}' WHERE issuer = 'https://cache.example' RETURNING fail_after(%L)$$, token_for('ghost', '{"aud":"other"}')));
SELECT jwt_try_verify(token_for('ghost', '{"aud":"other"}')) IS NULL AS refused;
SELECT refusal(format($$WITH gone AS (DELETE FROM jwt_key WHERE kid = 'c1' RETURNING id) SELECT fail_after(%L) FROM gone$$, token_for('alice')));
SELECT jwt_verify(token_for('alice')) ->> 'sub' AS sub;

-- It changes no revocation either.
SELECT jwt_revoke_id('https://cache.example', 'j2', 'infinity') = 'infinity' AS revoked;
SELECT refusal(format($$WITH gone AS (DELETE FROM jwt_denylist WHERE value = 'j2' RETURNING id) SELECT fail_after(%L) FROM gone$$, token_for('gina', '{"jti":"j2"}')));
SELECT jwt_try_verify(token_for('gina', '{"jti":"j2"}')) IS NULL AS refused;
SELECT refusal(format($$INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://cache.example', 'jti', 'j3') RETURNING fail_after(%L)$$, token_for('gina', '{"jti":"j3"}')));
SELECT jwt_verify(token_for('gina', '{"jti":"j3"}')) ->> 'sub' AS sub;

-- The same without another command between the write and the verification. Rows of
-- earlier commands are visible.
CREATE FUNCTION another_command() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_current_xact_id(); RETURN true; END $$;
CREATE FUNCTION write_and_fail(token text) RETURNS text LANGUAGE sql RETURN format(
	$$INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT issuer, 'c2', alg, jwk FROM jwt_key, LATERAL generate_series(1, 2) n
	WHERE kid = 'c1' AND CASE n WHEN 1 THEN another_command() ELSE 1 / (jwt_try_verify(%L) IS NULL)::int > 0 END$$, token);
SELECT refusal(write_and_fail(token_for('ghost', kid => 'c2')));
SELECT jwt_try_verify(token_for('ghost', kid => 'c2')) IS NULL AS refused;
SELECT write_and_fail(token_for('ghost', kid => 'c2')) \gexec
SELECT jwt_try_verify(token_for('ghost', kid => 'c2')) IS NULL AS refused;

-- A verification sees a revocation that its own statement has written.
SELECT jwt_verify(token_for('gina', '{"jti":"j4"}')) ->> 'sub' AS sub;
BEGIN;
INSERT INTO jwt_denylist (issuer, kind, value) SELECT 'https://cache.example', 'jti', 'j4' FROM generate_series(1, 2) n
WHERE CASE n WHEN 1 THEN another_command() ELSE jwt_try_verify(token_for('gina', '{"jti":"j4"}')) IS NULL END RETURNING value;
ROLLBACK;
SELECT jwt_verify(token_for('gina', '{"jti":"j4"}')) ->> 'sub' AS sub;
DROP FUNCTION write_and_fail, another_command;

-- A verification sees that a subtransaction of its own statement was rolled back.
SELECT jwt_revoke_id('https://cache.example', 'j1', 'infinity') = 'infinity' AS revoked;
DO $$
DECLARE
	token text := token_for('carol', '{"jti":"j1"}');
BEGIN
	BEGIN
		PERFORM jwt_unrevoke_id('https://cache.example', 'j1');
		RAISE NOTICE 'not revoked for a moment: %', jwt_try_verify(token) IS NOT NULL;
		RAISE 'undone';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	RAISE NOTICE 'revoked again: %', jwt_try_verify(token) IS NULL;
END $$;

-- After a COMMIT in a procedure, tokens are verified at the start of the new
-- transaction. This token expires a millisecond after the start of its statement.
CREATE FUNCTION token_of_statement(sub text) RETURNS text LANGUAGE sql VOLATILE
RETURN token_for(sub, jsonb_build_object('exp', extract(epoch FROM statement_timestamp()) + 0.001));
CREATE FUNCTION pass_the_time() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	WHILE clock_timestamp() <= statement_timestamp() + interval '1 ms' LOOP NULL; END LOOP;
	RETURN true;
END $$;
DO $$
BEGIN
	PERFORM set_config('jwt.token', token_of_statement('dave'), false);
	RAISE NOTICE '%', jwt_subject();
	PERFORM pass_the_time();
	RAISE NOTICE 'the statement began before: %', jwt_subject();
	COMMIT;
	RAISE NOTICE 'after it: %', left(refusal('SELECT jwt_subject()'), 5);
END $$;
RESET jwt.token;

-- The next statement of a transaction has a new time, too: the token has expired.
BEGIN;
SELECT jwt_authenticate(token_of_statement('erin')) ->> 'sub' AS sub, jwt_subject(), pass_the_time(), jwt_subject();
SELECT left(refusal('SELECT jwt_subject()'), 5) AS the_next_statement;
COMMIT;

-- A lower jwt.cache_size frees memory. A token has one entry for all times at which
-- it is verified.
SELECT count(jwt_verify(token_for('user' || i, jsonb_build_object('pad', repeat('x', 3000))))) FROM generate_series(1, 300) i;
SELECT entries > 200 AS many, bytes > 1000000 AS much FROM jwt_cache();
SET jwt.cache_size = '64kB';
SELECT jwt_verify(token_for('new')) ->> 'sub' AS sub;
SELECT entries < 20 AS few FROM jwt_cache();
SET jwt.cache_size = 0;
SELECT jwt_verify(token_for('new')) ->> 'sub' AS sub;
SELECT entries FROM jwt_cache();
RESET jwt.cache_size;
UPDATE jwt_key SET not_after = '2030-01-01' WHERE kid = 'c1';
INSERT INTO jwt_key (issuer, alg, jwk, not_before) SELECT issuer, alg, jwk, '2030-01-01' FROM jwt_key WHERE kid = 'c1';
UPDATE jwt_key SET kid = NULL WHERE kid = 'c1';
SELECT count(jwt_try_verify(token_for('erin', kid => NULL), at => CASE WHEN i % 2 = 0 THEN '2029-01-01'::timestamptz ELSE '2031-01-01' END)) FROM generate_series(1, 1000) i;
SELECT entries FROM jwt_cache();
DELETE FROM jwt_key WHERE issuer = 'https://cache.example' AND not_before IS NOT NULL;
UPDATE jwt_key SET kid = 'c1', not_after = NULL WHERE issuer = 'https://cache.example';

-- A call site caches its value, and no memory that it used for it.
DO $$
DECLARE
	tokens text[] := ARRAY[token_for('alice', jsonb_build_object('pad', repeat('x', 3000))), token_for('bob')];
	before bigint;
BEGIN
	FOR i IN 1 .. 4000 LOOP
		PERFORM set_config('jwt.token', tokens[1 + i % 2], true);
		PERFORM jwt_claims(), jwt_subject(), jwt_claim(VARIADIC ('{sub' || repeat(',x', 300) || '}')::text[]);
		IF i = 100 THEN
			SELECT sum(total_bytes) INTO before FROM pg_backend_memory_contexts;
		END IF;
	END LOOP;
	RAISE NOTICE 'grown by more than a megabyte: %', (SELECT sum(total_bytes) FROM pg_backend_memory_contexts) - before > 1000000;
END $$;
SELECT count(jwt_claim('sub')) FROM (SELECT set_config('jwt.token', token_for('alice', jsonb_build_object('pad', repeat('x', 3000), 'n', i)), true) AS t FROM generate_series(1, 3000) i OFFSET 0) q WHERE t IS NOT NULL;

-- If a trigger is not ENABLE ALWAYS, as after a restore with triggers disabled,
-- nothing is cached: a change for which no trigger fires has its effect.
ALTER TABLE jwt_key ENABLE TRIGGER jwt_key_check;
ALTER TABLE jwt_key ENABLE TRIGGER jwt_key_changed;
SELECT jwt_verify(token_for('alice')) ->> 'sub' AS sub FROM generate_series(1, 2);
SET session_replication_role = replica;
UPDATE jwt_key SET not_after = '2020-01-01' WHERE issuer = 'https://cache.example';
RESET session_replication_role;
SELECT jwt_try_verify(token_for('alice')) IS NULL AS refused;
UPDATE jwt_key SET not_after = NULL WHERE issuer = 'https://cache.example';
SELECT jwt_verify(token_for('alice')) ->> 'sub' AS sub FROM generate_series(1, 2);
SELECT entries FROM jwt_cache();
ALTER TABLE jwt_key ENABLE ALWAYS TRIGGER jwt_key_check;
ALTER TABLE jwt_key ENABLE ALWAYS TRIGGER jwt_key_changed;
SELECT jwt_verify(token_for('alice')) ->> 'sub' AS sub FROM generate_series(1, 2);
SELECT entries FROM jwt_cache();
-- The same for revocations.
ALTER TABLE jwt_denylist ENABLE TRIGGER jwt_denylist_check;
ALTER TABLE jwt_denylist DISABLE TRIGGER jwt_denylist_changed;
SELECT jwt_verify(token_for('frank')) ->> 'sub' AS sub FROM generate_series(1, 2);
SET session_replication_role = replica;
INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://cache.example', 'sub', 'frank');
SELECT jwt_try_verify(token_for('frank')) IS NULL AS refused;
DELETE FROM jwt_denylist WHERE value = 'frank';
RESET session_replication_role;
SELECT jwt_verify(token_for('frank')) ->> 'sub' AS sub;
-- A change has its effect also if the triggers are disabled only while it is written.
ALTER TABLE jwt_denylist ENABLE ALWAYS TRIGGER jwt_denylist_check;
ALTER TABLE jwt_denylist ENABLE ALWAYS TRIGGER jwt_denylist_changed;
SELECT jwt_verify(token_for('frank')) ->> 'sub' AS sub FROM generate_series(1, 2);
BEGIN;
ALTER TABLE jwt_denylist DISABLE TRIGGER ALL;
INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://cache.example', 'sub', 'frank');
ALTER TABLE jwt_denylist ENABLE ALWAYS TRIGGER jwt_denylist_check, ENABLE ALWAYS TRIGGER jwt_denylist_changed;
COMMIT;
SELECT jwt_try_verify(token_for('frank')) IS NULL AS refused;
SELECT ok, problems FROM jwt_status WHERE issuer IS NULL;

RESET jwt.token;
DROP FUNCTION token_of_statement, pass_the_time, token_for, fail_after;
DELETE FROM jwt_denylist;
DELETE FROM jwt_issuer WHERE issuer = 'https://cache.example';

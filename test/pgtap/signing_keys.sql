--
-- signing_keys: the life of a signing key: standby, current, previous, gone. Time passes
-- by moving all times of the rows.
--
\if `psql -XAtqc "SELECT current_setting('jwt_auth.key_file', true) IS NULL"`
SELECT plan(0) \g /dev/null
\echo '1..0 # SKIP there is no key file'
\quit
\endif
SELECT plan(156);
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS jwt_auth;

-- An issuer with the keys a and b; b stands by for a day.
CREATE FUNCTION pg_temp.setup(issuer text) RETURNS void LANGUAGE sql AS $$
	SELECT jwt_add_issuer(issuer, '{api}', '{ES256}');
	INSERT INTO jwt_token_policy (issuer, audience) VALUES (issuer, '{api}');
	SELECT jwt_create_signing_key(issuer, kid => 'a');
	SELECT jwt_create_signing_key(issuer, kid => 'b');
$$;
-- Time passes, or for a negative interval the clock is set back.
CREATE FUNCTION pg_temp.pass(name text, how_long interval) RETURNS void LANGUAGE sql AS $$
	UPDATE jwt_signing_key SET activate_at = activate_at - how_long, created_at = created_at - how_long WHERE issuer = name;
	UPDATE jwt_key SET not_after = not_after - how_long WHERE issuer = name;
$$;
-- The kid that signs now, or the SQLSTATE and why not. A token that is signed verifies.
CREATE FUNCTION pg_temp.signs(issuer text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	token text;
	detail text;
BEGIN
	token := jwt_sign('{"sub": "alice"}', issuer);
	PERFORM jwt_verify(token, issuer => issuer);
	RETURN jwt_header(token) ->> 'kid';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', sqlstate, detail);
END $$;
-- The hint of the error that nothing signs.
CREATE FUNCTION pg_temp.hint(issuer text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	PERFORM jwt_sign('{"sub": "alice"}', issuer);
	RETURN 'signed';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END $$;
-- The states, with - for an erased private half and . for an end.
CREATE FUNCTION pg_temp.states(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat(kid, ' ', state, CASE WHEN key_name IS NULL THEN '-' END,
		CASE WHEN (SELECT not_after FROM jwt_key k WHERE k.id = s.id) IS NOT NULL THEN '.' END), ', ' ORDER BY activate_at, kid)
	FROM jwt_signing_key_status s WHERE issuer = name;
$$;
CREATE FUNCTION pg_temp.published(issuer text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(k ->> 'kid', ' ' ORDER BY k ->> 'kid') FROM jsonb_array_elements(jwt_jwks(issuer) -> 'keys') k;
$$;
-- Do what the worker does; how much was due.
CREATE FUNCTION pg_temp.work() RETURNS int LANGUAGE sql AS $$ SELECT jwt_rotate_due_signing_keys() $$;

--
-- The usual course
--
SELECT pg_temp.setup('https://course') \g /dev/null
SELECT is(pg_temp.states('https://course'), 'a current, b standby', 'course: a key stands by, and nothing has an end');
SELECT is(pg_temp.work(), 0, 'course: nothing is due');
SELECT pg_temp.pass('https://course', '23 hours 59 minutes') \g /dev/null
SELECT is(pg_temp.signs('https://course'), 'a', 'course: the current key signs to the last minute');
SELECT pg_temp.pass('https://course', '1 minute') \g /dev/null
SELECT is(pg_temp.signs('https://course'), 'b', 'course: then the other, without a worker');
SELECT is(pg_temp.states('https://course'), 'a previous, b current', 'course: nothing is erased yet');
SELECT is(pg_temp.work(), 1, 'course: one key is due');
SELECT is(pg_temp.states('https://course'), 'a previous-., b current', 'course: it is erased, and has an end');
SELECT is(pg_temp.work(), 0, 'course: nothing more is due');
SELECT pg_temp.pass('https://course', '1 day 59 minutes') \g /dev/null
SELECT is(pg_temp.published('https://course'), 'a b', 'course: it is published until its last token has expired');
SELECT pg_temp.pass('https://course', '1 minute') \g /dev/null
SELECT is(pg_temp.published('https://course'), 'b', 'course: and no longer');
SELECT pg_temp.pass('https://course', '89 days 23 hours') \g /dev/null
SELECT is(pg_temp.work(), 0, 'course: its rows stay for 90 days');
SELECT throws_ok($$ SELECT jwt_create_signing_key('https://course', kid => 'a') $$, '42710', NULL, 'course: so its kid is not made again');
SELECT pg_temp.pass('https://course', '1 hour 1 minute') \g /dev/null
SELECT is(pg_temp.work(), 1, 'course: then both are deleted');
SELECT is((SELECT string_agg(kid, ' ') FROM jwt_signing_key WHERE issuer = 'https://course'), 'b', 'course: the one of jwt_signing_key');
SELECT is((SELECT string_agg(kid, ' ') FROM jwt_key WHERE issuer = 'https://course'), 'b', 'course: the one of jwt_key');
SELECT is(jwt_create_signing_key('https://course', kid => 'a'), 'a', 'course: the kid is free again');
SELECT is(pg_temp.states('https://course'), 'b current, a standby', 'course: for another key');

-- All functions delete what is due, not only the worker's.
SELECT pg_temp.setup('https://prune') \g /dev/null
SELECT pg_temp.pass('https://prune', '1 day') \g /dev/null
SELECT pg_temp.work() \g /dev/null
SELECT pg_temp.pass('https://prune', '92 days') \g /dev/null
SELECT isnt(jwt_rotate_signing_key('https://prune'), NULL, 'prune: jwt_rotate_signing_key()');
SELECT is((SELECT count(*)::int FROM jwt_signing_key WHERE issuer = 'https://prune' AND kid = 'a'), 0, 'prune: deletes, too');
-- An end that was set by hand is kept, and so is a key that shall verify for ever.
SELECT pg_temp.setup('https://kept') \g /dev/null
UPDATE jwt_key SET not_after = now() + interval '1 day 1 minute' WHERE issuer = 'https://kept' AND kid = 'a';
SELECT pg_temp.pass('https://kept', '1 day') \g /dev/null
SELECT pg_temp.work() \g /dev/null
SELECT ok(not_after < now() + interval '1 minute', 'kept: an earlier end stays') FROM jwt_key WHERE issuer = 'https://kept' AND kid = 'a';
UPDATE jwt_key SET not_after = NULL WHERE issuer = 'https://kept' AND kid = 'a';
SELECT pg_temp.pass('https://kept', '1 year') \g /dev/null
SELECT is(pg_temp.work(), 0, 'kept: what verifies is not deleted');
UPDATE jwt_key SET issuer = 'https://renamed' WHERE issuer = 'https://kept' AND kid = 'a';
SELECT pg_temp.work() \g /dev/null
SELECT is((SELECT count(*)::int FROM jwt_signing_key s JOIN jwt_key k USING (id, kid) WHERE s.issuer = 'https://kept'), 2, 'kept: nor under another issuer');
-- A revoked key stays revoked when its rows are gone.
\set pem `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null`
SELECT pg_temp.setup('https://leaked') \g /dev/null
DELETE FROM jwt_signing_key WHERE issuer = 'https://leaked';
DELETE FROM jwt_key WHERE issuer = 'https://leaked';
SELECT jwt_import_signing_key('https://leaked', :'pem', kid => 'a') \g /dev/null
SELECT jwt_revoke_key('https://leaked', 'a') \g /dev/null
SELECT jwt_rotate_signing_key('https://leaked') \g /dev/null
SELECT pg_temp.pass('https://leaked', '92 days') \g /dev/null
SELECT is(pg_temp.work(), 1, 'revoked: its rows are deleted');
SELECT throws_ok(format('SELECT jwt_import_signing_key(%L, %L)', 'https://leaked', :'pem'), '22023', 'key is not acceptable', 'revoked: it does not come back');

--
-- A standby key that is deleted or postponed
--
-- The day after it would have signed, its predecessor still does, and verifies.
CREATE TEMP TABLE change (name text, change text, states text);
INSERT INTO change VALUES
	('deleted', 'DELETE FROM jwt_signing_key WHERE issuer = %1$L AND kid = ''b''', 'a current'),
	('its public half deleted', 'DELETE FROM jwt_key WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable'),
	('both deleted', 'DELETE FROM jwt_signing_key WHERE issuer = %1$L AND kid = ''b''; DELETE FROM jwt_key WHERE issuer = %1$L AND kid = ''b''', 'a current'),
	('postponed', 'UPDATE jwt_signing_key SET activate_at = activate_at + interval ''10 days'' WHERE issuer = %1$L AND kid = ''b''', 'a current, b standby'),
	('for ever', 'UPDATE jwt_signing_key SET activate_at = ''infinity'' WHERE issuer = %1$L AND kid = ''b''', 'a current, b standby'),
	('without a time', 'UPDATE jwt_signing_key SET activate_at = NULL WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable-'),
	('without a private half', 'UPDATE jwt_signing_key SET sealed = NULL WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable-'),
	('with another public half', 'UPDATE jwt_signing_key SET jwk = (SELECT jwk FROM jwt_key WHERE issuer = %1$L AND kid = ''a'') WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable'),
	('of another issuer', 'UPDATE jwt_signing_key SET issuer = ''x'' WHERE issuer = %1$L AND kid = ''b''', 'a current'),
	('before its time', 'UPDATE jwt_key SET not_before = now() + interval ''9 days'' WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable'),
	('ended', 'UPDATE jwt_key SET not_after = now() WHERE issuer = %1$L AND kid = ''b''', 'a current, b unusable.'),
	('revoked', 'SELECT jwt_revoke_key(%1$L, ''b'')', 'a current, b unusable');
CREATE FUNCTION pg_temp.try(name text, change text, expected text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	target text := 'https://' || name;
BEGIN
	PERFORM pg_temp.setup(target);
	EXECUTE format(change, target);
	RETURN NEXT is(pg_temp.signs(target), 'a', name || ': the current key signs');
	PERFORM pg_temp.pass(target, '3 days');
	RETURN NEXT is(pg_temp.signs(target), 'a', name || ': also when the time of the other has come');
	RETURN NEXT is(pg_temp.work(), 0, name || ': nothing is erased');
	RETURN NEXT is(pg_temp.signs(target), 'a', name || ': so it goes on signing');
	RETURN NEXT is(pg_temp.states(target), expected, name || ': the states');
	RETURN NEXT is((SELECT cannot_sign IS NULL FROM jwt_signing_key_status WHERE issuer = target AND kid = 'b'),
		CASE WHEN expected ~ 'standby' THEN true WHEN expected ~ 'unusable' THEN false END, name || ': the view says why');
END $$;
SELECT t.* FROM change c, pg_temp.try(c.name, c.change, c.states) t;
-- A standby key that is no good is replaced, by hand and by the schedule.
SELECT isnt(jwt_rotate_signing_key('https://revoked'), NULL, 'revoked: another one can be made by hand');
SELECT throws_ok($$ SELECT jwt_rotate_signing_key('https://revoked') $$, '55000', 'issuer "https://revoked" already has a standby key', 'revoked: but one only');
UPDATE jwt_token_policy SET rotate_every = '2 days' WHERE issuer IN ('https://ended', 'https://for ever', 'https://postponed', 'https://before its time');
SELECT is(pg_temp.work(), 3, 'the schedule makes one where none signs later at any time');
SELECT pg_temp.work() \g /dev/null
SELECT is((SELECT string_agg(issuer, ' ' ORDER BY issuer) FROM (SELECT issuer FROM jwt_signing_key GROUP BY issuer HAVING count(*) = 3) s),
	'https://before its time https://ended https://for ever https://revoked', 'and once');
UPDATE jwt_token_policy SET rotate_every = NULL;

-- The key that signs: what is revoked or deleted is left at once, also by a session that
-- has opened it.
SELECT pg_temp.setup('https://back') \g /dev/null
SELECT pg_temp.pass('https://back', '1 day') \g /dev/null
SELECT is(pg_temp.signs('https://back'), 'b', 'back: the second signs');
SELECT jwt_revoke_key('https://back', 'b') \g /dev/null
SELECT is(pg_temp.signs('https://back'), 'a', 'back: it is revoked, so the first does again');
SELECT is(pg_temp.states('https://back'), 'a current, b unusable', 'back: and is the current one');
SELECT is((SELECT cannot_sign FROM jwt_signing_key_status WHERE issuer = 'https://back' AND kid = 'b'), 'It has been revoked.', 'back: the view says why');
SELECT is(pg_temp.work(), 0, 'back: so it is not erased');
DELETE FROM jwt_key WHERE issuer = 'https://back' AND kid = 'a';
SELECT is(pg_temp.signs('https://back'), '55000 It has been revoked.', 'back: where no key can sign, the error is about the one that should');
-- What was erased does not come back.
SELECT pg_temp.setup('https://erased') \g /dev/null
SELECT pg_temp.pass('https://erased', '1 day') \g /dev/null
SELECT pg_temp.work() \g /dev/null
SELECT jwt_revoke_key('https://erased', 'b') \g /dev/null
SELECT is(pg_temp.signs('https://erased'), '55000 It has been revoked.', 'erased: nothing signs');
SELECT isnt(jwt_rotate_signing_key('https://erased'), NULL, 'erased: a new key is made');
SELECT is(pg_temp.signs('https://erased'), (SELECT kid FROM jwt_signing_key WHERE issuer = 'https://erased' AND kid NOT IN ('a', 'b')), 'erased: and signs at once');

--
-- Time passes, and no row changes: a session that has opened a key notices
--
CREATE FUNCTION pg_temp.wait_until(t timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	WHILE clock_timestamp() < t LOOP
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
SELECT pg_temp.setup('https://time') \g /dev/null
UPDATE jwt_signing_key SET activate_at = clock_timestamp() + interval '2 seconds' WHERE issuer = 'https://time' AND kid = 'b';
SELECT is(pg_temp.signs('https://time'), 'a', 'time: the first signs');
SELECT pg_temp.wait_until(max(activate_at)) FROM jwt_signing_key WHERE issuer = 'https://time' \g /dev/null
SELECT is(pg_temp.signs('https://time'), 'b', 'time: then the second does');
UPDATE jwt_key SET not_after = clock_timestamp() + interval '2 seconds' WHERE issuer = 'https://time';
SELECT is(pg_temp.signs('https://time'), 'b', 'time: it signs until its row of jwt_key ends');
SELECT pg_temp.wait_until(max(not_after)) FROM jwt_key WHERE issuer = 'https://time' \g /dev/null
SELECT is(pg_temp.signs('https://time'), '55000 Its row in jwt_key does not verify when it signs, because of not_before or not_after.', 'time: and not later');

--
-- In the middle of a restore: rows of one table, and not yet of the other
--
SELECT pg_temp.setup('https://restore') \g /dev/null
SELECT pg_temp.pass('https://restore', '1 day') \g /dev/null
SELECT pg_temp.work() \g /dev/null
SELECT pg_temp.pass('https://restore', '1 year') \g /dev/null
SELECT jwt_create_signing_key('https://restore', kid => 'c', activate_at => now()) \g /dev/null
SELECT pg_temp.pass('https://restore', '1 year') \g /dev/null
-- c signs, b is erased and ended long ago, and a is gone
CREATE TEMP TABLE saved AS SELECT * FROM jwt_key WHERE issuer = 'https://restore';
DELETE FROM jwt_key WHERE issuer = 'https://restore';
SELECT is(pg_temp.work(), 0, 'restore: without jwt_key nothing is due');
-- A key that the schedule made now would sign at once, so no verifier would know it.
UPDATE jwt_token_policy SET rotate_every = '2 days' WHERE issuer = 'https://restore';
SET client_min_messages = error;
SELECT is(pg_temp.work(), 0, 'restore: nor by the schedule');
SET client_min_messages = warning;
UPDATE jwt_token_policy SET rotate_every = NULL;
SELECT is((SELECT count(*)::int FROM jwt_signing_key WHERE issuer = 'https://restore'), 2, 'restore: no row is deleted, and none is made');
INSERT INTO jwt_key SELECT * FROM saved WHERE kid = 'c';
SELECT is(pg_temp.signs('https://restore'), 'c', 'restore: the key signs when it is there');
SELECT is(pg_temp.work(), 1, 'restore: a previous key whose public half was deleted goes');
SELECT is(pg_temp.states('https://restore'), 'c current', 'restore: and no other');

--
-- A token verifies until it has expired
--
-- Under the longest lifetime, which is shortened afterwards, and under an activate_at that
-- was moved into the past.
SELECT pg_temp.setup('https://long') \g /dev/null
UPDATE jwt_issuer SET leeway = '5 minutes' WHERE issuer = 'https://long';
UPDATE jwt_token_policy SET access_lifetime = '1 day' WHERE issuer = 'https://long';
SELECT jwt_sign('{"sub": "alice"}', 'https://long') AS token \gset
UPDATE jwt_token_policy SET access_lifetime = '10 minutes' WHERE issuer = 'https://long';
UPDATE jwt_signing_key SET activate_at = now() - interval '2 days' WHERE issuer = 'https://long' AND kid = 'a';
UPDATE jwt_signing_key SET activate_at = now() - interval '1 day 23 hours' WHERE issuer = 'https://long' AND kid = 'b';
SELECT is(pg_temp.work(), 1, 'long: the key is a previous one');
SELECT is(pg_temp.states('https://long'), 'a previous-., b current', 'long: it is erased');
SELECT is(jwt_verify(:'token', at => to_timestamp((jwt_unverified_claims(:'token') ->> 'exp')::float8 + 299)) ->> 'sub', 'alice', 'long: the token verifies until it has expired, and for the leeway');
SELECT is((SELECT sqlstate FROM jwt_inspect(:'token', at => to_timestamp((jwt_unverified_claims(:'token') ->> 'exp')::float8 + 300))), '28J05', 'long: then it is refused, because it has expired');

--
-- The clock is set back
--
SELECT pg_temp.setup('https://clock') \g /dev/null
SELECT pg_temp.pass('https://clock', '1 day') \g /dev/null
SELECT is(pg_temp.signs('https://clock'), 'b', 'clock: the second signs');
SELECT pg_temp.pass('https://clock', '-1 hour') \g /dev/null
SELECT is(pg_temp.signs('https://clock'), 'a', 'clock: back by an hour, the first signs');
SELECT is(pg_temp.work(), 0, 'clock: nothing is due');
SELECT pg_temp.pass('https://clock', '1 hour') \g /dev/null
SELECT is(pg_temp.work(), 1, 'clock: the first is erased');
SELECT pg_temp.pass('https://clock', '-1 hour') \g /dev/null
SELECT is(pg_temp.signs('https://clock'), 'b', 'clock: back by an hour again, the second signs all the same');
SELECT is(pg_temp.states('https://clock'), 'a previous-., b current', 'clock: it is the current one');
SELECT is(pg_temp.work(), 0, 'clock: nothing is due');
UPDATE jwt_token_policy SET publish_ahead = '0' WHERE issuer = 'https://clock';
SELECT jwt_create_signing_key('https://clock', kid => 'c') \g /dev/null
SELECT is(pg_temp.states('https://clock'), 'a previous-., b current, c standby', 'clock: a new key comes after it');
SELECT pg_temp.pass('https://clock', '1 hour') \g /dev/null
SELECT is(pg_temp.signs('https://clock'), 'c', 'clock: and signs when the clock has caught up');
-- A first key that shall sign later does not sign before.
SELECT jwt_add_issuer('https://later', '{api}', '{ES256}') \g /dev/null
INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://later', '{api}');
SELECT jwt_create_signing_key('https://later', kid => 'a', activate_at => now() + interval '1 hour') \g /dev/null
SELECT matches(pg_temp.signs('https://later'), '^55000 The key "a" will sign from ', 'later: a first key waits for its time');
SELECT is(pg_temp.hint('https://later'), 'To let it sign at once: SELECT jwt_rotate_signing_key(''https://later'');', 'later: the hint');
SELECT is(jwt_rotate_signing_key('https://later'), 'a', 'later: unless it is rotated');
SELECT is(pg_temp.signs('https://later'), 'a', 'later: then it signs');
-- Nor does a first key that signed before the clock was set back to a time without any.
SELECT pg_temp.pass('https://later', '-1 hour') \g /dev/null
SELECT matches(pg_temp.signs('https://later'), '^55000 The key "a" will sign from ', 'later: the clock is set back, and there is no key before it');
SELECT is(jwt_rotate_signing_key('https://later'), 'a', 'later: it is rotated again');
SELECT is(pg_temp.signs('https://later'), 'a', 'later: and signs');

--
-- The schedule
--
SELECT jwt_add_issuer('https://schedule', '{api}', '{ES256}') \g /dev/null
INSERT INTO jwt_token_policy (issuer, audience, publish_ahead, rotate_every) VALUES ('https://schedule', '{api}', '1 hour', '1 hour 1 minute');
SELECT jwt_create_signing_key('https://schedule', kid => 'a') \g /dev/null
SELECT pg_temp.work() \g /dev/null
SELECT is((SELECT count(*)::int FROM jwt_signing_key WHERE issuer = 'https://schedule'), 1, 'schedule: nothing is due at once');
SELECT pg_temp.pass('https://schedule', '1 minute') \g /dev/null
SELECT is(pg_temp.work(), 1, 'schedule: a key is due when it must be published');
SELECT is(pg_temp.work(), 0, 'schedule: one');
SELECT ok(activate_at > now() + interval '59 minutes', 'schedule: it is published as long as verifiers cache the set') FROM jwt_signing_key WHERE issuer = 'https://schedule' AND kid <> 'a';
-- After three periods without a worker: the key that stood by signs, and was published
-- before. It is followed by one key, not by three, which is published in advance.
SELECT pg_temp.pass('https://schedule', '3 hours 3 minutes') \g /dev/null
CREATE TEMP TABLE second AS SELECT kid FROM jwt_signing_key WHERE issuer = 'https://schedule' AND kid <> 'a';
SELECT is(pg_temp.signs('https://schedule'), (TABLE second), 'schedule: after a pause the standby key signs');
SELECT is(pg_temp.work(), 2, 'schedule: one is erased, and one is made');
SELECT is(pg_temp.signs('https://schedule'), (TABLE second), 'schedule: the same key goes on signing');
SELECT is((SELECT count(*)::int FROM jwt_signing_key WHERE issuer = 'https://schedule'), 3, 'schedule: no key is left out');
SELECT is((SELECT count(*)::int FROM jwt_signing_key WHERE issuer = 'https://schedule' AND activate_at > now() + interval '59 minutes'), 1, 'schedule: the new one stands by');
SELECT is(pg_temp.work(), 0, 'schedule: nothing more is due');
-- Each key that signs has been published for publish_ahead, and its tokens verify until they
-- have expired, though a key lives shorter than a token.
UPDATE jwt_token_policy SET access_lifetime = '1 day' WHERE issuer = 'https://schedule';
CREATE FUNCTION pg_temp.run(minutes int) RETURNS TABLE (unknown bigint, refused bigint, kids bigint) LANGUAGE plpgsql AS $$
DECLARE
	token text;
BEGIN
	CREATE TEMP TABLE signed (minute int, kid text, token text);
	CREATE TEMP TABLE seen (minute int, kid text);
	unknown := 0;
	refused := 0;
	FOR i IN 0 .. minutes BY 20 LOOP
		PERFORM pg_temp.pass('https://schedule', '20 minutes');
		-- a worker runs each hour
		IF i % 60 = 0 THEN
			PERFORM pg_temp.work();
		END IF;
		token := jwt_sign('{"sub": "alice"}', 'https://schedule');
		INSERT INTO signed VALUES (i, jwt_header(token) ->> 'kid', token);
		INSERT INTO seen SELECT i, k ->> 'kid' FROM jsonb_array_elements(jwt_jwks('https://schedule') -> 'keys') k;
		unknown := unknown + (SELECT count(*) FROM signed s WHERE minute = i AND NOT EXISTS (SELECT FROM seen WHERE seen.kid = s.kid AND minute = i - 60)) * (i >= 60)::int;
		refused := refused + (SELECT count(*) FROM signed s WHERE minute > i - 1440 AND NOT EXISTS (SELECT FROM seen WHERE seen.kid = s.kid AND minute = i));
	END LOOP;
	kids := (SELECT count(DISTINCT kid) FROM signed);
	RETURN NEXT;
END $$;
CREATE TEMP TABLE outcome AS SELECT * FROM pg_temp.run(3000);
SELECT is(unknown, 0::bigint, 'schedule: no verifier that caches the set meets an unknown kid') FROM outcome;
SELECT is(refused, 0::bigint, 'schedule: all tokens verify until they have expired') FROM outcome;
SELECT cmp_ok(kids, '>=', 20::bigint, 'schedule: while the keys rotate') FROM outcome;
-- Two keys that stand by sign one after the other.
SELECT pg_temp.setup('https://two') \g /dev/null
SELECT jwt_create_signing_key('https://two', kid => 'c', activate_at => now() + interval '2 days') \g /dev/null
SELECT pg_temp.pass('https://two', '1 day') \g /dev/null
SELECT is(pg_temp.signs('https://two'), 'b', 'two: the first of two');
SELECT is(pg_temp.work(), 1, 'two: its predecessor is erased');
DELETE FROM jwt_signing_key WHERE issuer = 'https://two' AND kid = 'c';
SELECT pg_temp.pass('https://two', '2 days') \g /dev/null
SELECT is(pg_temp.signs('https://two'), 'b', 'two: the second is deleted, so the first goes on');
SELECT is(pg_temp.states('https://two'), 'a previous-., b current', 'two: without an end');

DROP EXTENSION jwt_auth;
DELETE FROM jwt_issuer;
SELECT * FROM finish();

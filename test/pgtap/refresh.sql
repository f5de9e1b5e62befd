--
-- refresh: each refresh token of a session against each state of its row, of the clock and
-- of the server, compared with the table of answers in test/model/README.md
--
SELECT plan(11);

CREATE EXTENSION IF NOT EXISTS jwt_auth;
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://refresh.example', '{api}', '{ES256}');
INSERT INTO jwt_token_policy (issuer, audience, grace) VALUES ('https://refresh.example', '{api}', '0');
SELECT jwt_create_signing_key('https://refresh.example') \g /dev/null
GRANT EXECUTE ON FUNCTION jwt_start_session, jwt_refresh, jwt_refresh_session, jwt_refresh_with TO jwt_pgtap_user;

-- When the server became ready is the time of its lock file.
CREATE FUNCTION pg_temp.server_ready(at text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT 1) TO PROGRAM ''cat >/dev/null; touch -d "%s" postmaster.pid''', at);
END $$;

-- The refresh tokens 0 to 8 of a session, whose row has number 5.
CREATE TEMP TABLE token (number int, token text);
GRANT ALL ON token TO jwt_pgtap_user;
SET ROLE jwt_pgtap_user;
INSERT INTO token SELECT 0, jwt_start_session('https://refresh.example', 'alice', '{"role":"editor"}') ->> 'refresh_token';
INSERT INTO token SELECT i, NULL FROM generate_series(1, 8) i;
DO $$
BEGIN
	FOR i IN 1 .. 8 LOOP
		UPDATE token SET token = (SELECT jwt_refresh(t.token) ->> 'refresh_token' FROM token t WHERE number = i - 1) WHERE number = i;
	END LOOP;
END $$;
RESET ROLE;
CREATE TEMP TABLE saved AS SELECT * FROM jwt_session;

-- A state is a change of the row or of the denylist, with $1 the sid.
CREATE TEMP TABLE state (state text, change text);
INSERT INTO state VALUES
	('alive', NULL),
	('alive, and others are revoked', 'INSERT INTO jwt_denylist (issuer, kind, value) SELECT issuer, kind, value FROM (VALUES (''https://refresh.example'', ''sub'', ''bob''), (''https://refresh.example'', ''sid'', ''x''),
		(''https://idp.example'', ''sub'', ''alice''), (''https://idp.example'', ''iss'', ''https://idp.example''), (''https://refresh.example'', ''jti'', $1::text)) t (issuer, kind, value)'),
	('alive, and its subject was revoked before', 'INSERT INTO jwt_denylist (issuer, kind, value, issued_before) SELECT issuer, ''sub'', sub, started_at - interval ''1 second'' FROM jwt_session WHERE sid = $1'),
	('ended', 'UPDATE jwt_session SET seed = NULL, ended_at = now() WHERE sid = $1'),
	('ended, with a seed', 'UPDATE jwt_session SET ended_at = now() WHERE sid = $1'),
	('deleted', 'DELETE FROM jwt_session WHERE sid = $1'),
	('expired', 'UPDATE jwt_session SET expires_at = clock_timestamp() WHERE sid = $1'),
	('expired for ever', 'UPDATE jwt_session SET expires_at = ''-infinity'' WHERE sid = $1'),
	('idle', 'UPDATE jwt_session SET rotated_at = clock_timestamp() - interval ''7 days'' WHERE sid = $1'),
	('idle for ever', 'UPDATE jwt_session SET rotated_at = ''-infinity'' WHERE sid = $1'),
	('its session is revoked', 'INSERT INTO jwt_denylist (issuer, kind, value) SELECT issuer, ''sid'', sid FROM jwt_session WHERE sid = $1'),
	('its subject is revoked', 'INSERT INTO jwt_denylist (issuer, kind, value, issued_before) SELECT issuer, ''sub'', sub, started_at FROM jwt_session WHERE sid = $1'),
	('its issuer is revoked', 'INSERT INTO jwt_denylist (issuer, kind, value, issued_before) SELECT issuer, ''iss'', issuer, clock_timestamp() FROM jwt_session WHERE sid = $1'),
	('of a client', 'UPDATE jwt_session SET client_id = ''web'' WHERE sid = $1'),
	('of a client without a name', 'UPDATE jwt_session SET client_id = '''' WHERE sid = $1'),
	('with another seed', 'UPDATE jwt_session SET seed = sha256(seed) WHERE sid = $1'),
	('with a short seed', 'UPDATE jwt_session SET seed = substr(seed, 1, 31) WHERE sid = $1'),
	('with claims that are an array', 'UPDATE jwt_session SET claims = ''["iss"]'' WHERE sid = $1'),
	('with claims that are a string', 'UPDATE jwt_session SET claims = ''"iss"'' WHERE sid = $1'),
	('with claims that are null', 'UPDATE jwt_session SET claims = ''null'' WHERE sid = $1'),
	('of another issuer', 'UPDATE jwt_session SET issuer = ''https://other.example'' WHERE sid = $1');

CREATE TEMP TABLE outcome (server text, grace interval, age interval, state text, number int,
	sid uuid, answer jsonb, counter bigint, repeats int, rotated boolean, ended boolean, denied boolean);
GRANT ALL ON outcome, saved TO jwt_pgtap_user;
CREATE FUNCTION pg_temp.ask(token text, OUT sid uuid, OUT answer jsonb) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
	sid := (SELECT s.sid FROM jwt_refresh_session(token) s);
	answer := jwt_refresh(token);
END $$;
ALTER FUNCTION pg_temp.ask OWNER TO jwt_pgtap_user;
CREATE FUNCTION pg_temp.try(server text, grace interval, age interval, state state, t token) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	s saved;
	o record;
	moved timestamptz := clock_timestamp() - age;
BEGIN
	SELECT * INTO s FROM saved;
	DELETE FROM jwt_denylist;
	DELETE FROM jwt_session;
	INSERT INTO jwt_session SELECT s.*;
	UPDATE jwt_session SET counter = 5, repeats = 2, rotated_at = moved, expires_at = 'infinity';
	IF state.change IS NOT NULL THEN
		EXECUTE state.change USING s.sid;
	END IF;
	o := pg_temp.ask(t.token);
	INSERT INTO outcome SELECT server, grace, age, state.state, t.number, o.sid, o.answer, r.counter, r.repeats,
		r.rotated_at > moved OR (r.rotated_at <> moved AND age < '0'), r.ended_at IS NOT NULL,
		EXISTS (SELECT FROM jwt_denylist d WHERE d.kind = 'sid' AND d.value = s.sid::text AND d.expires_at > clock_timestamp() + interval '1 day')
	FROM (SELECT 1) one LEFT JOIN jwt_session r ON true;
END $$;
-- Each combination. A grace of a minute leaves time for a slow machine.
CREATE FUNCTION pg_temp.try_all(server text, ages interval[], states text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	g interval;
BEGIN
	FOREACH g IN ARRAY '{0,1 minute}'::interval[] LOOP
		UPDATE jwt_token_policy SET grace = g;
		PERFORM pg_temp.try(server, g, a, s, t) FROM unnest(ages) a, state s, token t WHERE s.state LIKE states;
	END LOOP;
END $$;
SELECT pg_temp.server_ready('2 hours ago') \g /dev/null
SELECT pg_temp.try_all('has run for long', '{0,30 seconds,61 seconds,6 days 23 hours 59 minutes,-30 seconds,-90 seconds,-3 days}', 'alive') \g /dev/null
SELECT pg_temp.try_all('has run for long', '{0,61 seconds}', '%') \g /dev/null
SELECT pg_temp.server_ready('now') \g /dev/null
SELECT pg_temp.try_all('has just started', '{0,61 seconds,6 days}', 'alive') \g /dev/null
SELECT pg_temp.server_ready('2 hours') \g /dev/null
SELECT pg_temp.try_all('started before the clock was set back', '{0,61 seconds,-30 seconds,-90 seconds}', 'alive') \g /dev/null
SELECT pg_temp.server_ready('2 hours ago') \g /dev/null
ANALYZE outcome;

-- The table of answers.
CREATE FUNCTION pg_temp.near(age interval, grace interval) RETURNS boolean LANGUAGE sql RETURN greatest(age, -age) < grace;
CREATE TEMP VIEW expected AS
SELECT o.*, CASE WHEN state NOT LIKE 'alive%' THEN 'refused' WHEN number IN (4, 5) AND (pg_temp.near(age, grace) OR (server = 'has just started' AND grace > '0')) THEN 'repeats'
	WHEN number IN (5, 6) THEN 'rotates' ELSE 'ends' END AS verdict
FROM outcome o;
SELECT is((SELECT jsonb_object_agg(verdict, n > 20) FROM (SELECT verdict, count(*) n FROM expected GROUP BY verdict) v),
	'{"repeats": true, "rotates": true, "ends": true, "refused": true}', 'each answer occurs');
SELECT is_empty($$SELECT server, grace, age, state, number, answer FROM expected WHERE (verdict IN ('repeats', 'rotates')) <> (NOT answer ? 'error')$$,
	'of ' || (SELECT count(*) FROM outcome) || ' calls those get tokens that should');
SELECT is_empty($$SELECT * FROM expected WHERE NOT answer ? 'error' AND answer ->> 'refresh_token' IS DISTINCT FROM
	(SELECT token FROM token t WHERE t.number = CASE verdict WHEN 'repeats' THEN 5 ELSE 6 END)$$, 'the current refresh token, or its one successor');
SELECT is_empty($$SELECT * FROM expected WHERE answer ? 'error' AND answer <> '{"error": "invalid_grant", "error_description": "The refresh token is not valid, or not any more."}'$$,
	'all refusals are the same');
SELECT is_empty($$SELECT * FROM expected WHERE verdict = 'repeats' AND (counter, repeats, rotated, ended) IS DISTINCT FROM (5, 3, false, false)$$, 'a repeat is counted');
SELECT is_empty($$SELECT * FROM expected WHERE verdict = 'rotates' AND (counter, repeats, rotated, ended) IS DISTINCT FROM (6, 0, true, false)$$, 'a rotation is one step');
SELECT is_empty($$SELECT * FROM expected WHERE verdict = 'ends' AND (counter, ended, denied) IS DISTINCT FROM (5, true, true)$$, 'reuse ends the session');
SELECT is_empty($$SELECT * FROM expected WHERE verdict = 'refused' AND state <> 'deleted' AND (counter, repeats, ended, denied) IS DISTINCT FROM (5, 2, state LIKE 'ended%', false)$$, 'nothing else changes the row');
SELECT is_empty($$SELECT * FROM expected WHERE (sid IS NULL) <> (answer ? 'error')$$, 'jwt_refresh_session() says the same before');

-- Near the end of a session: an access token lives for a second at least, and never longer
-- than its session.
CREATE FUNCTION pg_temp.at(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a jsonb;
	s saved;
BEGIN
	SELECT * INTO s FROM saved;
	DELETE FROM jwt_denylist;
	DELETE FROM jwt_session;
	INSERT INTO jwt_session SELECT s.*;
	UPDATE jwt_session SET counter = 5;
	EXECUTE 'UPDATE jwt_session SET ' || change;
	a := jwt_refresh((SELECT token FROM token WHERE number = 5));
	RETURN coalesce(a ->> 'error', CASE WHEN (a -> 'expires_in')::int < 1 THEN 'it has expired'
		WHEN to_timestamp((jwt_verify(a ->> 'access_token') -> 'exp')::float8) > (SELECT expires_at FROM jwt_session) THEN 'it outlives the session' ELSE 'lives' END);
END $$;
UPDATE jwt_token_policy SET grace = '0', idle_lifetime = '1 hour';
SELECT bag_eq($$SELECT change, pg_temp.at(change) FROM unnest(ARRAY[
		'expires_at = clock_timestamp() + interval ''0.9 seconds''', 'expires_at = clock_timestamp() + interval ''20 seconds''', 'expires_at = clock_timestamp() + interval ''1 day''', 'expires_at = ''infinity''',
		'rotated_at = clock_timestamp() - interval ''1 hour''', 'rotated_at = clock_timestamp() - interval ''59 minutes''',
		'started_at = ''-infinity''', 'rotated_at = ''infinity''', 'rotated_at = ''4713-01-01 BC''', 'rotated_at = ''294276-12-31''',
		'repeats = 2147483647', 'repeats = -1', 'counter = 4', 'counter = -1', 'counter = 9223372036854775807', 'counter = -9223372036854775808', 'counter = 9, rotated_at = ''294276-12-31''']) change$$,
	$$VALUES ('expires_at = clock_timestamp() + interval ''0.9 seconds''', 'invalid_grant'), ('expires_at = clock_timestamp() + interval ''20 seconds''', 'lives'), ('expires_at = clock_timestamp() + interval ''1 day''', 'lives'), ('expires_at = ''infinity''', 'lives'),
		('rotated_at = clock_timestamp() - interval ''1 hour''', 'invalid_grant'), ('rotated_at = clock_timestamp() - interval ''59 minutes''', 'lives'),
		('started_at = ''-infinity''', 'invalid_grant'), ('rotated_at = ''infinity''', 'invalid_grant'), ('rotated_at = ''4713-01-01 BC''', 'invalid_grant'), ('rotated_at = ''294276-12-31''', 'lives'),
		('repeats = 2147483647', 'lives'), ('repeats = -1', 'lives'), ('counter = 4', 'lives'), ('counter = -1', 'invalid_grant'), ('counter = 9223372036854775807', 'invalid_grant'), ('counter = -9223372036854775808', 'invalid_grant'), ('counter = 9, rotated_at = ''294276-12-31''', 'invalid_grant')$$,
	'at the edges of times and numbers');
SELECT results_eq('SELECT kind COLLATE "default", expires_at FROM jwt_denylist', $$VALUES ('sid', NULL::timestamptz)$$, 'a time that is out of range is none');

DROP EXTENSION jwt_auth CASCADE;
DELETE FROM jwt_issuer WHERE issuer = 'https://refresh.example';
DELETE FROM jwt_denylist;

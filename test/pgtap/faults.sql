--
-- faults: a token, or an event, with any combination of faults is refused for the first of
-- them in the order of verification
--
SELECT plan(34);

INSERT INTO jwt_issuer (issuer, audience, algorithms, required_claims, max_lifetime, token_type)
VALUES ('https://faults.example', '{api}', '{HS256}', '{exp,tenant}', '1 hour', 'at+jwt');
SELECT jwt_add_secret('https://faults.example', secret(), 'HS256', 'h1') \g /dev/null
SELECT jwt_revoke_id('https://faults.example', 'revoked', 'infinity') \g /dev/null

CREATE TEMP TABLE fault (n int PRIMARY KEY, what text, verdict text);
INSERT INTO fault VALUES
	(0, 'four parts', '28J01'),
	(1, 'crit in the header', '28J01'),
	(2, 'an unknown kid', '28J03'),
	(3, 'another algorithm than the key''s', '28J02'),
	(4, 'a signature of something else', '28J04'),
	(5, 'a payload that is not JSON', '28J01'),
	(6, 'another issuer', '28J07'),
	(7, 'another audience', '28J08'),
	(8, 'a sub that is a number', '28J09'),
	(9, 'expired', '28J05'),
	(10, 'not valid yet', '28J06'),
	(11, 'without a required claim', '28J09'),
	(12, 'a lifetime of hours', '28J10'),
	(13, 'another type of token', '28J12'),
	(14, 'bound to a key', '28J13'),
	(15, 'revoked', '28J11');

-- The token with the faults of the given bits.
CREATE FUNCTION pg_temp.token(faults int) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN has[5] THEN overlay(signed placing CASE right(left(signed, -1), 1) WHEN 'A' THEN 'B' ELSE 'A' END from length(signed) - 1 for 1) ELSE signed END
		|| CASE WHEN has[1] THEN '.x' ELSE '' END
	FROM (SELECT array_agg(faults >> i & 1 = 1 ORDER BY i) AS has FROM generate_series(0, 15) i) f,
		LATERAL (SELECT extract(epoch FROM half_past())::bigint + CASE WHEN has[10] THEN -1000 ELSE 1000 END AS exp) e,
		LATERAL (SELECT
			jsonb_strip_nulls(jsonb_build_object(
				'alg', CASE WHEN has[4] THEN 'HS384' ELSE 'HS256' END,
				'kid', CASE WHEN has[3] THEN 'h2' ELSE 'h1' END,
				'typ', CASE WHEN has[14] THEN 'JWT' ELSE 'at+jwt' END,
				'crit', CASE WHEN has[2] THEN '["exp"]'::jsonb END))::text AS header,
			jsonb_strip_nulls(jsonb_build_object(
				'iss', CASE WHEN has[7] THEN 'https://other.example' ELSE 'https://faults.example' END,
				'aud', CASE WHEN has[8] THEN 'web' ELSE 'api' END,
				'sub', CASE WHEN has[9] THEN '1'::jsonb ELSE '"alice"' END,
				'exp', exp,
				'iat', exp - CASE WHEN has[13] THEN 36000 ELSE 3600 END,
				'nbf', CASE WHEN has[11] THEN exp + 10000 END,
				'cnf', CASE WHEN has[15] THEN jsonb_build_object('jkt', repeat('A', 43)) END,
				'jti', CASE WHEN has[16] THEN 'revoked' ELSE 'j1' END,
				'tenant', CASE WHEN NOT has[12] THEN 7 END))::text AS claims) c,
		LATERAL (SELECT sign(CASE WHEN has[6] THEN left(claims, -1) ELSE claims END, header) AS signed) s
$$;

CREATE TEMP TABLE outcome AS
SELECT faults, verdict(pg_temp.token(faults)), (SELECT f.n FROM fault f WHERE faults >> f.n & 1 = 1 ORDER BY f.n LIMIT 1) AS first
FROM generate_series(0, (1 << 16) - 1) faults;

SELECT is((SELECT verdict FROM outcome WHERE faults = 0), 'valid', 'the token without a fault is valid');
SELECT is((SELECT verdict FROM outcome WHERE faults = 1 << n), fault.verdict, 'one with a fault is not: ' || what)
FROM fault ORDER BY n;
SELECT is_empty($$ SELECT faults, what, f.verdict AS expected, o.verdict FROM outcome o JOIN fault f ON f.n = o.first WHERE o.verdict IS DISTINCT FROM f.verdict $$,
	'each of ' || (SELECT count(*) FROM outcome) || ' combinations is refused for the first');
SELECT is((SELECT count(*) FROM outcome WHERE verdict = 'valid'), 1::bigint, 'and one alone is valid');

-- An event is, too; its answer names the fault.
UPDATE jwt_issuer SET event_audience = '{app}' WHERE issuer = 'https://faults.example';
CREATE TEMP TABLE event_fault (n int PRIMARY KEY, what text, answer text);
INSERT INTO event_fault VALUES
	(0, 'four parts', 'invalid_request: %parts%'),
	(1, 'an unknown kid', 'invalid_key: %'),
	(2, 'a signature of something else', 'authentication_failed: %'),
	(3, 'another issuer', 'invalid_issuer: %'),
	(4, 'another audience', 'invalid_audience: %'),
	(5, 'a sub that is a number', 'invalid_request: %"sub"%'),
	(6, 'expired', 'invalid_request: %expired%'),
	(7, 'no jti', 'invalid_request: %"jti"%'),
	(8, 'no iat', 'invalid_request: %"iat"%'),
	(9, 'the typ of an access token', 'invalid_request: %"typ"%'),
	(10, 'a nonce', 'invalid_request: %"nonce"%'),
	(11, 'neither sub nor sid', 'invalid_request: %neither%');
CREATE FUNCTION pg_temp.event(faults int) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN has[3] THEN overlay(signed placing CASE right(left(signed, -1), 1) WHEN 'A' THEN 'B' ELSE 'A' END from length(signed) - 1 for 1) ELSE signed END
		|| CASE WHEN has[1] THEN '.x' ELSE '' END
	FROM (SELECT array_agg(faults >> i & 1 = 1 ORDER BY i) AS has FROM generate_series(0, 11) i) f,
		LATERAL (SELECT sign(jsonb_strip_nulls(jsonb_build_object(
				'iss', CASE WHEN has[4] THEN 'https://other.example' ELSE 'https://faults.example' END,
				'aud', CASE WHEN has[5] THEN 'api' ELSE 'app' END,
				'sub', CASE WHEN has[6] THEN '1'::jsonb END,
				'sid', CASE WHEN NOT has[12] THEN 's1' END,
				'exp', CASE WHEN has[7] THEN 1767225600 ELSE 4102444800 END,
				'jti', CASE WHEN NOT has[8] THEN 'l1' END,
				'iat', CASE WHEN NOT has[9] THEN 1767225600 END,
				'nonce', CASE WHEN has[11] THEN 'n' END,
				'events', '{"http://schemas.openid.net/event/backchannel-logout":{}}'::jsonb))::text,
			jsonb_strip_nulls(jsonb_build_object('alg', 'HS256', 'kid', CASE WHEN has[2] THEN 'h2' ELSE 'h1' END, 'typ', CASE WHEN has[10] THEN 'at+jwt' ELSE 'logout+jwt' END))::text) AS signed) s
$$;
CREATE TEMP TABLE answer AS
SELECT faults, coalesce((a ->> 'err') || ': ' || (a ->> 'description'), a -> 'revoked' -> 0 ->> 'value') AS answer, (SELECT f.n FROM event_fault f WHERE faults >> f.n & 1 = 1 ORDER BY f.n LIMIT 1) AS first
FROM generate_series(0, (1 << 12) - 1) faults, jwt_receive_event(pg_temp.event(faults)) a;
SELECT is((SELECT answer FROM answer WHERE faults = 0), 's1', 'the event without a fault ends a session');
SELECT alike((SELECT answer FROM answer WHERE faults = 1 << n), event_fault.answer, 'one with a fault is refused: ' || what) FROM event_fault ORDER BY n;
SELECT is_empty($$ SELECT faults, what, f.answer AS expected, a.answer FROM answer a JOIN event_fault f ON f.n = a.first WHERE a.answer IS NULL OR a.answer NOT LIKE f.answer $$,
	'each of ' || (SELECT count(*) FROM answer) || ' combinations is refused for the first');
SELECT is((SELECT count(*) FROM jwt_denylist WHERE kind = 'sid'), 1::bigint, 'and one alone leaves a row');

SELECT * FROM finish();
DELETE FROM jwt_issuer;
TRUNCATE jwt_denylist;

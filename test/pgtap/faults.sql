--
-- faults: a token with any combination of faults is refused for the first of them in
-- the order of verification
--
SELECT plan(18);

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
	(14, 'revoked', '28J11');

-- The token with the faults of the given bits.
CREATE FUNCTION pg_temp.token(faults int) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN has[5] THEN overlay(signed placing CASE right(left(signed, -1), 1) WHEN 'A' THEN 'B' ELSE 'A' END from length(signed) - 1 for 1) ELSE signed END
		|| CASE WHEN has[1] THEN '.x' ELSE '' END
	FROM (SELECT array_agg(faults >> i & 1 = 1 ORDER BY i) AS has FROM generate_series(0, 14) i) f,
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
				'jti', CASE WHEN has[15] THEN 'revoked' ELSE 'j1' END,
				'tenant', CASE WHEN NOT has[12] THEN 7 END))::text AS claims) c,
		LATERAL (SELECT sign(CASE WHEN has[6] THEN left(claims, -1) ELSE claims END, header) AS signed) s
$$;

CREATE TEMP TABLE outcome AS
SELECT faults, verdict(pg_temp.token(faults)), (SELECT f.n FROM fault f WHERE faults >> f.n & 1 = 1 ORDER BY f.n LIMIT 1) AS first
FROM generate_series(0, (1 << 15) - 1) faults;

SELECT is((SELECT verdict FROM outcome WHERE faults = 0), 'valid', 'the token without a fault is valid');
SELECT is((SELECT verdict FROM outcome WHERE faults = 1 << n), fault.verdict, 'one with a fault is not: ' || what)
FROM fault ORDER BY n;
SELECT is_empty($$ SELECT faults, what, f.verdict AS expected, o.verdict FROM outcome o JOIN fault f ON f.n = o.first WHERE o.verdict IS DISTINCT FROM f.verdict $$,
	'each of ' || (SELECT count(*) FROM outcome) || ' combinations is refused for the first');
SELECT is((SELECT count(*) FROM outcome WHERE verdict = 'valid'), 1::bigint, 'and one alone is valid');

SELECT * FROM finish();
DELETE FROM jwt_issuer;
TRUNCATE jwt_denylist;

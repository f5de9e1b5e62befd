--
-- times: exp, nbf and iat, each absent, and before, at and after the limit of a policy,
-- with every combination of leeway, max_lifetime and max_age
--
-- The expected results follow RFC 7519 sections 4.1.4 to 4.1.6 and the order of checks.
--
SELECT plan(17);

-- seconds relative to the time of verification
CREATE TEMP TABLE token AS
SELECT row_number() OVER () AS n, exp, nbf, iat,
	sign((jsonb_strip_nulls(jsonb_build_object('iss', 'https://times.example', 'aud', 'api', 'exp', at + exp, 'nbf', at + nbf, 'iat', at + iat)))::text) AS token
FROM (VALUES (NULL), (-1e300), (-30.000001), (-30), (-29.999999), (-1), (0), (0.000001), (60), (3000), (1e300)) e (exp),
	(VALUES (NULL), (-1e300), (0), (0.000001), (30), (30.000001), (1e300)) n (nbf),
	(VALUES (NULL), (-1e300), (-3600), (-630.000001), (-630), (-600.000001), (-600), (0), (0.000001), (30), (30.000001), (1e300)) i (iat),
	LATERAL (SELECT extract(epoch FROM half_past()) AS at) t;

CREATE TEMP TABLE policy (n serial, leeway interval, max_lifetime interval, max_age interval, required_claims text[]);
INSERT INTO policy (leeway, max_lifetime, max_age, required_claims)
SELECT * FROM (VALUES (interval '0'), ('30 s')) l, (VALUES (NULL::interval), ('1 hour')) m,
	(VALUES (NULL::interval), ('10 minutes')) a, (VALUES ('{}'::text[]), ('{exp}')) r;

INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://times.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://times.example', secret(), 'HS256', 'h1') \g /dev/null

CREATE FUNCTION pg_temp.expected(exp numeric, nbf numeric, iat numeric, leeway numeric, max_lifetime numeric, max_age numeric, required text[])
RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE
		WHEN exp + leeway <= 0 THEN '28J05'
		WHEN nbf > leeway THEN '28J06'
		WHEN iat > leeway THEN '28J06'
		WHEN 'exp' = ANY (required) AND exp IS NULL THEN '28J09'
		WHEN max_lifetime IS NOT NULL AND (exp IS NULL OR iat IS NULL) THEN '28J09'
		WHEN exp - iat > max_lifetime THEN '28J10'
		WHEN max_age IS NOT NULL AND iat IS NULL THEN '28J09'
		WHEN -iat > max_age + leeway THEN '28J10'
		ELSE 'valid' END
$$;

CREATE TEMP TABLE outcome (policy int, token bigint, expected text, verdict text);
CREATE FUNCTION pg_temp.judge() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	p policy;
BEGIN
	FOR p IN SELECT * FROM policy ORDER BY n LOOP
		UPDATE jwt_issuer SET (leeway, max_lifetime, max_age, required_claims) = (p.leeway, p.max_lifetime, p.max_age, p.required_claims);
		INSERT INTO outcome
		SELECT p.n, t.n, pg_temp.expected(t.exp, t.nbf, t.iat, extract(epoch FROM p.leeway), extract(epoch FROM p.max_lifetime), extract(epoch FROM p.max_age), p.required_claims),
			verdict(t.token)
		FROM token t;
		RETURN NEXT is_empty(format('SELECT t.exp, t.nbf, t.iat, expected, verdict FROM outcome o JOIN token t ON t.n = o.token WHERE policy = %s AND verdict IS DISTINCT FROM expected', p.n),
			format('%s tokens, leeway %s, lifetime %s, age %s, required %s', (SELECT count(*) FROM token), p.leeway, coalesce(p.max_lifetime::text, 'any'), coalesce(p.max_age::text, 'any'), p.required_claims));
	END LOOP;
END $$;
SELECT pg_temp.judge();
SELECT set_eq('SELECT verdict FROM outcome', ARRAY['valid', '28J05', '28J06', '28J09', '28J10'], 'each verdict occurs');

SELECT * FROM finish();
DELETE FROM jwt_issuer;

--
-- audience: lists of audiences of different lengths, in a policy and in a token
--
SELECT plan(9);

INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://audience.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://audience.example', secret(), 'HS256', 'h1') \g /dev/null
CREATE FUNCTION pg_temp.verdict(token text, audience text DEFAULT NULL) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect(token, audience));
CREATE FUNCTION pg_temp.token(audience jsonb) RETURNS text LANGUAGE sql
RETURN sign(jsonb_build_object('iss', 'https://audience.example', 'aud', audience, 'exp', 4000000000)::text);

-- A policy and a token with lists of these lengths and common elements.
CREATE TEMP TABLE pair AS
SELECT p, t, shared, wanted,
	(SELECT array_agg(CASE WHEN i = CASE shared WHEN 'first' THEN 1 WHEN 'last' THEN p END THEN 'shared' ELSE 'p' || i END) FROM generate_series(1, p) i) AS policy,
	(SELECT jsonb_agg(CASE WHEN i = CASE shared WHEN 'first' THEN t WHEN 'last' THEN 1 END THEN 'shared' ELSE 't' || i END) FROM generate_series(1, t) i) AS audience
FROM unnest('{1,7,8,9,10,100}'::int[]) p, unnest('{1,7,8,9,10,100}'::int[]) t, unnest('{none,first,last,number}'::text[]) shared, unnest('{NULL,shared,p2}'::text[]) wanted;
UPDATE pair SET audience = audience || '1' WHERE shared = 'number';
CREATE TEMP TABLE outcome (p int, t int, shared text, wanted text, expected text, verdict text);
DO $$
DECLARE
	r pair;
BEGIN
	FOR r IN SELECT * FROM pair LOOP
		UPDATE jwt_issuer SET audience = r.policy;
		INSERT INTO outcome SELECT r.p, r.t, r.shared, r.wanted,
			-- an audience of the caller that the policy does not have is checked first
			CASE WHEN NOT r.wanted = ANY (r.policy) THEN '28J08' WHEN r.shared = 'number' THEN '28J09'
				WHEN r.shared IN ('first', 'last') AND coalesce(r.wanted, 'shared') = 'shared' THEN 'valid' ELSE '28J08' END,
			coalesce(sqlstate, 'valid') FROM jwt_inspect(pg_temp.token(r.audience), audience => r.wanted);
	END LOOP;
END $$;
SELECT is_empty('SELECT * FROM outcome WHERE verdict IS DISTINCT FROM expected', (SELECT format('%s pairs of lists', count(*)) FROM outcome));
SELECT set_eq('SELECT verdict FROM outcome', '{valid,28J08,28J09}'::text[], 'each verdict occurs');

-- A message lists some audiences.
UPDATE jwt_issuer SET audience = (SELECT array_agg('a' || i) FROM generate_series(1, 8) i);
SELECT is(detail, 'The token is for "x"; accepted is "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8".', 'eight') FROM jwt_inspect(pg_temp.token('"x"'));
UPDATE jwt_issuer SET audience = audience || '{a9,a10}';
SELECT is(detail, 'The token is for "x"; accepted is "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", or one of 2 others.', 'ten') FROM jwt_inspect(pg_temp.token('"x"'));

-- 60,000 elements each: an algorithm of quadratic time would take minutes.
BEGIN;
-- checking such a row takes long
ALTER TABLE jwt_issuer DISABLE TRIGGER ALL;
UPDATE jwt_issuer SET audience = (SELECT array_agg('policy' || i) FROM generate_series(1, 60000) i);
SET LOCAL jwt.max_token_size = '1MB';
SELECT pg_temp.token((SELECT jsonb_agg('t' || i) FROM generate_series(1, 60000) i)) AS none,
	pg_temp.token((SELECT jsonb_agg('t' || i) || '["policy60000"]' FROM generate_series(1, 60000) i)) AS shared \gset
SET LOCAL statement_timeout = '30s';
SELECT pg_temp.verdict(:'none') AS v1, pg_temp.verdict(:'shared') AS v2, pg_temp.verdict(:'shared', 'policy60000') AS v3, pg_temp.verdict(:'shared', 'policy1') AS v4, pg_temp.verdict(:'shared', 't1') AS v5 \gset
ROLLBACK;
SELECT is(:'v1'::text, '28J08', 'nothing shared');
SELECT is(:'v2'::text, 'valid', 'the last of each');
SELECT is(:'v3'::text, 'valid', 'one that was asked for');
SELECT is(:'v4'::text, '28J08', 'one that the token does not have');
SELECT is(:'v5'::text, '28J08', 'one that the policy does not have');

SELECT * FROM finish();
DELETE FROM jwt_issuer;

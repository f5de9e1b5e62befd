--
-- algorithms: each key with each of its possible algorithms, against tokens of each
-- algorithm and key: only the key's algorithm verifies
--
SELECT plan(37);

-- The keys, their possible algorithms, and the names of these in tokens (RFC 9864
-- renames EdDSA).
CREATE TEMP TABLE pin (key text, alg text, names text[] NOT NULL, kind text NOT NULL);
INSERT INTO pin
SELECT 'RS256', a, ARRAY[a], 'RSA' FROM unnest('{RS256,RS384,RS512,PS256,PS384,PS512}'::text[]) a UNION ALL
SELECT a, a, ARRAY[a], 'EC' FROM unnest('{ES256,ES384,ES512,ES256K}'::text[]) a UNION ALL
SELECT 'Ed25519', a, '{EdDSA,Ed25519}', 'OKP' FROM unnest('{EdDSA,Ed25519}'::text[]) a UNION ALL
SELECT 'Ed448', a, '{EdDSA,Ed448}', 'OKP' FROM unnest('{EdDSA,Ed448}'::text[]) a UNION ALL
SELECT 'secret', a, ARRAY[a], 'oct' FROM unnest('{HS256,HS384,HS512}'::text[]) a;

CREATE FUNCTION pg_temp.hmac_token(alg text, key bytea) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT input || '.' || b64url(hmac(convert_to(input, 'UTF8'), key, 'sha' || right(alg, 3)))
	FROM (SELECT b64url(convert_to(format('{"alg":"%s","kid":"%s"}', alg, alg), 'UTF8')) || '.' ||
		b64url(convert_to('{"iss":"https://idp.example","aud":"api","sub":"alice","exp":1767229200}', 'UTF8'))) t (input)
$$;
CREATE FUNCTION pg_temp.long_secret() RETURNS bytea LANGUAGE sql IMMUTABLE RETURN sha512('a secret of the matrix');

-- Tokens of each algorithm by each key that can sign them. Also HMAC tokens whose
-- secret is a public key in some form.
CREATE TEMP TABLE token AS
SELECT name AS alg, CASE WHEN name ~ '^[RP]S' THEN 'RS256' WHEN name = 'EdDSA' THEN 'Ed25519' ELSE name END AS key, value AS token
FROM fixture WHERE kind = 'token' AND name ~ '^([RP]S|ES|Ed)' UNION ALL
SELECT a, 'secret', pg_temp.hmac_token(a, pg_temp.long_secret()) FROM unnest('{HS256,HS384,HS512}'::text[]) a UNION ALL
SELECT a, 'what is public', pg_temp.hmac_token(a, convert_to(value, 'UTF8'))
FROM fixture, unnest('{HS256,HS384,HS512}'::text[]) a WHERE kind = 'key' OR (kind = 'pem' AND value LIKE '%BEGIN PUBLIC%');
-- The same with unknown names of algorithms.
CREATE TEMP TABLE misnamed AS
SELECT spelled, b64url(convert_to(format('{"alg":"%s","kid":"RS256"}', spelled), 'UTF8')) || '.' || split_part(token, '.', 2) || '.' || signature AS token
FROM token, unnest('{none,None,NONE,nOnE,none ,hs256,rs256,es256,RS1,HS1,RSA,ES,EDDSA,ed25519,PS,A128KW,dir}'::text[] || '{""}'::text[]) spelled,
	LATERAL (VALUES (''), (split_part(token, '.', 3))) s (signature)
WHERE key <> 'what is public';

INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}',
	'{RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,ES256K,EdDSA,Ed25519,Ed448,HS256,HS384,HS512}');
CREATE TEMP TABLE kid AS SELECT DISTINCT convert_from(decode(rpad(translate(split_part(token, '.', 1), '-_', '+/'), (length(split_part(token, '.', 1)) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb ->> 'kid' AS kid FROM token;

CREATE TEMP TABLE outcome (pin pin, alg text, key text, expected text, verdict text);
CREATE FUNCTION pg_temp.judge() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	p pin;
BEGIN
	FOR p IN SELECT * FROM pin ORDER BY kind, alg, key LOOP
		DELETE FROM jwt_key;
		-- with every kid of the tokens
		IF p.kind = 'oct' THEN
			PERFORM jwt_add_secret('https://idp.example', pg_temp.long_secret(), p.alg, kid.kid) FROM kid;
		ELSE
			PERFORM jwt_add_key('https://idp.example', fixture('key', p.key), p.alg, kid.kid) FROM kid;
		END IF;
		INSERT INTO outcome
		SELECT p, t.alg, t.key,
			CASE WHEN NOT t.alg = ANY (p.names) THEN '28J02' WHEN t.key <> p.key THEN '28J04' ELSE 'valid' END,
			verdict(t.token)
		FROM token t;
		RETURN NEXT is_empty(format('SELECT alg, key, expected, verdict FROM outcome WHERE (pin).key = %L AND (pin).alg = %L AND verdict IS DISTINCT FROM expected', p.key, p.alg),
			format('the key %s, pinned to %s: %s of %s tokens are valid', p.key, p.alg,
				(SELECT count(*) FROM outcome WHERE pin = p AND verdict = 'valid'), (SELECT count(*) FROM token)));
		RETURN NEXT is_empty('SELECT spelled, verdict(token) FROM misnamed WHERE verdict(token) <> ''28J02''',
			format('  and none of %s that name no algorithm', (SELECT count(*) FROM misnamed)));
	END LOOP;
END $$;
SELECT pg_temp.judge();
SELECT set_eq('SELECT verdict FROM outcome', ARRAY['valid', '28J02', '28J04'], 'each verdict occurs');
SELECT is_empty('SELECT * FROM outcome WHERE key = ''what is public'' AND verdict = ''valid''', 'what is public is no secret');
SELECT is((SELECT count(DISTINCT (alg, key)) FROM outcome WHERE verdict = 'valid'), 16::bigint, 'each good token is valid under the right pin');

SELECT * FROM finish();
DELETE FROM jwt_issuer;

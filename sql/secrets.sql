--
-- secrets: errors, warnings and views do not show a key
--
-- A secret must not appear in a log. An error or a warning about a key shows neither
-- the row nor a line of COPY, and the server's log does not show the statement.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://secret.example', '{api}', '{HS256,HS512}');
\set secret 'dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ'
\set jwk '{"kty":"oct","k":"' :secret '"}'
\set SHOW_CONTEXT always

-- Rows that are refused, and rows that are stored and verify nothing.
INSERT INTO jwt_key (issuer, alg, jwk) VALUES (NULL, 'HS256', :'jwk');
INSERT INTO jwt_key (issuer, alg, jwk) VALUES (repeat('x', 1025), 'HS256', :'jwk');
INSERT INTO jwt_key (id, issuer, alg, jwk) VALUES (NULL, 'https://secret.example', 'HS256', :'jwk');
INSERT INTO jwt_key (issuer, alg, jwk) VALUES ('https://secret.example', 'HS256', :'jwk'::jsonb || '{"d":""}');
INSERT INTO jwt_key (issuer, alg, jwk) VALUES ('https://secret.example', 'HS512', :'jwk');
INSERT INTO jwt_key (issuer, alg, jwk) VALUES ('https://nobody.example', 'HS256', :'jwk');
INSERT INTO jwt_key (issuer, alg, jwk) VALUES ('https://secret.example', 'HS256', '{"kty":"oct","k":"dG9wLXNlY3JldA"}');
UPDATE jwt_key SET alg = 'ES256' WHERE issuer = 'https://secret.example';
UPDATE jwt_key SET jwk = jwk || '{"p":""}' WHERE issuer = 'https://secret.example';
COPY jwt_key (issuer, alg, jwk) FROM stdin;
https://secret.example	HS256	{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ","d":""}
\.
COPY jwt_key (issuer, alg, jwk) FROM stdin;
https://secret.example	HS512	{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"}
\.
DO $$
BEGIN
	EXECUTE 'INSERT INTO jwt_key (issuer, alg, jwk) VALUES (NULL, ''HS256'', ''{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"}'')';
END $$;
DO $$
BEGIN
	EXECUTE 'INSERT INTO jwt_key (issuer, alg, jwk) VALUES (''https://secret.example'', ''HS512'', ''{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"}'')';
END $$;

-- Functions, also if another function calls them by a statement with the key in it.
SELECT jwt_add_secret('https://secret.example', 'top-secret', 'HS256');
SELECT jwt_add_key('https://secret.example', :'jwk', 'HS512');
SELECT jwt_add_key('https://secret.example', '{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"', 'HS256');
SELECT jwt_thumbprint(:'jwk'::jsonb || '{"d":""}');
SELECT jwt_jwk('{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ" "x"}');
SELECT jws_verify('x', :'jwk', 'HS512');
SELECT * FROM jwt_import_jwks('https://secret.example', '{"keys":[' || :'jwk' || ']}');
DO $$
BEGIN
	EXECUTE 'SELECT jwt_add_secret(''https://secret.example'', ''top-secret'', ''HS256'')';
END $$;
DO $$
BEGIN
	EXECUTE 'SELECT jwt_add_secret(''https://nobody.example'', ''top-secret'', ''HS256'')';
END $$;
DO $$
BEGIN
	EXECUTE 'SELECT jwt_add_secret(NULL, ''top-secret'', ''HS256'')';
END $$;
DO $$
BEGIN
	EXECUTE 'SELECT jwt_add_key(''https://secret.example'', ''{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"'', ''HS256'')';
END $$;
DO $$
BEGIN
	EXECUTE 'SELECT * FROM jwt_import_jwks(''https://secret.example'', ''{"keys":[{"kty":"oct","k":"dG9wLXNlY3JldC10b3Atc2VjcmV0LXRvcC1zZWNyZXQ"}]}'')';
END $$;
\set SHOW_CONTEXT errors

-- No view shows a secret, nor its thumbprint, by which it could be guessed.
SELECT jwt_add_key('https://secret.example', :'jwk', 'HS256', 'mine') IS NOT NULL AS added;
SELECT count(*) FILTER (WHERE position(:'secret' IN k::text) > 0) AS shown, count(*) FILTER (WHERE position(jwt_thumbprint(:'jwk') IN k::text) > 0) AS thumbprints FROM jwt_key_status k;
SELECT count(*) FILTER (WHERE position(:'secret' IN s::text) > 0) AS shown FROM jwt_status s;
SELECT jwt_jwks('https://secret.example');
SELECT detail FROM jwt_inspect(sign('{}', '{"alg":"HS256","kid":"mine"}'));
-- Its revocation has the thumbprint. Only roles that can read jwt_denylist see it.
BEGIN;
SELECT jwt_revoke_key('https://secret.example', 'mine') IS NOT NULL AS revoked;
SELECT value = jwt_thumbprint(:'jwk') AS thumbprint FROM jwt_denylist WHERE kind = 'key';
ROLLBACK;
DELETE FROM jwt_issuer WHERE issuer = 'https://secret.example';
DELETE FROM jwt_key WHERE issuer = 'https://nobody.example';

--
-- signing: the extension jwt_auth makes keys, and signs tokens with them.
--
SELECT current_setting('jwt_auth.key_file', true) IS NOT NULL AS has_key_file \gset
\if :has_key_file
\else
\echo These tests need the setting jwt_auth.key_file.
\quit
\endif
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION jwt_auth;

-- What an issuer's tokens look like is a row of jwt_token_policy. They are accepted here
-- on the terms of its row of jwt_issuer.
SELECT jwt_sign('{"sub": "alice"}');
SELECT jwt_create_signing_key('https://login.example');
INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://login.example', '{api}');
SELECT jwt_create_signing_key('https://login.example');
SELECT jwt_add_issuer('https://login.example', '{api}', '{ES256, EdDSA}');
SELECT * FROM jwt_token_policy;
SELECT jwt_sign('{"sub": "alice"}');

-- The first key signs at once. Its public half is a row of jwt_key. A kid that is not
-- given is the key's thumbprint.
SELECT jwt_create_signing_key('https://login.example', kid => 'first');
SELECT k.kid, k.alg, k.source, k.jwk = s.jwk AS same_jwk, k.jwk - '{x,y}'::text[] AS jwk, s.activate_at <= now() AS signs
FROM jwt_key k JOIN jwt_signing_key s USING (id) WHERE k.issuer = 'https://login.example';

-- A token is completed by the policy.
SELECT jwt_sign('{"sub": "alice", "role": "writer"}') AS token \gset
SELECT jwt_header(:'token');
SELECT claims - '{iat,nbf,exp,jti}'::text[] AS claims, valid,
	(claims->'exp')::int - (claims->'iat')::int AS lifetime, claims->'nbf' = claims->'iat' AS nbf,
	length(claims->>'jti') AS jti
FROM jwt_inspect(:'token');
SELECT jwt_authenticate(:'token') -> 'sub' AS sub, jwt_claim('role') AS role;

-- The caller can have it live shorter, and narrow its audience.
SELECT (c->'exp')::int - (c->'iat')::int AS lifetime
FROM jwt_verify(jwt_sign('{"sub": "alice"}', lifetime => '1 minute')) c;
SELECT jwt_sign('{"sub": "alice"}', lifetime => '11 minutes');
SELECT jwt_sign('{"sub": "alice"}', lifetime => '0');
UPDATE jwt_token_policy SET audience = '{api, billing, https://example.com/}';
SELECT jwt_verify(jwt_sign('{"sub": "alice"}')) -> 'aud' AS aud;
SELECT jwt_verify(jwt_sign('{"sub": "alice", "aud": ["billing", "api"]}')) -> 'aud' AS aud;
SELECT jwt_sign('{"sub": "alice", "aud": "billing"}');
SELECT jwt_sign('{"sub": "alice", "aud": ["api", "elsewhere"]}');
SELECT jwt_sign('{"sub": "alice", "aud": []}');
SELECT jwt_verify(jwt_sign(jsonb_build_object('sub', 'alice', 'iss', 'https://login.example', 'jti', 'mine',
	'iat', extract(epoch FROM now())::bigint - 60, 'exp', extract(epoch FROM now())::bigint + 60))) ->> 'jti' AS jti;

-- Nothing is signed that jwt_verify() would refuse, or that contradicts the policy.
SELECT jwt_sign('["alice"]');
SELECT jwt_sign('{"role": "writer"}');
SELECT jwt_sign('{"sub": 42}');
SELECT jwt_sign('{"sub": "alice", "iss": "https://idp.example"}');
\set VERBOSITY terse
SELECT jwt_sign('{"sub": "alice", "exp": 1}');
\set VERBOSITY default
SELECT jwt_sign('{"sub": "alice", "exp": "tomorrow"}');
SELECT jwt_sign('{"sub": "alice", "exp": 99999999999}');
SELECT jwt_sign('{"sub": "alice", "exp": 1e300}');
SELECT jwt_sign('{"sub": "alice", "iat": -1e300}');
SELECT jwt_sign('{"sub": "alice", "iat": 99999999999}');
SELECT jwt_sign(jsonb_build_object('sub', 'alice', 'iat', extract(epoch FROM now())::bigint + 20));
SELECT jwt_sign('{"sub": "alice", "nbf": 99999999999}');
SELECT jwt_sign('{"sub": "alice", "nbf": null}');
SELECT jwt_sign('{"sub": "alice", "jti": 1}');
SELECT jwt_sign(jsonb_build_object('sub', repeat('a', 1025)));
SELECT jwt_sign('{"sub": "alice", "events": {}}');
SELECT jwt_sign('{"sub": "alice", "nonce": "n"}');
SELECT jwt_sign('{"sub": "alice", "cnf": {"kid": "k"}}');
SELECT jwt_verify(jwt_sign('{"sub": "alice", "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}'));
SELECT jwt_sign(jsonb_build_object('sub', 'alice', 'more', repeat('a', 9000)));
SELECT jwt_sign(NULL);
UPDATE jwt_issuer SET required_claims = '{exp, role}', token_type = 'JWT' WHERE issuer = 'https://login.example';
SELECT jwt_sign('{"sub": "alice"}');
SELECT jwt_header(jwt_sign('{"sub": "alice", "role": "writer"}'));
UPDATE jwt_issuer SET required_claims = '{exp}', token_type = NULL WHERE issuer = 'https://login.example';
SELECT jwt_revoke_subject('https://login.example', 'alice', 'infinity') AS revoked;
SELECT jwt_sign('{"sub": "alice"}');
SELECT jwt_unrevoke_subject('https://login.example', 'alice');

-- A policy that cannot be used is stored, and says why.
CREATE FUNCTION why(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	problem text;
BEGIN
	EXECUTE 'UPDATE jwt_token_policy SET ' || change;
	PERFORM jwt_sign('{"sub": "alice"}');
	RETURN NULL;
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS problem = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || problem;
END $$;
SELECT change, why(change) FROM unnest(ARRAY[
	'access_lifetime = ''1 day''',
	'access_lifetime = NULL', 'access_lifetime = ''25 hours''', 'access_lifetime = ''0''',
	'access_lifetime = ''-1 hour''', 'access_lifetime = ''178000000 years''', 'access_lifetime = ''500 ms''',
	'audience = NULL', 'audience = ''{}''', 'audience = ''{{api,x}}''', 'audience = ''{api,""}''',
	'audience = ''{api,NULL}''', 'audience = ''{*}''', 'audience = ''{billing}''',
	'grace = ''60 seconds''', 'grace = ''61 seconds''', 'grace = ''-1 second''',
	'idle_lifetime = ''0''', 'session_lifetime = NULL',
	'publish_ahead = ''0''', 'publish_ahead = ''-1 day''',
	'rotate_every = ''1 day''', 'rotate_every = ''2 days''', 'rotate_every = ''1 century''',
	'issuer = ''''']) change;
UPDATE jwt_token_policy SET access_lifetime = DEFAULT, grace = DEFAULT, publish_ahead = DEFAULT, rotate_every = DEFAULT;
SET client_min_messages = error;
UPDATE jwt_issuer SET max_lifetime = '5 minutes' WHERE issuer = 'https://login.example';
SELECT jwt_sign('{"sub": "alice"}');
UPDATE jwt_issuer SET max_lifetime = NULL, audience = '{}' WHERE issuer = 'https://login.example';
SELECT jwt_sign('{"sub": "alice"}');
UPDATE jwt_issuer SET audience = NULL, event_audience = '{api}' WHERE issuer = 'https://login.example';
SELECT jwt_sign('{"sub": "alice"}');
UPDATE jwt_issuer SET audience = '{api}', leeway = '1 day', event_audience = NULL WHERE issuer = 'https://login.example';
SELECT jwt_sign('{"sub": "alice"}');
UPDATE jwt_issuer SET leeway = '30 seconds' WHERE issuer = 'https://login.example';

-- With several issuers, one must be named.
INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://other.example', '{api}');
SELECT jwt_sign('{"sub": "alice"}');
SELECT jwt_sign('{"sub": "alice"}', 'https://nobody.example');
SELECT jwt_verify(jwt_sign('{"sub": "alice"}', 'https://login.example')) ->> 'sub' AS sub;
DELETE FROM jwt_token_policy WHERE issuer = 'https://other.example';

-- A second key stands by. It is published as long as verifiers may cache the key set
-- without it.
SELECT jwt_rotate_signing_key('https://login.example') AS second \gset
SELECT s.kid = 'first' AS is_first, s.activate_at - now() > '23 hours' AS stands_by, s.sealed IS NOT NULL AS has_private, k.not_after
FROM jwt_signing_key s JOIN jwt_key k USING (id) ORDER BY s.activate_at;
SELECT count(*) AS published FROM jsonb_array_elements(jwt_jwks('https://login.example') -> 'keys');
SELECT jwt_header(jwt_sign('{"sub": "alice"}')) ->> 'kid' AS kid;
\set VERBOSITY terse
SELECT jwt_rotate_signing_key('https://login.example');
\set VERBOSITY default

SELECT kid = 'first' AS is_first, alg, state, key_name, has_line, cannot_sign FROM jwt_signing_key_status ORDER BY activate_at;

-- Its time can be changed. As long as it has not come, the key before it has no end.
CREATE FUNCTION verifies_until(at timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	UPDATE jwt_signing_key SET activate_at = at WHERE activate_at = (SELECT max(activate_at) FROM jwt_signing_key);
	PERFORM jwt_rotate_due_signing_keys(), jwt_sign('{"sub": "alice"}');
	RETURN (SELECT not_after FROM jwt_key WHERE kid = 'first');
END $$;
SELECT at, verifies_until(at) FROM unnest('{infinity, 294276-12-31, 3000-01-01}'::timestamptz[]) at;
DROP FUNCTION verifies_until(timestamptz);

-- When its time has come, it signs, and the private half of the other is erased. That one
-- verifies until its last token has expired.
UPDATE jwt_signing_key SET activate_at = now() WHERE kid = :'second';
SELECT jwt_header(jwt_sign('{"sub": "alice"}')) ->> 'kid' = :'second' AS is_second;
SELECT kid = 'first' AS is_first, sealed IS NOT NULL AS has_private FROM jwt_signing_key ORDER BY activate_at;
SELECT jwt_rotate_due_signing_keys();
SELECT kid = 'first' AS is_first, state, key_name, has_line, cannot_sign FROM jwt_signing_key_status ORDER BY activate_at;
SELECT s.kid = 'first' AS is_first, coalesce(s.sealed, s.salt) IS NOT NULL AS has_private, k.not_after - now() BETWEEN '1 day 59 minutes' AND '1 day 60 minutes' AS ends
FROM jwt_signing_key s JOIN jwt_key k USING (id) ORDER BY s.activate_at;
SELECT jwt_verify(:'token') ->> 'sub' AS sub;

-- A revoked key does not sign. The next one signs at once.
SELECT jwt_revoke_key('https://login.example', :'second') <= now() AS revoked;
\set VERBOSITY sqlstate
SELECT jwt_sign('{"sub": "alice"}');
\set VERBOSITY default
SELECT state, cannot_sign FROM jwt_signing_key_status ORDER BY activate_at;
SELECT jwt_rotate_signing_key('https://login.example') AS third \gset
SELECT jwt_header(jwt_sign('{"sub": "alice"}')) ->> 'kid' = :'third' AS is_third;

SELECT state, cannot_sign FROM jwt_signing_key_status ORDER BY activate_at;

-- A public half that was changed never signs.
UPDATE jwt_key SET jwk = (SELECT jwk FROM jwt_key WHERE kid = 'first') WHERE kid = :'third';
\set VERBOSITY sqlstate
SELECT jwt_sign('{"sub": "alice"}');
UPDATE jwt_key SET jwk = s.jwk FROM jwt_signing_key s WHERE s.id = jwt_key.id AND s.kid = :'third';
UPDATE jwt_signing_key SET jwk = (SELECT jwk FROM jwt_signing_key WHERE kid = 'first') WHERE kid = :'third';
SELECT jwt_sign('{"sub": "alice"}');
\set VERBOSITY default
SELECT state, cannot_sign FROM jwt_signing_key_status ORDER BY activate_at;
UPDATE jwt_signing_key SET jwk = k.jwk FROM jwt_key k WHERE k.id = jwt_signing_key.id AND k.kid = :'third';
SELECT jwt_verify(jwt_sign('{"sub": "alice"}')) ->> 'sub' AS sub;

-- Keys that cannot be.
SELECT jwt_create_signing_key('https://login.example', 'HS256');
SELECT jwt_create_signing_key('https://login.example', 'RS256');
SELECT jwt_create_signing_key('https://login.example', 'none');
SELECT jwt_create_signing_key('https://login.example', kid => 'first');
SELECT jwt_create_signing_key('https://login.example', kid => '');
SELECT jwt_create_signing_key('https://login.example', kid => repeat('k', 1025));
SELECT jwt_create_signing_key('https://login.example', activate_at => 'infinity');
SELECT jwt_create_signing_key(NULL);
SELECT jwt_create_signing_key('https://login.example', NULL);
SELECT jwt_rotate_signing_key('https://nobody.example');
BEGIN READ ONLY;
SELECT jwt_create_signing_key('https://login.example');
ROLLBACK;

-- An existing key is imported from PEM or from a private JWK (RFC 8037, appendix A). Here
-- it is a literal; an application passes it as a parameter.
SELECT jwt_import_signing_key('https://login.example',
	'{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
	kid => 'imported', activate_at => now());
SELECT jwt_header(token), jwt_verify(token) ->> 'sub' AS sub FROM jwt_sign('{"sub": "alice"}') token;
SELECT jwt_import_signing_key('https://login.example', '{"kty":"oct","k":"c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIEhTMjU2"}', 'HS256');
SELECT jwt_import_signing_key('https://login.example', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
SELECT jwt_import_signing_key('https://login.example', 'no key');
SELECT jwt_import_signing_key('https://login.example', NULL);

-- Only the owner of the database can do that. EXECUTE on jwt_sign() is for the function
-- that checks the password.
CREATE ROLE jwt_login_role;
SET ROLE jwt_login_role;
SELECT jwt_sign('{"sub": "alice"}');
SELECT jwt_create_signing_key('https://login.example');
SELECT jwt_import_signing_key('https://login.example', 'x');
SELECT jwt_rotate_signing_key('https://login.example');
SELECT jwt_rotate_due_signing_keys();
SELECT sealed FROM jwt_signing_key;
SELECT * FROM jwt_signing_key_status;
SELECT * FROM jwt_signing_key_status_rows();
RESET ROLE;
GRANT EXECUTE ON FUNCTION jwt_sign TO jwt_login_role;
SET ROLE jwt_login_role;
SELECT jwt_verify(jwt_sign('{"sub": "alice"}')) ->> 'sub' AS sub;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jwt_sign FROM jwt_login_role;
DROP ROLE jwt_login_role;

SELECT jwt_unrevoke_key(thumbprint) FROM jwt_key_status WHERE kid = :'second';
DROP FUNCTION why;
DROP EXTENSION jwt_auth;
DELETE FROM jwt_issuer WHERE issuer = 'https://login.example';

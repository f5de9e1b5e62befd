-- The steps of the README. test/demo sets the tokens and the public keys.
\pset pager off
-- An issuer, its audience and its algorithms.
CREATE EXTENSION jwt;
SELECT jwt_add_issuer('https://idp.example', '{api}', '{RS256,ES256,EdDSA}');

-- Its public keys, as PEM. The database never has the private keys.
SELECT jwt_add_key('https://idp.example', :'rsa_key', 'RS256', 'rsa-1');
SELECT jwt_add_key('https://idp.example', :'ec_key', 'ES256', 'ec-1');
SELECT jwt_add_key('https://idp.example', :'ed_key', 'EdDSA', 'ed-1');
-- Check the status.
SELECT issuer, ok, usable_keys, problems FROM jwt_status;
SELECT bool_and(ok) AS all_well FROM jwt_status \gset

-- Tokens that OpenSSL has signed: RS256, ES256, EdDSA.
SELECT jwt_verify(:'alice');
SELECT jwt_verify(:'bob');
SELECT jwt_verify(:'carol');

-- A table whose rows belong to the subjects of tokens.
CREATE TABLE note (owner text NOT NULL, body text);
INSERT INTO note VALUES ('alice', 'what alice wrote'), ('alice', 'and more'), ('bob', 'what bob wrote');
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON note USING (owner = jwt_subject());
CREATE ROLE app;
GRANT SELECT ON note TO app;
SET ROLE app;

-- Alice.
BEGIN;
SELECT jwt_authenticate(:'alice') ->> 'sub' AS authenticated;
SELECT * FROM note;
SELECT count(*) = 2 AND bool_and(owner = 'alice') AS as_alice FROM note \gset
COMMIT;
-- Bob selects all rows.
BEGIN;
SELECT jwt_authenticate(:'bob') ->> 'sub' AS authenticated;
SELECT * FROM note WHERE true OR owner = 'alice';
SELECT count(*) = 1 AND bool_and(owner = 'bob') AS as_bob FROM note \gset
COMMIT;
-- No token.
SELECT * FROM note;
SELECT count(*) = 0 AS as_nobody FROM note \gset

-- Attacks. A changed payload:
SELECT jwt_verify(:'tampered');
SELECT :'SQLSTATE' = '28J04' AS tampered_refused \gset
-- An expired token:
SELECT jwt_verify(:'expired');
SELECT :'SQLSTATE' = '28J05' AS expired_refused \gset
-- "alg": "none":
SELECT jwt_verify(:'none');
SELECT :'SQLSTATE' = '28J02' AS none_refused \gset
-- A token for another service:
SELECT jwt_verify(:'elsewhere');
SELECT :'SQLSTATE' = '28J08' AS elsewhere_refused \gset
-- The same with the policy: every user may set the token, and gains nothing.
BEGIN;
SET LOCAL jwt.token = :'tampered';
SELECT * FROM note;
\set policy_sqlstate :SQLSTATE
ROLLBACK;

-- Bob's laptop is stolen: the next statement of every session refuses his tokens.
RESET ROLE;
SELECT jwt_verify(:'bob') ->> 'sub' = 'bob' AS bob_verified \gset
SELECT jwt_revoke_subject('https://idp.example', 'bob', reason => 'stolen laptop');
SELECT jwt_verify(:'bob');
SELECT :'SQLSTATE' = '28J11' AS bob_refused \gset

-- Your own logins: the extension jwt_auth signs. Its private keys are sealed under a key
-- file, so that no dump and no SQL user can read them.
CREATE EXTENSION jwt_auth;
SELECT jwt_add_issuer('https://app.example', '{api}', '{ES256}');
INSERT INTO jwt_token_policy (issuer, audience, grace) VALUES ('https://app.example', '{api}', '0');
SELECT jwt_create_signing_key('https://app.example') IS NOT NULL AS created;

-- Dora logs in: a short-lived access token, and a refresh token that is good once.
SELECT jwt_start_session('https://app.example', 'dora', '{"role": "member"}') AS tokens \gset
SELECT jwt_verify(:'tokens'::jsonb ->> 'access_token');
SELECT :'tokens'::jsonb ->> 'refresh_token' AS stolen \gset
SELECT jwt_refresh(:'stolen') AS tokens \gset
SELECT :'tokens'::jsonb ->> 'token_type' AS refreshed, :'tokens'::jsonb ->> 'expires_in' AS seconds;

-- A thief redeems the copy of the first refresh token: the session ends for both.
SELECT jwt_refresh(:'stolen');
SELECT jwt_refresh(:'tokens'::jsonb ->> 'refresh_token') ->> 'error' = 'invalid_grant' AS theft_seen \gset
SELECT jwt_verify(:'tokens'::jsonb ->> 'access_token');
SELECT :'SQLSTATE' = '28J11' AS thief_refused \gset

-- She logs in on two devices, and signs out everywhere.
SELECT jwt_start_session('https://app.example', 'dora') AS phone, jwt_start_session('https://app.example', 'dora') AS laptop \gset
SELECT jwt_end_sessions('https://app.example', 'dora');
SELECT jwt_try_verify(:'phone'::jsonb ->> 'access_token') IS NULL AND jwt_try_verify(:'laptop'::jsonb ->> 'access_token') IS NULL AND
	jwt_refresh(:'laptop'::jsonb ->> 'refresh_token') ? 'error' AS out_everywhere \gset

\set ECHO none
SELECT :'theft_seen' = 't' AND :'thief_refused' = 't' AND :'out_everywhere' = 't' AS good_auth \gset
SELECT :'as_alice' = 't' AND :'as_bob' = 't' AND :'as_nobody' = 't' AND :'tampered_refused' = 't' AND
	:'expired_refused' = 't' AND :'none_refused' = 't' AND :'elsewhere_refused' = 't' AND
	:'policy_sqlstate' = '28J04' AND jwt_verify(:'alice') ->> 'sub' = 'alice' AND
	:'all_well' = 't' AND :'bob_verified' = 't' AND :'bob_refused' = 't' AND jwt_verify(:'carol') ->> 'sub' = 'carol' AND :'good_auth' = 't' AS good \gset
\if :good
\echo 'demo: all as it should be'
\endif

-- The databases of the bench. fixture.py runs this file with psql, and sets the
-- variables keys, private_keys, tokens and key_sets. It has all statements that write
-- to tables of the extensions.

-- Database "plain": an issuer, one key of each algorithm, no revocation.
CREATE DATABASE plain;
\c plain
CREATE EXTENSION jwt;
CREATE EXTENSION jwt_test;
INSERT INTO jwt_issuer (issuer, audience, algorithms)
SELECT 'https://idp.example', '{api}', array_agg(alg) FROM jsonb_object_keys(:'keys') AS k (alg);
SELECT count(jwt_add_key('https://idp.example', jwk::text, alg, alg)) FROM jsonb_each(:'keys') AS k (alg, jwk);

CREATE TABLE token AS SELECT value AS token FROM jsonb_array_elements_text(:'tokens');

-- 2,000 and 22,000 rows for scans; a tenth of them belong to Alice. Each measure sets
-- the policy.
CREATE ROLE client;
CREATE TABLE doc_2000 AS
SELECT i AS id, CASE WHEN i % 10 = 0 THEN 'alice' ELSE 'user' || i % 1000 END AS owner, repeat('x', 40) AS body
FROM generate_series(1, 2000) i;
CREATE TABLE doc_22000 AS
SELECT i AS id, CASE WHEN i % 10 = 0 THEN 'alice' ELSE 'user' || i % 1000 END AS owner, repeat('x', 40) AS body
FROM generate_series(1, 22000) i;

-- One row with a policy that reads verified claims, and one with a policy that parses a
-- client's setting.
CREATE TABLE verified AS SELECT i AS id, 'alice'::text AS owner, 'x'::text AS body FROM generate_series(1, 10000) i;
CREATE TABLE unverified AS TABLE verified;
ALTER TABLE verified ADD PRIMARY KEY (id);
ALTER TABLE unverified ADD PRIMARY KEY (id);
CREATE POLICY own ON doc_2000 USING (true);
CREATE POLICY own ON doc_22000 USING (true);
CREATE POLICY own ON verified USING (owner = jwt_subject());
CREATE POLICY own ON unverified USING (owner = current_setting('request.jwt.claims', true)::jsonb ->> 'sub');
ALTER TABLE doc_2000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE doc_22000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE verified ENABLE ROW LEVEL SECURITY;
ALTER TABLE unverified ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON doc_2000, doc_22000, verified, unverified TO client;

-- JWK Sets of each size, and an issuer for their import.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://big.example', '{api}', '{RS256,ES256}');
CREATE TABLE key_set AS
SELECT kind, size::int, jwk_set FROM jsonb_each(:'key_sets') AS k (kind, sizes), jsonb_each(sizes) AS s (size, jwk_set);

-- Database "issuing": an issuer for each algorithm, which signs.
CREATE DATABASE issuing;
\c issuing
CREATE EXTENSION jwt_auth CASCADE;
INSERT INTO jwt_issuer (issuer, audience, algorithms)
SELECT 'https://' || alg, '{api}', ARRAY[alg] FROM jsonb_object_keys(:'private_keys') AS k (alg);
INSERT INTO jwt_token_policy (issuer, audience, grace) SELECT issuer, audience, '0' FROM jwt_issuer;
INSERT INTO jwt_session (sid, issuer, sub, counter) VALUES ('00000000-0000-4000-8000-000000000000', 'https://ES256', 'bench', 0);
SELECT count(jwt_import_signing_key('https://' || alg, pem, alg)) FROM jsonb_each_text(:'private_keys') AS k (alg, pem);
VACUUM (FREEZE, ANALYZE);

-- Database "issuing_many": the same, and 1,000,000 live sessions.
\c postgres
CREATE DATABASE issuing_many TEMPLATE issuing;
\c issuing_many
INSERT INTO jwt_session (sid, issuer, sub, claims, started_at, expires_at, rotated_at, counter, repeats, seed)
SELECT gen_random_uuid(), 'https://ES256', 'user' || i, '{}', now(), now() + interval '30 days', now(), 0, 0, sha256(i::text::bytea)
FROM generate_series(1, 1000000) i;
VACUUM (FREEZE, ANALYZE);

-- Database "revoked": the same as "plain" and 1,000,000 revocations of the issuer, by jti.
CREATE DATABASE revoked TEMPLATE plain;
\c revoked
INSERT INTO jwt_denylist (issuer, kind, value, expires_at)
SELECT 'https://idp.example', 'jti', 'revoked' || i, 'infinity' FROM generate_series(1, 1000000) i;
VACUUM (FREEZE, ANALYZE);

-- Database "revoked_all": 1,000,000 revocations by session, and some of every other kind.
\c postgres
CREATE DATABASE revoked_all TEMPLATE plain;
\c revoked_all
INSERT INTO jwt_denylist (issuer, kind, value, expires_at)
SELECT 'https://idp.example', 'sid', 'revoked' || i, 'infinity' FROM generate_series(1, 1000000) i;
INSERT INTO jwt_denylist (issuer, kind, value, issued_before)
SELECT 'https://idp.example', kind, 'revoked' || i, '2020-01-01' FROM generate_series(1, 1000) i, unnest('{sub,jti,key}'::text[]) kind;
INSERT INTO jwt_denylist (issuer, kind, issued_before) VALUES ('https://idp.example', 'iss', '2020-01-01');
VACUUM (FREEZE, ANALYZE);

-- Database "revoked_others": only another issuer has revocations.
\c postgres
CREATE DATABASE revoked_others TEMPLATE plain;
\c revoked_others
INSERT INTO jwt_denylist (issuer, kind, value, issued_before)
SELECT 'https://other.example', kind, 'revoked' || i, '2020-01-01' FROM generate_series(1, 1000) i, unnest('{sub,sid,jti}'::text[]) kind;
VACUUM (FREEZE, ANALYZE);

-- Database "many_keys": the same and 10,000 keys of 1,000 issuers.
\c postgres
CREATE DATABASE many_keys TEMPLATE plain;
\c many_keys
INSERT INTO jwt_issuer (issuer, audience, algorithms)
SELECT 'https://issuer' || i, '{api}', '{EdDSA}' FROM generate_series(1, 1000) i;
INSERT INTO jwt_key (issuer, kid, alg, jwk)
SELECT 'https://issuer' || i % 1000 + 1, 'kid' || i, 'EdDSA', jwk FROM generate_series(1, 10000) i, jsonb_each(:'keys') AS k (alg, jwk)
WHERE alg = 'EdDSA';
VACUUM (FREEZE, ANALYZE);

VACUUM (FREEZE, ANALYZE);
\c plain
VACUUM (FREEZE, ANALYZE);

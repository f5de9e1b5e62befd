--
-- issuer: the policies of issuers
--
-- jwt_add_issuer raises an error for a policy that is not acceptable.
CREATE FUNCTION try_issuer(changes jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT refusal(format('SELECT jwt_add_issuer(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)', i.issuer, i.audience, i.algorithms, i.required_claims,
		i.token_type, i.leeway, i.max_lifetime, i.max_age, i.role_claim, i.roles, i.session_claim, i.session_lifetime,
		i.accept_id_tokens, i.event_audience, i.event_without_exp, i.events_for, i.event_opaque_is_sub, i.confirmation))
	FROM jsonb_populate_record(NULL::jwt_issuer, '{"issuer":"https://try.example","audience":["api"],"algorithms":["HS256"],"required_claims":["exp"],
		"leeway":"30 seconds","roles":[],"session_claim":"sid","session_lifetime":"400 days",
		"accept_id_tokens":false,"event_without_exp":false,"events_for":[],"event_opaque_is_sub":false,"confirmation":"required"}'::jsonb || changes) i);
BEGIN;
SELECT try_issuer('{}');
SELECT try_issuer('{}') AS again;
ROLLBACK;
SELECT try_issuer(jsonb_build_object('issuer', NULL)), try_issuer(jsonb_build_object('issuer', repeat('x', 1025)));

-- Each error names the column, the reason and what is accepted.
CREATE TABLE bad_terms (n serial, changes jsonb);
INSERT INTO bad_terms (changes) VALUES
	('{"audience":null}'), ('{"algorithms":null}'), ('{"required_claims":null}'), ('{"leeway":null}'), ('{"roles":null}'), ('{"session_claim":null}'), ('{"session_lifetime":null}'),
	('{"audience":["a",null]}'), ('{"audience":["a","a"]}'), ('{"audience":[""]}'), ('{"audience":["*","api"]}'), ('{"audience":[["a"],["b"]]}'),
	('{"algorithms":[]}'), ('{"algorithms":["none"]}'), ('{"algorithms":["hs256"]}'), ('{"algorithms":["HS256","HS256"]}'), ('{"algorithms":[null]}'),
	('{"required_claims":[null]}'), ('{"required_claims":["exp","exp"]}'),
	('{"token_type":""}'), ('{"token_type":"at jwt"}'),
	('{"leeway":"-1 second"}'), ('{"leeway":"5 minutes 1 microsecond"}'), ('{"leeway":"1 month"}'), ('{"leeway":"178000000 years"}'),
	('{"role_claim":""}'), ('{"roles":["none"]}'), ('{"roles":["a","a"]}'),
	('{"max_lifetime":"0"}'), ('{"max_lifetime":"-1 day"}'), ('{"max_age":"0"}'), ('{"session_claim":""}'), ('{"session_lifetime":"0"}'),
	('{"token_type":"application/Logout+JWT"}'), ('{"token_type":"secevent+jwt"}'), ('{"accept_id_tokens":null}'),
	('{"event_audience":[]}'), ('{"event_audience":["*"]}'), ('{"event_audience":["client",null]}'), ('{"event_audience":["client","client"]}'),
	('{"event_without_exp":null}'), ('{"events_for":null}'), ('{"events_for":[""]}'), ('{"event_opaque_is_sub":null}'), ('{"confirmation":null}'), ('{"confirmation":"Gateway"}');
SELECT changes, try_issuer(changes) FROM bad_terms ORDER BY n;

-- INSERT stores the same policies, so that a restore or a replica loses nothing. An
-- ordinary session gets one warning for each statement.
INSERT INTO jwt_issuer
SELECT i.* FROM bad_terms, jsonb_populate_record(NULL::jwt_issuer, '{"audience":["api"],"algorithms":["HS256"],"required_claims":["exp"],
	"leeway":"30 seconds","roles":[],"session_claim":"sid","session_lifetime":"400 days",
		"accept_id_tokens":false,"event_without_exp":false,"events_for":[],"event_opaque_is_sub":false,"confirmation":"required"}'::jsonb || changes || jsonb_build_object('issuer', 'https://try' || n)) i;
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://try0', '{api}', '{HS256}');
INSERT INTO jwt_key (issuer, kid, alg, jwk)
SELECT issuer, issuer, 'HS256', jsonb_build_object('kty', 'oct', 'k', b64url(secret())) FROM jwt_issuer WHERE issuer LIKE 'https://try%';
-- Their keys verify nothing. jwt_status has the same reason as the function's error.
CREATE FUNCTION try_token(issuer text) RETURNS text LANGUAGE sql STABLE
RETURN coalesce((jwt_inspect(sign(jsonb_build_object('iss', issuer, 'aud', 'api', 'exp', 4102444800)::text, jsonb_build_object('alg', 'HS256', 'kid', issuer)::text))).sqlstate, 'valid');
SELECT s.ok, try_token(s.issuer) AS token, s.usable_keys, count(*), bool_and(array_to_string(s.problems, '|') =
	'Its policy cannot be used. ' || regexp_replace(try_issuer(b.changes), '^.*acceptable: ', '')) AS in_the_same_words
FROM jwt_status s LEFT JOIN bad_terms b ON s.issuer = 'https://try' || b.n WHERE s.issuer LIKE 'https://try%' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT issuer, ok, problems FROM jwt_status WHERE issuer IN ('https://try0', 'https://try1') ORDER BY issuer;
SELECT left(detail, 100) AS detail FROM jwt_inspect(sign('{}', '{"alg":"HS256","kid":"https://try1"}'));
-- With an acceptable policy the keys verify again.
UPDATE jwt_issuer SET audience = '{api}' WHERE issuer = 'https://try1';
SELECT ok, try_token(issuer) AS token FROM jwt_status WHERE issuer = 'https://try1';
-- UPDATE warns, too. A replica gets no warning.
UPDATE jwt_issuer SET leeway = '6 minutes' WHERE issuer = 'https://try0';
SET session_replication_role = replica;
UPDATE jwt_issuer SET leeway = '7 minutes' WHERE issuer = 'https://try0';
RESET session_replication_role;
SELECT issuer, ok, problems FROM jwt_status WHERE issuer = 'https://try0';
DELETE FROM jwt_issuer WHERE issuer LIKE 'https://try%';

-- A row is refused only if its name is null or too long. The error has the names of
-- table and column as fields.
SELECT refusal($$INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES (NULL, '{api}', '{HS256}')$$);
SELECT refusal($$INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES (repeat('x', 1025), '{api}', '{HS256}')$$);
DO $$
DECLARE
	table_name text;
	column_name text;
BEGIN
	UPDATE jwt_issuer SET issuer = NULL;
EXCEPTION WHEN not_null_violation THEN
	GET STACKED DIAGNOSTICS table_name = TABLE_NAME, column_name = COLUMN_NAME;
	RAISE NOTICE '%.%', table_name, column_name;
END $$;
SET session_replication_role = replica;
SELECT refusal($$UPDATE jwt_issuer SET issuer = repeat('x', 1025)$$);
RESET session_replication_role;

-- Limits that are accepted.
BEGIN;
SELECT try_issuer('{"issuer":"","audience":[],"algorithms":["EdDSA","ML-DSA-44"],"required_claims":[],"token_type":"application/at+jwt","leeway":"5 minutes",
	"max_lifetime":"1 microsecond","max_age":"100 years","role_claim":"role","roles":["clerk"],"session_claim":"session_id","session_lifetime":"1 microsecond"}');
SELECT try_issuer(jsonb_build_object('issuer', repeat('x', 1024), 'audience', '["*"]'::jsonb, 'leeway', '0'));
ROLLBACK;

-- The purpose of tokens: audience is for access tokens, event_audience for events.
-- Null means that there are none. An audience in both gives a warning.
BEGIN;
SELECT try_issuer('{"issuer":"https://events.example","audience":null,"event_audience":["client"],"event_without_exp":true,"events_for":["https://idp.example"],
	"event_opaque_is_sub":true,"confirmation":"gateway"}');
SELECT try_issuer('{"issuer":"","event_audience":["client"]}') AS nameless;
SELECT jwt_add_secret('https://events.example', secret(), 'HS256', 'h1') IS NOT NULL AS added;
SELECT issuer, ok, problems FROM jwt_status WHERE issuer = 'https://events.example';
SELECT sqlstate, detail FROM jwt_inspect(sign('{"iss":"https://events.example","aud":"client","exp":4102444800}'));
UPDATE jwt_issuer SET audience = '{api,client}' WHERE issuer = 'https://events.example';
SELECT ok, problems FROM jwt_status WHERE issuer = 'https://events.example';
UPDATE jwt_issuer SET audience = '{*}' WHERE issuer = 'https://events.example';
SELECT ok, problems FROM jwt_status WHERE issuer = 'https://events.example';
ROLLBACK;

-- Deleting an issuer deletes its keys and its source, and keeps its revocations. They
-- are valid for a later issuer of this name.
BEGIN;
INSERT INTO jwt_jwks_source (issuer) VALUES ('https://idp.example');
SELECT jwt_revoke_id('https://idp.example', 'stolen', 'infinity');
CREATE VIEW belongings AS SELECT t.issuer, k.keys, s.sources, d.revocations FROM (VALUES ('https://idp.example'), ('https://renamed.example')) t (issuer),
	LATERAL (SELECT count(*) FROM jwt_key k WHERE k.issuer = t.issuer) k (keys),
	LATERAL (SELECT count(*) FROM jwt_jwks_source s WHERE s.issuer = t.issuer) s (sources),
	LATERAL (SELECT count(*) FROM jwt_denylist d WHERE d.issuer = t.issuer) d (revocations);
SELECT * FROM belongings;
SAVEPOINT s;
DELETE FROM jwt_issuer WHERE issuer = 'https://idp.example';
SELECT * FROM belongings;
SELECT sqlstate, detail FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
ROLLBACK TO s;
TRUNCATE jwt_issuer;
SELECT * FROM belongings;
SELECT (SELECT count(*) FROM jwt_key) AS all_keys, (SELECT count(*) FROM jwt_jwks_source) AS all_sources;
SELECT sqlstate, detail FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
ROLLBACK TO s;
-- Renaming an issuer keeps its keys and its source: tokens must have the new name.
UPDATE jwt_issuer SET issuer = 'https://renamed.example' WHERE issuer = 'https://idp.example';
SELECT * FROM belongings;
SELECT sqlstate, detail FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
-- An UPDATE to the same name changes nothing.
UPDATE jwt_issuer SET issuer = issuer;
SELECT * FROM belongings;
ROLLBACK;
SELECT valid FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());

-- The number of locks does not depend on the number of issuers in a statement.
BEGIN;
INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://issuer' || i, '{api}', '{RS256}' FROM generate_series(1, 1000) i;
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object';
ROLLBACK;
DROP TABLE bad_terms;
DROP FUNCTION try_issuer, try_token;

--
-- jwks: import and export of JWK Sets, and the states of keys
--
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{RS256,ES256,ES384,EdDSA}');
CREATE FUNCTION member(name text, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
RETURN fixture('key', name)::jsonb || jsonb_build_object('kid', name) || changes;
CREATE FUNCTION key_set(VARIADIC members jsonb[]) RETURNS text LANGUAGE sql
RETURN jsonb_build_object('keys', to_jsonb(members));
-- The SQLSTATE for a token of another issuer, signed by a key of the set: 28J07 if the
-- key verifies, 28J03 if it does not, 28J11 if it is revoked.
CREATE FUNCTION key_verdict(kid text) RETURNS text LANGUAGE sql
RETURN (jwt_inspect(fixture('token', kid), issuer => 'https://set.example')).sqlstate;
CREATE VIEW set_key AS
SELECT kid, alg, state, verifies, source, not_after > now() AS ends_later, retired_at IS NOT NULL AS retired
FROM jwt_key_status WHERE issuer = 'https://set.example' ORDER BY kid;

-- The import adds the keys of a set. A member that cannot be a key of the issuer is
-- skipped with the reason, and the others are added.
SELECT * FROM jwt_import_jwks('https://set.example', key_set(
	member('RS256', '{"use":"sig","alg":"RS256"}'),
	member('ES256'),
	member('Ed25519', '{"alg":"EdDSA"}'),
	member('ES384', '{"use":"enc"}'),
	member('ES512'),
	member('RS256', '{"kid":"for PS256","alg":"PS256"}'),
	member('RS256', '{"kid":"labelled wrongly","alg":"HS256"}'),
	member('RS256', '{"kid":"private","d":"AQAB"}'),
	member('RS256', '{"kid":"weak","n":"AQAB"}'),
	member('RS256', '{"kid":12}'),
	member('ES256'),
	'{"kty":"oct","kid":"secret","k":"c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIEhTMjU2","alg":"HS256"}',
	'{"kty":"new"}', '{}', '"x"', '[]', 'null', '12'));
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;

-- A secret in a JWK Set is public, so it is skipped, also if the issuer allows HS256.
UPDATE jwt_issuer SET algorithms = algorithms || '{HS256}' WHERE issuer = 'https://set.example';
SELECT kid, alg, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256', '{"alg":"RS256"}'), member('ES256'), member('Ed25519', '{"alg":"EdDSA"}'),
	'{"kty":"oct","kid":"secret","k":"c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIEhTMjU2","alg":"HS256"}'));
UPDATE jwt_issuer SET algorithms = '{RS256,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';

-- A key without alg gets the only algorithm of the issuer that fits it. An existing
-- row keeps its algorithm.
UPDATE jwt_issuer SET algorithms = '{RS256,RS512,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';
SELECT kid, alg, action, reason FROM jwt_import_jwks('https://set.example', key_set(
	member('RS256'), member('RS256', '{"kid":"says nothing"}'), member('RS256', '{"kid":"says","alg":"RS512"}'), member('ES256'), member('Ed25519')));
UPDATE jwt_issuer SET algorithms = '{RS256,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';

-- A document that is no JWK Set, or has no usable key, changes nothing.
CREATE TABLE before_all AS SELECT * FROM jwt_key;
SELECT left(document, 40) AS document, refusal(format('SELECT * FROM jwt_import_jwks(%L, %L)', 'https://set.example', document)) FROM (VALUES
	('{"keys":[]}'), ('{}'), ('[]'), ('null'), ('"keys"'), ('{"keys":{}}'), ('{"keys":"x"}'), ('{"keys":null}'), ('{"error":"oops"}'),
	('{"keys":[{}]}'), ('{"keys":[{"kty":"RSA","use":"enc"},{"kty":"EC"}]}'), ('{"keys":['), (''),
	('{"keys":[],"keys":' || key_set(member('RS256')) || '}'), ('{"keys":[{"kty":"EC","kty":"RSA"}]}'), (key_set(member('RS256')) || 'x'),
	(jsonb_build_object('keys', (SELECT jsonb_agg(i) FROM generate_series(1, 5001) i))::text),
	(NULL)) t (document);
SELECT refusal($$SELECT * FROM jwt_import_jwks('https://nobody.example', key_set(member('RS256')))$$);
SELECT refusal($$SELECT * FROM jwt_import_jwks(NULL, key_set(member('RS256')))$$);
(TABLE before_all EXCEPT TABLE jwt_key) UNION ALL (TABLE jwt_key EXCEPT TABLE before_all);

-- The same set again changes nothing and invalidates no cache.
SELECT count(*) FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256'), member('Ed25519')));
CREATE TABLE before_again AS SELECT xmin::text AS version, id FROM jwt_key;
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256'), member('Ed25519')));
SELECT count(*) FROM jwt_key k JOIN before_again b USING (id) WHERE k.xmin::text <> b.version;

-- Rotation: a new key is added, and a key that is absent stops verifying at once.
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('ES256'), member('ES384'), member('Ed25519')));
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;

-- It stops after the source's grace interval, or after that of the call.
INSERT INTO jwt_jwks_source (issuer, uri, grace) VALUES ('https://set.example', 'https://set.example/jwks.json', '1 hour');
BEGIN;
SELECT kid, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('ES384')));
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;
-- A key that is in the set again is current again.
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('ES256'), member('RS256')), grace => '0');
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;
COMMIT;
-- A kid that names another key now: the old key stops verifying.
SELECT kid, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519', '{"kid":"RS256"}'), member('ES256')));
SELECT kid, alg, key_verdict(kid) FROM set_key WHERE kid = 'RS256';
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256')));
SELECT kid, alg, key_verdict(kid) FROM set_key WHERE kid = 'RS256';

-- Keys without kid are compared by their content.
SELECT kid, alg, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(fixture('key', 'ES256')::jsonb, fixture('key', 'ES256')::jsonb, fixture('key', 'ES384')::jsonb));
SELECT kid, alg, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(fixture('key', 'ES256')::jsonb));

-- The import does not change keys that were added by hand, nor windows that were set
-- by hand.
SELECT jwt_add_key('https://set.example', fixture('key', 'Ed448'), 'EdDSA', 'by hand') IS NOT NULL AS added;
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('ES256')));
UPDATE jwt_key SET not_after = now() + '1 day' WHERE kid = 'ES256' AND issuer = 'https://set.example';
SELECT kid, action, left(reason, 42) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('ES384', '{"kid":"by hand"}'), member('ES384'), member('ES256')));
SELECT kid, alg, state, verifies, source, ends_later FROM set_key WHERE kid IN ('by hand', 'ES256');

-- A standby key that leaves the set before its window opens has no grace.
UPDATE jwt_key SET not_before = now() + '1 day' WHERE kid = 'ES384' AND issuer = 'https://set.example';
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';

-- When it is in the set again, it has its old window. So has a key with a past window.
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES384')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
UPDATE jwt_key SET not_before = NULL, not_after = now() - interval '1 day' WHERE kid = 'ES384' AND issuer = 'https://set.example';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES384')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));

-- A revoked key stays revoked when a set has it, also with another kid, and for each
-- issuer.
SELECT jwt_revoke_key('https://set.example', 'RS256') = now() AS revoked;
SELECT key_verdict('RS256');
SELECT sqlstate FROM jwt_inspect(fixture('token', 'RS256'), issuer => 'https://idp.example', at => half_past());
SELECT kid, action, left(reason, 50) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('RS256', '{"kid":"again"}'), member('Ed25519')));
SELECT kid, state, verifies, retired FROM set_key WHERE kid IN ('RS256', 'again');
-- Another key can have its kid.
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('ES256', '{"kid":"RS256"}'), member('Ed25519')));
SELECT kid, action, left(reason, 43) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('Ed25519')));
SELECT kid, alg, state, verifies FROM set_key WHERE kid = 'RS256';
-- A set with only revoked keys retires no key.
SELECT kid, action, left(reason, 50) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';
-- To revoke a key that does not exist is an error.
SELECT refusal($$SELECT jwt_revoke_key('https://set.example', 'nobody')$$);
SELECT refusal($$SELECT jwt_revoke_key('https://nobody.example', 'RS256')$$);
SELECT refusal($$SELECT jwt_revoke_key('https://idp.example', NULL)$$);
-- The kid NULL revokes the keys without kid.
BEGIN;
SELECT jwt_revoke_key('https://set.example', NULL) = now() AS revoked;
SELECT kid, state FROM set_key WHERE kid IS NULL;
ROLLBACK;

-- Two concurrent imports can add the same key twice. The next import keeps the older
-- row.
INSERT INTO jwt_key (issuer, kid, alg, jwk, source, created_at) SELECT issuer, kid, alg, jwk, source, created_at + '1 s' FROM jwt_key WHERE issuer = 'https://set.example' AND kid = 'Ed25519';
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';

-- The import deletes keys that were retired long ago, and keeps their revocations.
UPDATE jwt_key SET retired_at = now() - interval '91 days', not_before = NULL, not_after = now() - interval '91 days'
WHERE issuer = 'https://set.example' AND source = 'jwks' AND kid IN ('ES256', 'ES384', 'RS256');
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519')));
SELECT kid, state FROM set_key;
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519'), member('RS256')));
SELECT jwt_unrevoke_key(jwt_thumbprint(fixture('key', 'RS256')::jsonb)) AS was;
SELECT valid FROM jwt_inspect(fixture('token', 'RS256'), issuer => 'https://idp.example', at => half_past());

-- Export: the public keys as a JWK Set, with standby keys, without secrets and without
-- keys whose window is closed.
UPDATE jwt_issuer SET algorithms = algorithms || '{HS256}' WHERE issuer = 'https://set.example';
SELECT jwt_add_secret('https://set.example', secret(), 'HS256', 'never shown') IS NOT NULL AS added;
SELECT kid, alg, member ->> 'kty' AS kty, member ->> 'use' AS use, (SELECT string_agg(m, ' ' ORDER BY m) FROM jsonb_object_keys(member) m) AS members
FROM (SELECT jsonb_array_elements(jwt_jwks('https://idp.example') -> 'keys')) m (member), LATERAL (SELECT member ->> 'kid', member ->> 'alg') k (kid, alg)
ORDER BY kid;
SELECT jsonb_agg(m ->> 'kid') FROM jsonb_array_elements(jwt_jwks('https://set.example') -> 'keys') m;
UPDATE jwt_key SET not_before = now() + '1 day' WHERE issuer = 'https://set.example' AND kid = 'Ed25519';
SELECT jsonb_agg(m ->> 'kid' ORDER BY m ->> 'kid') FROM jsonb_array_elements(jwt_jwks('https://set.example') -> 'keys') m;
SELECT jwt_jwks('https://nobody.example') IS NULL AS nobody;
DELETE FROM jwt_key WHERE issuer = 'https://set.example' AND kid IS DISTINCT FROM 'never shown';
SELECT jwt_jwks('https://set.example');
-- An exported set can be imported.
INSERT INTO jwt_issuer SELECT 'https://copy.example', audience, algorithms FROM jwt_issuer WHERE issuer = 'https://idp.example';
SELECT DISTINCT action, reason FROM jwt_import_jwks('https://copy.example', jwt_jwks('https://idp.example')::text);
SELECT a <@ b AND a @> b AS same FROM jwt_jwks('https://copy.example') a, jwt_jwks('https://idp.example') b;

-- The view shows no secret.
SELECT state, verifies, thumbprint IS NULL AS hidden FROM jwt_key_status WHERE kid = 'never shown';
SELECT column_name FROM information_schema.columns WHERE table_name = 'jwt_key_status' AND column_name IN ('jwk', 'k');

-- Sources: URLs and intervals. Those that are not acceptable are stored, and
-- jwt_status has the reason.
CREATE FUNCTION judge_source(uri text, refresh_interval interval DEFAULT '1 hour', grace interval DEFAULT '0', OUT source text, OUT problem text)
LANGUAGE sql SET client_min_messages = error AS $$
	UPDATE jwt_jwks_source s SET uri = $1, refresh_interval = $2, grace = $3 WHERE s.issuer = 'https://set.example';
	SELECT s.source, p FROM jwt_status s LEFT JOIN unnest(s.problems) p ON p LIKE '%jwt_jwks_source%' WHERE s.issuer = 'https://set.example';
$$;
SELECT left(j.source, 40) AS source, problem FROM (VALUES
	('https://a.example/x'), ('http://localhost:8080/jwks'), ('https://[::1]:8443/jwks?a=b'), ('https://a.example'), (NULL),
	('ftp://a.example/'), ('file:///etc/passwd'), ('https://'), ('https:///x'), ('https://user:pw@a.example/'), ('a.example/x'), (''), ('https://a.example/ x'), ('https://a.example/#x'),
	(E'https://a.example\n/'), ('https://a.example/' || repeat('x', 2048))) t (uri), judge_source(uri) j;
SELECT v, problem FROM (VALUES ('1 minute'), ('59 seconds'), ('30 days'), ('31 days'), ('-1 hour'), (NULL)) t (v), judge_source(NULL, v::interval);
SELECT v, problem FROM (VALUES ('0'), ('30 days'), ('-1 second'), ('31 days'), (NULL)) t (v), judge_source(NULL, grace => v::interval);
UPDATE jwt_jwks_source SET uri = 'ftp://a.example/';
INSERT INTO jwt_jwks_source (issuer) VALUES ('https://nobody.example');
SELECT problems FROM jwt_status WHERE issuer IS NULL;
SELECT refusal('INSERT INTO jwt_jwks_source (issuer) VALUES (NULL)'), refusal('UPDATE jwt_jwks_source SET issuer = repeat(''x'', 1025)');
DELETE FROM jwt_jwks_source;

-- PUBLIC has no privileges on keys and sources.
SET ROLE regress_jwt_user;
SELECT statement, refusal(statement) FROM (VALUES
	('TABLE jwt_jwks_source'), ('TABLE jwt_jwks_state'), ('TABLE jwt_key_status'), ($$SELECT jwt_jwks('https://idp.example')$$),
	($$SELECT jwt_import_jwks('https://idp.example', '{}')$$), ($$SELECT jwt_jwks_members('https://idp.example', '{}')$$),
	($$SELECT jwt_revoke_key('https://idp.example', 'RS256')$$), ($$SELECT jwt_refresh_jwks('https://idp.example')$$),
	('SELECT jwt_jwks_source_changed()')
	) t (statement);
RESET ROLE;
-- jwt_jwks() needs no privilege on the table.
GRANT EXECUTE ON FUNCTION jwt_jwks TO regress_jwt_user;
SET ROLE regress_jwt_user;
SELECT jsonb_array_length(jwt_jwks('https://idp.example') -> 'keys') > 5 AS many;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jwt_jwks FROM regress_jwt_user;

DROP VIEW set_key;
DROP TABLE before_all, before_again;
DROP FUNCTION member, key_set, key_verdict, judge_source;
DELETE FROM jwt_issuer WHERE issuer IN ('https://set.example', 'https://copy.example');

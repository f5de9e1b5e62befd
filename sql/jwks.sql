--
-- jwks: JWK Sets in and out, and the life of keys
--
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{RS256,ES256,ES384,EdDSA}');
CREATE FUNCTION member(name text, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
RETURN fixture('key', name)::jsonb || jsonb_build_object('kid', name) || changes;
CREATE FUNCTION key_set(VARIADIC members jsonb[]) RETURNS text LANGUAGE sql
RETURN jsonb_build_object('keys', to_jsonb(members));
-- What a token of another issuer is refused for, signed by a key of the set: 28J07
-- when the key verifies, 28J03 when it does not, 28J11 when it has been revoked.
CREATE FUNCTION key_verdict(kid text) RETURNS text LANGUAGE sql
RETURN (jwt_inspect(fixture('token', kid), issuer => 'https://set.example')).sqlstate;
CREATE VIEW set_key AS
SELECT kid, alg, state, verifies, source, not_after > now() AS ends_later, retired_at IS NOT NULL AS retired
FROM jwt_key_status WHERE issuer = 'https://set.example' ORDER BY kid;

-- A set is imported: what it has is added. What cannot be a key of the issuer
-- is left out with the reason, and spoils nothing.
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

-- A published secret is none, also where the issuer has secrets of its own.
UPDATE jwt_issuer SET algorithms = algorithms || '{HS256}' WHERE issuer = 'https://set.example';
SELECT kid, alg, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256', '{"alg":"RS256"}'), member('ES256'), member('Ed25519', '{"alg":"EdDSA"}'),
	'{"kty":"oct","kid":"secret","k":"c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIEhTMjU2","alg":"HS256"}'));
UPDATE jwt_issuer SET algorithms = '{RS256,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';

-- A key without alg gets it from the issuer, where that leaves one choice. One
-- that is here already keeps its own.
UPDATE jwt_issuer SET algorithms = '{RS256,RS512,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';
SELECT kid, alg, action, reason FROM jwt_import_jwks('https://set.example', key_set(
	member('RS256'), member('RS256', '{"kid":"says nothing"}'), member('RS256', '{"kid":"says","alg":"RS512"}'), member('ES256'), member('Ed25519')));
UPDATE jwt_issuer SET algorithms = '{RS256,ES256,ES384,EdDSA}' WHERE issuer = 'https://set.example';

-- A document that is no set, or has nothing of use, changes nothing.
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

-- The same set again changes nothing, and flushes nobody's cache.
SELECT count(*) FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256'), member('Ed25519')));
CREATE TABLE before_again AS SELECT xmin::text AS version, id FROM jwt_key;
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256'), member('Ed25519')));
SELECT count(*) FROM jwt_key k JOIN before_again b USING (id) WHERE k.xmin::text <> b.version;

-- Rotation: the new key is added, the one that is gone stops verifying at once.
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('ES256'), member('ES384'), member('Ed25519')));
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;

-- Or after the issuer's grace interval, or one that is given.
INSERT INTO jwt_jwks_source (issuer, uri, grace) VALUES ('https://set.example', 'https://set.example/jwks.json', '1 hour');
BEGIN;
SELECT kid, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('ES384')));
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;
-- A key that comes back is current again.
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('ES256'), member('RS256')), grace => '0');
SELECT * FROM set_key;
SELECT kid, key_verdict(kid) FROM set_key;
COMMIT;
-- A kid that stands for another key now: the old one is gone.
SELECT kid, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519', '{"kid":"RS256"}'), member('ES256')));
SELECT kid, alg, key_verdict(kid) FROM set_key WHERE kid = 'RS256';
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES256')));
SELECT kid, alg, key_verdict(kid) FROM set_key WHERE kid = 'RS256';

-- Keys without kid are known by themselves.
SELECT kid, alg, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(fixture('key', 'ES256')::jsonb, fixture('key', 'ES256')::jsonb, fixture('key', 'ES384')::jsonb));
SELECT kid, alg, action, left(reason, 38) AS reason FROM jwt_import_jwks('https://set.example', key_set(fixture('key', 'ES256')::jsonb));

-- What was added by hand stays as it is, and so does a window set by hand.
SELECT jwt_add_key('https://set.example', fixture('key', 'Ed448'), 'EdDSA', 'by hand') IS NOT NULL AS added;
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('ES256')));
UPDATE jwt_key SET not_after = now() + '1 day' WHERE kid = 'ES256' AND issuer = 'https://set.example';
SELECT kid, action, left(reason, 42) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('ES384', '{"kid":"by hand"}'), member('ES384'), member('ES256')));
SELECT kid, alg, state, verifies, source, ends_later FROM set_key WHERE kid IN ('by hand', 'ES256');

-- A standby key of the set that is gone again before its window opens: no grace.
UPDATE jwt_key SET not_before = now() + '1 day' WHERE kid = 'ES384' AND issuer = 'https://set.example';
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';

-- When it comes back it has the window that it had; so has one that was closed.
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES384')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
UPDATE jwt_key SET not_before = NULL, not_after = now() - interval '1 day' WHERE kid = 'ES384' AND issuer = 'https://set.example';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('ES384')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'ES384';
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));

-- A revoked key is revoked whatever the set says, also under another kid; and for
-- each issuer that has it.
SELECT jwt_revoke_key('https://set.example', 'RS256') = now() AS revoked;
SELECT key_verdict('RS256');
SELECT sqlstate FROM jwt_inspect(fixture('token', 'RS256'), issuer => 'https://idp.example', at => half_past());
SELECT kid, action, left(reason, 50) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('RS256', '{"kid":"again"}'), member('Ed25519')));
SELECT kid, state, verifies, retired FROM set_key WHERE kid IN ('RS256', 'again');
-- Under its kid there can be another key, as in any set.
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('ES256', '{"kid":"RS256"}'), member('Ed25519')));
SELECT kid, action, left(reason, 50) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256'), member('Ed25519')));
SELECT kid, alg, state, verifies FROM set_key WHERE kid = 'RS256';
-- A set of which all has been revoked takes nothing away.
SELECT kid, action, left(reason, 50) AS reason FROM jwt_import_jwks('https://set.example', key_set(member('RS256')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';
-- A key that is not there is an error.
SELECT refusal($$SELECT jwt_revoke_key('https://set.example', 'nobody')$$);
SELECT refusal($$SELECT jwt_revoke_key('https://nobody.example', 'RS256')$$);
SELECT refusal($$SELECT jwt_revoke_key('https://idp.example', NULL)$$);
-- Keys without kid have none.
BEGIN;
SELECT jwt_revoke_key('https://set.example', NULL) = now() AS revoked;
SELECT kid, state FROM set_key WHERE kid IS NULL;
ROLLBACK;

-- Two rows with one key, as two imports at a time can leave behind: the next one
-- keeps the older.
INSERT INTO jwt_key (issuer, kid, alg, jwk, source, created_at) SELECT issuer, kid, alg, jwk, source, created_at + '1 s' FROM jwt_key WHERE issuer = 'https://set.example' AND kid = 'Ed25519';
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519')));
SELECT kid, state, verifies FROM set_key WHERE kid = 'Ed25519';

-- What was retired long ago is forgotten; that it was revoked is not.
UPDATE jwt_key SET retired_at = now() - interval '91 days', not_before = NULL, not_after = now() - interval '91 days'
WHERE issuer = 'https://set.example' AND source = 'jwks' AND kid IN ('ES256', 'ES384', 'RS256');
SELECT kid, action FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519')));
SELECT kid, state FROM set_key;
SELECT kid, action, reason FROM jwt_import_jwks('https://set.example', key_set(member('Ed25519'), member('RS256')));
SELECT jwt_unrevoke_key(jwt_thumbprint(fixture('key', 'RS256')::jsonb)) AS was;
SELECT valid FROM jwt_inspect(fixture('token', 'RS256'), issuer => 'https://idp.example', at => half_past());

-- Out: the public keys as a JWK Set, a standby key too; never a secret, nothing
-- that is over.
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
-- And in again: a set that was published is imported as it is.
INSERT INTO jwt_issuer SELECT 'https://copy.example', audience, algorithms FROM jwt_issuer WHERE issuer = 'https://idp.example';
SELECT DISTINCT action, reason FROM jwt_import_jwks('https://copy.example', jwt_jwks('https://idp.example')::text);
SELECT a <@ b AND a @> b AS same FROM jwt_jwks('https://copy.example') a, jwt_jwks('https://idp.example') b;

-- The view shows no secret, and its states are those that people know.
SELECT state, verifies, thumbprint IS NULL AS hidden FROM jwt_key_status WHERE kid = 'never shown';
SELECT column_name FROM information_schema.columns WHERE table_name = 'jwt_key_status' AND column_name IN ('jwk', 'k');

-- Sources: which URLs and intervals. Those that cannot be, or not quite, are stored,
-- and jwt_status says so.
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

-- PUBLIC has no business here.
SET ROLE regress_jwt_user;
SELECT statement, refusal(statement) FROM (VALUES
	('TABLE jwt_jwks_source'), ('TABLE jwt_jwks_state'), ('TABLE jwt_key_status'), ($$SELECT jwt_jwks('https://idp.example')$$),
	($$SELECT jwt_import_jwks('https://idp.example', '{}')$$), ($$SELECT jwt_jwks_members('https://idp.example', '{}')$$),
	($$SELECT jwt_revoke_key('https://idp.example', 'RS256')$$), ($$SELECT jwt_refresh_jwks('https://idp.example')$$),
	('SELECT jwt_jwks_source_changed()')
	) t (statement);
RESET ROLE;
-- To publish the keys, no privilege on the table is needed.
GRANT EXECUTE ON FUNCTION jwt_jwks TO regress_jwt_user;
SET ROLE regress_jwt_user;
SELECT jsonb_array_length(jwt_jwks('https://idp.example') -> 'keys') > 5 AS many;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jwt_jwks FROM regress_jwt_user;

DROP VIEW set_key;
DROP TABLE before_all, before_again;
DROP FUNCTION member, key_set, key_verdict, judge_source;
DELETE FROM jwt_issuer WHERE issuer IN ('https://set.example', 'https://copy.example');

--
-- messages: every message quotes untrusted text
--
SELECT plan(5);

-- Characters that reverse the line, a control of C1, and a forged line of the log.
CREATE FUNCTION bad(what text) RETURNS text LANGUAGE sql IMMUTABLE RETURN what || U&'\202e\0085\000aERROR:  ' || what;
CREATE FUNCTION shown(what text) RETURNS text LANGUAGE sql IMMUTABLE RETURN what || '\u202e\u0085\u000aERROR:  ' || what;
CREATE TEMP TABLE message (what text, message text, quotes text[]);

-- A token of the issuer with changed claims and header; null removes a member.
CREATE FUNCTION pg_temp.token(claims jsonb = '{}', header jsonb = '{}') RETURNS text LANGUAGE sql STABLE
RETURN sign(jsonb_strip_nulls(jsonb_build_object('iss', bad('issuer'), 'aud', bad('audience'), 'exp', 4102444800, 'iat', 1767225600, bad('required'), 1) || claims)::text,
	jsonb_strip_nulls(jsonb_build_object('alg', 'HS256', 'kid', bad('kid')) || header)::text);
CREATE FUNCTION pg_temp.detail(claims jsonb = '{}', header jsonb = '{}', audience text = NULL, issuer text = NULL) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(i.detail, 'accepted') FROM jwt_inspect(pg_temp.token(claims, header), audience, issuer) i);

INSERT INTO jwt_issuer (issuer, audience, algorithms, required_claims, role_claim, roles, session_claim)
VALUES (bad('issuer'), ARRAY[bad('audience')], '{HS256,HS512}', ARRAY['exp', bad('required')], bad('role_claim'), ARRAY['jwt_pgtap_user'], bad('session_claim'));
SELECT jwt_add_secret(bad('issuer'), secret(), 'HS256', bad('kid')) \g /dev/null

-- Tokens.
INSERT INTO message VALUES
	('no iss', pg_temp.detail('{"iss":null}'), '{issuer}'),
	('another iss', pg_temp.detail(jsonb_build_object('iss', bad('iss'))), '{iss,issuer}'),
	('another audience asked for', pg_temp.detail(audience => bad('asked')), '{asked,issuer}'),
	('no aud', pg_temp.detail('{"aud":null}'), '{audience}'),
	('no aud of those', pg_temp.detail('{"aud":[]}'), '{audience}'),
	('another aud', pg_temp.detail(jsonb_build_object('aud', bad('aud'))), '{aud,audience}'),
	('another aud than asked for', pg_temp.detail(jsonb_build_object('aud', bad('aud')), audience => bad('audience')), '{aud,audience}'),
	('a session that is no string', pg_temp.detail(jsonb_build_object(bad('session_claim'), 1)), '{session_claim}'),
	('a session that is too long', pg_temp.detail(jsonb_build_object(bad('session_claim'), repeat('x', 1025))), '{session_claim}'),
	('a claim that lacks', pg_temp.detail(jsonb_build_object(bad('required'), NULL)), '{required,issuer}'),
	('neither jti nor session', refusal(format('SELECT jwt_revoke(%L)', pg_temp.token())), '{session_claim}'),
	('no role', refusal(format('SELECT jwt_authenticate(%L)', pg_temp.token())), '{role_claim}'),
	('a role not allowed', refusal(format('SELECT jwt_authenticate(%L)', pg_temp.token(jsonb_build_object(bad('role_claim'), bad('role'))))), '{role,issuer}'),
	('an unknown kid', pg_temp.detail('{}', jsonb_build_object('kid', bad('other'))), '{other}'),
	('an unknown kid of an issuer', pg_temp.detail('{}', jsonb_build_object('kid', bad('other')), issuer => bad('issuer')), '{other,issuer}'),
	('an unknown issuer', pg_temp.detail('{}', jsonb_build_object('kid', bad('other')), issuer => bad('nobody')), '{nobody}'),
	('an unknown alg', pg_temp.detail('{}', jsonb_build_object('alg', bad('alg'))), '{alg}'),
	('another alg', pg_temp.detail('{}', '{"alg":"HS512"}'), '{kid,issuer}'),
	('another signature', (SELECT detail FROM jwt_inspect(pg_temp.token() || 'AAAA')), '{kid,issuer}'),
	('a key in hand for another alg', refusal(format('SELECT jws_verify(%L, %L, %L)', pg_temp.token(), '{"kty":"oct"}', bad('asked'))), '{}'),
	('a key in hand for an unknown alg', refusal(format('SELECT jws_verify(%L, %L, %L)', pg_temp.token(), '{"kty":"oct","k":"' || repeat('Q', 43) || '"}', bad('asked'))), '{asked}');
-- These depend on the policy of the issuer.
UPDATE jwt_issuer SET max_lifetime = '1 hour', max_age = '1 day', token_type = 'at+jwt';
INSERT INTO message VALUES
	('a lifetime', pg_temp.detail(), '{issuer}'),
	('an age', pg_temp.detail('{"exp":1767225601}'), '{}'),
	('an age within the lifetime', (SELECT detail FROM jwt_inspect(pg_temp.token('{"exp":1767229200}'), at => '2026-01-01 00:59+00')), '{issuer}'),
	('no type', (SELECT detail FROM jwt_inspect(pg_temp.token('{"exp":1767229200}'), at => half_past())), '{issuer}'),
	('a type', (SELECT detail FROM jwt_inspect(pg_temp.token('{"exp":1767229200}', jsonb_build_object('typ', bad('typ'))), at => half_past())), '{typ,issuer}');
UPDATE jwt_issuer SET max_age = '10 minutes';
INSERT INTO message VALUES
	('too old', (SELECT detail FROM jwt_inspect(pg_temp.token('{"exp":1767229200}', '{"typ":"at+jwt"}'), at => half_past())), '{issuer}');
UPDATE jwt_issuer SET max_lifetime = NULL, max_age = NULL, token_type = NULL;

-- Revocations.
INSERT INTO jwt_denylist (issuer, kind, value) VALUES (bad('issuer'), 'sub', bad('sub')), (bad('issuer'), 'sid', bad('sid')), (bad('issuer'), 'jti', bad('jti'));
INSERT INTO message VALUES
	('a subject', pg_temp.detail(jsonb_build_object('sub', bad('sub'))), '{sub}'),
	('a session', pg_temp.detail(jsonb_build_object(bad('session_claim'), bad('sid'))), '{sid}'),
	('a jti', pg_temp.detail(jsonb_build_object('jti', bad('jti'))), '{jti}'),
	('an unknown kind', refusal(format('INSERT INTO jwt_denylist (issuer, kind, value) VALUES (%L, %L, %L)', 'x', bad('kind'), 'x')), '{kind}');
BEGIN;
SELECT jwt_revoke_issuer(bad('issuer')) \g /dev/null
INSERT INTO message VALUES ('an issuer', pg_temp.detail(), '{issuer}');
TRUNCATE jwt_denylist;
SELECT jwt_revoke_key(bad('issuer'), bad('kid')) \g /dev/null
INSERT INTO message VALUES ('a key', pg_temp.detail(), '{kid,issuer}');
DELETE FROM jwt_denylist;
COMMIT;

-- Keys: functions that raise an error, and rows that verify nothing.
CREATE FUNCTION pg_temp.add(key jsonb, alg text = NULL, kid text = NULL, issuer text = bad('issuer')) RETURNS text LANGUAGE sql
RETURN refusal(format('SELECT jwt_add_key(%L, %L, %L, %L)', issuer, key::text, alg, kid));
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES (bad('two'), '{api}', '{RS256,PS256}'), (bad('inert'), ARRAY['x', bad('twice'), bad('twice')], '{RS256}');
INSERT INTO message VALUES
	('no such issuer', pg_temp.add(fixture('key', 'ES256')::jsonb, issuer => bad('nobody')), '{nobody}'),
	('a kid that is there', pg_temp.add(jsonb_build_object('kty', 'oct', 'k', repeat('Q', 43)), 'HS256', bad('kid')), '{issuer,kid}'),
	('an unknown algorithm', pg_temp.add(fixture('key', 'ES256')::jsonb, bad('asked')), '{asked}'),
	('an algorithm not allowed', pg_temp.add(fixture('key', 'ES256')::jsonb), '{issuer}'),
	('two algorithms', pg_temp.add(fixture('key', 'RS256')::jsonb, issuer => bad('two')), '{two}'),
	('a policy of no use', pg_temp.add(fixture('key', 'RS256')::jsonb, issuer => bad('inert')), '{inert,twice}'),
	('kty', pg_temp.add(jsonb_build_object('kty', bad('kty'))), '{kty}'),
	('use', pg_temp.add(fixture('key', 'RS256')::jsonb || jsonb_build_object('use', bad('use'))), '{use}'),
	('crv', pg_temp.add(fixture('key', 'ES256')::jsonb || jsonb_build_object('crv', bad('crv'))), '{crv}'),
	('alg', pg_temp.add(fixture('key', 'RS256')::jsonb || jsonb_build_object('alg', bad('alg')), 'RS256', issuer => bad('two')), '{alg}'),
	('alg of an AKP', pg_temp.add(jsonb_build_object('kty', 'AKP', 'pub', 'AA', 'alg', bad('alg'))), '{alg}'),
	('a PEM', refusal(format('SELECT jwt_jwk(%L)', format(E'-----BEGIN %s-----\nAAAA\n-----END %1$s-----\n', 'X' || U&'\202eY'))), NULL),
	('no such key', refusal(format('SELECT jwt_revoke_key(%L, %L)', bad('issuer'), bad('other'))), '{issuer,other}'),
	('an algorithm of a policy', refusal(format('SELECT jwt_add_issuer(%L, %L, %L)', bad('new'), '{x}', ARRAY[bad('alg')])), '{new,alg}'),
	('a role of a policy', refusal(format('SELECT jwt_add_issuer(%L, %L, %L, roles => %L)', bad('new'), '{x}', '{RS256}', ARRAY[bad('role') || repeat('x', 64)])), '{new,role}'),
	('an audience of a policy', refusal(format('SELECT jwt_add_issuer(%L, %L, %L)', bad('new'), ARRAY[bad('aud'), bad('aud')], '{RS256}')), '{new,aud}'),
	('a set', refusal(format('SELECT jwt_import_jwks(%L, %L)', bad('issuer'), jsonb_build_object('keys', jsonb_build_array(jsonb_build_object('kty', bad('kty'))))::text)), '{kty}'),
	('a set for an issuer that does not allow it', refusal(format('SELECT jwt_import_jwks(%L, %L)', bad('issuer'), jsonb_build_object('keys', jsonb_build_array(fixture('key', 'ES256')::jsonb))::text)), '{issuer}'),
	('a set for nobody', refusal(format('SELECT jwt_import_jwks(%L, %L)', bad('nobody'), '{"keys":[{}]}')), '{nobody}');

SET client_min_messages = error;
DELETE FROM jwt_key;
INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES
	(bad('issuer'), bad('disallowed'), 'ES256', fixture('key', 'ES256')::jsonb),
	(bad('issuer'), bad('unknown'), bad('alg'), fixture('key', 'ES256')::jsonb),
	(bad('issuer'), bad('type'), 'HS256', jsonb_build_object('kty', bad('kty'))),
	(bad('inert'), bad('inert'), 'RS256', fixture('key', 'RS256')::jsonb);
INSERT INTO jwt_key (issuer, kid, alg, jwk, not_before, not_after) VALUES
	(bad('issuer'), bad('standby'), 'HS256', jsonb_build_object('kty', 'oct', 'k', repeat('Q', 43)), '2100-01-01', NULL),
	(bad('issuer'), bad('previous'), 'HS256', jsonb_build_object('kty', 'oct', 'k', repeat('Q', 43)), NULL, '2000-01-01');
RESET client_min_messages;
INSERT INTO message SELECT 'a row: ' || kid, unusable, quotes FROM jwt_key_status JOIN (VALUES
	('disallowed', '{issuer}'::text[]), ('unknown', '{alg}'), ('type', '{kty}'), ('inert', '{twice}')) v (name, quotes) ON kid = bad(name);
INSERT INTO message VALUES
	('an inert key', pg_temp.detail('{}', jsonb_build_object('kid', bad('type'))), '{type,issuer,kty}'),
	('a key not allowed', pg_temp.detail('{}', jsonb_build_object('kid', bad('disallowed'), 'alg', 'ES256')), '{disallowed,issuer}'),
	('a standby key', pg_temp.detail('{}', jsonb_build_object('kid', bad('standby'))), '{standby,issuer}'),
	('a previous key', pg_temp.detail('{}', jsonb_build_object('kid', bad('previous'))), '{previous,issuer}');

-- The problems in jwt_status.
BEGIN;
CREATE FUNCTION pg_temp.grant_to(role text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE format('CREATE ROLE %I', role);
	EXECUTE format('GRANT SELECT, TRIGGER ON jwt_key TO %I', role);
END $$;
SELECT pg_temp.grant_to(bad('grantee')) \g /dev/null
INSERT INTO jwt_jwks_source (issuer) VALUES (bad('issuer'));
INSERT INTO jwt_jwks_state (issuer, last_error) VALUES (bad('issuer'), bad('last_error') || repeat('x', 2000));
INSERT INTO message SELECT 'jwt_status', string_agg(line, ' '), '{disallowed,issuer,unknown,alg,type,kty,twice,last_error,grantee}' FROM jwt_status, unnest(problems || grants) line;
ROLLBACK;

SELECT is_empty('SELECT what FROM message WHERE message IS NULL OR message ~ (''[\u0001-\u001f\u007f-\u009f\u202e]'')', 'no message has such a character');
SELECT is_empty($$ SELECT m.what, q, m.message FROM message m, unnest(quotes) q WHERE position(shown(q) IN m.message) = 0 $$, 'each shows what is wrong');
SELECT is(count(*), 60::bigint, 'as many messages') FROM message;
SELECT is(count(*), 0::bigint, 'and no token was accepted') FROM message WHERE message = 'accepted';
-- A character that cannot be converted would replace the message by another error.
SET client_encoding = 'LATIN1';
SELECT is(sqlstate || ' ' || detail, '28J03 Of 6 keys, none has the kid "' || chr(233) || '\u20ac\U0001f600".', 'a client that has not all characters')
FROM jwt_inspect(pg_temp.token('{}', jsonb_build_object('kid', U&'\00e9\20ac\+01f600')));
RESET client_encoding;

SELECT * FROM finish();
DELETE FROM jwt_issuer;
DELETE FROM jwt_denylist;

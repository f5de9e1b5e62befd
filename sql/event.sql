--
-- event: logout tokens and security events of the provider
--
SET timezone = 'UTC';
-- The provider's access tokens are for "api", and its events for the client "app".
SELECT jwt_add_issuer('https://op.example', audience => '{api}', algorithms => '{HS256}', event_audience => '{app}');
SELECT jwt_add_secret('https://op.example', sha256('op'), 'HS256', 'op') IS NOT NULL AS added;

-- A logout token and a Security Event Token with changed claims; null removes a claim.
CREATE FUNCTION logout_token(changes jsonb DEFAULT '{}', header jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
RETURN sign((jsonb_strip_nulls('{"iss":"https://op.example","aud":"app","iat":1767225600,"exp":4102444800,"jti":"l1","sid":"s1",
		"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}' || changes))::text,
	(jsonb_strip_nulls('{"alg":"HS256","kid":"op","typ":"logout+jwt"}' || header))::text, sha256('op'));
CREATE FUNCTION security_event(event text, sub_id jsonb, payload jsonb DEFAULT '{}', changes jsonb DEFAULT '{}', header jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
RETURN sign((jsonb_strip_nulls('{"iss":"https://op.example","aud":"app","iat":1767225600,"jti":"e1"}' || jsonb_build_object('sub_id', sub_id,
		'events', jsonb_build_object('https://schemas.openid.net/secevent/' || event, payload)) || changes))::text,
	(jsonb_strip_nulls('{"alg":"HS256","kid":"op","typ":"secevent+jwt"}' || header))::text, sha256('op'));
-- An access token of a user, and whether it is accepted.
CREATE FUNCTION state(sub text, sid text DEFAULT NULL, iat bigint DEFAULT 1767225600, iss text DEFAULT 'https://op.example', jti text DEFAULT 'a1') RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(sqlstate || ' ' || regexp_replace(detail, ' at \d.*\.', '.'), 'accepted') FROM jwt_inspect(sign(jsonb_strip_nulls(jsonb_build_object(
	'iss', iss, 'aud', 'api', 'sub', sub, 'sid', sid, 'jti', jti, 'iat', iat, 'exp', 4102444800))::text,
	format('{"alg":"HS256","kid":"%s"}', substring(iss from '//(\w+)')), sha256(substring(iss from '//(\w+)')::bytea))));
-- An answer in one line.
CREATE FUNCTION receive(token text) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce((a ->> 'err') || ': ' || regexp_replace(a ->> 'description', 'Of \d+ keys|, \d+ days ago', '...'), 'ignored: ' || (a ->> 'ignored'),
		(SELECT string_agg(concat_ws(' ', 'ended', r ->> 'kind', r ->> 'value', 'of', r ->> 'issuer', 'until ' || (r ->> 'issued_before'),
			CASE WHEN NOT (r ->> 'written')::boolean THEN '(not written)' END), '; ') FROM jsonb_array_elements(a -> 'revoked') r))
	FROM jwt_receive_event(token) a);

-- A user signs out at the provider, which sends a logout token (OpenID Connect
-- Back-Channel Logout). The session's tokens are refused from the next statement on,
-- also those that are issued later. Other sessions of the user continue.
SELECT state('alice', 's1'), state('alice', 's2');
SELECT jsonb_pretty(jwt_receive_event(logout_token()));
SELECT state('alice', 's1'), state('alice', 's1', iat => 1767229200, jti => 'refreshed'), state('alice', 's2'), state('bob', 's1');
-- The same logout again writes nothing.
SELECT receive(logout_token()), receive(logout_token('{"jti":"l2","iat":1767220000}'));
SELECT issuer, kind, value, issued_before, date_trunc('hour', expires_at - now() + '1 minute') AS kept, reason FROM jwt_denylist;

-- Only sub: it ends all sessions of the user that began until then. With sub and sid
-- it ends only this session.
SELECT receive(logout_token('{"sid":null,"sub":"carol"}')), receive(logout_token('{"sid":"s3","sub":"dave"}'));
SELECT state('carol', 's4'), state('carol'), state('carol', 's5', iat => 1767225601), state('dave', 's3'), state('dave', 's6');

-- Each of these breaks one rule for logout tokens.
SELECT what, receive(token) FROM (VALUES
	('no iss', logout_token('{"iss":null}')), ('another iss', logout_token('{"iss":"https://idp.example"}')),
	('no aud', logout_token('{"aud":null}')), ('the API''s aud', logout_token('{"aud":"api"}')), ('aud of both', logout_token('{"aud":["app","api"]}')),
	('no iat', logout_token('{"iat":null}')), ('iat in the future', logout_token('{"iat":4000000000}')),
	('no exp', logout_token('{"exp":null}')), ('expired', logout_token('{"exp":1767225700}')), ('nbf in the future', logout_token('{"nbf":4000000000}')),
	('no jti', logout_token('{"jti":null}')), ('neither sub nor sid', logout_token('{"sid":null}')), ('an empty sid', logout_token('{"sid":""}')), ('sid is a number', logout_token('{"sid":1}')),
	('nonce', logout_token('{"nonce":"n"}')),
	('no events', logout_token('{"events":null}')), ('events is an array', logout_token('{"events":["http://schemas.openid.net/event/backchannel-logout"]}')),
	('events is empty', logout_token('{"events":{}}')), ('the event is no object', logout_token('{"events":{"http://schemas.openid.net/event/backchannel-logout":true}}')),
	('another event', logout_token('{"events":{"https://schemas.openid.net/event/backchannel-logout":{}}}')),
	('typ absent', logout_token('{}', '{"typ":null}')), ('typ JWT', logout_token('{}', '{"typ":"JWT"}')), ('typ application/logout+jwt', logout_token('{}', '{"typ":"application/Logout+JWT"}')),
	('typ of an access token', logout_token('{}', '{"typ":"at+jwt"}')), ('typ of another event', logout_token('{}', '{"typ":"secevent+jwt"}')),
	('an unknown key', logout_token('{}', '{"kid":"h2"}')), ('another algorithm', logout_token('{}', '{"alg":"HS384"}')), ('none', logout_token('{}', '{"alg":"none"}')),
	('another signature', regexp_replace(logout_token(), '.......$', 'AAAAAAA')), ('no token', 'logout'), ('null', NULL)
	) t (what, token);
-- Ory Hydra sends logout tokens without exp.
UPDATE jwt_issuer SET event_without_exp = true WHERE issuer = 'https://op.example';
SELECT receive(logout_token('{"exp":null}')), receive(logout_token('{"exp":1767225700}'));
UPDATE jwt_issuer SET event_without_exp = false WHERE issuer = 'https://op.example';

-- A logout token is not an access token, and an access token is not an event.
SELECT refusal(format('SELECT jwt_verify(%L)', logout_token('{"aud":["app","api"]}')));
SELECT receive(logout_token('{"aud":["app","api"],"sub":"alice","events":null}', '{"typ":null}'));

-- Security Event Tokens: the events of CAEP and RISC that end sessions. issued_before
-- is the end of the second of the event.
CREATE TEMP TABLE event (type text, payload jsonb);
INSERT INTO event VALUES
	('caep/event-type/session-revoked', '{"event_timestamp":1767220000}'), ('caep/event-type/session-revoked', '{"event_timestamp":1767220000.5}'),
	('caep/event-type/credential-change', '{"change_type":"create"}'), ('caep/event-type/credential-change', '{"change_type":"revoke"}'),
	('caep/event-type/credential-change', '{"change_type":"update"}'), ('caep/event-type/credential-change', '{"change_type":"delete"}'),
	('caep/event-type/credential-change', '{"change_type":"Delete"}'), ('caep/event-type/credential-change', '{}'),
	('caep/event-type/token-claims-change', '{"claims":{"role":"admin"}}'), ('caep/event-type/assurance-level-change', '{}'), ('caep/event-type/device-compliance-change', '{}'),
	('caep/event-type/session-established', '{}'), ('risc/event-type/account-disabled', '{"reason":"hijacking"}'), ('risc/event-type/account-enabled', '{}'),
	('risc/event-type/account-purged', '{}'), ('risc/event-type/credential-compromise', '{"credential_type":"password"}'), ('risc/event-type/sessions-revoked', '{}'),
	('risc/event-type/identifier-changed', '{}'), ('ssf/event-type/verification', '{"state":"x"}'), ('ssf/event-type/stream-updated', '{"status":"paused"}'), ('caep/event-type/unheard-of', '{}');
BEGIN;
SELECT type, payload, receive(security_event(type, jsonb_build_object('format', 'iss_sub', 'iss', 'https://op.example', 'sub', 'user ' || row_number() OVER ()), payload)) FROM event;
ROLLBACK;
-- Each of these breaks one rule of RFC 8417 or of the Shared Signals Framework.
CREATE FUNCTION revoked(sub_id jsonb, changes jsonb DEFAULT '{}', header jsonb DEFAULT '{}') RETURNS text LANGUAGE sql
RETURN receive(security_event('caep/event-type/session-revoked', sub_id, '{}', changes, header));
BEGIN;
SELECT what, revoked('{"format":"iss_sub","iss":"https://op.example","sub":"erin"}', changes::jsonb, header::jsonb) FROM (VALUES
	('nothing', '{}', '{}'), ('no typ', '{}', '{"typ":null}'), ('typ JWT', '{}', '{"typ":"JWT"}'), ('typ of a logout token', '{}', '{"typ":"logout+jwt"}'), ('application/secevent+jwt', '{}', '{"typ":"application/secevent+jwt"}'),
	('exp', '{"exp":4102444800}', '{}'), ('sub', '{"sub":"erin"}', '{}'), ('no iss', '{"iss":null}', '{}'), ('no aud', '{"aud":null}', '{}'), ('aud of others', '{"aud":["web","api"]}', '{}'),
	('no iat', '{"iat":null}', '{}'), ('no jti', '{"jti":null}', '{}'), ('jti is a number', '{"jti":1}', '{}'), ('no events', '{"events":null}', '{}'), ('toe is no number', '{"toe":"1767225600"}', '{}'),
	('no sub_id', '{"sub_id":null}', '{}'), ('sub_id is a string', '{"sub_id":"erin"}', '{}')
	) t (what, changes, header);
ROLLBACK;

-- Subjects (RFC 9493): only an identifier that names exactly one user is accepted.
BEGIN;
SELECT sub_id, revoked(sub_id::jsonb) FROM (VALUES
	('{"format":"iss_sub","iss":"https://op.example","sub":"frank"}'), ('{"format":"iss_sub","iss":"https://op.example/","sub":"frank"}'),
	('{"format":"iss_sub","iss":"https://op.example"}'), ('{"format":"iss_sub","iss":"https://op.example","sub":""}'), ('{"format":"iss_sub","iss":"https://op.example","sub":1}'),
	('{"format":"iss_sub","iss":"https://op.example","sub":"frank","device":"d1"}'), ('{"iss":"https://op.example","sub":"frank"}'), ('{"format":1}'),
	('{"format":"opaque","id":"frank"}'), ('{"format":"email","email":"frank"}'), ('{"format":"email","email":"frank","sub":"frank"}'), ('{"format":"email"}'),
	('{"format":"account","uri":"acct:frank@op.example"}'), ('{"format":"phone_number","phone_number":"+1"}'), ('{"format":"did","url":"did:x:y"}'), ('{"format":"uri","uri":"urn:frank"}'),
	('{"format":"jwt_id","iss":"https://op.example","jti":"a7"}'), ('{"format":"unheard-of","sub":"frank"}'),
	('{"format":"aliases","identifiers":[{"format":"email","email":"x"},{"format":"iss_sub","iss":"https://op.example","sub":"grace"}]}'),
	('{"format":"aliases","identifiers":[{"format":"email","email":"x"}]}'), ('{"format":"aliases","identifiers":[]}'), ('{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[]}]}'),
	-- a complex subject is the intersection of its members
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"heidi"}}'),
	('{"format":"complex","session":{"format":"opaque","id":"s8"},"user":{"format":"iss_sub","iss":"https://op.example","sub":"heidi"},"tenant":{"format":"opaque","id":"t1"}}'),
	('{"format":"complex","session":{"format":"jwt_id","iss":"https://op.example","jti":"a8"}}'), ('{"format":"complex","session":{"format":"email","email":"s8"}}'),
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"heidi"},"device":{"format":"opaque","id":"d1"}}'),
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"heidi"},"tenant":{"format":"opaque","id":"t1"},"unheard-of":{"format":"opaque","id":"x"}}'),
	('{"format":"complex","device":{"format":"opaque","id":"d1"}}'), ('{"format":"complex","tenant":{"format":"opaque","id":"t1"}}'), ('{"format":"complex","group":{"format":"opaque","id":"g1"}}'),
	('{"format":"complex"}'), ('{"format":"complex","user":"heidi"}'), ('{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"heidi"}}}')
	) t (sub_id);
SELECT kind, value, date_trunc('hour', expires_at - now() + '1 minute') AS kept FROM jwt_denylist WHERE reason LIKE 'session-revoked%' ORDER BY 1, 2;
ROLLBACK;
-- An opaque subject is the user's sub if event_opaque_is_sub is true.
UPDATE jwt_issuer SET event_opaque_is_sub = true WHERE issuer = 'https://op.example';
BEGIN;
SELECT revoked('{"format":"opaque","id":"ivan"}'), revoked('{"format":"complex","user":{"format":"opaque","id":"judy"}}'), revoked('{"format":"complex","device":{"format":"opaque","id":"mallory"}}');
ROLLBACK;
UPDATE jwt_issuer SET event_opaque_is_sub = false WHERE issuer = 'https://op.example';

-- An issuer may end sessions of the issuers in its events_for. An issuer in this list
-- that has no row is ignored.
SELECT jwt_add_issuer('https://other.example', audience => '{api}', algorithms => '{HS256}');
SELECT jwt_add_secret('https://other.example', sha256('other'), 'HS256', 'other') IS NOT NULL AS added;
BEGIN;
SELECT revoked('{"format":"iss_sub","iss":"https://other.example","sub":"alice"}');
SELECT revoked('{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://other.example","sub":"kim"},{"format":"iss_sub","iss":"https://op.example","sub":"kim"}]}');
UPDATE jwt_issuer SET events_for = '{https://other.example,https://unknown.example}' WHERE issuer = 'https://op.example';
SELECT revoked('{"format":"iss_sub","iss":"https://other.example","sub":"alice"}', jsonb_build_object('iat', floor(extract(epoch FROM now())))) LIKE 'ended sub alice of https://other.example until%' AS revoked;
SELECT left(state('alice', iss => 'https://other.example'), 5) AS alice, state('bob', iss => 'https://other.example') AS bob, state('alice', 's2') AS namesake;
SELECT revoked('{"format":"iss_sub","iss":"https://unknown.example","sub":"alice"}'), revoked('{"format":"jwt_id","iss":"https://other.example","jti":"a1"}');
SELECT revoked('{"format":"complex","session":{"format":"opaque","id":"s9"},"user":{"format":"iss_sub","iss":"https://other.example","sub":"alice"}}');
-- Without event_audience no event is accepted, whatever its audience.
SELECT receive(sign('{"iss":"https://other.example","aud":"api","iat":1767225600,"exp":4102444800,"jti":"l1","sid":"s1","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}',
	'{"alg":"HS256","kid":"other"}', sha256('other')));
ROLLBACK;

-- The time of an event is at most the token's iat and at most now.
CREATE FUNCTION until(event_timestamp text, iat bigint DEFAULT 1767225600, toe bigint DEFAULT NULL) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(a ->> 'description', a -> 'revoked' -> 0 ->> 'issued_before') FROM jwt_receive_event(security_event('caep/event-type/session-revoked',
	jsonb_build_object('format', 'iss_sub', 'iss', 'https://op.example', 'sub', 'leo'), jsonb_strip_nulls(jsonb_build_object('event_timestamp', event_timestamp::jsonb)), jsonb_build_object('iat', iat, 'toe', toe))) a);
BEGIN;
SELECT until(NULL), until(NULL, toe => 1767220000), until('1767210000', toe => 1767220000), until('1767300000'), until('1767210000000');
SELECT until('1e300'), until('-1e300'), until('-1e300', -9000000000000000), until('"now"'), until('0.5');
SELECT until(NULL, floor(extract(epoch FROM now()))::bigint + 20)::timestamptz <= clock_timestamp() AS not_later_than_now;
-- Several events in one token are one; the latest that ends something counts, which
-- one has that names no time of its own.
SELECT events, receive(security_event('x', '{"format":"iss_sub","iss":"https://op.example","sub":"nick"}', '{}', jsonb_build_object('toe', 1767221000, 'events', (SELECT jsonb_object_agg('https://schemas.openid.net/secevent/' || key, value) FROM jsonb_each(events))))) FROM (VALUES
	('{"caep/event-type/session-revoked":{"event_timestamp":1767220000},"risc/event-type/account-disabled":{"event_timestamp":1767210000}}'::jsonb),
	('{"caep/event-type/session-revoked":{"event_timestamp":1767210000},"risc/event-type/account-disabled":{"event_timestamp":1767220001}}'),
	('{"caep/event-type/session-revoked":{"event_timestamp":1767220000},"risc/event-type/sessions-revoked":{}}'),
	('{"caep/event-type/token-claims-change":{"event_timestamp":1767222000},"risc/event-type/sessions-revoked":{"event_timestamp":1767220002},"ssf/event-type/verification":{}}')) t (events);
SELECT kind, value, issued_before FROM jwt_denylist WHERE value = 'leo' AND issued_before < '2026-01-02' ORDER BY 3;
ROLLBACK;
-- No row is written if another row revokes as much, or if no such token can be valid.
BEGIN;
SELECT until('1767220000'), until('1767210000'), until('1767225600'), until('1767220000');
SELECT issued_before FROM jwt_denylist WHERE value = 'leo' ORDER BY 1;
UPDATE jwt_issuer SET max_lifetime = '1 hour';
SELECT revoked('{"format":"iss_sub","iss":"https://op.example","sub":"mike"}'), revoked('{"format":"iss_sub","iss":"https://op.example","sub":"mike"}', jsonb_build_object('iat', floor(extract(epoch FROM now())))) NOT LIKE '%(not written)' AS written;
SELECT count(*), bool_and(expires_at - issued_before = '1 hour 30 seconds') AS kept FROM jwt_denylist WHERE value = 'mike';
ROLLBACK;

-- EXECUTE is the only privilege that a caller needs. It can be granted to the role of
-- anonymous users.
SELECT logout_token('{"sid":"s10"}') AS token \gset
SET ROLE regress_jwt_user;
SELECT refusal(format('SELECT jwt_receive_event(%L)', :'token'));
RESET ROLE;
GRANT EXECUTE ON FUNCTION jwt_receive_event TO regress_jwt_user;
SET ROLE regress_jwt_user;
SELECT jwt_receive_event(:'token') #>> '{revoked,0,value}' AS revoked;
SELECT refusal('SELECT FROM jwt_denylist');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jwt_receive_event FROM regress_jwt_user;
-- In a read-only transaction any token gets the same error.
BEGIN READ ONLY;
SELECT refusal('SELECT jwt_receive_event(''x'')');
ROLLBACK;

DELETE FROM jwt_issuer WHERE issuer IN ('https://op.example', 'https://other.example');
DELETE FROM jwt_denylist WHERE issuer = 'https://op.example';
DROP FUNCTION logout_token, security_event, state, receive, revoked, until;
DROP TABLE event;

--
-- events: every kind of token with every function and every purpose of an issuer;
-- events that break one rule; and the sessions that each event ends
--
SELECT plan(18);

CREATE TEMP TABLE secret (issuer text PRIMARY KEY, kid text, key bytea);
INSERT INTO secret SELECT 'https://' || kid || '.example', kid, sha256(kid::bytea) FROM unnest('{op,other,hub}'::text[]) kid;
INSERT INTO jwt_issuer (issuer, audience, event_audience, algorithms) SELECT issuer, '{api}', '{app}', '{HS256}' FROM secret;
SELECT count(jwt_add_secret(issuer, key, 'HS256', kid)) FROM secret \g /dev/null
-- Claims and header with changes; null removes a member of the top level.
CREATE FUNCTION pg_temp.without_nulls(j jsonb) RETURNS jsonb LANGUAGE sql RETURN (SELECT jsonb_object_agg(key, value) FROM jsonb_each(j) WHERE value <> 'null');
CREATE FUNCTION pg_temp.token(claims jsonb, header jsonb DEFAULT '{}', signer text DEFAULT 'op') RETURNS text LANGUAGE sql
RETURN sign(pg_temp.without_nulls(jsonb_build_object('iss', 'https://' || signer || '.example', 'aud', ARRAY['api', 'app'], 'iat', 1767225600, 'jti', 'j1') || claims)::text,
	pg_temp.without_nulls(jsonb_build_object('alg', 'HS256', 'kid', signer) || header)::text, sha256(signer::bytea));

-- The matrix. Each token has every audience, and all other claims that it may share with
-- the others.
CREATE TEMP TABLE kind AS
SELECT kind, purpose, pg_temp.token(claims::jsonb, header::jsonb) AS token FROM (VALUES
	('access', 'access', '{"sub":"alice","sid":"s1","exp":4102444800}', '{"typ":"at+jwt"}'),
	('access without typ', 'access', '{"sub":"alice","sid":"s1","exp":4102444800,"scope":"openid"}', '{}'),
	('ID', 'ID', '{"sub":"alice","sid":"s1","exp":4102444800,"nonce":"n","at_hash":"h"}', '{"typ":"JWT"}'),
	('ID by its c_hash', 'ID', '{"sub":"alice","sid":"s1","exp":4102444800,"c_hash":"h"}', '{}'),
	('ID by its s_hash', 'ID', '{"sub":"alice","sid":"s1","exp":4102444800,"s_hash":"h"}', '{}'),
	('logout', 'logout', '{"sub":"alice","sid":"s1","exp":4102444800,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}', '{"typ":"logout+jwt"}'),
	('logout as of dex', 'logout', '{"sub":"alice","exp":4102444800,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}', '{}'),
	('logout as of Hydra', 'logout without exp', '{"sid":"s1","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}', '{"typ":"JWT"}'),
	('SET', 'SET', '{"sub_id":{"format":"iss_sub","iss":"https://op.example","sub":"alice"},"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{}}}', '{"typ":"secevent+jwt"}'),
	('SET of an opaque subject', 'SET opaque', '{"sub_id":{"format":"opaque","id":"alice"},"events":{"https://schemas.openid.net/secevent/risc/event-type/account-disabled":{}}}', '{"typ":"application/secevent+jwt"}'),
	('DPoP proof', 'proof', '{"htm":"GET","htu":"https://api.example/","sub":"alice","exp":4102444800}', '{"typ":"dpop+jwt"}')) k (kind, purpose, claims, header);
CREATE TEMP TABLE terms AS
SELECT row_number() OVER () AS n, * FROM
	(VALUES (NULL), ('{api}'), ('{*}'), ('{web}')) a (audience), (VALUES (NULL), ('{app}'), ('{web}')) e (event_audience),
	(VALUES (false), (true)) i (accept_id_tokens), (VALUES (false), (true)) x (event_without_exp), (VALUES (false), (true)) o (event_opaque_is_sub);
CREATE TEMP TABLE outcome (n bigint, way text, kind text, expected text, verdict text);
CREATE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
CREATE FUNCTION pg_temp.receive(token text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb := jwt_receive_event(token);
BEGIN
	-- the answer agrees with the rows
	IF (answer ? 'revoked') <> EXISTS (SELECT FROM jwt_denylist) THEN
		RETURN 'lies';
	END IF;
	DELETE FROM jwt_denylist;
	RETURN CASE WHEN answer ? 'revoked' THEN 'accepted' ELSE coalesce(answer ->> 'err', 'ignored') END;
END $$;
SET client_min_messages = error;
DO $$
DECLARE
	t record;
	k record;
	inert boolean;
	as_access text;
	as_event text;
BEGIN
	FOR t IN SELECT * FROM terms LOOP
		UPDATE jwt_issuer SET audience = t.audience::text[], event_audience = t.event_audience::text[], accept_id_tokens = t.accept_id_tokens,
			event_without_exp = t.event_without_exp, event_opaque_is_sub = t.event_opaque_is_sub WHERE issuer = 'https://op.example';
		inert := t.audience IS NULL AND t.event_audience IS NULL;
		FOR k IN SELECT * FROM kind LOOP
			as_access := CASE
				WHEN inert THEN '28J03'
				WHEN t.audience IS NULL OR NOT (k.purpose = 'access' OR k.purpose = 'ID' AND t.accept_id_tokens) THEN '28J12'
				WHEN t.audience = '{web}' THEN '28J08'
				ELSE 'accepted' END;
			as_event := CASE
				WHEN inert THEN 'invalid_key'
				WHEN t.event_audience IS NULL THEN 'access_denied'
				WHEN t.event_audience = '{web}' THEN 'invalid_audience'
				WHEN k.purpose IN ('logout', 'SET') OR k.purpose = 'logout without exp' AND t.event_without_exp OR k.purpose = 'SET opaque' AND t.event_opaque_is_sub THEN 'accepted'
				WHEN k.purpose = 'SET opaque' THEN 'ignored'
				ELSE 'invalid_request' END;
			INSERT INTO outcome VALUES
				(t.n, 'jwt_verify', k.kind, as_access, pg_temp.sqlstate_of(format('SELECT jwt_verify(%L)', k.token))),
				(t.n, 'jwt_authenticate', k.kind, as_access, pg_temp.sqlstate_of(format('SELECT jwt_authenticate(%L)', k.token))),
				(t.n, 'jwt.token', k.kind, as_access, pg_temp.sqlstate_of(format('SET LOCAL jwt.token = %L; SELECT jwt_claims()', k.token))),
				(t.n, 'jwt_logout', k.kind, as_access, pg_temp.sqlstate_of(format('SET LOCAL jwt.token = %L; SELECT jwt_logout(); DELETE FROM jwt_denylist', k.token))),
				(t.n, 'jwt_receive_event', k.kind, as_event, pg_temp.receive(k.token));
			PERFORM jwt_authenticate(NULL);
		END LOOP;
	END LOOP;
END $$;
RESET client_min_messages;
SELECT is_empty('SELECT o.way, o.kind, o.expected, o.verdict, t.* FROM outcome o JOIN terms t USING (n) WHERE o.verdict IS DISTINCT FROM o.expected',
	(SELECT format('%s kinds by %s ways under %s terms', count(DISTINCT kind), count(DISTINCT way), count(DISTINCT n)) FROM outcome));
SELECT set_eq($$SELECT way, verdict FROM outcome$$, $$SELECT way, verdict FROM unnest('{jwt_verify,jwt_authenticate,jwt.token,jwt_logout}'::text[]) way, unnest('{accepted,28J03,28J08,28J12}'::text[]) verdict
	UNION ALL SELECT 'jwt_receive_event', unnest('{accepted,ignored,invalid_key,access_denied,invalid_audience,invalid_request}'::text[])$$, 'each verdict occurs');
SELECT is_empty('SELECT kind FROM outcome WHERE verdict = ''accepted'' GROUP BY kind HAVING bool_or(way = ''jwt_receive_event'') AND bool_or(way <> ''jwt_receive_event'')',
	'no token is accepted as both');

-- An event that breaks one rule is refused and writes nothing. A similar one is accepted.
UPDATE jwt_issuer SET audience = '{api}', event_audience = '{app}', accept_id_tokens = DEFAULT, event_without_exp = DEFAULT, event_opaque_is_sub = DEFAULT;
CREATE TEMP TABLE rule (base text, what text, claims jsonb, header jsonb, err text, near_claims jsonb, near_header jsonb);
INSERT INTO rule
SELECT 'logout', what, claims::jsonb, header::jsonb, err, near_claims::jsonb, near_header::jsonb FROM (VALUES
	-- Back-Channel Logout sections 2.4 and 2.6
	('not encrypted', NULL, '{"enc":"A256GCM","alg":"dir"}', 'invalid_key', NULL, '{"enc":"A256GCM"}'),
	('alg none', NULL, '{"alg":"none"}', 'invalid_key', NULL, '{}'),
	('iss', '{"iss":null}', NULL, 'invalid_issuer', NULL, NULL), ('iss of another', '{"iss":"https://other.example"}', NULL, 'invalid_issuer', '{"iss":"https://op.example"}', NULL),
	('aud', '{"aud":null}', NULL, 'invalid_audience', '{"aud":"app"}', NULL), ('aud is empty', '{"aud":[]}', NULL, 'invalid_audience', '{"aud":["app"]}', NULL), ('aud of others', '{"aud":["api","App"]}', NULL, 'invalid_audience', '{"aud":["x","app"]}', NULL),
	('aud is not of strings', '{"aud":["app",1]}', NULL, 'invalid_request', '{"aud":["app","1"]}', NULL),
	('iat', '{"iat":null}', NULL, 'invalid_request', '{"iat":0}', NULL), ('iat is a number', '{"iat":"1767225600"}', NULL, 'invalid_request', '{"iat":1767225600.5}', NULL), ('iat is past', '{"iat":4000000000}', NULL, 'invalid_request', '{"iat":-1e300}', NULL),
	('exp', '{"exp":null}', NULL, 'invalid_request', '{"exp":4102444800}', NULL), ('exp is to come', '{"exp":1767225601}', NULL, 'invalid_request', '{"exp":1e300}', NULL), ('exp is a number', '{"exp":"4102444800"}', NULL, 'invalid_request', NULL, NULL),
	('nbf is past', '{"nbf":4000000000}', NULL, 'invalid_request', '{"nbf":1767225600}', NULL),
	('jti', '{"jti":null}', NULL, 'invalid_request', '{"jti":"x"}', NULL), ('jti is a string', '{"jti":1}', NULL, 'invalid_request', NULL, NULL), ('jti is not empty', '{"jti":""}', NULL, 'invalid_request', NULL, NULL),
	('sub or sid', '{"sub":null,"sid":null}', NULL, 'invalid_request', '{"sub":null}', NULL), ('sub or sid, again', '{"sub":null,"sid":null}', NULL, 'invalid_request', '{"sid":null}', NULL),
	('sid is a string', '{"sid":["s1"]}', NULL, 'invalid_request', NULL, NULL), ('sub is a string', '{"sub":1}', NULL, 'invalid_request', NULL, NULL),
	('sid has at most 1,024 bytes', jsonb_build_object('sid', repeat('x', 1025))::text, NULL, 'invalid_request', jsonb_build_object('sid', repeat('x', 1024))::text, NULL),
	('events', '{"events":null}', NULL, 'invalid_request', NULL, NULL), ('events is an object', '{"events":"http://schemas.openid.net/event/backchannel-logout"}', NULL, 'invalid_request', NULL, NULL),
	('events has the event', '{"events":{"http://schemas.openid.net/event/backchannel-logout/":{}}}', NULL, 'invalid_request', '{"events":{"http://schemas.openid.net/event/backchannel-logout":{},"urn:x":{}}}', NULL),
	('the event is an object', '{"events":{"http://schemas.openid.net/event/backchannel-logout":[]}}', NULL, 'invalid_request', '{"events":{"http://schemas.openid.net/event/backchannel-logout":{"x":1}}}', NULL),
	('no nonce', '{"nonce":"n"}', NULL, 'invalid_request', '{"nonces":"n"}', NULL), ('no nonce of any type', '{"nonce":false}', NULL, 'invalid_request', NULL, NULL),
	('typ', NULL, '{"typ":"at+jwt"}', 'invalid_request', NULL, '{"typ":"LOGOUT+JWT"}'), ('typ is not that of a SET', NULL, '{"typ":"secevent+jwt"}', 'invalid_request', NULL, '{"typ":"application/logout+jwt"}'),
	('typ is not that of a proof', NULL, '{"typ":"dpop+jwt"}', 'invalid_request', NULL, '{"typ":null}'), ('typ is a string', NULL, '{"typ":1}', 'invalid_request', NULL, '{"typ":"JWT"}'), ('no crit', NULL, '{"crit":["exp"]}', 'invalid_request', NULL, NULL)
	) r (what, claims, header, err, near_claims, near_header)
UNION ALL
SELECT 'SET', what, claims::jsonb, header::jsonb, err, near_claims::jsonb, near_header::jsonb FROM (VALUES
	-- RFC 8417 section 2, and SSF section 4.1
	('typ', NULL, '{"typ":null}', 'invalid_request', NULL, '{"typ":"application/secevent+jwt"}'), ('typ JWT', NULL, '{"typ":"JWT"}', 'invalid_request', NULL, '{"typ":"SecEvent+JWT"}'), ('typ is not that of a logout token', NULL, '{"typ":"logout+jwt"}', 'invalid_request', NULL, NULL),
	('iss', '{"iss":null}', NULL, 'invalid_issuer', NULL, NULL), ('iat', '{"iat":null}', NULL, 'invalid_request', '{"iat":1}', NULL), ('jti', '{"jti":null}', NULL, 'invalid_request', '{"jti":"x"}', NULL),
	('aud', '{"aud":null}', NULL, 'invalid_audience', '{"aud":"app"}', NULL), ('no exp', '{"exp":4102444800}', NULL, 'invalid_request', '{"expires":4102444800}', NULL), ('no sub', '{"sub":"alice"}', NULL, 'invalid_request', '{"txn":"alice"}', NULL),
	('toe is a number', '{"toe":"1"}', NULL, 'invalid_request', '{"toe":1}', NULL),
	('events', '{"events":null}', NULL, 'invalid_request', NULL, NULL), ('events is not empty', '{"events":{}}', NULL, 'invalid_request', NULL, NULL), ('events is an object', '{"events":[{}]}', NULL, 'invalid_request', NULL, NULL),
	('each event is an object', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{},"urn:x":null}}', NULL, 'invalid_request', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{},"urn:x":{}}}', NULL),
	('an event ends something', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked/":{}}}', NULL, 'ignored', '{"events":{"https://schemas.openid.net/secevent/risc/event-type/account-purged":{}}}', NULL),
	('change_type', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"created"}}}', NULL, 'invalid_request', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"update"}}}', NULL),
	('change_type of create', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"create"}}}', NULL, 'ignored', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"revoke"}}}', NULL),
	('event_timestamp is a number', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"event_timestamp":"1"}}}', NULL, 'invalid_request', '{"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"event_timestamp":1}}}', NULL),
	('sub_id', '{"sub_id":null}', NULL, 'invalid_request', NULL, NULL), ('sub_id is an object', '{"sub_id":[{"format":"opaque","id":"x"}]}', NULL, 'invalid_request', NULL, NULL)
	) r (what, claims, header, err, near_claims, near_header)
UNION ALL
-- RFC 9493 section 3
SELECT 'SET', 'sub_id ' || sub_id, jsonb_build_object('sub_id', sub_id::jsonb), NULL, err, CASE WHEN near IS NOT NULL THEN jsonb_build_object('sub_id', near::jsonb) END, NULL FROM (VALUES
	('{"iss":"https://op.example","sub":"alice"}', 'invalid_request', '{"format":"iss_sub","iss":"https://op.example","sub":"alice"}'), ('{"format":"ISS_SUB","iss":"https://op.example","sub":"alice"}', 'ignored', NULL),
	('{"format":"iss_sub","sub":"alice"}', 'invalid_request', NULL), ('{"format":"iss_sub","iss":"https://op.example"}', 'invalid_request', NULL), ('{"format":"iss_sub","iss":"https://op.example","sub":""}', 'invalid_request', NULL),
	('{"format":"iss_sub","iss":"","sub":"alice"}', 'invalid_request', NULL), ('{"format":"iss_sub","iss":"https://op.example","sub":["alice"]}', 'invalid_request', NULL), ('{"format":"iss_sub","iss":"https://op.example","sub":"alice","email":"x"}', 'invalid_request', NULL),
	('{"format":"jwt_id","iss":"https://op.example"}', 'invalid_request', '{"format":"jwt_id","iss":"https://op.example","jti":"j9"}'), ('{"format":"jwt_id","iss":"https://op.example","jti":"j9","sub":"x"}', 'invalid_request', NULL),
	('{"format":"aliases"}', 'invalid_request', '{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"}]}'), ('{"format":"aliases","identifiers":{}}', 'invalid_request', NULL), ('{"format":"aliases","identifiers":[]}', 'invalid_request', NULL),
	('{"format":"aliases","identifiers":["alice"]}', 'invalid_request', NULL), ('{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"},{"format":"email"}]}', 'invalid_request', '{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"},{"format":"email","email":"x"}]}'),
	('{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"}]}]}', 'invalid_request', NULL), ('{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"}],"x":1}', 'invalid_request', NULL),
	-- a member of a complex subject is a subject by itself
	('{"format":"complex","session":{"format":"opaque","id":"s1"},"user":{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"}]}]}}', 'invalid_request',
		'{"format":"complex","session":{"format":"opaque","id":"s1"},"user":{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://op.example","sub":"alice"}]}}'),
	('{"format":"complex","session":{"format":"opaque","id":"s1"},"user":{"format":"aliases"}}', 'invalid_request', NULL), ('{"format":"complex","session":{"format":"opaque","id":"s1"},"x":{"format":"complex","user":{"format":"opaque","id":"x"}}}', 'invalid_request', NULL),
	('{"format":"opaque"}', 'invalid_request', NULL), ('{"format":"opaque","id":""}', 'invalid_request', NULL), ('{"format":"email","mail":"x"}', 'invalid_request', NULL), ('{"format":"account","uri":1}', 'invalid_request', NULL),
	('{"format":"phone_number"}', 'invalid_request', NULL), ('{"format":"did","uri":"did:x"}', 'invalid_request', NULL), ('{"format":"uri"}', 'invalid_request', NULL), ('{"format":"saml_assertion_id","issuer":"x"}', 'invalid_request', NULL)) s (sub_id, err, near);
-- a valid event of each kind, and the same with changes
CREATE FUNCTION pg_temp.of_base(base text, claims jsonb, header jsonb) RETURNS text LANGUAGE sql RETURN CASE base
	WHEN 'logout' THEN pg_temp.token('{"sub":"alice","sid":"s1","exp":4102444800,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}' || coalesce(claims, '{}'), '{"typ":"logout+jwt"}' || coalesce(header, '{}'))
	ELSE pg_temp.token('{"sub_id":{"format":"iss_sub","iss":"https://op.example","sub":"alice"},"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{}}}' || coalesce(claims, '{}'), '{"typ":"secevent+jwt"}' || coalesce(header, '{}')) END;
SELECT is_empty('SELECT base, what, err, verdict FROM rule, pg_temp.receive(pg_temp.of_base(base, claims, header)) verdict WHERE verdict <> err',
	(SELECT count(*) FROM rule) || ' tokens that break one rule are refused for it, and write nothing');
SELECT is_empty('SELECT base, what, near_claims, near_header, verdict FROM rule, pg_temp.receive(pg_temp.of_base(base, near_claims, near_header)) verdict WHERE verdict <> ''accepted''', 'and those nearest to them are accepted');
SELECT is(pg_temp.receive(regexp_replace(pg_temp.of_base('logout', NULL, NULL), '.....$', 'AAAAA')), 'authentication_failed', 'a signature that is another''s');
SELECT is(pg_temp.receive(pg_temp.of_base('logout', NULL, '{"kid":"other"}')), 'authentication_failed', 'or another issuer''s key');

-- The sessions that each event ends: of users of three issuers with similar names, in
-- sessions that began before and after it.
UPDATE jwt_issuer SET events_for = '{https://op.example}' WHERE issuer = 'https://hub.example';
CREATE TEMP TABLE person AS
SELECT row_number() OVER () AS n, signer, sub, sid, iat, jti, pg_temp.token(jsonb_build_object('sub', sub, 'sid', sid, 'iat', iat, 'jti', jti, 'exp', 4102444800), '{}', signer) AS token
FROM unnest('{op,other,hub}'::text[]) signer, unnest('{alice,Alice,"alice ",alice@op.example,bob,s1,""}'::text[]) sub, unnest('{s1,s2,NULL}'::text[]) sid, unnest('{1767225599,1767225600,1767225601}'::bigint[]) iat, unnest('{j1,alice}'::text[]) jti;
CREATE TEMP TABLE act (n int GENERATED ALWAYS AS IDENTITY, signer text, claims jsonb, issuer text, kind text, value text, until bigint DEFAULT 1767225600);
INSERT INTO act (signer, claims, issuer, kind, value)
SELECT signer, jsonb_build_object('exp', 4102444800, 'events', '{"http://schemas.openid.net/event/backchannel-logout":{}}'::jsonb) || jsonb_strip_nulls(jsonb_build_object('sub', sub, 'sid', sid)), signer,
	CASE WHEN sid IS NULL THEN 'sub' ELSE 'sid' END, coalesce(sid, sub)
FROM unnest('{op,other,hub}'::text[]) signer, unnest('{NULL,alice,s1}'::text[]) sub, unnest('{NULL,s1,alice}'::text[]) sid WHERE sub IS NOT NULL OR sid IS NOT NULL;
INSERT INTO act (signer, claims, issuer, kind, value)
SELECT signer, jsonb_build_object('sub_id', sub_id::jsonb, 'events', '{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{}}'::jsonb),
	CASE WHEN issuer = 'signer' THEN signer WHEN signer = issuer OR signer = 'hub' AND issuer = 'op' AND kind = 'sub' THEN issuer END, kind, value
FROM unnest('{op,other,hub}'::text[]) signer, (VALUES
	('{"format":"iss_sub","iss":"https://op.example","sub":"alice"}', 'op', 'sub', 'alice'), ('{"format":"iss_sub","iss":"https://op.example/","sub":"alice"}', NULL, NULL, NULL), ('{"format":"iss_sub","iss":"https://op.example","sub":"alice@op.example"}', 'op', 'sub', 'alice@op.example'),
	('{"format":"iss_sub","iss":"https://other.example","sub":"alice"}', 'other', 'sub', 'alice'),
	('{"format":"iss_sub","iss":"https://hub.example","sub":"alice"}', 'hub', 'sub', 'alice'), ('{"format":"iss_sub","iss":"https://op.example","sub":"s1"}', 'op', 'sub', 's1'), ('{"format":"iss_sub","iss":"https://op.example","sub":"ALICE"}', 'op', 'sub', 'ALICE'),
	('{"format":"email","email":"alice@op.example"}', NULL, NULL, NULL), ('{"format":"account","uri":"alice"}', NULL, NULL, NULL), ('{"format":"opaque","id":"alice"}', NULL, NULL, NULL), ('{"format":"opaque","id":"s1"}', NULL, NULL, NULL),
	('{"format":"jwt_id","iss":"https://op.example","jti":"alice"}', 'op', 'jti', 'alice'), ('{"format":"uri","uri":"alice"}', NULL, NULL, NULL),
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"}}', 'op', 'sub', 'alice'), ('{"format":"complex","session":{"format":"opaque","id":"s1"}}', 'signer', 'sid', 's1'),
	('{"format":"complex","session":{"format":"opaque","id":"s1"},"user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"}}', 'op', 'sid', 's1'),
	('{"format":"complex","session":{"format":"opaque","id":"s1"},"user":{"format":"aliases","identifiers":[{"format":"email","email":"x"},{"format":"iss_sub","iss":"https://op.example","sub":"alice"}]}}', 'op', 'sid', 's1'),
	('{"format":"complex","session":{"format":"opaque","id":"alice"},"user":{"format":"email","email":"x"}}', 'signer', 'sid', 'alice'), ('{"format":"complex","session":{"format":"opaque","id":"s1"},"device":{"format":"opaque","id":"d"}}', 'signer', 'sid', 's1'),
	('{"format":"complex","session":{"format":"email","email":"s1"},"user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"}}', NULL, NULL, NULL),
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"},"device":{"format":"opaque","id":"d"}}', NULL, NULL, NULL), ('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"},"tenant":{"format":"opaque","id":"t"}}', NULL, NULL, NULL),
	('{"format":"complex","user":{"format":"iss_sub","iss":"https://op.example","sub":"alice"},"x":{"format":"x"}}', NULL, NULL, NULL), ('{"format":"complex","device":{"format":"iss_sub","iss":"https://op.example","sub":"alice"}}', NULL, NULL, NULL),
	('{"format":"complex","tenant":{"format":"iss_sub","iss":"https://op.example","sub":"alice"}}', NULL, NULL, NULL), ('{"format":"complex","group":{"format":"opaque","id":"alice"}}', NULL, NULL, NULL), ('{"format":"complex","org_unit":{"format":"opaque","id":"alice"}}', NULL, NULL, NULL),
	('{"format":"complex","application":{"format":"opaque","id":"alice"}}', NULL, NULL, NULL)) s (sub_id, issuer, kind, value);
-- a subject of another issuer ends nothing
UPDATE act SET kind = NULL, value = NULL WHERE issuer IS NULL;
-- the time of an event is at most its token's iat, and at most now
INSERT INTO act (signer, claims, issuer, kind, value, until)
SELECT 'op', jsonb_build_object('sub_id', '{"format":"iss_sub","iss":"https://op.example","sub":"alice"}'::jsonb, 'events', jsonb_build_object('https://schemas.openid.net/secevent/caep/event-type/session-revoked', jsonb_build_object('event_timestamp', t::jsonb))), 'op', 'sub', 'alice', until
FROM (VALUES ('1767225599', 1767225599), ('1767225599.999', 1767225599), ('1767225601', 1767225600), ('4000000000', 1767225600), ('1767225600000', 1767225600), ('1e300', 1767225600), ('0', 0), ('-1', -1), ('-1e300', NULL), ('-0.5', -1)) t (t, until);
CREATE TEMP TABLE signed_out (act int, person bigint);
DO $$
DECLARE
	a record;
BEGIN
	FOR a IN SELECT * FROM act LOOP
		PERFORM jwt_receive_event(pg_temp.token(a.claims, CASE WHEN a.claims ? 'sub_id' THEN '{"typ":"secevent+jwt"}' ELSE '{"typ":"logout+jwt"}' END::jsonb, a.signer));
		INSERT INTO signed_out SELECT a.n, p.n FROM person p WHERE (jwt_inspect(p.token)).sqlstate IS NOT DISTINCT FROM '28J11';
		DELETE FROM jwt_denylist;
	END LOOP;
END $$;
CREATE TEMP TABLE named AS SELECT a.n AS act, p.n AS person FROM act a JOIN person p ON p.signer = a.issuer AND
	(a.kind = 'sub' AND p.sub = a.value AND p.iat <= a.until OR a.kind = 'sid' AND p.sid = a.value OR a.kind = 'jti' AND p.jti = a.value);
SELECT is_empty('SELECT a.*, p.signer, p.sub, p.sid, p.iat, p.jti FROM (TABLE signed_out EXCEPT TABLE named) x JOIN act a ON a.n = x.act JOIN person p ON p.n = x.person',
	(SELECT format('by %s events, of %s tokens none is refused that was not named', count(*), (SELECT count(*) FROM person)) FROM act));
SELECT is_empty('SELECT a.*, p.signer, p.sub, p.sid, p.iat, p.jti FROM (TABLE named EXCEPT TABLE signed_out) x JOIN act a ON a.n = x.act JOIN person p ON p.n = x.person', 'and each that was is');
SELECT cmp_ok((SELECT count(DISTINCT act) FROM named), '>', 30::bigint, 'most events name somebody');

-- A flood of unsigned events leaves no row, no fetch, no cached token and no memory
-- behind.
SELECT jwt_test_wakes() \g /dev/null
SELECT count(jwt_try_verify(pg_temp.token('{}', '{"kid":"nobody"}'))) \g /dev/null
SELECT cmp_ok(jwt_test_wakes(), '>', 0::bigint, 'an unknown kid in an access token asks for keys');
CREATE TEMP TABLE hostile AS
SELECT n % 8 AS what, CASE n % 8
	WHEN 0 THEN pg_temp.of_base('logout', NULL, jsonb_build_object('kid', 'kid' || n))
	WHEN 1 THEN overlay(pg_temp.of_base('logout', jsonb_build_object('sub', n::text, 'sid', NULL), NULL) PLACING 'AAAA' FROM 300)
	WHEN 2 THEN pg_temp.of_base('SET', jsonb_build_object('jti', n), NULL)
	WHEN 3 THEN pg_temp.of_base('logout', NULL, jsonb_build_object('kid', NULL, 'alg', (ARRAY['HS512', 'none', 'RS256'])[1 + n % 3]))
	WHEN 4 THEN pg_temp.of_base('SET', jsonb_build_object('iss', 'https://nobody.example', 'jti', n::text), '{"kid":"other"}')
	WHEN 5 THEN repeat('x', n) || '.y.z'
	WHEN 6 THEN pg_temp.of_base('SET', jsonb_build_object('sub_id', jsonb_build_object('format', 'opaque', 'id', n::text)), NULL)
	ELSE pg_temp.token(jsonb_build_object('sub', n::text, 'exp', 4102444800)) END AS token
FROM generate_series(1, 8000) n;
SELECT entries, bytes FROM jwt_cache() \gset
SELECT count(jwt_receive_event(token)) FROM hostile \g /dev/null
SELECT contexts AS before FROM jwt_test_memory() \gset
SELECT count(jwt_receive_event(token)) FROM hostile, generate_series(1, 3) \g /dev/null
SELECT contexts AS after FROM jwt_test_memory() \gset
SELECT cmp_ok(:after - :before, '<', 100000, 'memory is the same after 24,000 more');
SELECT is_empty('SELECT what, jwt_receive_event(token) FROM hostile WHERE jwt_receive_event(token) ? ''revoked'' LIMIT 1', '8,000 hostile tokens sign nobody out');
SELECT is(jwt_test_wakes(), 0::bigint, 'they ask for no keys');
SELECT is_empty('TABLE jwt_denylist', 'they leave no row');
SELECT results_eq('SELECT entries, bytes FROM jwt_cache()', format('VALUES (%s::bigint, %s::bigint)', :entries, :bytes), 'and no token is remembered');
-- A valid event that is sent a thousand times writes one row.
SELECT count(jwt_receive_event(pg_temp.of_base(base, jsonb_build_object('jti', i::text), NULL))) FROM unnest('{logout,SET}'::text[]) base, generate_series(1, 1000) i \g /dev/null
SELECT is(count(*), 2::bigint, 'two events that are sent a thousand times are two rows') FROM jwt_denylist;
SELECT jwt_receive_event(pg_temp.of_base('SET', jsonb_build_object('sub_id', jsonb_build_object('format', 'aliases', 'identifiers', (SELECT jsonb_agg(jsonb_build_object('format', 'iss_sub', 'iss', 'https://op.example', 'sub', 'n' || i % 3)) FROM generate_series(1, 60) i))), NULL)) \g /dev/null
SELECT is(count(*), 3::bigint, 'an event that names each of three users twenty times writes three rows') FROM jwt_denylist WHERE value LIKE 'n_';

SELECT * FROM finish();
DELETE FROM jwt_issuer;
DELETE FROM jwt_denylist;

--
-- claims: the check of registered claims by an issuer's policy and the time
--
SET timezone = 'UTC';
-- The verdict on a token with changed claims; null removes a claim.
CREATE FUNCTION judge(changes jsonb, header text DEFAULT '{"alg":"HS256","kid":"h1"}',
					  at timestamptz DEFAULT half_past(), OUT sqlstate text, OUT detail text) LANGUAGE sql STABLE
RETURN (SELECT (coalesce(i.sqlstate, 'valid'), i.detail)
		FROM jwt_inspect(sign((jsonb_strip_nulls('{"iss":"https://hmac.example","aud":"api","exp":1767229200}' || changes))::text, header), at => at) i);

CREATE FUNCTION judge_under(policy text[], changes jsonb, OUT sqlstate text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
	UPDATE jwt_issuer SET audience = policy WHERE issuer = 'https://hmac.example';
	SELECT v.* INTO sqlstate, detail FROM judge(changes) v;
END $$;

-- iss
SELECT changes, v.* FROM (VALUES
	('{"iss":"https://hmac.example"}'), ('{"iss":null}'), ('{"iss":""}'), ('{"iss":"https://hmac.example/"}'),
	('{"iss":"https://idp.example"}'), ('{"iss":"HTTPS://HMAC.EXAMPLE"}'), ('{"iss":["https://hmac.example"]}'), ('{"iss":1}')
	) t (changes), judge(changes::jsonb) v;

-- The issuer '' is for tokens without iss only.
UPDATE jwt_issuer SET issuer = '' WHERE issuer = 'https://hmac.example';
SELECT changes, v.* FROM (VALUES
	('{"iss":null}'), ('{"iss":""}'), ('{"iss":"https://hmac.example"}')
	) t (changes), judge(changes::jsonb) v;
UPDATE jwt_issuer SET issuer = 'https://hmac.example' WHERE issuer = '';

-- aud: one of the policy's; {} accepts only tokens without aud, and {*} any.
SELECT policy, changes, v.* FROM (VALUES
	('{api}', '{"aud":"api"}'), ('{api}', '{"aud":["x","api"]}'), ('{api}', '{"aud":"API"}'), ('{api}', '{"aud":"api "}'),
	('{api}', '{"aud":null}'), ('{api}', '{"aud":[]}'), ('{api}', '{"aud":["x","y"]}'), ('{api}', '{"aud":"*"}'),
	('{api}', '{"aud":["api",1]}'), ('{api}', '{"aud":{"api":1}}'), ('{api}', '{"aud":true}'), ('{api,web}', '{"aud":"x"}'),
	('{}', '{"aud":null}'), ('{}', '{"aud":"api"}'), ('{}', '{"aud":[]}'),
	('{*}', '{"aud":null}'), ('{*}', '{"aud":"anything"}'), ('{*}', '{"aud":1}')
	) t (policy, changes), judge_under(policy::text[], changes::jsonb) v;
UPDATE jwt_issuer SET audience = '{api}' WHERE issuer = 'https://hmac.example';

-- exp: from this time on the token is expired. The leeway is 30 seconds.
SELECT at, v.* FROM (VALUES
	('2026-01-01 01:00:29.999999'), ('2026-01-01 01:00:30'), ('2026-01-01 03:00'), ('2026-01-04 03:00')
	) t (at), judge('{}', at => at::timestamptz) v;
-- nbf and iat.
SELECT at, v.* FROM (VALUES ('2026-01-01 00:29:29.999999'), ('2026-01-01 00:29:30')) t (at),
	judge('{"nbf":1767227400}', at => at::timestamptz) v;
SELECT at, v.* FROM (VALUES ('2026-01-01 00:29:29.999999'), ('2026-01-01 00:29:30')) t (at),
	judge('{"iat":1767227400}', at => at::timestamptz) v;
UPDATE jwt_issuer SET leeway = '0' WHERE issuer = 'https://hmac.example';
SELECT at, v.* FROM (VALUES ('2026-01-01 00:59:59.999999'), ('2026-01-01 01:00')) t (at),
	judge('{}', at => at::timestamptz) v;
-- Fractions, exponents, any magnitude, no overflow.
SELECT changes, v.* FROM (VALUES
	('{"exp":1767227400.5}'), ('{"exp":1767227400.0000001}'), ('{"exp":1767227400}'), ('{"exp":1767227399.9}'),
	('{"exp":17672274001e-1}'), ('{"exp":1.7672274001e9}'), ('{"exp":1e300}'), ('{"exp":-1e300}'), ('{"exp":0}'), ('{"exp":-1}'),
	('{"exp":9223372036854775807}'), ('{"exp":-9223372036854775808}'), ('{"exp":9223372036854}'), ('{"exp":99999999999999999999}'),
	('{"nbf":1e300}'), ('{"nbf":-1e300}'), ('{"iat":1e300}'), ('{"iat":-1e300}'), ('{"nbf":9223372036854775807}'), ('{"exp":1e-16000}')
	) t (changes), judge(changes::jsonb) v;
SELECT expires_at FROM jwt_inspect(sign('{"exp":1e300}'), at => half_past());
SELECT expires_at FROM jwt_inspect(sign('{"exp":-1e300}'), at => half_past());
SELECT expires_at FROM jwt_inspect(sign('{"exp":1767229200.25}'), at => half_past());
UPDATE jwt_issuer SET leeway = DEFAULT WHERE issuer = 'https://hmac.example';

-- Types.
SELECT changes, v.* FROM (VALUES
	('{"exp":"1767229200"}'), ('{"exp":true}'), ('{"exp":[1767229200]}'), ('{"exp":{}}'), ('{"nbf":"0"}'), ('{"iat":"0"}'),
	('{"sub":1}'), ('{"sub":"alice"}'), ('{"jti":1}'), ('{"jti":"1"}')
	) t (changes), judge(changes::jsonb) v;
SELECT sqlstate, detail FROM jwt_inspect(sign('{"iss":"https://hmac.example","aud":"api","exp":null}'), at => half_past());

-- Claims by which a token can be revoked are strings of at most 1,024 bytes.
SELECT claim, length, what, v.sqlstate, v.detail FROM unnest('{sub,jti,sid}'::text[]) claim,
	(VALUES (0, 'x'), (1024, 'x'), (1025, 'x'), (512, 'é'), (513, 'é')) s (length, what),
	judge(jsonb_build_object(claim, repeat(what, length))) v ORDER BY claim, what, length;
SELECT changes, v.* FROM (VALUES
	('{"sid":1}'), ('{"sid":["s"]}'), ('{"sid":{}}'), ('{"sid":true}'), ('{"session_id":1}'), ('{"sid":"s","exp":"1767229200"}'), ('{"sid":1,"aud":"x"}')
	) t (changes), judge(changes::jsonb) v;
SELECT sqlstate, detail FROM jwt_inspect(sign('{"iss":"https://hmac.example","aud":"api","exp":1767229200,"sid":null}'), at => half_past());
-- A token with an iat before all timestamps is revoked with its subject.
BEGIN;
SELECT jwt_revoke_subject('https://hmac.example', 'alice') IS NOT NULL AS revoked;
SELECT changes, v.sqlstate, regexp_replace(v.detail, 'until [-0-9]+ [0-9:.+]+', 'until …') AS detail FROM (VALUES
	('{"sub":"alice","iat":-1e300}'), ('{"sub":"alice","iat":-1e18}'), ('{"sub":"alice","iat":-9223372036854775808}'), ('{"sub":"alice","iat":0}'), ('{"sub":"alice"}'),
	('{"sub":"bob","iat":-1e300}')
	) t (changes), judge(changes::jsonb) v;
ROLLBACK;

-- Required claims: exp unless the policy says otherwise.
SELECT * FROM judge('{"exp":null}');
UPDATE jwt_issuer SET required_claims = '{sub,tenant}' WHERE issuer = 'https://hmac.example';
SELECT changes, v.* FROM (VALUES
	('{"exp":null,"sub":"alice","tenant":7}'), ('{"sub":"alice"}'), ('{"tenant":7}')
	) t (changes), judge(changes::jsonb) v;
UPDATE jwt_issuer SET required_claims = DEFAULT WHERE issuer = 'https://hmac.example';

-- Lifetime and age.
UPDATE jwt_issuer SET max_lifetime = '1 hour' WHERE issuer = 'https://hmac.example';
SELECT changes, v.* FROM (VALUES
	('{"iat":1767225600}'), ('{"iat":1767225599}'), ('{"iat":null}'), ('{"iat":1767225600,"exp":1e300}'), ('{"iat":-1e300}')
	) t (changes), judge(changes::jsonb) v;
UPDATE jwt_issuer SET max_lifetime = NULL, max_age = '10 minutes' WHERE issuer = 'https://hmac.example';
SELECT changes, v.* FROM (VALUES
	('{"iat":1767226770}'), ('{"iat":1767226769}'), ('{"iat":null}'), ('{"iat":-1e300}')
	) t (changes), judge(changes::jsonb) v;
UPDATE jwt_issuer SET max_age = NULL WHERE issuer = 'https://hmac.example';

-- The token type.
UPDATE jwt_issuer SET token_type = 'at+jwt' WHERE issuer = 'https://hmac.example';
SELECT typ, v.* FROM (VALUES
	('"at+jwt"'), ('"AT+JWT"'), ('"application/at+jwt"'), ('"Application/AT+jwt"'),
	('"JWT"'), ('""'), ('"application/"'), ('"application/x/at+jwt"'), ('"at+jwt "')
	) t (typ), judge('{}', '{"alg":"HS256","kid":"h1","typ":' || typ || '}') v;
SELECT * FROM judge('{}');
UPDATE jwt_issuer SET token_type = NULL WHERE issuer = 'https://hmac.example';

-- The purpose: a token for another use is not an access token, whatever its audience.
-- Its typ shows that, with or without application/.
SELECT typ, v.* FROM (VALUES
	('logout+jwt'), ('secevent+jwt'), ('dpop+jwt'), ('Application/LOGOUT+jwt'), ('application/secevent+jwt'), ('application/dpop+jwt'),
	('JWT'), ('at+jwt'), ('logout'), ('x-logout+jwt'), ('application/x/logout+jwt')
	) t (typ), judge('{}', jsonb_build_object('alg', 'HS256', 'kid', 'h1', 'typ', typ)::text) v;
-- The claim events shows it, too, and so do the claims of ID tokens.
SELECT claims, v.* FROM (VALUES
	('{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}'), ('{"events":1}'), ('{"nonce":"n"}'), ('{"at_hash":"h"}'), ('{"c_hash":"h"}'), ('{"s_hash":"h"}'),
	('{"auth_time":1767225600,"azp":"client"}')
	) t (claims), judge(claims::jsonb) v;
-- The purpose is checked after the issuer and before the audience.
SELECT v.* FROM judge('{"iss":"https://other.example","nonce":"n"}') v UNION ALL SELECT v.* FROM judge('{"aud":"web","nonce":"n"}') v;
-- The issuer's policy can accept ID tokens. Events are never accepted.
UPDATE jwt_issuer SET accept_id_tokens = true WHERE issuer = 'https://hmac.example';
SELECT claims, v.* FROM (VALUES ('{"nonce":"n","at_hash":"h","c_hash":"h","s_hash":"h"}'), ('{"nonce":"n","events":{}}')) t (claims), judge(claims::jsonb) v;
SELECT * FROM judge('{"nonce":"n"}', '{"alg":"HS256","kid":"h1","typ":"logout+jwt"}');
UPDATE jwt_issuer SET accept_id_tokens = false WHERE issuer = 'https://hmac.example';
-- Without an audience the issuer has no access tokens.
UPDATE jwt_issuer SET audience = NULL, event_audience = '{api}' WHERE issuer = 'https://hmac.example';
SELECT changes, v.* FROM (VALUES ('{}'), ('{"aud":null}')) t (changes), judge(changes::jsonb) v;
UPDATE jwt_issuer SET audience = '{api}', event_audience = NULL WHERE issuer = 'https://hmac.example';

-- A message quotes claims only within bounds.
SELECT * FROM judge(jsonb_build_object('iss', repeat('x', 1000)));
SELECT * FROM judge(jsonb_build_object('aud', E'a\nLOG:  forged'));

-- Any number of claims gives the jsonb that a cast to jsonb gives.
CREATE TEMP TABLE claims AS
	SELECT jsonb_object_agg(repeat('c', i % 5) || i, CASE i % 4 WHEN 0 THEN to_jsonb(i) WHEN 1 THEN to_jsonb(repeat('x', i)) WHEN 2 THEN jsonb_build_object('in', i) ELSE 'null' END)
		|| '{"iss":"https://hmac.example","aud":"api","exp":1767229200}' AS said
	FROM generate_series(1, 100) i;
ALTER TABLE claims ADD verified jsonb;
UPDATE claims SET verified = jwt_verify(sign(said::text), at => half_past());
SELECT verified = said AND verified::text = said::text AS same, jsonb_hash(verified) = jsonb_hash(said) AS same_hash,
	(SELECT count(*) FROM jsonb_object_keys(said) k WHERE verified -> k = said -> k AND (verified ->> k) IS NOT DISTINCT FROM (said ->> k)) AS same_members,
	verified @> '{"c6":{"in":6}}' AND verified ? '36' IS FALSE AND verified #>> '{cccc94,in}' = '94' AS contained,
	verified || '{"more":1}' = said || '{"more":1}' AND verified - 'exp' = said - 'exp' AS same_changes
FROM claims;

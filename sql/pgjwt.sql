--
-- pgjwt: the extension jwt_pgjwt has the functions of pgjwt 0.2.0, with its results
--
-- Any role that can create objects in the database installs it, in any schema.
SELECT current_database() AS regression_database \gset
CREATE ROLE regress_pgjwt_user;
GRANT CREATE ON DATABASE :regression_database TO regress_pgjwt_user;
SET ROLE regress_pgjwt_user;
CREATE SCHEMA pgjwt_one;
CREATE EXTENSION jwt_pgjwt SCHEMA pgjwt_one;
SET search_path = pgjwt_one;
-- verify() reads the clock, so no function that depends on it or on a catalog is
-- IMMUTABLE, as all are in pgjwt.
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result, pg_get_function_arguments(p.oid) AS arguments,
	CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' END AS volatility, proparallel AS parallel, proisstrict AS strict, prorows AS rows,
	obj_description(p.oid) IS NOT NULL AS comment
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt_pgjwt' ORDER BY p.proname COLLATE "C";

-- What a query gives, or is refused with; and its detail and hint, if any.
CREATE FUNCTION pgjwt_one.outcome(query text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	row text;
	result text := '';
	message text;
	detail text;
	hint text;
BEGIN
	FOR row IN EXECUTE query LOOP
		result := result || coalesce(row, 'NULL');
	END LOOP;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- url_encode, url_decode: either alphabet, with or without padding.
SELECT url_encode('\xfbfefdfc'), url_encode('') AS empty, url_encode(NULL) IS NULL AS none, length(url_encode(decode(repeat('ab', 300), 'hex'))) AS without_line_breaks;
SELECT input, outcome(format('SELECT url_decode(%L)', input)) FROM (VALUES
	('-_79_A'), ('+/79/A'), ('+/79/A=='), ('-_79_A=='), ('-_79 _A'), (''), ('AA'), ('AB'), ('AAA'), (NULL),
	('A'), ('AAAAA'), ('AA='), ('=AAA'), ('AA=A'), ('AA!A'), ('AAéA'), ('AA.A')) t (input);

-- algorithm_sign: HMAC in three sizes (RFC 4231 case 2), by names in exact case. The
-- secret is text of any length.
SELECT algorithm, algorithm_sign('what do ya want for nothing?', 'Jefe', algorithm) FROM unnest('{HS256,HS384,HS512}'::text[]) algorithm;
SELECT algorithm, outcome(format('SELECT algorithm_sign(''x'', ''secret'', %L)', algorithm)) FROM unnest('{HS256,hs256,"HS256 ",RS256,none,sha256,"",NULL}'::text[]) algorithm;
SELECT length(secret), algorithm_sign('x', secret, 'HS256') = public.b64url(public.hmac('x', convert_to(secret, 'UTF8'), 'sha256')) AS same
FROM unnest(ARRAY['', 'é', repeat('x', 64), repeat('x', 65), repeat('x', 1000)]) secret;
SELECT algorithm_sign(NULL, 'secret', 'none') IS NULL AS no_message, algorithm_sign('x', NULL, 'none') IS NULL AS no_secret;

-- sign: the header is one of three, and the payload is the text as given.
SELECT sign('{"sub":"1234567890","name":"John Doe","admin":true}', 'secret');
SELECT payload, convert_from(url_decode(split_part(token, '.', 1)), 'UTF8') AS header, convert_from(url_decode(split_part(token, '.', 2)), 'UTF8') = payload AS same
FROM (VALUES ('{"role" : "x"}', 'HS256'), ('{"a":1,"a":2}', 'HS384'), ('{"a":"é\u00e9"}', 'HS512'), ('[1, 2]', 'HS256'), ('null', 'HS256'), (' 1 ', 'HS256')) v (payload, algorithm),
	sign(payload::json, 'secret', algorithm) token;
SELECT sign('{}', '') AS empty_secret;
SELECT sign(NULL, 'secret') IS NULL AS no_payload, sign('{}', NULL, 'none') IS NULL AS no_secret, sign('{}', 'secret', NULL) IS NULL AS no_algorithm;
SELECT outcome($$SELECT sign('{}', 'secret', 'HS256') IS NOT NULL$$), outcome($$SELECT sign('{}', 'secret', 'ES256')$$), outcome($$SELECT sign('{}'::jsonb, 'secret', 'HS256')$$);

-- try_cast_double: NULL for what does not cast.
SELECT input, try_cast_double(input) FROM unnest('{1,-1.5e3," 7 ",Infinity,-inf,NaN,0x10,1e400,1e-400,"","1 2",75z,true,[1]}'::text[] || NULL::text) input;

-- verify: one row, of a token with a right signature.
SELECT * FROM verify(sign('{"sub" : "x"}', 'secret'), 'secret');
SELECT * FROM verify(sign('{"sub" : "x"}', 'secret', 'HS512'), 'secret', 'HS512');
-- With another secret or algorithm, or another payload, it returns the claims, too.
SELECT * FROM verify(sign('{"sub":"x"}', 'secret'), 'Secret');
SELECT * FROM verify(sign('{"sub":"x"}', 'secret'), 'secret', 'HS384');
SELECT v.* FROM sign('{"sub":"x"}', 'secret') token, verify(regexp_replace(token, '\..*\.', '.' || url_encode('{"sub":"y"}') || '.'), 'secret') v;

-- Parts: a token of two has no verdict, and what comes after three is ignored.
CREATE TABLE pgjwt_one.token AS SELECT sign('{"sub":"x"}', 'secret') AS good;
SELECT what, outcome(format('SELECT v::text FROM verify(%L, %L, %L) v', token, secret, algorithm)) FROM pgjwt_one.token, LATERAL (VALUES
	('good', good, 'secret', 'HS256'),
	('a fourth part', good || '.x', 'secret', 'HS256'),
	('an empty fourth part', good || '.', 'secret', 'HS256'),
	('two parts', substring(good, '.*(?=\.)'), 'secret', 'HS256'),
	('one part', split_part(good, '.', 1), 'secret', 'HS256'),
	('an empty signature', substring(good, '.*\.'), 'secret', 'HS256'),
	('another spelling of the signature', good || '=', 'secret', 'HS256'),
	('nothing', '', 'secret', 'HS256'),
	('no dots', 'token', 'secret', 'HS256'),
	('no token', NULL, 'secret', 'HS256'),
	('no secret', good, NULL, 'HS256'),
	('no algorithm', good, 'secret', NULL),
	('an unknown algorithm', good, 'secret', 'none'),
	('and no token', NULL, 'secret', 'none')) t (what, token, secret, algorithm);

-- The header's alg is ignored.
CREATE FUNCTION pgjwt_one.forge(header bytea, payload bytea) RETURNS text
LANGUAGE sql RETURN url_encode(header) || '.' || url_encode(payload) || '.' ||
	algorithm_sign(url_encode(header) || '.' || url_encode(payload), 'secret', 'HS256');
SELECT outcome(format('SELECT v::text FROM verify(%L, ''secret'') v', forge(convert_to(header, 'UTF8'), '{}'))) FROM unnest('{"{\"alg\":\"none\"}","{}",[],"null"}'::text[]) header;

-- JSON: what json accepts, or ->> where the times are read.
SELECT payload, outcome(format('SELECT v::text FROM verify(%L, ''secret'') v', forge('{}', convert_to(payload, 'UTF8')))) FROM (VALUES
	('{"a":1,"a":2}'), ('{ }'), ('[]'), ('"x"'), ('1'), ('null'), ('{"a":"\u00e9"}'), ('{"a":"\u0000"}'), ('{"exp":"\ud800"}'), (''), ('{'), ('{"a":1}x')) t (payload);
SELECT outcome(format('SELECT v::text FROM verify(%L, ''secret'') v', forge('{}', payload))) FROM (VALUES ('\x7b7d'::bytea), ('\x22c3a922'), ('\x22c322'), ('\x220022'), ('\xefbbbf7b7d')) t (payload);
SELECT outcome(format('SELECT v::text FROM verify(%L, ''secret'') v', forge(repeat('[', 20)::bytea || repeat(']', 20)::bytea, '{}'))),
	left(outcome(format('SELECT v::text FROM verify(%L, ''secret'') v', forge(repeat('[', 1000000)::bytea, '{}'))), 32) AS too_deep;

-- What the query does not ask for is not read, as the planner drops it. With a right
-- signature "valid" needs the payload, and never the header.
SELECT query, outcome('SELECT ' || format(query, forge('x', 'y'))) AS signed, outcome('SELECT ' || format(query, forge('x', 'y') || 'z')) AS not_signed FROM (VALUES
	('valid FROM verify(%L, ''secret'')'), ('count(*) FROM verify(%L, ''secret'')'), ('header FROM verify(%L, ''secret'')'), ('payload FROM verify(%L, ''secret'') WHERE valid'),
	('v.payload FROM (SELECT %L::text OFFSET 0) t (token), verify(token, ''secret'') v WHERE valid'), ('verify(%L, ''secret'')')) t (query);

-- Times: from nbf up to, and without, exp. The start of the transaction counts.
BEGIN;
SELECT what, valid FROM (SELECT extract(epoch FROM now())::numeric AS t) now, LATERAL (VALUES
	('none', '{}'), ('exp now', json_build_object('exp', t)::text), ('exp a microsecond later', json_build_object('exp', t + 0.00001)::text),
	('nbf now', json_build_object('nbf', t)::text), ('nbf a microsecond later', json_build_object('nbf', t + 0.00001)::text), ('both now', json_build_object('nbf', t, 'exp', t)::text),
	('between', json_build_object('nbf', t - 1, 'exp', t + 1)::text), ('before', json_build_object('nbf', t + 1, 'exp', t + 2)::text), ('after', json_build_object('nbf', t - 2, 'exp', t - 1)::text),
	('the last one of two', format('{"exp":%s,"exp":%s}', t - 1, t + 1)), ('its name is escaped', format('{"e\u0078p":%s}', t - 1)), ('in an array', format('[{"exp":%s}]', t - 1)),
	('iat later', json_build_object('iat', t + 1000)::text)) c (what, payload), verify(sign(payload::json, 'secret'), 'secret');
ROLLBACK;
SELECT payload, outcome(format('SELECT valid FROM verify(sign(%L, ''secret''), ''secret'')', payload)) FROM (VALUES
	('{"exp":"1"}'), ('{"exp":" 9e9 "}'), ('{"exp":"Infinity"}'), ('{"nbf":"-Infinity"}'), ('{"nbf":"Infinity"}'), ('{"exp":"0x7fffffff"}'),
	('{"exp":"never"}'), ('{"exp":""}'), ('{"exp":true}'), ('{"exp":null}'), ('{"exp":[1]}'), ('{"exp":{}}'), ('{"exp":1e400}'), ('{"nbf":"75z"}'),
	('{"exp":"NaN"}'), ('{"exp":1e300}'), ('{"exp":9224318015999}'), ('{"exp":9224318016000}'), ('{"nbf":2,"exp":1}'), ('{"nbf":2,"exp":2}')) t (payload);
-- A wrong signature comes first; where there is none, or no verdict on it, the times count.
SELECT secret, outcome(format('SELECT valid FROM verify(sign(%L, ''secret''), %L)', payload, secret)) FROM (VALUES ('{"exp":1}'), ('{"exp":"NaN"}')) t (payload), (VALUES ('secret'), ('Secret'), (NULL)) s (secret);

-- What verify() lets through, and what jwt_verify() says: the table of
-- doc/migrate/pgjwt.md. A token of two parts passes where NULL is taken for true.
RESET ROLE;
SELECT public.jwt_add_issuer('https://pgjwt.example', audience => '{api}', algorithms => '{HS256}') AS issuer,
	public.jwt_add_secret('https://pgjwt.example', 'a secret that is long enough for HS256', 'HS256') IS NOT NULL AS added;
SET ROLE regress_pgjwt_user;
CREATE FUNCTION pgjwt_one.forge(payload jsonb, header text DEFAULT '{"alg":"HS256"}', more text DEFAULT '') RETURNS text
LANGUAGE sql RETURN (SELECT input || '.' || algorithm_sign(input, 'a secret that is long enough for HS256', 'HS256') || more
	FROM concat_ws('.', url_encode(convert_to(header, 'UTF8')), url_encode(convert_to(CASE jsonb_typeof(payload) WHEN 'object' THEN
		(jsonb_build_object('iss', 'https://pgjwt.example', 'aud', 'api', 'exp', floor(extract(epoch FROM now())) + 1000) || payload) ELSE payload END::text, 'UTF8'))) input);
SELECT what, outcome(format('SELECT valid FROM verify(%L, ''a secret that is long enough for HS256'')', token)) AS verify, coalesce(i.sqlstate, 'valid') AS jwt_verify
FROM (SELECT extract(epoch FROM now())) n (t), LATERAL (VALUES
	('a good one', forge('{}')),
	('alg: none', forge('{}', '{"alg":"none"}')),
	('alg: RS256', forge('{}', '{"alg":"RS256"}')),
	('a header that is no object', forge('{}', '[]')),
	('crit', forge('{}', '{"alg":"HS256","crit":["x"],"x":1}')),
	('the algorithm twice', forge('{}', '{"alg":"none","alg":"HS256"}')),
	('two parts', substring(forge('{}'), '.*(?=\.)')),
	('four parts', forge('{}', more => '.x')),
	('a payload that is no object', forge('[]')),
	('no exp', forge('{"exp":null}')),
	('exp is no time', forge('{"exp":"never"}')),
	('exp is Infinity', forge('{"exp":"Infinity"}')),
	('exp is a string', forge(jsonb_build_object('exp', (t + 1000)::text))),
	('exp is NaN', forge('{"exp":"NaN"}')),
	('exp is out of range', forge('{"exp":1e300}')),
	('exp ten seconds ago', forge(jsonb_build_object('exp', t - 10))),
	('exp an hour ago', forge(jsonb_build_object('exp', t - 3600))),
	('nbf in an hour, exp before it', forge(jsonb_build_object('nbf', t + 3600))),
	('iat in an hour', forge(jsonb_build_object('iat', t + 3600))),
	('another issuer', forge('{"iss":"https://other.example"}')),
	('another audience', forge('{"aud":"other"}')),
	('another signature', forge('{}', more => 'x'))) c (what, token), public.jwt_inspect(token, issuer => 'https://pgjwt.example') i;
DO $$
DECLARE
	claims json;
	valid boolean;
BEGIN
	SELECT v.payload, v.valid INTO claims, valid FROM verify('e30.eyJzdWIiOiJyb290In0', 'secret') v;
	IF NOT valid THEN
		RAISE 'refused';
	END IF;
	RAISE NOTICE 'accepted: %', claims;
END $$;
RESET ROLE;
DELETE FROM public.jwt_issuer WHERE issuer = 'https://pgjwt.example';
SET ROLE regress_pgjwt_user;

-- No error shows the secret, nor the statement of a function that has it.
\set SHOW_CONTEXT always
DO $$ BEGIN EXECUTE 'SELECT sign(''{}'', ''top secret'', ''none'')'; END $$;
DO $$ BEGIN EXECUTE 'SELECT * FROM verify(''x.y.z'', ''top secret'')'; END $$;
DO $$ BEGIN EXECUTE 'SELECT * FROM verify(''eA.eA.eA'', ''top secret'')'; END $$;
DO $$ BEGIN PERFORM verify(sign('{"exp":"NaN"}', 'top secret'), 'top secret'); END $$;
DO $$ BEGIN EXECUTE 'SELECT verify(sign(''{"nbf":2,"exp":1}'', ''top secret''), ''top secret'')'; END $$;
\set SHOW_CONTEXT errors

-- A superuser moves the extension to another schema. Nothing of the caller's stands in
-- for its functions. It goes without a trace.
DROP FUNCTION forge(bytea, bytea), forge(jsonb, text, text);
CREATE SCHEMA pgjwt_two;
RESET ROLE;
ALTER EXTENSION jwt_pgjwt SET SCHEMA pgjwt_two;
SET ROLE regress_pgjwt_user;
CREATE FUNCTION pgjwt_one.url_decode(data text) RETURNS bytea LANGUAGE sql IMMUTABLE RETURN convert_to('{"sub":"forged"}', 'UTF8');
CREATE FUNCTION pgjwt_one.pgjwt_equal(a text, b text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
SELECT v.* FROM pgjwt_one.token, pgjwt_two.verify(good, 'another') v;
SET search_path = '';
SELECT v.* FROM pgjwt_one.token, pgjwt_two.verify(good, 'secret') v;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA pgjwt_one CASCADE;
DROP EXTENSION jwt_pgjwt;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'pgjwt_two'::regnamespace;
CREATE EXTENSION jwt_pgjwt SCHEMA pgjwt_two;
SELECT v.* FROM pgjwt_two.verify(pgjwt_two.sign('{}', 'secret'), 'secret') v;
DROP SCHEMA pgjwt_two CASCADE;
SELECT count(*) FROM pg_extension WHERE extname = 'jwt_pgjwt';
RESET client_min_messages;
RESET ROLE;
REVOKE CREATE ON DATABASE :regression_database FROM regress_pgjwt_user;
DROP ROLE regress_pgjwt_user;

--
-- issuer: what may be written into jwt_issuer
--
CREATE FUNCTION try_issuer(changes jsonb) RETURNS text LANGUAGE sql
RETURN refusal(format(
	'INSERT INTO jwt_issuer SELECT * FROM jsonb_populate_record(NULL::jwt_issuer, %L)',
	'{"issuer":"https://try.example","audience":["api"],"algorithms":["RS256"],"required_claims":["exp"],"leeway":"30 seconds","roles":[]}'::jsonb || changes));

BEGIN;
SELECT try_issuer('{}');
ROLLBACK;

-- Each refusal names the column, the reason and what would do.
SELECT changes, try_issuer(changes::jsonb) FROM (VALUES
	('{"issuer":null}'), ('{"audience":null}'), ('{"algorithms":null}'), ('{"required_claims":null}'), ('{"leeway":null}'),
	('{"audience":["a",null]}'), ('{"audience":["a","a"]}'), ('{"audience":[""]}'), ('{"audience":["*","api"]}'), ('{"audience":[["a"],["b"]]}'),
	('{"algorithms":[]}'), ('{"algorithms":["none"]}'), ('{"algorithms":["rs256"]}'), ('{"algorithms":["RS256","RS256"]}'), ('{"algorithms":[null]}'),
	('{"required_claims":[null]}'), ('{"required_claims":["exp","exp"]}'),
	('{"token_type":""}'), ('{"token_type":"at jwt"}'),
	('{"leeway":"-1 second"}'), ('{"leeway":"5 minutes 1 microsecond"}'), ('{"leeway":"1 month"}'), ('{"leeway":"178000000 years"}'),
	('{"role_claim":""}'), ('{"roles":null}'), ('{"roles":["none"]}'), ('{"roles":["a","a"]}'),
	('{"max_lifetime":"0"}'), ('{"max_lifetime":"-1 day"}'), ('{"max_age":"0"}')
	) t (changes);
SELECT try_issuer(jsonb_build_object('issuer', repeat('x', 1025)));

-- The error carries table and column for programs.
DO $$
DECLARE
	table_name text;
	column_name text;
BEGIN
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('x', '{api}', '{none}');
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS table_name = TABLE_NAME, column_name = COLUMN_NAME;
	RAISE NOTICE '%.%', table_name, column_name;
END $$;

-- Updates are checked too, and session_replication_role does not turn it off.
SELECT refusal($$UPDATE jwt_issuer SET leeway = '6 minutes'$$);
SET session_replication_role = replica;
SELECT refusal($$UPDATE jwt_issuer SET leeway = '6 minutes'$$);
RESET session_replication_role;

-- The edges that are accepted.
BEGIN;
SELECT try_issuer('{"issuer":"","audience":[],"algorithms":["EdDSA","ML-DSA-44"],"required_claims":[],"token_type":"application/at+jwt","leeway":"5 minutes","max_lifetime":"1 microsecond","max_age":"100 years"}');
SELECT try_issuer(jsonb_build_object('issuer', repeat('x', 1024), 'audience', '["*"]'::jsonb, 'leeway', '0'));
ROLLBACK;

-- An issuer that goes takes its keys with it; one that is renamed keeps them.
BEGIN;
SELECT count(*) FROM jwt_key WHERE issuer = 'https://idp.example';
UPDATE jwt_issuer SET issuer = 'https://renamed.example' WHERE issuer = 'https://idp.example';
SELECT sqlstate, detail FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
DELETE FROM jwt_issuer WHERE issuer = 'https://renamed.example';
SELECT sqlstate, detail FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());
ROLLBACK;
SELECT valid FROM jwt_inspect(fixture('token', 'RS256'), at => half_past());

-- However many issuers come at once, they take no more locks for that.
BEGIN;
INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://issuer' || i, '{api}', '{RS256}' FROM generate_series(1, 1000) i;
SELECT count(*) AS locks FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object';
ROLLBACK;

--
-- openssl: "out of memory" is raised if memory is lacking, and in no other case
--
SELECT plan(19);

-- Contents of the error queue, and whether they report a lack of memory.
CREATE TEMP TABLE queue (entries text[], lacking boolean);
INSERT INTO queue VALUES
	('{}', false), ('{EACCES}', false), ('{reason 12}', false), ('{nothing}', false), ('{nothing,nothing,reason 12}', false),
	('{malloc}', true), ('{ENOMEM}', true), ('{EACCES,malloc}', true), ('{malloc,EACCES}', true), ('{nothing,malloc}', true),
	('{malloc,nothing}', true), ('{EACCES,nothing,nothing,ENOMEM,nothing}', true);
INSERT INTO queue SELECT array_fill('EACCES'::text, ARRAY[n]) || '{malloc}', true FROM unnest('{14,15,30}'::int[]) n;
SELECT CASE WHEN lacking THEN throws_ok(format('SELECT jwt_test_check_memory(%L)', entries), '53200', NULL, what)
	ELSE lives_ok(format('SELECT jwt_test_check_memory(%L)', entries), what) END
FROM queue, LATERAL (SELECT format('the queue with %s entries, %s', cardinality(entries), left(entries::text, 60)) AS what) w;
CREATE FUNCTION pg_temp.left_over(entries text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jwt_test_check_memory(entries);
	RETURN jwt_test_has_errors();
EXCEPTION WHEN out_of_memory THEN
	RETURN jwt_test_has_errors();
END $$;
SELECT is_empty('SELECT entries FROM queue WHERE pg_temp.left_over(entries)', 'and nothing is left in any');

-- OpenSSL fails for another reason than a lack of memory.
SELECT jwt_test_properties('provider=nobody') \g /dev/null
SELECT throws_ok($$ SELECT jwt_jwk(E'-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n') $$, '22023', NULL,
	'a bad key is bad where OpenSSL has no algorithm');
SELECT jwt_test_properties('') \g /dev/null
SELECT lives_ok($$ SELECT jwt_jwk(fixture('pem', 'ec spki')) $$, 'and afterwards a good one is good');

-- A key that OpenSSL refuses is not loaded for each token with its kid.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://flood.example', '{api}', '{ES256}');
SET client_min_messages = error;
INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('https://flood.example', 'flood', 'ES256', fixture('key', 'ES256')::jsonb || '{"y":"RuMJdcM9UsO8T9IFRQyCx7o08m9eGGbt8Qbw6VMGsTU"}');
RESET client_min_messages;
CREATE FUNCTION pg_temp.scans() RETURNS bigint LANGUAGE sql RETURN (SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_all_tables WHERE relid = 'jwt_key'::regclass);
CREATE FUNCTION pg_temp.flood(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := pg_temp.scans();
BEGIN
	FOR i IN 1..n LOOP
		PERFORM jwt_try_verify(sign('{}', '{"alg":"ES256","kid":"flood"}'));
	END LOOP;
	RETURN pg_temp.scans() - before;
END $$;
SELECT cmp_ok(pg_temp.flood(100), '<', 20::bigint, 'a flood of tokens whose key OpenSSL refuses');
DELETE FROM jwt_issuer;

SELECT * FROM finish();

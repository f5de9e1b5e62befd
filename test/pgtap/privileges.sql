--
-- privileges: the rights of PUBLIC, and of roles with a single grant
--
SELECT plan(6);

CREATE FUNCTION pg_temp.members(class regclass) RETURNS SETOF oid LANGUAGE sql STABLE AS $$
	SELECT d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt'
	WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = class AND d.deptype = 'e'
$$;

SELECT set_eq($$ SELECT oid::regproc::text FROM pg_proc WHERE oid IN (SELECT pg_temp.members('pg_proc')) AND has_function_privilege('jwt_pgtap_user', oid, 'EXECUTE') $$,
	'{jwt_verify,jwt_try_verify,jwt_inspect,jws_verify,jwt_header,jwt_unverified_claims,jwt_thumbprint,jwt_jwk,jwt_authenticate,jwt_claims,jwt_claim,jwt_subject,jwt_has_scope,jwt_cache,jwt_key_status_rows,jwt_status_rows}'::text[],
	'PUBLIC may call what verifies, says what it is given, or refuses whoever has no SELECT on a view');
SELECT is_empty($$ SELECT oid::regprocedure FROM pg_proc WHERE oid IN (SELECT pg_temp.members('pg_proc')) AND (prosecdef OR (prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') AND prosqlbody IS NULL)) $$,
	'nothing runs with another''s rights, or on a search_path of the caller''s');
SELECT is_empty($$ SELECT c.oid::regclass, p FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
	WHERE c.oid IN (SELECT pg_temp.members('pg_class')) AND c.relkind IN ('r', 'v') AND has_table_privilege('jwt_pgtap_user', c.oid, p) $$,
	'PUBLIC has no privilege on any table or view');
SELECT is_empty($$ SELECT name, context FROM pg_settings WHERE name ~ '^jwt' AND name NOT IN ('jwt.token', 'jwt.issuer') AND context = 'user' $$,
	'and sets the token and its issuer alone');
SELECT is_empty($$ SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN (SELECT pg_temp.members('pg_class')) AND tgname ~ '_(check|changed)$' AND tgenabled <> 'A' $$,
	'every trigger that checks or invalidates fires in whatever session');
SELECT is_empty($$ SELECT oid::regprocedure FROM pg_proc WHERE oid IN (SELECT pg_temp.members('pg_proc')) AND provolatile = 'i' AND proname <> 'jwt_thumbprint' $$,
	'nothing that depends on time, tables or settings is IMMUTABLE');

SELECT * FROM finish();

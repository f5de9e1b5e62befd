/* jwt_auth--1.0.sql: signing keys, sessions and refresh tokens */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jwt_auth" to load this file. \quit

--
-- Each statement below looks up names with the rights of a superuser. So the script
-- locks the schema until its end. Otherwise the owner of the schema could replace it,
-- between two statements, by one with other functions. Some minor versions of
-- PostgreSQL, such as 15.18, allow that while the script runs. If the schema was
-- replaced before the lock, this finds no row, or jwt_auth_install_begin() raises an error.
--

SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) 1::bigint THEN 1
	ELSE pg_catalog.format('schema %s was renamed meanwhile'::text, '@extschema@'::text)::pg_catalog.int4 END
FROM (
	SELECT n.oid
	FROM pg_catalog.pg_namespace n
	WHERE pg_catalog.quote_ident(n.nspname::text) OPERATOR(pg_catalog.=) '@extschema@'::text
	FOR UPDATE
) locked;

--
-- Every member belongs to the bootstrap superuser, so that no other role can alter
-- it. If the installer is not a superuser, the script of a trusted extension already
-- runs as that role. Another superuser takes the role until the end of the script.
--

SELECT pg_catalog.set_config('jwt_auth_install.role'::text, pg_catalog.current_setting('role'::text), true);
SELECT pg_catalog.set_config('role'::text, r.rolname::text, true)
FROM pg_catalog.pg_roles r
WHERE r.oid OPERATOR(pg_catalog.=) 10::oid
	AND r.rolname OPERATOR(pg_catalog.<>) current_user;

--
-- C functions for this script: see src/extension/install.c
--

CREATE FUNCTION @extschema@.jwt_auth_install_begin() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_begin'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_auth_install_begin()
IS 'internal: raises an error unless the caller is a superuser or the owner of the database; only for the extension''s scripts';

CREATE FUNCTION @extschema@.jwt_auth_install_strip() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_strip'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_auth_install_strip()
IS 'internal: revokes all rights on the extension''s tables, views and functions, including those of default privileges; only for the extension''s scripts';

CREATE FUNCTION @extschema@.jwt_auth_install_end() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_end'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_auth_install_end()
IS 'internal: raises an error if the extension depends on anything outside of itself, its schema and the system; only for the extension''s scripts';

SELECT @extschema@.jwt_auth_install_begin();

--
-- Tables: on which terms tokens are issued, what signs them, and who is logged in
--
-- As in the extension jwt, there is no foreign key and no CHECK, and only primary keys
-- are NOT NULL, so rows can arrive in any order. C code reads them without privileges.
--

CREATE TABLE @extschema@.jwt_token_policy (
	issuer				text COLLATE "C" PRIMARY KEY,
	audience			text[] COLLATE "C",
	access_lifetime		interval DEFAULT '10 minutes'::interval,
	session_lifetime	interval DEFAULT '30 days'::interval,
	idle_lifetime		interval DEFAULT '7 days'::interval,
	grace				interval DEFAULT '10 seconds'::interval,
	publish_ahead		interval DEFAULT '1 day'::interval,
	rotate_every		interval
);

COMMENT ON TABLE @extschema@.jwt_token_policy IS 'the issuers that sign here, and the terms of their tokens and sessions';
COMMENT ON COLUMN @extschema@.jwt_token_policy.issuer IS 'the claim iss; an issuer of jwt_issuer';
COMMENT ON COLUMN @extschema@.jwt_token_policy.audience IS 'the claim aud';
COMMENT ON COLUMN @extschema@.jwt_token_policy.access_lifetime IS 'exp - iat of an access token, at most 1 day';
COMMENT ON COLUMN @extschema@.jwt_token_policy.session_lifetime IS 'how long after its start a session ends';
COMMENT ON COLUMN @extschema@.jwt_token_policy.idle_lifetime IS 'how long after its last refresh a session ends';
COMMENT ON COLUMN @extschema@.jwt_token_policy.grace IS 'how long after a refresh the same refresh token is given again, 0 to 60 seconds';
COMMENT ON COLUMN @extschema@.jwt_token_policy.publish_ahead IS 'how long a new key is published before it signs; longer than verifiers cache the JWK Set';
COMMENT ON COLUMN @extschema@.jwt_token_policy.rotate_every IS 'how often a new key begins to sign, by jwt_rotate_due_signing_keys(); null for never';

-- What opens a private key is in the last columns. PostgreSQL truncates a row that it
-- shows in CONTEXT, so they are the least likely to appear there.
CREATE TABLE @extschema@.jwt_signing_key (
	id					uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer				text COLLATE "C",
	kid					text COLLATE "C",
	alg					text COLLATE "C",
	jwk					jsonb,
	activate_at			timestamptz,
	created_at			timestamptz DEFAULT pg_catalog.now(),
	salt				bytea,
	sealed				bytea
);

CREATE INDEX jwt_signing_key_issuer_idx ON @extschema@.jwt_signing_key (issuer);

COMMENT ON TABLE @extschema@.jwt_signing_key IS 'private keys, sealed under a key of the key file; the public half is the row of jwt_key with the same id';
COMMENT ON COLUMN @extschema@.jwt_signing_key.jwk IS 'the public key';
COMMENT ON COLUMN @extschema@.jwt_signing_key.activate_at IS 'from this time on it signs, until a later key does';
COMMENT ON COLUMN @extschema@.jwt_signing_key.salt IS 'derives the key that seals this row';
COMMENT ON COLUMN @extschema@.jwt_signing_key.sealed IS 'the encrypted private key; null when it no longer signs';

CREATE TABLE @extschema@.jwt_session (
	sid					uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer				text COLLATE "C",
	sub					text COLLATE "C",
	client_id			text COLLATE "C",
	scope				text COLLATE "C",
	claims				jsonb,
	started_at			timestamptz,
	expires_at			timestamptz,
	rotated_at			timestamptz,
	counter				bigint,
	repeats				integer,
	seed				bytea,
	ended_at			timestamptz,
	ended_why			text
)
-- space for the next version of a row beside it, so that a refresh changes no index
WITH (fillfactor = 85);

CREATE INDEX jwt_session_issuer_sub_idx ON @extschema@.jwt_session (issuer, sub);

COMMENT ON TABLE @extschema@.jwt_session IS 'sessions: a row for each login';
COMMENT ON COLUMN @extschema@.jwt_session.sid IS 'the claim sid of its tokens';
COMMENT ON COLUMN @extschema@.jwt_session.claims IS 'the claims that the application gives its access tokens';
COMMENT ON COLUMN @extschema@.jwt_session.expires_at IS 'when it ends at the latest';
COMMENT ON COLUMN @extschema@.jwt_session.rotated_at IS 'when the current refresh token was made';
COMMENT ON COLUMN @extschema@.jwt_session.counter IS 'the number of the current refresh token';
COMMENT ON COLUMN @extschema@.jwt_session.repeats IS 'how often the current refresh token has been given again';
COMMENT ON COLUMN @extschema@.jwt_session.seed IS 'derives the key of its refresh tokens; null when the session has ended';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_token_policy'::pg_catalog.regclass, ''::text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_signing_key'::pg_catalog.regclass, ''::text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_session'::pg_catalog.regclass, ''::text);

--
-- Invalidation, as in the extension jwt
--

CREATE TYPE @extschema@.jwt_auth_marker AS ();

COMMENT ON TYPE @extschema@.jwt_auth_marker IS 'internal: invalidated when jwt_token_policy or jwt_signing_key changes';

CREATE FUNCTION @extschema@.jwt_auth_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_auth_changed'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_auth_changed() IS 'internal: invalidates what every backend has cached of jwt_token_policy and jwt_signing_key';

CREATE TRIGGER jwt_token_policy_check
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_token_policy
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_auth_changed();
CREATE TRIGGER jwt_token_policy_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.jwt_token_policy
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_auth_changed();
CREATE TRIGGER jwt_signing_key_check
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_signing_key
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_auth_changed();
CREATE TRIGGER jwt_signing_key_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.jwt_signing_key
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_auth_changed();

ALTER TABLE @extschema@.jwt_token_policy
	ENABLE ALWAYS TRIGGER jwt_token_policy_check,
	ENABLE ALWAYS TRIGGER jwt_token_policy_changed;
ALTER TABLE @extschema@.jwt_signing_key
	ENABLE ALWAYS TRIGGER jwt_signing_key_check,
	ENABLE ALWAYS TRIGGER jwt_signing_key_changed;

--
-- Signing
--
-- EXECUTE is the permission: the functions check no privilege on the tables. No
-- function signs the bytes of a caller, only claims that fit the issuer's policy.
--

CREATE FUNCTION @extschema@.jwt_create_signing_key(
	issuer text,
	alg text DEFAULT 'ES256'::text,
	kid text DEFAULT NULL::text,
	activate_at timestamptz DEFAULT NULL::timestamptz
) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_create_signing_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_create_signing_key(text, text, text, timestamptz)
IS 'makes a signing key and returns its kid, by default its thumbprint; it signs from activate_at on, by default after jwt_token_policy.publish_ahead, or at once if no key of the issuer can sign';

CREATE FUNCTION @extschema@.jwt_import_signing_key(
	issuer text,
	key text,
	alg text DEFAULT NULL::text,
	kid text DEFAULT NULL::text,
	activate_at timestamptz DEFAULT NULL::timestamptz
) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_import_signing_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_import_signing_key(text, text, text, text, timestamptz)
IS 'imports a private key, PEM (PKCS#8) or a JWK, as a signing key and returns its kid; pass the key as a parameter, so that the server does not log it';

CREATE FUNCTION @extschema@.jwt_rotate_signing_key(issuer text) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_rotate_signing_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_rotate_signing_key(text)
IS 'makes the next key of an issuer, of the same algorithm, and returns its kid; it signs after jwt_token_policy.publish_ahead, or at once if the current key cannot sign';

CREATE FUNCTION @extschema@.jwt_rotate_due_signing_keys() RETURNS integer
AS 'MODULE_PATHNAME', 'jwt_sql_rotate_due_signing_keys'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_rotate_due_signing_keys()
IS 'makes the keys that are due by jwt_token_policy.rotate_every, erases private keys that no longer sign, and deletes keys that ended 90 days ago; returns how many keys it made or changed; the worker of jwt_jwks calls it';

-- It writes nothing, but a parallel worker would open the private key again.
CREATE FUNCTION @extschema@.jwt_sign(
	claims jsonb,
	issuer text DEFAULT NULL::text,
	lifetime interval DEFAULT NULL::interval
) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_sign'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_sign(jsonb, text, interval)
IS 'signs an access token with these claims and those of the issuer''s policy; without an issuer, that of the only policy; an error if jwt_verify() would refuse the token';

-- VOLATILE, because most signatures are different each time.
CREATE FUNCTION @extschema@.jws_sign(payload bytea, jwk jsonb, alg text, header jsonb DEFAULT '{}'::jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_jws_sign'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jws_sign(bytea, jsonb, text, jsonb)
IS 'signs a payload with a private JWK or a secret of the caller; returns a compact JWS';

--
-- Sessions
--
-- VOLATILE and PARALLEL UNSAFE: these functions write, or read what is committed when
-- they are called. A null refresh token gives an answer with an error, and raises none,
-- so an API can pass on what a client has sent.
--

CREATE FUNCTION @extschema@.jwt_start_session(
	issuer text,
	sub text,
	claims jsonb DEFAULT '{}'::jsonb,
	client_id text DEFAULT NULL,
	scope text DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_start_session'
LANGUAGE C VOLATILE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_start_session(text, text, jsonb, text, text)
IS 'starts a session for a subject that has logged in; returns an access token and a refresh token in the form of RFC 6749';

CREATE FUNCTION @extschema@.jwt_refresh(
	refresh_token text,
	client_id text DEFAULT NULL,
	scope text DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_refresh'
LANGUAGE C VOLATILE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_refresh(text, text, text)
IS 'redeems a refresh token for new tokens, or returns an error, in the form of RFC 6749; commit before you answer, also with an error';

CREATE FUNCTION @extschema@.jwt_refresh_session(
	refresh_token text,
	client_id text DEFAULT NULL,
	OUT sid uuid,
	OUT issuer text,
	OUT sub text,
	OUT claims jsonb
) RETURNS record
AS 'MODULE_PATHNAME', 'jwt_sql_refresh_session'
LANGUAGE C VOLATILE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_refresh_session(text, text)
IS 'the session that jwt_refresh() would refresh; null if it would refuse the refresh token';

CREATE FUNCTION @extschema@.jwt_refresh_with(
	refresh_token text,
	claims jsonb,
	client_id text DEFAULT NULL,
	scope text DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_refresh_with'
LANGUAGE C VOLATILE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_refresh_with(text, jsonb, text, text)
IS 'redeems a refresh token as jwt_refresh() does, and gives the session these claims; null claims end it';

CREATE FUNCTION @extschema@.jwt_end_session(sid uuid) RETURNS boolean
AS 'MODULE_PATHNAME', 'jwt_sql_end_session'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION @extschema@.jwt_end_session(uuid)
IS 'ends a session and revokes its access tokens; false if it has ended before, or never was';

CREATE FUNCTION @extschema@.jwt_end_sessions(
	issuer text,
	sub text DEFAULT NULL
) RETURNS bigint
AS 'MODULE_PATHNAME', 'jwt_sql_end_sessions'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_end_sessions(text, text)
IS 'ends all sessions of an issuer, or of one of its subjects, and revokes their access tokens; returns how many';

-- jwt_denylist refuses the tokens of an ended session, and those of an expired one have
-- expired, so the row is no longer needed. idle_lifetime is subtracted in seconds, as in
-- jwt_refresh(): in the caller's time zone a day may have 23 hours, and a month 28 days.
-- An idle_lifetime outside of its limits is ignored, because it could overflow.
CREATE FUNCTION @extschema@.jwt_prune_sessions(max_rows integer DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH pruned AS (
		DELETE FROM @extschema@.jwt_session d
		WHERE d.sid = ANY (ARRAY(
			SELECT s.sid
			FROM @extschema@.jwt_session s
			LEFT JOIN @extschema@.jwt_token_policy p ON p.issuer = s.issuer
				AND p.idle_lifetime > '0'::interval AND p.idle_lifetime <= '3653 days'::interval
			WHERE coalesce(s.ended_at < pg_catalog.clock_timestamp(),
				s.expires_at < pg_catalog.clock_timestamp() OR s.rotated_at < pg_catalog.clock_timestamp()
					- pg_catalog.make_interval(secs => extract(epoch FROM p.idle_lifetime)::float8))
			LIMIT jwt_prune_sessions.max_rows
			FOR UPDATE OF s SKIP LOCKED))
		RETURNING d.sid)
	SELECT pg_catalog.count(*) FROM pruned;
END;

COMMENT ON FUNCTION @extschema@.jwt_prune_sessions(integer)
IS 'deletes sessions that have ended or expired, at most max_rows; returns how many';

--
-- Status. As in the extension jwt, PUBLIC can execute the function, which refuses
-- callers without SELECT on the view.
--

CREATE FUNCTION @extschema@.jwt_signing_key_status_rows(
	OUT id uuid,
	OUT issuer text,
	OUT kid text,
	OUT alg text,
	OUT state text,
	OUT activate_at timestamptz,
	OUT key_name text,
	OUT has_line boolean,
	OUT cannot_sign text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jwt_sql_signing_key_status_rows'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000 ROWS 10;

COMMENT ON FUNCTION @extschema@.jwt_signing_key_status_rows()
IS 'internal: the rows of the view jwt_signing_key_status, for roles with SELECT on it';

CREATE VIEW @extschema@.jwt_signing_key_status AS
SELECT s.id, s.issuer, s.kid, s.alg, s.state, s.activate_at, s.key_name, s.has_line, s.cannot_sign
FROM @extschema@.jwt_signing_key_status_rows() s;

COMMENT ON VIEW @extschema@.jwt_signing_key_status IS 'the signing keys without their private halves, and their states';
COMMENT ON COLUMN @extschema@.jwt_signing_key_status.state IS 'standby: signs later; current: signs; previous: verifies until its last token has expired; unusable: it should sign, and an earlier key does';
COMMENT ON COLUMN @extschema@.jwt_signing_key_status.key_name IS 'the line of the key file that opens it; null when its private half has been erased';
COMMENT ON COLUMN @extschema@.jwt_signing_key_status.has_line IS 'whether the key file of this server has that line for this database';
COMMENT ON COLUMN @extschema@.jwt_signing_key_status.cannot_sign IS 'why a current or standby key cannot sign';

--
-- Privileges
--
-- PUBLIC can read no table, and can issue nothing. The predefined role
-- pg_database_owner has the rights, as in the extension jwt. No role has TRIGGER or
-- REFERENCES, because a trigger on these tables would run as a superuser.
--

SELECT @extschema@.jwt_auth_install_strip();

GRANT EXECUTE ON FUNCTION @extschema@.jwt_signing_key_status_rows() TO PUBLIC;
GRANT SELECT ON @extschema@.jwt_signing_key_status TO pg_database_owner WITH GRANT OPTION;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON
	@extschema@.jwt_token_policy,
	@extschema@.jwt_signing_key,
	@extschema@.jwt_session
	TO pg_database_owner WITH GRANT OPTION;

-- Its key is an argument.
GRANT EXECUTE ON FUNCTION @extschema@.jws_sign(bytea, jsonb, text, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_create_signing_key(text, text, text, timestamptz),
	@extschema@.jwt_import_signing_key(text, text, text, text, timestamptz),
	@extschema@.jwt_rotate_signing_key(text),
	@extschema@.jwt_rotate_due_signing_keys(),
	@extschema@.jwt_sign(jsonb, text, interval),
	@extschema@.jwt_start_session(text, text, jsonb, text, text),
	@extschema@.jwt_refresh(text, text, text),
	@extschema@.jwt_refresh_session(text, text),
	@extschema@.jwt_refresh_with(text, jsonb, text, text),
	@extschema@.jwt_end_session(uuid),
	@extschema@.jwt_end_sessions(text, text),
	@extschema@.jwt_prune_sessions(integer)
	TO pg_database_owner WITH GRANT OPTION;

SELECT @extschema@.jwt_auth_install_end();

SELECT pg_catalog.set_config('role'::text, pg_catalog.current_setting('jwt_auth_install.role'::text), true)
WHERE pg_catalog.current_setting('role'::text) OPERATOR(pg_catalog.<>) pg_catalog.current_setting('jwt_auth_install.role'::text);

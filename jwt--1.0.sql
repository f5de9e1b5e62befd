/* jwt--1.0.sql: the SQL surface of the extension, in the order a token meets it */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jwt" to load this file. \quit

--
-- Each statement below looks up names with the rights of a superuser. So the script
-- locks the schema until its end. Otherwise the owner of the schema could replace it,
-- between two statements, by one with other functions. Some minor versions of
-- PostgreSQL, such as 15.18, allow that while the script runs. If the schema was
-- replaced before the lock, this finds no row, or jwt_install_begin() raises an error.
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

SELECT pg_catalog.set_config('jwt_install.role'::text, pg_catalog.current_setting('role'::text), true);
SELECT pg_catalog.set_config('role'::text, r.rolname::text, true)
FROM pg_catalog.pg_roles r
WHERE r.oid OPERATOR(pg_catalog.=) 10::oid
	AND r.rolname OPERATOR(pg_catalog.<>) current_user;

--
-- C functions for this script: see src/extension/install.c
--

CREATE FUNCTION @extschema@.jwt_install_begin() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_begin'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_install_begin()
IS 'internal: raises an error unless the caller is a superuser or the owner of the database; only for the extension''s scripts';

CREATE FUNCTION @extschema@.jwt_install_strip() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_strip'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_install_strip()
IS 'internal: revokes all rights on the extension''s tables, views and functions, including those of default privileges; only for the extension''s scripts';

CREATE FUNCTION @extschema@.jwt_install_end() RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_install_end'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_install_end()
IS 'internal: raises an error if the extension depends on anything outside of itself, its schema and the system; only for the extension''s scripts';

SELECT @extschema@.jwt_install_begin();

--
-- Tables of trust: issuers, their keys, and revocations
--
-- Text that is compared with a token is COLLATE "C". So it is compared byte for byte,
-- and its indexes do not depend on the collation version of the operating system.
--
-- There is no foreign key and no CHECK, and only primary keys are NOT NULL. So rows
-- can arrive in any order, by INSERT, restore or replication. A row that cannot be
-- used is stored and verifies nothing, and jwt_status says why.
--

CREATE TABLE @extschema@.jwt_denylist (
	id				uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer			text COLLATE "C",
	kind			text COLLATE "C",
	value			text COLLATE "C",
	issued_before	timestamptz,
	expires_at		timestamptz,
	reason			text,
	revoked_by		text DEFAULT session_user,
	revoked_at		timestamptz DEFAULT pg_catalog.now()
);

-- The second index says which kinds of revocation an issuer has. For each of them a
-- verification probes the first index. That one is not unique: two servers that have
-- revoked the same token must not stop replication. Its operator class has the order
-- of collation "C", and compares faster.
CREATE INDEX jwt_denylist_value_kind_issuer_idx ON @extschema@.jwt_denylist (value pg_catalog.text_pattern_ops, kind, issuer);
CREATE INDEX jwt_denylist_issuer_kind_idx ON @extschema@.jwt_denylist (issuer, kind);
CREATE INDEX jwt_denylist_expires_at_idx ON @extschema@.jwt_denylist (expires_at);

COMMENT ON TABLE @extschema@.jwt_denylist IS 'revocations of tokens, sessions, subjects, issuers and keys';
COMMENT ON COLUMN @extschema@.jwt_denylist.issuer IS 'the issuer of the token; empty for a key, which is revoked for every issuer';
COMMENT ON COLUMN @extschema@.jwt_denylist.kind IS 'jti: one token; sid: a session; sub: a subject''s tokens; iss: an issuer''s tokens; key: all tokens of a key';
COMMENT ON COLUMN @extschema@.jwt_denylist.value IS 'the value of the claim; for a key its thumbprint (RFC 7638); for an issuer its name';
COMMENT ON COLUMN @extschema@.jwt_denylist.issued_before IS 'for sub and iss: a token is refused unless its iat is later; a token without iat is refused; null refuses all';
COMMENT ON COLUMN @extschema@.jwt_denylist.expires_at IS 'when no valid token needs the row, so that it can be pruned; null for never';
COMMENT ON COLUMN @extschema@.jwt_denylist.revoked_by IS 'the session user';

CREATE TABLE @extschema@.jwt_issuer (
	issuer				text COLLATE "C" PRIMARY KEY,
	audience			text[] COLLATE "C",
	algorithms			text[] COLLATE "C",
	required_claims		text[] COLLATE "C" DEFAULT '{exp}'::text[],
	token_type			text COLLATE "C",
	leeway				interval DEFAULT '30 seconds'::interval,
	max_lifetime		interval,
	max_age				interval,
	role_claim			text COLLATE "C",
	roles				text[] COLLATE "C" DEFAULT '{}'::text[],
	session_claim		text COLLATE "C" DEFAULT 'sid'::text,
	session_lifetime	interval DEFAULT '400 days'::interval,
	accept_id_tokens	boolean DEFAULT false,
	event_audience		text[] COLLATE "C",
	event_without_exp	boolean DEFAULT false,
	events_for			text[] COLLATE "C" DEFAULT '{}'::text[],
	event_opaque_is_sub	boolean DEFAULT false,
	confirmation		text COLLATE "C" DEFAULT 'required'::text
);

COMMENT ON TABLE @extschema@.jwt_issuer IS 'trusted issuers of tokens, and the policy for each';
COMMENT ON COLUMN @extschema@.jwt_issuer.issuer IS 'compared byte for byte with the claim iss; the empty string is for tokens without iss';
COMMENT ON COLUMN @extschema@.jwt_issuer.audience IS 'the claim aud of an access token must contain one of these; {} accepts only tokens without aud, {*} accepts any; null accepts no access tokens';
COMMENT ON COLUMN @extschema@.jwt_issuer.algorithms IS 'the algorithms that keys of this issuer may have';
COMMENT ON COLUMN @extschema@.jwt_issuer.required_claims IS 'claims that every token must have';
COMMENT ON COLUMN @extschema@.jwt_issuer.token_type IS 'if set, the required media type in the header member typ (at+jwt is application/at+jwt)';
COMMENT ON COLUMN @extschema@.jwt_issuer.leeway IS 'clock skew allowed for exp, nbf and iat, 0 to 5 minutes';
COMMENT ON COLUMN @extschema@.jwt_issuer.max_lifetime IS 'the largest accepted exp - iat';
COMMENT ON COLUMN @extschema@.jwt_issuer.max_age IS 'the largest accepted time since iat';
COMMENT ON COLUMN @extschema@.jwt_issuer.role_claim IS 'if set, jwt_authenticate sets the database role that this claim names';
COMMENT ON COLUMN @extschema@.jwt_issuer.roles IS 'the roles that tokens of this issuer may name';
COMMENT ON COLUMN @extschema@.jwt_issuer.session_claim IS 'the claim with the session of a token';
COMMENT ON COLUMN @extschema@.jwt_issuer.session_lifetime IS 'the longest possible session; its revocation is kept as long';
COMMENT ON COLUMN @extschema@.jwt_issuer.accept_id_tokens IS 'whether tokens that look like ID tokens, with nonce, at_hash, c_hash or s_hash, are accepted as access tokens';
COMMENT ON COLUMN @extschema@.jwt_issuer.event_audience IS 'the claim aud of an event, such as a logout token, must contain one of these; null accepts no events';
COMMENT ON COLUMN @extschema@.jwt_issuer.event_without_exp IS 'whether logout tokens without exp are accepted';
COMMENT ON COLUMN @extschema@.jwt_issuer.events_for IS 'the other issuers whose subjects this issuer''s events may name';
COMMENT ON COLUMN @extschema@.jwt_issuer.event_opaque_is_sub IS 'whether an opaque sub_id of an event is the claim sub of this issuer''s tokens';
COMMENT ON COLUMN @extschema@.jwt_issuer.confirmation IS 'who confirms that the sender owns what a token is bound to (the claim cnf): required, PostgreSQL; gateway, a gateway in front of it';

CREATE TABLE @extschema@.jwt_jwks_source (
	issuer				text COLLATE "C" PRIMARY KEY,
	uri					text COLLATE "C",
	refresh_interval	interval DEFAULT '1 hour'::interval,
	grace				interval DEFAULT '0'::interval
);

COMMENT ON TABLE @extschema@.jwt_jwks_source IS 'where issuers publish their keys';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.uri IS 'the URL of the JWK Set; null to discover it from the issuer''s /.well-known/openid-configuration';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.refresh_interval IS 'the longest time between two fetches, 1 minute to 30 days';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.grace IS 'how long a key verifies after it has disappeared from the set, up to 30 days';

-- The state of fetches is in a table of its own, which is not dumped. So a restored
-- database fetches again, and dumps do not differ each minute.
CREATE TABLE @extschema@.jwt_jwks_state (
	issuer				text COLLATE "C" PRIMARY KEY,
	uri					text COLLATE "C",
	etag				text COLLATE "C",
	etag_state			bigint,
	last_attempt		timestamptz,
	last_success		timestamptz,
	last_change			timestamptz,
	next_attempt		timestamptz,
	failures			integer DEFAULT 0,
	last_error			text
);

COMMENT ON TABLE @extschema@.jwt_jwks_state IS 'the result of the last fetch of each source; not dumped';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.uri IS 'the uri of the source at the last attempt';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.etag IS 'the entity tag of the set that was imported last';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.etag_state IS 'a hash of the issuer''s keys and algorithms at that time; if they change, the set is fetched even if it was not modified';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.last_attempt IS 'when the last fetch started, successful or not';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.last_success IS 'when the keys last equalled those that the issuer publishes';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.last_change IS 'when a fetch last changed a key';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.next_attempt IS 'when the next fetch is due; null for as soon as possible, infinity for never';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.failures IS 'how many attempts have failed since the last success';
COMMENT ON COLUMN @extschema@.jwt_jwks_state.last_error IS 'why the last attempt failed; the server log may say more';

-- The key itself is the last column. PostgreSQL truncates a row that it shows in
-- CONTEXT, so the last column is the least likely to appear there.
CREATE TABLE @extschema@.jwt_key (
	id					uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer				text COLLATE "C",
	kid					text COLLATE "C",
	alg					text COLLATE "C",
	source				text COLLATE "C" DEFAULT 'manual'::text,
	not_before			timestamptz,
	not_after			timestamptz,
	retired_at			timestamptz,
	retired_not_before	timestamptz,
	retired_not_after	timestamptz,
	created_at			timestamptz DEFAULT pg_catalog.now(),
	jwk					jsonb
);

CREATE INDEX jwt_key_issuer_kid_idx ON @extschema@.jwt_key (issuer, kid);
CREATE INDEX jwt_key_kid_idx ON @extschema@.jwt_key (kid);
CREATE INDEX jwt_key_alg_issuer_idx ON @extschema@.jwt_key (alg, issuer);

COMMENT ON TABLE @extschema@.jwt_key IS 'the keys that verify tokens, each pinned to one issuer and one algorithm';
COMMENT ON COLUMN @extschema@.jwt_key.kid IS 'compared byte for byte with the header member kid; null for tokens without kid only; several keys may have the same kid';
COMMENT ON COLUMN @extschema@.jwt_key.alg IS 'the only algorithm that this key verifies';
COMMENT ON COLUMN @extschema@.jwt_key.source IS 'where the key came from: manual, jwks for the issuer''s key set, signing for a signing key of jwt_auth';
COMMENT ON COLUMN @extschema@.jwt_key.not_before IS 'before this time the key verifies nothing (a standby key)';
COMMENT ON COLUMN @extschema@.jwt_key.not_after IS 'from this time on the key verifies nothing';
COMMENT ON COLUMN @extschema@.jwt_key.retired_at IS 'when the key disappeared from the issuer''s key set; it still verifies until not_after';
COMMENT ON COLUMN @extschema@.jwt_key.retired_not_before IS 'not_before of the key before it was retired; restored if the key reappears';
COMMENT ON COLUMN @extschema@.jwt_key.retired_not_after IS 'not_after of the key before it was retired; restored if the key reappears';
COMMENT ON COLUMN @extschema@.jwt_key.jwk IS 'the public key, or the secret of an HMAC key, as a JSON Web Key of its required members only';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_denylist'::pg_catalog.regclass, ''::text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_issuer'::pg_catalog.regclass, ''::text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_jwks_source'::pg_catalog.regclass, ''::text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_key'::pg_catalog.regclass, ''::text);

--
-- Invalidation: every write to a table of trust invalidates a marker in every session
-- and on every standby. Nothing opens, vacuums or publishes a marker. The triggers are
-- ENABLE ALWAYS, so they also fire under session_replication_role = replica, and in
-- the apply worker of logical replication, which fires row triggers only.
--

CREATE TYPE @extschema@.jwt_trust_marker AS ();
CREATE TYPE @extschema@.jwt_denylist_marker AS ();

COMMENT ON TYPE @extschema@.jwt_trust_marker IS 'internal: invalidated when jwt_issuer or jwt_key changes';
COMMENT ON TYPE @extschema@.jwt_denylist_marker IS 'internal: invalidated when jwt_denylist changes';

CREATE FUNCTION @extschema@.jwt_issuer_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_issuer_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_key_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_key_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_denylist_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_denylist_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_jwks_source_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_jwks_source_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_trust_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_trust_changed'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_denylist_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_denylist_changed'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_jwks_source_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_jwks_source_changed'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_warn_of_inert_rows() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_warn_of_inert_rows'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_issuer_cascade() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_issuer_cascade'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_issuer_check() IS 'internal: refuses a row of jwt_issuer without a name or with one that is too long, and invalidates what is cached';
COMMENT ON FUNCTION @extschema@.jwt_key_check() IS 'internal: refuses an invalid row of jwt_key and a private key, normalises its jwk, and invalidates what is cached';
COMMENT ON FUNCTION @extschema@.jwt_denylist_check() IS 'internal: refuses a row of jwt_denylist that would revoke nothing, and invalidates what is cached';
COMMENT ON FUNCTION @extschema@.jwt_jwks_source_check() IS 'internal: refuses a row of jwt_jwks_source without a name or with one that is too long';
COMMENT ON FUNCTION @extschema@.jwt_trust_changed() IS 'internal: invalidates what every backend has cached of jwt_issuer and jwt_key';
COMMENT ON FUNCTION @extschema@.jwt_denylist_changed() IS 'internal: invalidates what every backend has cached of jwt_denylist';
COMMENT ON FUNCTION @extschema@.jwt_jwks_source_changed() IS 'internal: wakes the workers that fetch';
COMMENT ON FUNCTION @extschema@.jwt_warn_of_inert_rows() IS 'internal: warns of rows that were stored and verify nothing';
COMMENT ON FUNCTION @extschema@.jwt_issuer_cascade() IS 'internal: deletes or renames the keys and the source of an issuer';

CREATE TRIGGER jwt_denylist_check
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_denylist
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_denylist_check();
CREATE TRIGGER jwt_denylist_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.jwt_denylist
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_denylist_changed();

CREATE TRIGGER jwt_issuer_check
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_issuer
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_issuer_check();
CREATE TRIGGER jwt_issuer_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.jwt_issuer
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();

CREATE TRIGGER jwt_key_check
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_key
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_key_check();
CREATE TRIGGER jwt_key_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON @extschema@.jwt_key
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();

CREATE TRIGGER jwt_jwks_source_check
	BEFORE INSERT OR UPDATE ON @extschema@.jwt_jwks_source
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_jwks_source_check();
CREATE TRIGGER jwt_jwks_source_changed
	AFTER INSERT OR UPDATE ON @extschema@.jwt_jwks_source
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_jwks_source_changed();

ALTER TABLE @extschema@.jwt_denylist
	ENABLE ALWAYS TRIGGER jwt_denylist_check,
	ENABLE ALWAYS TRIGGER jwt_denylist_changed;
ALTER TABLE @extschema@.jwt_issuer
	ENABLE ALWAYS TRIGGER jwt_issuer_check,
	ENABLE ALWAYS TRIGGER jwt_issuer_changed;
ALTER TABLE @extschema@.jwt_key
	ENABLE ALWAYS TRIGGER jwt_key_check,
	ENABLE ALWAYS TRIGGER jwt_key_changed;
ALTER TABLE @extschema@.jwt_jwks_source
	ENABLE ALWAYS TRIGGER jwt_jwks_source_check,
	ENABLE ALWAYS TRIGGER jwt_jwks_source_changed;

-- These triggers fire in ordinary sessions only. A replica receives the rows of each
-- table as they are, and its warnings have no reader.

CREATE TRIGGER jwt_issuer_warn_insert
	AFTER INSERT ON @extschema@.jwt_issuer REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();
CREATE TRIGGER jwt_issuer_warn_update
	AFTER UPDATE ON @extschema@.jwt_issuer REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();
CREATE TRIGGER jwt_key_warn_insert
	AFTER INSERT ON @extschema@.jwt_key REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();
CREATE TRIGGER jwt_key_warn_update
	AFTER UPDATE ON @extschema@.jwt_key REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();
CREATE TRIGGER jwt_jwks_source_warn_insert
	AFTER INSERT ON @extschema@.jwt_jwks_source REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();
CREATE TRIGGER jwt_jwks_source_warn_update
	AFTER UPDATE ON @extschema@.jwt_jwks_source REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_warn_of_inert_rows();

-- If an issuer is deleted or renamed, so are its keys and its source, but not its
-- revocations. The trigger calls these functions by OID, with the writer's rights.

CREATE FUNCTION @extschema@.jwt_issuer_deleted(issuer text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	DELETE FROM @extschema@.jwt_key k WHERE k.issuer = jwt_issuer_deleted.issuer;
	DELETE FROM @extschema@.jwt_jwks_source s WHERE s.issuer = jwt_issuer_deleted.issuer;
	DELETE FROM @extschema@.jwt_jwks_state s WHERE s.issuer = jwt_issuer_deleted.issuer;
END;

CREATE FUNCTION @extschema@.jwt_issuers_truncated() RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	DELETE FROM @extschema@.jwt_key;
	DELETE FROM @extschema@.jwt_jwks_source;
	DELETE FROM @extschema@.jwt_jwks_state;
END;

CREATE FUNCTION @extschema@.jwt_issuer_renamed(old_name text, new_name text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	UPDATE @extschema@.jwt_key k SET issuer = jwt_issuer_renamed.new_name
	WHERE k.issuer = jwt_issuer_renamed.old_name;
	UPDATE @extschema@.jwt_jwks_source s SET issuer = jwt_issuer_renamed.new_name
	WHERE s.issuer = jwt_issuer_renamed.old_name;
	DELETE FROM @extschema@.jwt_jwks_state s WHERE s.issuer = jwt_issuer_renamed.new_name;
	UPDATE @extschema@.jwt_jwks_state s SET issuer = jwt_issuer_renamed.new_name
	WHERE s.issuer = jwt_issuer_renamed.old_name;
END;

COMMENT ON FUNCTION @extschema@.jwt_issuer_deleted(text) IS 'internal: deletes the keys and the source of an issuer';
COMMENT ON FUNCTION @extschema@.jwt_issuers_truncated() IS 'internal: deletes the keys and the sources of all issuers';
COMMENT ON FUNCTION @extschema@.jwt_issuer_renamed(text, text) IS 'internal: moves the keys and the source of an issuer to another name';

CREATE TRIGGER jwt_issuer_cascade
	AFTER DELETE OR UPDATE OF issuer ON @extschema@.jwt_issuer
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_issuer_cascade();
CREATE TRIGGER jwt_issuer_truncated
	AFTER TRUNCATE ON @extschema@.jwt_issuer
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_issuer_cascade();

--
-- Verification
--
-- STABLE: the result depends on the tables and on the start time of the statement.
-- PARALLEL SAFE: these functions only read. Functions with optional arguments are not
-- STRICT; a null token gives null. The result of jws_verify depends on
-- jwt.max_token_size and on the algorithms of the loaded OpenSSL, so it is STABLE, too.
--

CREATE FUNCTION @extschema@.jwt_verify(
	token text,
	audience text DEFAULT NULL,
	issuer text DEFAULT NULL,
	at timestamptz DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_verify'
LANGUAGE C STABLE PARALLEL SAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_verify(text, text, text, timestamptz)
IS 'the claims of a valid token; for any other an error of SQLSTATE class 28';

CREATE FUNCTION @extschema@.jwt_try_verify(
	token text,
	audience text DEFAULT NULL,
	issuer text DEFAULT NULL,
	at timestamptz DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_try_verify'
LANGUAGE C STABLE PARALLEL SAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_try_verify(text, text, text, timestamptz)
IS 'the claims of a valid token; for any other null';

CREATE FUNCTION @extschema@.jwt_inspect(
	token text,
	audience text DEFAULT NULL,
	issuer text DEFAULT NULL,
	at timestamptz DEFAULT NULL,
	OUT valid boolean,
	OUT sqlstate text,
	OUT error text,
	OUT detail text,
	OUT header jsonb,
	OUT claims jsonb,
	OUT issuer text,
	OUT kid text,
	OUT alg text,
	OUT expires_at timestamptz
) RETURNS record
AS 'MODULE_PATHNAME', 'jwt_sql_inspect'
LANGUAGE C STABLE PARALLEL SAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_inspect(text, text, text, timestamptz)
IS 'why a token is refused, as one row and without an error; claims only if its signature is good';

CREATE FUNCTION @extschema@.jws_verify(token text, jwk jsonb, alg text) RETURNS bytea
AS 'MODULE_PATHNAME', 'jwt_sql_jws_verify'
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION @extschema@.jws_verify(text, jsonb, text)
IS 'the payload of a compact JWS with a good signature of this key; checks no table and no claim';

CREATE FUNCTION @extschema@.jwt_header(token text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_header'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_header(text)
IS 'the header of a token, not verified';

CREATE FUNCTION @extschema@.jwt_unverified_claims(token text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_unverified_claims'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_unverified_claims(text)
IS 'the claims of a token, not verified: anybody can write them';

--
-- The current token: the setting jwt.token, and its verified claims
--
-- The accessors are STABLE, never IMMUTABLE: a cached plan must not contain the
-- identity of a user. A function that sets the token is VOLATILE and PARALLEL UNSAFE.
--

CREATE FUNCTION @extschema@.jwt_authenticate(
	token text,
	is_local boolean DEFAULT true,
	issuer text DEFAULT NULL,
	proof text DEFAULT NULL,
	method text DEFAULT NULL,
	uri text DEFAULT NULL,
	nonce text DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_authenticate'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_authenticate(text, boolean, text, text, text, text, text)
IS 'verifies a token and makes it the current token of the transaction or session; null removes it; issuer restricts it; proof is the DPoP proof of a request with this method and URI';

CREATE FUNCTION @extschema@.jwt_claims() RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_claims'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_claims()
IS 'the verified claims of the current token; null without one';

CREATE FUNCTION @extschema@.jwt_claim(VARIADIC path text[]) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_claim'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_claim(text[])
IS 'a verified claim of the current token, by its path, as text; null without one';

CREATE FUNCTION @extschema@.jwt_subject() RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_subject'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_subject()
IS 'the verified subject of the current token; null without one';

CREATE FUNCTION @extschema@.jwt_has_scope(scope text) RETURNS boolean
AS 'MODULE_PATHNAME', 'jwt_sql_has_scope'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_has_scope(text)
IS 'whether the current token grants a scope, in its claim scope or scp; false without a token';

CREATE FUNCTION @extschema@.jwt_cache(
	OUT entries bigint,
	OUT bytes bigint,
	OUT hits bigint,
	OUT misses bigint,
	OUT evictions bigint,
	OUT invalidations bigint
) RETURNS record
AS 'MODULE_PATHNAME', 'jwt_sql_cache'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION @extschema@.jwt_cache()
IS 'statistics of the session''s cache of verified tokens';

--
-- Keys
--
-- These C functions insert through the executor without checking privileges on the
-- table: EXECUTE is the permission. They raise an error for a row that would verify
-- nothing, which an INSERT stores.
--

CREATE FUNCTION @extschema@.jwt_thumbprint(jwk jsonb) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_thumbprint'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_thumbprint(jsonb)
IS 'the SHA-256 thumbprint of a JSON Web Key (RFC 7638), base64url';

CREATE FUNCTION @extschema@.jwt_jwk(key text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_jwk'
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_jwk(text)
IS 'a JSON Web Key from a JWK, a PEM public key or a PEM certificate; refuses private keys';

CREATE FUNCTION @extschema@.jwt_add_issuer(
	issuer text,
	audience text[],
	algorithms text[],
	required_claims text[] DEFAULT '{exp}'::text[],
	token_type text DEFAULT NULL,
	leeway interval DEFAULT '30 seconds'::interval,
	max_lifetime interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	role_claim text DEFAULT NULL,
	roles text[] DEFAULT '{}'::text[],
	session_claim text DEFAULT 'sid'::text,
	session_lifetime interval DEFAULT '400 days'::interval,
	accept_id_tokens boolean DEFAULT false,
	event_audience text[] DEFAULT NULL,
	event_without_exp boolean DEFAULT false,
	events_for text[] DEFAULT '{}'::text[],
	event_opaque_is_sub boolean DEFAULT false,
	confirmation text DEFAULT 'required'::text
) RETURNS void
AS 'MODULE_PATHNAME', 'jwt_sql_add_issuer'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_add_issuer(text, text[], text[], text[], text, interval, interval, interval, text, text[], text, interval, boolean, text[], boolean, text[], boolean, text)
IS 'adds an issuer with a policy; an error if the policy is invalid';

CREATE FUNCTION @extschema@.jwt_add_key(
	issuer text,
	key text,
	alg text DEFAULT NULL,
	kid text DEFAULT NULL,
	not_before timestamptz DEFAULT NULL,
	not_after timestamptz DEFAULT NULL
) RETURNS uuid
AS 'MODULE_PATHNAME', 'jwt_sql_add_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_add_key(text, text, text, text, timestamptz, timestamptz)
IS 'adds a key to an issuer, from a JWK, a PEM public key or a PEM certificate; alg and kid may come from the JWK';

CREATE FUNCTION @extschema@.jwt_add_secret(
	issuer text,
	secret bytea,
	alg text,
	kid text DEFAULT NULL
) RETURNS uuid
AS 'MODULE_PATHNAME', 'jwt_sql_add_secret'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_add_secret(text, bytea, text, text)
IS 'adds an HMAC secret to an issuer';

CREATE FUNCTION @extschema@.jwt_jwks(issuer text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_jwks'
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION @extschema@.jwt_jwks(text)
IS 'the public keys of an issuer as a JWK Set, standby keys too; never a secret; null without such an issuer';

--
-- JWK Sets
--

CREATE FUNCTION @extschema@.jwt_jwks_members(
	issuer text,
	jwks text,
	OUT n integer,
	OUT kid text,
	OUT alg text,
	OUT jwk jsonb,
	OUT reason text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jwt_sql_jwks_members'
LANGUAGE C STABLE COST 10000 ROWS 1000;

COMMENT ON FUNCTION @extschema@.jwt_jwks_members(text, text)
IS 'internal: the members of a JWK Set as keys of an issuer; reason says why one cannot be a key; revocations are read with a fresh snapshot';

CREATE FUNCTION @extschema@.jwt_import_jwks(
	issuer text,
	jwks text,
	grace interval DEFAULT NULL
) RETURNS TABLE (kid text, alg text, action text, reason text)
LANGUAGE sql VOLATILE ROWS 5
BEGIN ATOMIC
	-- one import of an issuer at a time
	SELECT FROM @extschema@.jwt_issuer i
	WHERE i.issuer = jwt_import_jwks.issuer
	FOR NO KEY UPDATE;

	-- the same key twice, as an import beside a restore can leave it: the oldest stays
	DELETE FROM @extschema@.jwt_key k
	WHERE k.id = ANY (ARRAY(
		SELECT d.id
		FROM (
			SELECT c.id, pg_catalog.row_number() OVER (PARTITION BY c.kid, c.jwk ORDER BY c.created_at, c.id) AS n
			FROM @extschema@.jwt_key c
			WHERE c.issuer = jwt_import_jwks.issuer AND c.source = 'jwks'::text) d
		WHERE d.n > 1::bigint));

	WITH member AS MATERIALIZED (
		SELECT m.n, m.kid, m.alg, m.jwk, m.reason
		FROM @extschema@.jwt_jwks_members(jwt_import_jwks.issuer, jwt_import_jwks.jwks) m
	), known AS (
		-- by kid, or without one by the key itself
		SELECT m.n, c.id, c.alg, c.jwk, c.source, c.retired_at, c.created_at
		FROM member m
		JOIN @extschema@.jwt_key c
			ON coalesce('kid '::text || c.kid, c.jwk::text) = coalesce('kid '::text || m.kid, m.jwk::text)
		WHERE c.issuer = jwt_import_jwks.issuer
			AND m.jwk IS NOT NULL
			AND (m.kid IS NOT NULL OR c.alg = coalesce(m.alg, c.alg))
	), matched AS MATERIALIZED (
		-- a key whose algorithm neither the set nor the issuer names keeps the
		-- one that it is pinned to
		SELECT DISTINCT ON (m.n) m.n, m.kid, coalesce(m.alg, k.alg) AS alg, m.jwk, k.id,
			CASE
				WHEN m.reason IS NOT NULL AND NOT (m.alg IS NULL AND k.jwk = m.jwk) IS TRUE THEN m.reason
				WHEN k.source <> 'jwks'::text THEN 'A key that was added by hand has this kid.'::text
			END AS reason,
			(k.alg = coalesce(m.alg, k.alg) AND k.jwk = m.jwk AND k.retired_at IS NULL) IS TRUE AS same,
			k.jwk = m.jwk AS same_key
		FROM member m
		LEFT JOIN known k ON k.n = m.n
		-- of several that share a kid: one that was added by hand, then the same key
		ORDER BY m.n, (k.source = 'jwks'::text), (k.jwk = m.jwk) DESC, k.created_at, k.id
	), added AS (
		INSERT INTO @extschema@.jwt_key (issuer, kid, alg, jwk, source)
		SELECT jwt_import_jwks.issuer, m.kid, m.alg, m.jwk, 'jwks'::text
		FROM matched m
		WHERE m.reason IS NULL AND m.id IS NULL
		ORDER BY m.n
	), changed AS (
		-- a window that was set by hand stays
		UPDATE @extschema@.jwt_key k
		SET alg = m.alg,
			jwk = m.jwk,
			retired_at = NULL,
			not_before = CASE WHEN k.retired_at IS NULL THEN k.not_before ELSE k.retired_not_before END,
			not_after = CASE WHEN k.retired_at IS NULL THEN k.not_after ELSE k.retired_not_after END,
			retired_not_before = NULL,
			retired_not_after = NULL
		FROM matched m
		WHERE k.id = m.id AND m.reason IS NULL AND NOT m.same
	), retired AS (
		UPDATE @extschema@.jwt_key k
		SET retired_at = pg_catalog.now(),
			retired_not_before = k.not_before,
			retired_not_after = k.not_after,
			-- grace is for what has verified, not for a standby key
			not_after = least(k.not_after,
				CASE WHEN k.not_before >= pg_catalog.now()
					THEN pg_catalog.now()
					ELSE pg_catalog.now() + least('30 days'::interval, greatest('0'::interval, coalesce(
						jwt_import_jwks.grace,
						(SELECT s.grace FROM @extschema@.jwt_jwks_source s
						 WHERE s.issuer = jwt_import_jwks.issuer),
						'0'::interval)))
				END),
			not_before = CASE WHEN k.not_before < pg_catalog.now() THEN k.not_before END
		WHERE k.issuer = jwt_import_jwks.issuer
			AND k.source = 'jwks'::text
			AND k.retired_at IS NULL
			-- a key that has been revoked is in the set all the same
			AND k.id NOT IN (SELECT m.id FROM matched m WHERE m.id IS NOT NULL AND (m.reason IS NULL OR m.same_key))
			-- a set of which nothing can be used takes nothing away
			AND EXISTS (SELECT FROM matched m WHERE m.reason IS NULL)
		RETURNING k.kid, k.alg, k.not_after
	), forgotten AS (
		DELETE FROM @extschema@.jwt_key k
		WHERE k.issuer = jwt_import_jwks.issuer
			AND k.source = 'jwks'::text
			AND k.not_after < pg_catalog.now()
			AND (k.not_after < pg_catalog.now() - '90 days'::interval AND k.retired_at < pg_catalog.now() - '90 days'::interval
				-- or there are far too many of them
				OR k.id = ANY (ARRAY(
					SELECT r.id
					FROM @extschema@.jwt_key r
					WHERE r.issuer = jwt_import_jwks.issuer
						AND r.source = 'jwks'::text
						AND r.retired_at IS NOT NULL
					ORDER BY r.retired_at DESC, r.id
					OFFSET 1000)))
			AND k.id NOT IN (SELECT m.id FROM matched m WHERE m.id IS NOT NULL)
	)
	SELECT o.kid, o.alg, o.action, o.reason
	FROM (
		SELECT m.n, m.kid, m.alg,
			CASE
				WHEN m.reason IS NOT NULL THEN 'skipped'::text
				WHEN m.id IS NULL THEN 'added'::text
				WHEN m.same THEN 'unchanged'::text
				ELSE 'changed'::text
			END AS action,
			m.reason
		FROM matched m
		UNION ALL
		SELECT NULL, r.kid, r.alg, 'retired'::text,
			'The set does not have it.'::text ||
			CASE WHEN r.not_after > pg_catalog.now()
				THEN ' It verifies until '::text || r.not_after::text || '.'::text
				ELSE ''::text END
		FROM retired r
	) o
	ORDER BY o.n, o.kid;
END;

COMMENT ON FUNCTION @extschema@.jwt_import_jwks(text, text, interval)
IS 'imports the keys of a JWK Set for an issuer, retires imported keys that are not in it, and reports each key; keys that were added manually stay, and revoked keys are skipped';

CREATE FUNCTION @extschema@.jwt_import_counts(issuer text, jwks text) RETURNS integer[]
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT ARRAY[
		pg_catalog.count(*) FILTER (WHERE r.action = 'added'::text)::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'changed'::text)::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'retired'::text)::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'unchanged'::text)::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'skipped'::text)::pg_catalog.int4]
	FROM @extschema@.jwt_import_jwks(jwt_import_counts.issuer, jwt_import_counts.jwks, NULL::pg_catalog.interval) r;
END;

COMMENT ON FUNCTION @extschema@.jwt_import_counts(text, text)
IS 'internal: imports a JWK Set for a worker, which calls it by OID; returns the numbers of keys added, changed, retired, unchanged and skipped';

CREATE FUNCTION @extschema@.jwt_refresh_jwks(
	issuer text,
	OUT added integer,
	OUT changed integer,
	OUT retired integer,
	OUT unchanged integer,
	OUT skipped integer
) RETURNS record
AS 'MODULE_PATHNAME', 'jwt_sql_refresh_jwks'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION @extschema@.jwt_refresh_jwks(text)
IS 'fetches the key set of an issuer now, by a background worker, and returns how many keys changed; an error if the fetch failed';

--
-- Revocation
--
-- The C functions insert as above. The functions that undo a revocation, or prune,
-- have the rights of their caller.
--

CREATE FUNCTION @extschema@.jwt_revoke(token text, reason text DEFAULT NULL) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke(text, text)
IS 'verifies a token and revokes it by its jti, or without a jti its session; returns how long the revocation is kept';

CREATE FUNCTION @extschema@.jwt_logout(everywhere boolean DEFAULT false) RETURNS boolean
AS 'MODULE_PATHNAME', 'jwt_sql_logout'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION @extschema@.jwt_logout(boolean)
IS 'revokes the session of the current token, or without a session the token, or all tokens of its subject that were issued until now; false without a current token';

CREATE FUNCTION @extschema@.jwt_revoke_id(
	issuer text,
	jti text,
	expires_at timestamptz,
	reason text DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke_id'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke_id(text, text, timestamptz, text)
IS 'revokes the token with this jti; the revocation is kept until expires_at, when the token expires';

CREATE FUNCTION @extschema@.jwt_revoke_session(
	issuer text,
	sid text,
	expires_at timestamptz DEFAULT NULL,
	reason text DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke_session'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke_session(text, text, timestamptz, text)
IS 'revokes all tokens of a session, also those that are issued later; kept until expires_at, by default for the issuer''s session_lifetime';

CREATE FUNCTION @extschema@.jwt_revoke_subject(
	issuer text,
	sub text,
	issued_before timestamptz DEFAULT pg_catalog.clock_timestamp(),
	reason text DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke_subject'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke_subject(text, text, timestamptz, text)
IS 'revokes all tokens of a subject except those that are issued later than the returned time';

CREATE FUNCTION @extschema@.jwt_revoke_issuer(
	issuer text,
	issued_before timestamptz DEFAULT pg_catalog.clock_timestamp(),
	reason text DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke_issuer'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke_issuer(text, timestamptz, text)
IS 'revokes all tokens of an issuer except those that are issued later than the returned time';

CREATE FUNCTION @extschema@.jwt_revoke_key(
	issuer text,
	kid text,
	reason text DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_revoke_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revoke_key(text, text, text)
IS 'revokes an issuer''s keys with this kid, or with null those without kid, by thumbprint: for every issuer and kid, also if they are added again';

CREATE FUNCTION @extschema@.jwt_receive_event(token text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_receive_event'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_receive_event(text)
IS 'verifies a logout token or a Security Event Token, and revokes the session or the subject that it names; says what was revoked, or why it was ignored, or err and description as in RFC 8935';

CREATE FUNCTION @extschema@.jwt_unrevoke_id(issuer text, jti text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.issuer = jwt_unrevoke_id.issuer AND d.kind = 'jti'::text AND d.value = jwt_unrevoke_id.jti
		RETURNING d.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_id(text, text)
IS 'undoes the revocation of a token; false if there was none';

CREATE FUNCTION @extschema@.jwt_unrevoke_session(issuer text, sid text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.issuer = jwt_unrevoke_session.issuer AND d.kind = 'sid'::text AND d.value = jwt_unrevoke_session.sid
		RETURNING d.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_session(text, text)
IS 'undoes the revocation of a session; false if there was none';

CREATE FUNCTION @extschema@.jwt_unrevoke_subject(issuer text, sub text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.issuer = jwt_unrevoke_subject.issuer AND d.kind = 'sub'::text AND d.value = jwt_unrevoke_subject.sub
		RETURNING d.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_subject(text, text)
IS 'undoes the revocation of a subject''s tokens; false if there was none';

CREATE FUNCTION @extschema@.jwt_unrevoke_issuer(issuer text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.issuer = jwt_unrevoke_issuer.issuer AND d.kind = 'iss'::text
		RETURNING d.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_issuer(text)
IS 'undoes the revocation of an issuer''s tokens; false if there was none';

CREATE FUNCTION @extschema@.jwt_unrevoke_key(thumbprint text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.issuer = ''::text AND d.kind = 'key'::text AND d.value = jwt_unrevoke_key.thumbprint
		RETURNING d.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_key(text)
IS 'undoes the revocation of the key with this thumbprint; false if there was none';

CREATE FUNCTION @extschema@.jwt_prune_revocations(max_rows integer DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	-- an hour is for leeway and for clocks that differ
	WITH gone AS (
		DELETE FROM @extschema@.jwt_denylist d
		WHERE d.id = ANY (ARRAY(
			SELECT p.id
			FROM @extschema@.jwt_denylist p
			WHERE p.expires_at < pg_catalog.now() - '1 hour'::interval
			ORDER BY p.expires_at
			LIMIT jwt_prune_revocations.max_rows
			FOR UPDATE SKIP LOCKED))
		RETURNING d.id
	)
	SELECT pg_catalog.count(*) FROM gone;
END;

COMMENT ON FUNCTION @extschema@.jwt_prune_revocations(integer)
IS 'deletes revocations that no valid token needs, at most max_rows; returns how many';

--
-- Status
--
-- The views call these functions. PUBLIC has EXECUTE, because PostgreSQL checks
-- EXECUTE in a view for the caller. The functions refuse a caller without SELECT on
-- their view.
--

CREATE FUNCTION @extschema@.jwt_key_status_rows(
	OUT id uuid,
	OUT issuer text,
	OUT kid text,
	OUT alg text,
	OUT source text,
	OUT state text,
	OUT verifies boolean,
	OUT unusable text,
	OUT not_before timestamptz,
	OUT not_after timestamptz,
	OUT retired_at timestamptz,
	OUT revoked_at timestamptz,
	OUT created_at timestamptz,
	OUT thumbprint text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jwt_sql_key_status_rows'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 100;

COMMENT ON FUNCTION @extschema@.jwt_key_status_rows()
IS 'internal: the rows of the view jwt_key_status, for roles with SELECT on it';

CREATE VIEW @extschema@.jwt_key_status AS
SELECT k.id, k.issuer, k.kid, k.alg, k.source, k.state, k.verifies, k.unusable, k.not_before, k.not_after,
	k.retired_at, k.revoked_at, k.created_at, k.thumbprint
FROM @extschema@.jwt_key_status_rows() k;

COMMENT ON VIEW @extschema@.jwt_key_status IS 'the keys without their secrets, and their states';
COMMENT ON COLUMN @extschema@.jwt_key_status.state IS 'unusable; revoked; standby: verifies later; current: verifies; previous: not_after is set';
COMMENT ON COLUMN @extschema@.jwt_key_status.verifies IS 'whether the key verifies tokens now';
COMMENT ON COLUMN @extschema@.jwt_key_status.unusable IS 'why the key verifies nothing at any time';
COMMENT ON COLUMN @extschema@.jwt_key_status.thumbprint IS 'the RFC 7638 thumbprint of a public key';

CREATE FUNCTION @extschema@.jwt_status_rows(
	OUT issuer text,
	OUT ok boolean,
	OUT problems text[],
	OUT usable_keys integer,
	OUT keys_end timestamptz,
	OUT standby_keys integer,
	OUT revocations bigint,
	OUT source text,
	OUT last_success timestamptz,
	OUT next_attempt timestamptz,
	OUT last_error text,
	OUT grants text[]
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jwt_sql_status_rows'
LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000 ROWS 10;

COMMENT ON FUNCTION @extschema@.jwt_status_rows()
IS 'internal: the rows of the view jwt_status, for roles with SELECT on it';

CREATE VIEW @extschema@.jwt_status AS
SELECT s.issuer, s.ok, s.problems, s.usable_keys, s.keys_end, s.standby_keys, s.revocations, s.source,
	s.last_success, s.next_attempt, s.last_error, s.grants
FROM @extschema@.jwt_status_rows() s;

COMMENT ON VIEW @extschema@.jwt_status IS 'a row for each issuer, and one with a null issuer for the database and for rows without an issuer: what does not work, and why';
COMMENT ON COLUMN @extschema@.jwt_status.problems IS 'what does not work, why, and what to do';
COMMENT ON COLUMN @extschema@.jwt_status.usable_keys IS 'keys that verify tokens now';
COMMENT ON COLUMN @extschema@.jwt_status.keys_end IS 'when the last of them ends; null for never';
COMMENT ON COLUMN @extschema@.jwt_status.standby_keys IS 'keys that will verify later';
COMMENT ON COLUMN @extschema@.jwt_status.revocations IS 'rows of jwt_denylist';
COMMENT ON COLUMN @extschema@.jwt_status.source IS 'where its keys are fetched from; the query of a URL is not shown';
COMMENT ON COLUMN @extschema@.jwt_status.grants IS 'rights on the extension that were granted since it was installed; in the row of the database';

--
-- Entries for the extension jwt_auth. Only C code can call the function, as nothing
-- else has a value of the type internal.
--

CREATE FUNCTION @extschema@.jwt_entries(internal) RETURNS internal
AS 'MODULE_PATHNAME', 'jwt_sql_entries'
LANGUAGE C STABLE;

COMMENT ON FUNCTION @extschema@.jwt_entries(internal)
IS 'internal: what the extension jwt_auth calls';

--
-- Privileges
--
-- PUBLIC can verify and can read no table. The predefined role pg_database_owner has
-- the rights to manage trust. So the owner of the database has them, also after a
-- restore, an upgrade or a change of owner. No role has TRIGGER or REFERENCES, because
-- a trigger on these tables would run as a superuser.
--

SELECT @extschema@.jwt_install_strip();

GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_verify(text, text, text, timestamptz),
	@extschema@.jwt_try_verify(text, text, text, timestamptz),
	@extschema@.jwt_inspect(text, text, text, timestamptz),
	@extschema@.jws_verify(text, jsonb, text),
	@extschema@.jwt_header(text),
	@extschema@.jwt_unverified_claims(text),
	@extschema@.jwt_authenticate(text, boolean, text, text, text, text, text),
	@extschema@.jwt_claims(),
	@extschema@.jwt_claim(text[]),
	@extschema@.jwt_subject(),
	@extschema@.jwt_has_scope(text),
	@extschema@.jwt_cache(),
	@extschema@.jwt_thumbprint(jsonb),
	@extschema@.jwt_jwk(text),
	@extschema@.jwt_key_status_rows(),
	@extschema@.jwt_status_rows()
	TO PUBLIC;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON
	@extschema@.jwt_denylist,
	@extschema@.jwt_issuer,
	@extschema@.jwt_jwks_source,
	@extschema@.jwt_jwks_state,
	@extschema@.jwt_key
	TO pg_database_owner WITH GRANT OPTION;
GRANT SELECT ON
	@extschema@.jwt_key_status,
	@extschema@.jwt_status
	TO pg_database_owner WITH GRANT OPTION;
GRANT SELECT ON @extschema@.jwt_status TO pg_monitor;

GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_add_issuer(text, text[], text[], text[], text, interval, interval, interval, text, text[], text, interval, boolean, text[], boolean, text[], boolean, text),
	@extschema@.jwt_add_key(text, text, text, text, timestamptz, timestamptz),
	@extschema@.jwt_add_secret(text, bytea, text, text),
	@extschema@.jwt_jwks(text),
	@extschema@.jwt_jwks_members(text, text),
	@extschema@.jwt_import_jwks(text, text, interval),
	@extschema@.jwt_import_counts(text, text),
	@extschema@.jwt_refresh_jwks(text),
	@extschema@.jwt_revoke(text, text),
	@extschema@.jwt_logout(boolean),
	@extschema@.jwt_revoke_id(text, text, timestamptz, text),
	@extschema@.jwt_revoke_session(text, text, timestamptz, text),
	@extschema@.jwt_revoke_subject(text, text, timestamptz, text),
	@extschema@.jwt_revoke_issuer(text, timestamptz, text),
	@extschema@.jwt_revoke_key(text, text, text),
	@extschema@.jwt_receive_event(text),
	@extschema@.jwt_unrevoke_id(text, text),
	@extschema@.jwt_unrevoke_session(text, text),
	@extschema@.jwt_unrevoke_subject(text, text),
	@extschema@.jwt_unrevoke_issuer(text),
	@extschema@.jwt_unrevoke_key(text),
	@extschema@.jwt_prune_revocations(integer)
	TO pg_database_owner WITH GRANT OPTION;

SELECT @extschema@.jwt_install_end();

SELECT pg_catalog.set_config('role'::text, pg_catalog.current_setting('jwt_install.role'::text), true)
WHERE pg_catalog.current_setting('role'::text) OPERATOR(pg_catalog.<>) pg_catalog.current_setting('jwt_install.role'::text);

/* jwt--1.0.sql: the SQL surface of the extension, in the order a token meets it */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jwt" to load this file. \quit

--
-- Trust: whom we believe, and by which keys
--
-- Text that is compared with a token is COLLATE "C": byte for byte, and its
-- indexes do not depend on the operating system's collation version.
--

CREATE TABLE @extschema@.jwt_issuer (
	issuer			text COLLATE "C" PRIMARY KEY,
	audience		text[] COLLATE "C" NOT NULL,
	algorithms		text[] COLLATE "C" NOT NULL,
	required_claims	text[] COLLATE "C" NOT NULL DEFAULT '{exp}',
	token_type		text COLLATE "C",
	leeway			interval NOT NULL DEFAULT '30 seconds',
	max_lifetime	interval,
	max_age			interval,
	role_claim		text COLLATE "C",
	roles			text[] COLLATE "C" NOT NULL DEFAULT '{}'
);

COMMENT ON TABLE @extschema@.jwt_issuer IS 'whom we trust to issue tokens, and on what terms';
COMMENT ON COLUMN @extschema@.jwt_issuer.issuer IS 'compared byte for byte with the claim iss; the empty string stands for tokens that carry no iss';
COMMENT ON COLUMN @extschema@.jwt_issuer.audience IS 'the claim aud must name one of these; {} accepts only tokens without aud, {*} accepts any';
COMMENT ON COLUMN @extschema@.jwt_issuer.algorithms IS 'the algorithms that keys of this issuer may be pinned to';
COMMENT ON COLUMN @extschema@.jwt_issuer.required_claims IS 'claims that every token must carry';
COMMENT ON COLUMN @extschema@.jwt_issuer.token_type IS 'when set, the header member typ must be this media type (at+jwt is application/at+jwt)';
COMMENT ON COLUMN @extschema@.jwt_issuer.leeway IS 'clock skew allowed for exp, nbf and iat, 0 to 5 minutes';
COMMENT ON COLUMN @extschema@.jwt_issuer.max_lifetime IS 'the longest exp - iat accepted';
COMMENT ON COLUMN @extschema@.jwt_issuer.max_age IS 'the longest time since iat accepted';
COMMENT ON COLUMN @extschema@.jwt_issuer.role_claim IS 'when set, jwt_authenticate takes the database role that this claim names';
COMMENT ON COLUMN @extschema@.jwt_issuer.roles IS 'the roles that tokens of this issuer may name';

CREATE TABLE @extschema@.jwt_key (
	id				uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer			text COLLATE "C" NOT NULL
					REFERENCES @extschema@.jwt_issuer ON UPDATE CASCADE ON DELETE CASCADE,
	kid				text COLLATE "C",
	alg				text COLLATE "C" NOT NULL,
	jwk				jsonb NOT NULL,
	not_before		timestamptz,
	not_after		timestamptz,
	revoked_at		timestamptz,
	source			text COLLATE "C" NOT NULL DEFAULT 'manual',
	created_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	CONSTRAINT jwt_key_issuer_kid_key UNIQUE (issuer, kid)
);

CREATE INDEX jwt_key_kid_idx ON @extschema@.jwt_key (kid);
CREATE INDEX jwt_key_alg_idx ON @extschema@.jwt_key (alg, issuer);

COMMENT ON TABLE @extschema@.jwt_key IS 'the keys that verify tokens, each pinned to one issuer and one algorithm';
COMMENT ON COLUMN @extschema@.jwt_key.kid IS 'compared byte for byte with the header member kid; null for a key that only tokens without kid use';
COMMENT ON COLUMN @extschema@.jwt_key.alg IS 'the only algorithm that this key verifies';
COMMENT ON COLUMN @extschema@.jwt_key.jwk IS 'the public key, or the secret of an HMAC key, as a JSON Web Key of its required members only';
COMMENT ON COLUMN @extschema@.jwt_key.not_before IS 'before this moment the key verifies nothing (a standby key)';
COMMENT ON COLUMN @extschema@.jwt_key.not_after IS 'from this moment on the key verifies nothing';
COMMENT ON COLUMN @extschema@.jwt_key.revoked_at IS 'when set, the key verifies nothing, whatever the time';
COMMENT ON COLUMN @extschema@.jwt_key.source IS 'where the key came from: manual, or jwks for one imported from the issuer''s key set';

-- Every write is checked, whoever writes: a trigger enabled ALWAYS also fires
-- under session_replication_role = replica and in logical replication's worker.

CREATE FUNCTION @extschema@.jwt_issuer_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_issuer_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_key_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_key_check'
LANGUAGE C VOLATILE;

CREATE FUNCTION @extschema@.jwt_trust_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_trust_changed'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_issuer_check() IS 'internal: refuses a row of jwt_issuer that cannot be a policy';
COMMENT ON FUNCTION @extschema@.jwt_key_check() IS 'internal: refuses a row of jwt_key that cannot be a key, and normalises its jwk';
COMMENT ON FUNCTION @extschema@.jwt_trust_changed() IS 'internal: tells every backend to forget what it has cached of this table';

CREATE TRIGGER jwt_issuer_check
	BEFORE INSERT OR UPDATE ON @extschema@.jwt_issuer
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_issuer_check();
CREATE TRIGGER jwt_issuer_changed
	AFTER INSERT OR UPDATE OR DELETE ON @extschema@.jwt_issuer
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_trust_changed();
CREATE TRIGGER jwt_issuer_truncated
	AFTER TRUNCATE ON @extschema@.jwt_issuer
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();

CREATE TRIGGER jwt_key_check
	BEFORE INSERT OR UPDATE ON @extschema@.jwt_key
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_key_check();
CREATE TRIGGER jwt_key_changed
	AFTER INSERT OR UPDATE OR DELETE ON @extschema@.jwt_key
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_trust_changed();
CREATE TRIGGER jwt_key_truncated
	AFTER TRUNCATE ON @extschema@.jwt_key
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();

ALTER TABLE @extschema@.jwt_issuer
	ENABLE ALWAYS TRIGGER jwt_issuer_check,
	ENABLE ALWAYS TRIGGER jwt_issuer_changed,
	ENABLE ALWAYS TRIGGER jwt_issuer_truncated;
ALTER TABLE @extschema@.jwt_key
	ENABLE ALWAYS TRIGGER jwt_key_check,
	ENABLE ALWAYS TRIGGER jwt_key_changed,
	ENABLE ALWAYS TRIGGER jwt_key_truncated;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_issuer', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_key', '');

--
-- Verification
--
-- STABLE: the verdict depends on the tables and on the statement's start time.
-- PARALLEL SAFE: they only read. Not STRICT where an argument may be left out;
-- a null token gives null. jws_verify is STABLE because jwt.max_token_size and
-- the algorithms of the loaded OpenSSL take part in its answer.
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
IS 'the claims of a token that verifies; an error of SQLSTATE class 28 for any other';

CREATE FUNCTION @extschema@.jwt_try_verify(
	token text,
	audience text DEFAULT NULL,
	issuer text DEFAULT NULL,
	at timestamptz DEFAULT NULL
) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_try_verify'
LANGUAGE C STABLE PARALLEL SAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_try_verify(text, text, text, timestamptz)
IS 'the claims of a token that verifies; null for any other';

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
IS 'why a token is refused, in one row and without an error; claims only when its signature is good';

CREATE FUNCTION @extschema@.jws_verify(token text, jwk jsonb, alg text) RETURNS bytea
AS 'MODULE_PATHNAME', 'jwt_sql_jws_verify'
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;

COMMENT ON FUNCTION @extschema@.jws_verify(text, jsonb, text)
IS 'the payload of a compact JWS whose signature is good under this key; looks at no table and no claim';

CREATE FUNCTION @extschema@.jwt_header(token text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_header'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_header(text)
IS 'the header of a token, not verified';

CREATE FUNCTION @extschema@.jwt_unverified_claims(token text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_unverified_claims'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_unverified_claims(text)
IS 'the claims of a token, not verified: anyone can have written them';

--
-- The current token: the setting jwt.token, and its verified claims
--
-- The accessors are STABLE, never IMMUTABLE: a plan must not carry one user's
-- identity to the next.  What sets the token is VOLATILE and PARALLEL UNSAFE.
--

CREATE FUNCTION @extschema@.jwt_authenticate(token text, is_local boolean DEFAULT true) RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_authenticate'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;

COMMENT ON FUNCTION @extschema@.jwt_authenticate(text, boolean)
IS 'verifies a token and makes it the current one, for the transaction or for the session; null for none';

CREATE FUNCTION @extschema@.jwt_claims() RETURNS jsonb
AS 'MODULE_PATHNAME', 'jwt_sql_claims'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_claims()
IS 'the verified claims of the current token; null without one';

CREATE FUNCTION @extschema@.jwt_claim(VARIADIC path text[]) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_claim'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

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
IS 'what this session remembers of the tokens that it has verified';

--
-- Keys
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

CREATE FUNCTION @extschema@.jwt_add_key(
	issuer text,
	key text,
	alg text DEFAULT NULL,
	kid text DEFAULT NULL,
	not_before timestamptz DEFAULT NULL,
	not_after timestamptz DEFAULT NULL
) RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	INSERT INTO @extschema@.jwt_key (issuer, kid, alg, jwk, not_before, not_after)
	VALUES (jwt_add_key.issuer, jwt_add_key.kid, jwt_add_key.alg,
			@extschema@.jwt_jwk(jwt_add_key.key),
			jwt_add_key.not_before, jwt_add_key.not_after)
	RETURNING id;
END;

COMMENT ON FUNCTION @extschema@.jwt_add_key(text, text, text, text, timestamptz, timestamptz)
IS 'adds a key to an issuer, from a JWK, a PEM public key or a PEM certificate; alg and kid may come from the JWK';

CREATE FUNCTION @extschema@.jwt_add_secret(
	issuer text,
	secret bytea,
	alg text,
	kid text DEFAULT NULL
) RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	INSERT INTO @extschema@.jwt_key (issuer, kid, alg, jwk)
	VALUES (jwt_add_secret.issuer, jwt_add_secret.kid, jwt_add_secret.alg,
			pg_catalog.jsonb_build_object(
				'kty', 'oct',
				'k', pg_catalog.translate(pg_catalog.encode(jwt_add_secret.secret, 'base64'), E'+/=\n', '-_')))
	RETURNING id;
END;

COMMENT ON FUNCTION @extschema@.jwt_add_secret(text, bytea, text, text)
IS 'adds an HMAC secret to an issuer';

--
-- Privileges. A trusted extension's objects belong to the bootstrap superuser;
-- the role that installs it, a database owner say, is given what it needs to
-- manage trust and to dump it. PUBLIC verifies, and sees no table.
--

REVOKE ALL ON @extschema@.jwt_issuer, @extschema@.jwt_key FROM PUBLIC;
REVOKE ALL ON FUNCTION
	@extschema@.jwt_issuer_check(),
	@extschema@.jwt_key_check(),
	@extschema@.jwt_trust_changed(),
	@extschema@.jwt_add_key(text, text, text, text, timestamptz, timestamptz),
	@extschema@.jwt_add_secret(text, bytea, text, text)
	FROM PUBLIC;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON @extschema@.jwt_issuer, @extschema@.jwt_key
	TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_add_key(text, text, text, text, timestamptz, timestamptz),
	@extschema@.jwt_add_secret(text, bytea, text, text)
	TO @extowner@ WITH GRANT OPTION;

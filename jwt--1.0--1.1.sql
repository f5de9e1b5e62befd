/* jwt--1.0--1.1.sql: the life of keys: import, export, rotation, refresh */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION jwt UPDATE TO '1.1'" to load this file. \quit

ALTER TABLE @extschema@.jwt_key
	ADD COLUMN retired_at timestamptz,
	ADD COLUMN retired_not_before timestamptz,
	ADD COLUMN retired_not_after timestamptz;

COMMENT ON COLUMN @extschema@.jwt_key.retired_at IS 'when the issuer''s key set stopped having this key; not_after then says until when it still verifies';

COMMENT ON COLUMN @extschema@.jwt_key.retired_not_before IS 'its not_before until then, which it has again when it comes back';
COMMENT ON COLUMN @extschema@.jwt_key.retired_not_after IS 'its not_after until then, which it has again when it comes back';

--
-- Where issuers publish their keys
--
-- A table of its own and without a trigger on its state, so that noting a fetch
-- flushes nobody's caches.
--

CREATE TABLE @extschema@.jwt_jwks_source (
	issuer				text COLLATE "C" PRIMARY KEY
						REFERENCES @extschema@.jwt_issuer ON UPDATE CASCADE ON DELETE CASCADE,
	uri					text COLLATE "C"
						CONSTRAINT jwt_jwks_source_uri_is_an_http_url
						CHECK (uri OPERATOR(pg_catalog.~) '^https?://([^][:space:]/?#@[]+|\[[0-9A-Fa-f:.]+\](:[0-9]+)?)([/?][^[:space:]#]*)?$')
						CONSTRAINT jwt_jwks_source_uri_has_at_most_2048_bytes
						CHECK (pg_catalog.octet_length(uri) OPERATOR(pg_catalog.<=) 2048),
	refresh_interval	interval NOT NULL DEFAULT '1 hour'
						CONSTRAINT jwt_jwks_source_refresh_interval_is_1_minute_to_30_days
						CHECK (refresh_interval OPERATOR(pg_catalog.>=) '1 minute'
							   AND refresh_interval OPERATOR(pg_catalog.<=) '30 days'),
	grace				interval NOT NULL DEFAULT '0'
						CONSTRAINT jwt_jwks_source_grace_is_0_to_30_days
						CHECK (grace OPERATOR(pg_catalog.>=) '0' AND grace OPERATOR(pg_catalog.<=) '30 days'),
	etag				text COLLATE "C",
	etag_state			bigint,
	last_attempt		timestamptz,
	last_success		timestamptz,
	last_change			timestamptz,
	next_attempt		timestamptz,
	failures			integer NOT NULL DEFAULT 0,
	last_error			text
);

COMMENT ON TABLE @extschema@.jwt_jwks_source IS 'where issuers publish their keys, and how the last fetch went';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.uri IS 'the URL of the JWK Set; null to discover it from the issuer''s /.well-known/openid-configuration';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.refresh_interval IS 'the longest time between two fetches, 1 minute to 30 days';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.grace IS 'how long a key that the set no longer has still verifies';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.etag IS 'state: the entity tag of the set that was imported last';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.etag_state IS 'state: a hash of the issuer''s keys and algorithms then; when it is another, the set is fetched, modified or not';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.last_attempt IS 'state: when it was fetched last, with whatever outcome';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.last_success IS 'state: when the keys were last known to be those that the issuer publishes';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.last_change IS 'state: when a fetch last changed a key';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.next_attempt IS 'state: when it is due; null for as soon as possible';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.failures IS 'state: how many attempts have failed since the last success';
COMMENT ON COLUMN @extschema@.jwt_jwks_source.last_error IS 'state: why the last attempt failed; the server log may say more';

CREATE FUNCTION @extschema@.jwt_jwks_source_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_jwks_source_changed'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_jwks_source_changed() IS 'internal: makes a source whose place has changed due, and wakes who fetches it';

CREATE TRIGGER jwt_jwks_source_moved
	BEFORE UPDATE OF uri, issuer ON @extschema@.jwt_jwks_source
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_jwks_source_changed();
CREATE TRIGGER jwt_jwks_source_changed
	AFTER INSERT OR UPDATE OF uri, issuer, refresh_interval ON @extschema@.jwt_jwks_source
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_jwks_source_changed();

ALTER TABLE @extschema@.jwt_jwks_source
	ENABLE ALWAYS TRIGGER jwt_jwks_source_moved,
	ENABLE ALWAYS TRIGGER jwt_jwks_source_changed;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_jwks_source', '');

--
-- JWK Sets
--

CREATE FUNCTION @extschema@.jwt_jwks_members(
	issuer text,
	jwks jsonb,
	OUT n integer,
	OUT kid text,
	OUT alg text,
	OUT jwk jsonb,
	OUT reason text
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jwt_sql_jwks_members'
LANGUAGE C STABLE PARALLEL SAFE COST 10000 ROWS 1000;

COMMENT ON FUNCTION @extschema@.jwt_jwks_members(text, jsonb)
IS 'internal: the members of a JWK Set as keys of an issuer; reason says why one cannot be, as when it has been revoked, whatever the snapshot';

CREATE FUNCTION @extschema@.jwt_import_jwks(
	issuer text,
	jwks jsonb,
	grace interval DEFAULT NULL
) RETURNS TABLE (kid text, alg text, action text, reason text)
LANGUAGE sql VOLATILE ROWS 5
BEGIN ATOMIC
	-- one import of an issuer at a time
	SELECT FROM @extschema@.jwt_issuer i
	WHERE i.issuer = jwt_import_jwks.issuer
	FOR NO KEY UPDATE;

	WITH member AS MATERIALIZED (
		SELECT m.n, m.kid, m.alg, m.jwk, m.reason
		FROM @extschema@.jwt_jwks_members(jwt_import_jwks.issuer, jwt_import_jwks.jwks) m
	), known AS (
		-- by kid, or without one by the key itself
		SELECT m.n, c.id, c.alg, c.jwk, c.source, c.revoked_at, c.retired_at, c.created_at
		FROM member m
		JOIN @extschema@.jwt_key c
			ON coalesce('kid ' || c.kid, c.jwk::text) = coalesce('kid ' || m.kid, m.jwk::text)
		WHERE c.issuer = jwt_import_jwks.issuer
			AND m.jwk IS NOT NULL
			AND (m.kid IS NOT NULL OR c.alg = coalesce(m.alg, c.alg))
	), matched AS MATERIALIZED (
		-- a key whose algorithm neither the set nor the issuer tells keeps the
		-- one that it is pinned to
		SELECT DISTINCT ON (m.n) m.n, m.kid, coalesce(m.alg, k.alg) AS alg, m.jwk, k.id,
			CASE
				WHEN m.reason IS NOT NULL AND NOT (m.alg IS NULL AND k.jwk = m.jwk) IS TRUE THEN m.reason
				WHEN k.revoked_at IS NOT NULL THEN 'The key has been revoked.'
				WHEN k.source <> 'jwks' THEN 'A key that was added by hand has this kid.'
			END AS reason,
			(k.alg = coalesce(m.alg, k.alg) AND k.jwk = m.jwk AND k.retired_at IS NULL) IS TRUE AS same
		FROM member m
		LEFT JOIN known k ON k.n = m.n
		ORDER BY m.n, k.revoked_at, k.created_at, k.id
	), added AS (
		INSERT INTO @extschema@.jwt_key (issuer, kid, alg, jwk, source)
		SELECT jwt_import_jwks.issuer, m.kid, m.alg, m.jwk, 'jwks'
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
		WHERE k.id = m.id AND m.reason IS NULL AND NOT m.same AND k.revoked_at IS NULL
	), retired AS (
		UPDATE @extschema@.jwt_key k
		SET retired_at = pg_catalog.now(),
			retired_not_before = k.not_before,
			retired_not_after = k.not_after,
			-- grace is for what has verified, not for a standby or a revoked key
			not_after = least(k.not_after,
				CASE WHEN k.not_before >= pg_catalog.now() OR EXISTS (
						SELECT FROM @extschema@.jwt_key r
						WHERE r.issuer = jwt_import_jwks.issuer AND r.revoked_at IS NOT NULL AND r.jwk = k.jwk)
					THEN pg_catalog.now()
					ELSE pg_catalog.now() + greatest('0'::interval, coalesce(
						jwt_import_jwks.grace,
						(SELECT s.grace FROM @extschema@.jwt_jwks_source s
						 WHERE s.issuer = jwt_import_jwks.issuer),
						'0'))
				END),
			not_before = CASE WHEN k.not_before < pg_catalog.now() THEN k.not_before END
		WHERE k.issuer = jwt_import_jwks.issuer
			AND k.source = 'jwks'
			AND k.revoked_at IS NULL
			AND k.retired_at IS NULL
			AND k.id NOT IN (SELECT m.id FROM matched m WHERE m.id IS NOT NULL AND m.reason IS NULL)
			-- a set of which nothing can be used takes nothing away
			AND EXISTS (SELECT FROM matched m WHERE m.reason IS NULL)
		RETURNING k.kid, k.alg, k.not_after
	), forgotten AS (
		DELETE FROM @extschema@.jwt_key k
		WHERE k.issuer = jwt_import_jwks.issuer
			AND k.source = 'jwks'
			AND k.revoked_at IS NULL
			AND k.not_after < pg_catalog.now()
			AND (k.not_after < pg_catalog.now() - '90 days'::interval AND k.retired_at < pg_catalog.now() - '90 days'::interval
				-- or there are far too many of them
				OR k.id = ANY (ARRAY(
					SELECT r.id
					FROM @extschema@.jwt_key r
					WHERE r.issuer = jwt_import_jwks.issuer
						AND r.source = 'jwks'
						AND r.revoked_at IS NULL
						AND r.retired_at IS NOT NULL
					ORDER BY r.retired_at DESC, r.id
					OFFSET 1000)))
			AND k.id NOT IN (SELECT m.id FROM matched m WHERE m.id IS NOT NULL)
	)
	SELECT o.kid, o.alg, o.action, o.reason
	FROM (
		SELECT m.n, m.kid, m.alg,
			CASE
				WHEN m.reason IS NOT NULL THEN 'skipped'
				WHEN m.id IS NULL THEN 'added'
				WHEN m.same THEN 'unchanged'
				ELSE 'changed'
			END AS action,
			m.reason
		FROM matched m
		UNION ALL
		SELECT NULL, r.kid, r.alg, 'retired',
			'The set does not have it.' ||
			CASE WHEN r.not_after > pg_catalog.now()
				THEN ' It verifies until ' || r.not_after::text || '.'
				ELSE '' END
		FROM retired r
	) o
	ORDER BY o.n, o.kid;
END;

COMMENT ON FUNCTION @extschema@.jwt_import_jwks(text, jsonb, interval)
IS 'makes the keys of an issuer those of a JWK Set, and says of each what was done and why; keys added by hand and revoked ones stay as they are';

CREATE FUNCTION @extschema@.jwt_import_counts(issuer text, jwks jsonb) RETURNS integer[]
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT ARRAY[
		pg_catalog.count(*) FILTER (WHERE r.action = 'added')::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'changed')::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'retired')::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'unchanged')::pg_catalog.int4,
		pg_catalog.count(*) FILTER (WHERE r.action = 'skipped')::pg_catalog.int4]
	FROM @extschema@.jwt_import_jwks(jwt_import_counts.issuer, jwt_import_counts.jwks, NULL::pg_catalog.interval) r;
END;

COMMENT ON FUNCTION @extschema@.jwt_import_counts(text, jsonb)
IS 'internal: imports a JWK Set for a worker, which calls it by its OID; keys added, changed, retired, unchanged and skipped';

CREATE FUNCTION @extschema@.jwt_jwks(issuer text) RETURNS jsonb
LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_catalog.jsonb_build_object('keys', (
		SELECT coalesce(pg_catalog.jsonb_agg(
			k.jwk
			|| pg_catalog.jsonb_build_object('alg', k.alg, 'use', 'sig')
			|| CASE WHEN k.kid IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('kid', k.kid) END
			ORDER BY k.created_at, k.kid, k.id), '[]')
		FROM @extschema@.jwt_key k
		WHERE k.issuer = i.issuer
			AND k.jwk ->> 'kty' <> 'oct'
			AND k.revoked_at IS NULL
			AND (k.not_after IS NULL OR k.not_after > pg_catalog.statement_timestamp())))
	FROM @extschema@.jwt_issuer i
	WHERE i.issuer = jwt_jwks.issuer;
END;

COMMENT ON FUNCTION @extschema@.jwt_jwks(text)
IS 'the public keys of an issuer as a JWK Set, standby keys too; never a secret; null without such an issuer';

--
-- Rotation
--

CREATE VIEW @extschema@.jwt_key_status AS
SELECT k.id,
	k.issuer,
	k.kid,
	k.alg,
	CASE
		WHEN k.revoked_at IS NOT NULL THEN 'revoked'
		WHEN k.not_before > pg_catalog.statement_timestamp() THEN 'standby'
		WHEN k.not_after IS NOT NULL THEN 'previous'
		ELSE 'current'
	END AS state,
	k.revoked_at IS NULL
		AND (k.not_before IS NULL OR k.not_before <= pg_catalog.statement_timestamp())
		AND (k.not_after IS NULL OR k.not_after > pg_catalog.statement_timestamp())
		AS verifies,
	k.not_before,
	k.not_after,
	k.retired_at,
	k.revoked_at,
	k.source,
	k.created_at,
	CASE WHEN k.jwk ->> 'kty' <> 'oct' THEN @extschema@.jwt_thumbprint(k.jwk) END AS thumbprint
FROM @extschema@.jwt_key k;

COMMENT ON VIEW @extschema@.jwt_key_status IS 'the keys without their secrets, and where in their life they are';
COMMENT ON COLUMN @extschema@.jwt_key_status.state IS 'standby: verifies later; current: verifies; previous: its end is set or past; revoked';
COMMENT ON COLUMN @extschema@.jwt_key_status.verifies IS 'whether it verifies tokens now';
COMMENT ON COLUMN @extschema@.jwt_key_status.thumbprint IS 'RFC 7638, of a public key';

CREATE FUNCTION @extschema@.jwt_no_such_key(issuer text, kid text) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_no_such_key'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_no_such_key(text, text)
IS 'internal: raises the error that an issuer has no such key';

CREATE FUNCTION @extschema@.jwt_revoke_key(issuer text, kid text) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	-- not while an import decides by what is revoked
	SELECT FROM @extschema@.jwt_issuer i
	WHERE i.issuer = jwt_revoke_key.issuer
	FOR NO KEY UPDATE;
	-- the key itself, under whatever kid it is here
	UPDATE @extschema@.jwt_key k
	SET revoked_at = pg_catalog.now()
	WHERE k.issuer = jwt_revoke_key.issuer
		AND k.revoked_at IS NULL
		AND (k.kid IS NOT DISTINCT FROM jwt_revoke_key.kid
			 OR EXISTS (
				SELECT FROM @extschema@.jwt_key r
				WHERE r.issuer = jwt_revoke_key.issuer
					AND r.kid IS NOT DISTINCT FROM jwt_revoke_key.kid
					AND r.jwk = k.jwk));
	SELECT coalesce(
		(SELECT pg_catalog.max(k.revoked_at)
		 FROM @extschema@.jwt_key k
		 WHERE k.issuer = jwt_revoke_key.issuer
			AND k.kid IS NOT DISTINCT FROM jwt_revoke_key.kid),
		@extschema@.jwt_no_such_key(jwt_revoke_key.issuer, jwt_revoke_key.kid));
END;

COMMENT ON FUNCTION @extschema@.jwt_revoke_key(text, text)
IS 'revokes a key, or with null those without kid, from the commit on; no import trusts it again';

--
-- Refresh
--

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
IS 'fetches the key set of an issuer now, by a background worker, and says how many keys it changed; an error when that failed';

--
-- Privileges
--

REVOKE ALL ON @extschema@.jwt_jwks_source, @extschema@.jwt_key_status FROM PUBLIC;
REVOKE ALL ON FUNCTION
	@extschema@.jwt_jwks_source_changed(),
	@extschema@.jwt_jwks_members(text, jsonb),
	@extschema@.jwt_import_jwks(text, jsonb, interval),
	@extschema@.jwt_import_counts(text, jsonb),
	@extschema@.jwt_jwks(text),
	@extschema@.jwt_no_such_key(text, text),
	@extschema@.jwt_revoke_key(text, text),
	@extschema@.jwt_refresh_jwks(text)
	FROM PUBLIC;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON @extschema@.jwt_jwks_source
	TO @extowner@ WITH GRANT OPTION;
GRANT SELECT ON @extschema@.jwt_key_status TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_jwks_members(text, jsonb),
	@extschema@.jwt_import_jwks(text, jsonb, interval),
	@extschema@.jwt_import_counts(text, jsonb),
	@extschema@.jwt_jwks(text),
	@extschema@.jwt_no_such_key(text, text),
	@extschema@.jwt_revoke_key(text, text),
	@extschema@.jwt_refresh_jwks(text)
	TO @extowner@ WITH GRANT OPTION;

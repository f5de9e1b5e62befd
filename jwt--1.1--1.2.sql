/* jwt--1.1--1.2.sql: revocation */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION jwt UPDATE TO '1.2'" to load this file. \quit

--
-- Invalidation before a row is written, too: what a function in the same
-- statement reads of it must not be remembered when the statement fails, and the
-- triggers after it do not fire.
--

CREATE TRIGGER jwt_issuer_changing
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_issuer
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();
CREATE TRIGGER jwt_key_changing
	BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.jwt_key
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.jwt_trust_changed();

ALTER TABLE @extschema@.jwt_issuer ENABLE ALWAYS TRIGGER jwt_issuer_changing;
ALTER TABLE @extschema@.jwt_key ENABLE ALWAYS TRIGGER jwt_key_changing;

--
-- What is trusted no longer
--
-- No foreign key: who removes an issuer and adds it again has not forgiven its
-- revoked tokens. Instead the issuer's row tells every backend whether there is
-- anything to look for; it changes with the first revocation of a kind, and
-- never back, so a stream of revocations flushes nobody's caches.
--

ALTER TABLE @extschema@.jwt_issuer
	ADD COLUMN has_revoked_ids boolean NOT NULL DEFAULT false,
	ADD COLUMN has_revoked_subjects boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN @extschema@.jwt_issuer.has_revoked_ids IS 'set by the first revocation of a token by its jti, for good: jwt_revocation is looked at';
COMMENT ON COLUMN @extschema@.jwt_issuer.has_revoked_subjects IS 'set by the first revocation of a subject''s tokens, for good: jwt_revocation is looked at';

CREATE TABLE @extschema@.jwt_revocation (
	id				uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	issuer			text COLLATE "C" NOT NULL
					CONSTRAINT jwt_revocation_issuer_has_at_most_1024_bytes
					CHECK (pg_catalog.octet_length(issuer) OPERATOR(pg_catalog.<=) 1024),
	jti				text COLLATE "C"
					CONSTRAINT jwt_revocation_jti_has_at_most_1024_bytes
					CHECK (pg_catalog.octet_length(jti) OPERATOR(pg_catalog.<=) 1024),
	sub				text COLLATE "C"
					CONSTRAINT jwt_revocation_sub_has_at_most_1024_bytes
					CHECK (pg_catalog.octet_length(sub) OPERATOR(pg_catalog.<=) 1024),
	issued_before	timestamptz,
	expires_at		timestamptz NOT NULL DEFAULT 'infinity',
	reason			text,
	revoked_by		text NOT NULL DEFAULT session_user,
	revoked_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	CONSTRAINT jwt_revocation_is_by_jti_or_by_sub
	CHECK (pg_catalog.num_nonnulls(jti, sub) OPERATOR(pg_catalog.=) 1),
	CONSTRAINT jwt_revocation_by_sub_has_issued_before
	CHECK (pg_catalog.num_nonnulls(sub, issued_before) OPERATOR(pg_catalog.<>) 1)
);

-- Every verification probes them: what differs most comes first, and many
-- revocations by jti do not make the look for one by sub longer. They are not
-- unique: who has revoked a token and not committed must not make others wait who
-- revoke it, and two who have, on two servers, must not stop replication.
CREATE INDEX jwt_revocation_jti_issuer_idx ON @extschema@.jwt_revocation (jti, issuer) WHERE jti IS NOT NULL;
CREATE INDEX jwt_revocation_sub_issuer_idx ON @extschema@.jwt_revocation (sub, issuer) WHERE sub IS NOT NULL;
CREATE INDEX jwt_revocation_expires_at_idx ON @extschema@.jwt_revocation (expires_at);

COMMENT ON TABLE @extschema@.jwt_revocation IS 'tokens that are trusted no longer: one by its jti, or all of a subject that were issued before a moment';
COMMENT ON COLUMN @extschema@.jwt_revocation.jti IS 'the token whose claim jti is this';
COMMENT ON COLUMN @extschema@.jwt_revocation.sub IS 'the tokens whose claim sub is this';
COMMENT ON COLUMN @extschema@.jwt_revocation.issued_before IS 'a token of the subject is refused unless its iat is later; one without iat always is';
COMMENT ON COLUMN @extschema@.jwt_revocation.expires_at IS 'when the row can be pruned, as no token that it is about is valid any more';
COMMENT ON COLUMN @extschema@.jwt_revocation.revoked_by IS 'the session''s user';

CREATE FUNCTION @extschema@.jwt_issuer_tells(issuer text, by_subject boolean) RETURNS boolean
LANGUAGE sql VOLATILE STRICT
BEGIN ATOMIC
	SELECT CASE WHEN jwt_issuer_tells.by_subject THEN i.has_revoked_subjects ELSE i.has_revoked_ids END
	FROM @extschema@.jwt_issuer i
	WHERE i.issuer = jwt_issuer_tells.issuer
	FOR KEY SHARE;
END;

COMMENT ON FUNCTION @extschema@.jwt_issuer_tells(text, boolean)
IS 'internal: whether an issuer says that it has revocations; keeps its row from being removed until the transaction ends';

CREATE FUNCTION @extschema@.jwt_tell_issuer(issuer text, by_subject boolean) RETURNS void
LANGUAGE sql VOLATILE STRICT
BEGIN ATOMIC
	UPDATE @extschema@.jwt_issuer i
	SET has_revoked_ids = i.has_revoked_ids OR NOT jwt_tell_issuer.by_subject,
		has_revoked_subjects = i.has_revoked_subjects OR jwt_tell_issuer.by_subject
	WHERE i.issuer = jwt_tell_issuer.issuer;
END;

COMMENT ON FUNCTION @extschema@.jwt_tell_issuer(text, boolean)
IS 'internal: has an issuer say that it has revocations';

CREATE FUNCTION @extschema@.jwt_revocation_added() RETURNS trigger
AS 'MODULE_PATHNAME', 'jwt_sql_revocation_added'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_revocation_added() IS 'internal: sees to it that a revocation is looked for';

CREATE TRIGGER jwt_revocation_added
	AFTER INSERT OR UPDATE ON @extschema@.jwt_revocation
	FOR EACH ROW EXECUTE FUNCTION @extschema@.jwt_revocation_added();

ALTER TABLE @extschema@.jwt_revocation ENABLE ALWAYS TRIGGER jwt_revocation_added;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.jwt_revocation', '');

--
-- Revoking
--

CREATE FUNCTION @extschema@.jwt_expiry(claims jsonb) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jwt_sql_expiry'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION @extschema@.jwt_expiry(jsonb)
IS 'internal: the claim exp as a timestamp; infinity when there is none, or none that a timestamp can hold';

CREATE FUNCTION @extschema@.jwt_lacks_claim(claim text) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_lacks_claim'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION @extschema@.jwt_lacks_claim(text)
IS 'internal: raises the error that a token cannot be revoked by this claim';

CREATE FUNCTION @extschema@.jwt_revoke_id(
	issuer text,
	jti text,
	expires_at timestamptz,
	reason text DEFAULT NULL
) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	-- a row more, if there is one already: the one may be taken back this moment
	WITH added AS (
		INSERT INTO @extschema@.jwt_revocation (issuer, jti, expires_at, reason)
		VALUES (jwt_revoke_id.issuer, jwt_revoke_id.jti, jwt_revoke_id.expires_at, jwt_revoke_id.reason)
		RETURNING expires_at
	)
	SELECT greatest(a.expires_at, (
		SELECT pg_catalog.max(r.expires_at)
		FROM @extschema@.jwt_revocation r
		WHERE r.issuer = jwt_revoke_id.issuer AND r.jti = jwt_revoke_id.jti))
	FROM added a;
END;

COMMENT ON FUNCTION @extschema@.jwt_revoke_id(text, text, timestamptz, text)
IS 'revokes the token with this jti; from expires_at on, when it has expired anyway, that can be forgotten';

CREATE FUNCTION @extschema@.jwt_revoke(token text, reason text DEFAULT NULL) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT @extschema@.jwt_revoke_id(
		coalesce(v.claims ->> 'iss', ''),
		coalesce(v.claims ->> 'jti', @extschema@.jwt_lacks_claim('jti'::pg_catalog.text)),
		@extschema@.jwt_expiry(v.claims),
		jwt_revoke.reason)
	FROM (SELECT @extschema@.jwt_verify(jwt_revoke.token) OFFSET 0) v (claims)
	WHERE v.claims IS NOT NULL;
END;

COMMENT ON FUNCTION @extschema@.jwt_revoke(text, text)
IS 'verifies a token, and revokes it until it expires, which is what it returns';

CREATE FUNCTION @extschema@.jwt_revoke_subject(
	issuer text,
	sub text,
	issued_before timestamptz DEFAULT pg_catalog.clock_timestamp(),
	reason text DEFAULT NULL
) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	-- the row takes the place of those that it makes superfluous, of the same
	-- person for the same reason, if nobody is about to change them
	WITH gone AS (
		DELETE FROM @extschema@.jwt_revocation r
		WHERE r.id = ANY (ARRAY(
			SELECT p.id
			FROM @extschema@.jwt_revocation p
			WHERE p.issuer = jwt_revoke_subject.issuer
				AND p.sub = jwt_revoke_subject.sub
				AND p.issued_before <= jwt_revoke_subject.issued_before
				AND p.revoked_by = session_user
				AND p.reason IS NOT DISTINCT FROM jwt_revoke_subject.reason
			FOR UPDATE SKIP LOCKED))
	), added AS (
		INSERT INTO @extschema@.jwt_revocation (issuer, sub, issued_before, reason)
		VALUES (jwt_revoke_subject.issuer, jwt_revoke_subject.sub, jwt_revoke_subject.issued_before, jwt_revoke_subject.reason)
		RETURNING issued_before
	)
	SELECT greatest(a.issued_before, (
		SELECT pg_catalog.max(r.issued_before)
		FROM @extschema@.jwt_revocation r
		WHERE r.issuer = jwt_revoke_subject.issuer AND r.sub = jwt_revoke_subject.sub))
	FROM added a;
END;

COMMENT ON FUNCTION @extschema@.jwt_revoke_subject(text, text, timestamptz, text)
IS 'revokes all tokens of a subject but those that are issued later than the moment that it returns';

CREATE FUNCTION @extschema@.jwt_unrevoke_id(issuer text, jti text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_revocation r
		WHERE r.issuer = jwt_unrevoke_id.issuer AND r.jti = jwt_unrevoke_id.jti
		RETURNING r.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_id(text, text)
IS 'takes the revocation of a token back; false when there was none';

CREATE FUNCTION @extschema@.jwt_unrevoke_subject(issuer text, sub text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH gone AS (
		DELETE FROM @extschema@.jwt_revocation r
		WHERE r.issuer = jwt_unrevoke_subject.issuer AND r.sub = jwt_unrevoke_subject.sub
		RETURNING r.id
	)
	SELECT EXISTS (SELECT FROM gone);
END;

COMMENT ON FUNCTION @extschema@.jwt_unrevoke_subject(text, text)
IS 'takes the revocation of a subject''s tokens back; false when there was none';

CREATE FUNCTION @extschema@.jwt_logout(everywhere boolean DEFAULT false) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	-- by the clock, or by the token's own time if its issuer's clock is ahead
	SELECT v.claims IS NOT NULL AND
		CASE WHEN jwt_logout.everywhere
			THEN @extschema@.jwt_revoke_subject(
				coalesce(v.claims ->> 'iss', ''),
				coalesce(v.claims ->> 'sub', @extschema@.jwt_lacks_claim('sub'::pg_catalog.text)),
				greatest(pg_catalog.clock_timestamp(),
					pg_catalog.to_timestamp(least((v.claims ->> 'iat')::numeric, 9e9)::float8)),
				'logout everywhere'::pg_catalog.text)
			ELSE @extschema@.jwt_revoke_id(
				coalesce(v.claims ->> 'iss', ''),
				coalesce(v.claims ->> 'jti', @extschema@.jwt_lacks_claim('jti'::pg_catalog.text)),
				@extschema@.jwt_expiry(v.claims),
				'logout'::pg_catalog.text)
		END IS NOT NULL
	FROM (SELECT @extschema@.jwt_claims() OFFSET 0) v (claims);
END;

COMMENT ON FUNCTION @extschema@.jwt_logout(boolean)
IS 'revokes the current token, or all of its subject''s that were issued until now; false when there is no current token';

CREATE FUNCTION @extschema@.jwt_prune_revocations(max_rows integer DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	-- an hour is for leeway and for clocks that differ
	WITH gone AS (
		DELETE FROM @extschema@.jwt_revocation r
		WHERE r.id = ANY (ARRAY(
			SELECT p.id
			FROM @extschema@.jwt_revocation p
			WHERE p.expires_at < pg_catalog.now() - '1 hour'::interval
			ORDER BY p.expires_at
			LIMIT jwt_prune_revocations.max_rows
			FOR UPDATE SKIP LOCKED))
		RETURNING r.id
	)
	SELECT pg_catalog.count(*) FROM gone;
END;

COMMENT ON FUNCTION @extschema@.jwt_prune_revocations(integer)
IS 'removes revocations of tokens that have expired, at most so many; says how many';

--
-- The schema, which keeps its name
--

CREATE FUNCTION @extschema@.jwt_schema_stays() RETURNS event_trigger
AS 'MODULE_PATHNAME', 'jwt_sql_schema_stays'
LANGUAGE C VOLATILE;

COMMENT ON FUNCTION @extschema@.jwt_schema_stays()
IS 'internal: lets nobody but a superuser rename the schema of the extension';

CREATE EVENT TRIGGER jwt_schema_stays ON ddl_command_start
	WHEN TAG IN ('ALTER SCHEMA')
	EXECUTE FUNCTION @extschema@.jwt_schema_stays();

ALTER EVENT TRIGGER jwt_schema_stays ENABLE ALWAYS;

COMMENT ON EVENT TRIGGER jwt_schema_stays
IS 'lets nobody but a superuser rename the schema of the extension jwt, whose tables are looked up by its name';

--
-- Privileges
--

REVOKE ALL ON @extschema@.jwt_revocation FROM PUBLIC;
REVOKE ALL ON FUNCTION
	@extschema@.jwt_issuer_tells(text, boolean),
	@extschema@.jwt_tell_issuer(text, boolean),
	@extschema@.jwt_revocation_added(),
	@extschema@.jwt_schema_stays(),
	@extschema@.jwt_expiry(jsonb),
	@extschema@.jwt_lacks_claim(text),
	@extschema@.jwt_revoke(text, text),
	@extschema@.jwt_revoke_id(text, text, timestamptz, text),
	@extschema@.jwt_revoke_subject(text, text, timestamptz, text),
	@extschema@.jwt_unrevoke_id(text, text),
	@extschema@.jwt_unrevoke_subject(text, text),
	@extschema@.jwt_logout(boolean),
	@extschema@.jwt_prune_revocations(integer)
	FROM PUBLIC;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON @extschema@.jwt_revocation
	TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION
	@extschema@.jwt_expiry(jsonb),
	@extschema@.jwt_lacks_claim(text),
	@extschema@.jwt_revoke(text, text),
	@extschema@.jwt_revoke_id(text, text, timestamptz, text),
	@extschema@.jwt_revoke_subject(text, text, timestamptz, text),
	@extschema@.jwt_unrevoke_id(text, text),
	@extschema@.jwt_unrevoke_subject(text, text),
	@extschema@.jwt_logout(boolean),
	@extschema@.jwt_prune_revocations(integer)
	TO @extowner@ WITH GRANT OPTION;

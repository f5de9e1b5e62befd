--
-- revocations: tokens with and without each claim by which they can be revoked, against
-- matching and other rows of each kind, alone and in pairs, with the index and without
--
SELECT plan(9);

INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://one.example', '{api}', '{HS256}'), ('https://two.example', '{api}', '{HS256}'), ('', '{api}', '{HS256}');
-- The first two issuers share their first key, as tenants of some providers do.
CREATE TEMP TABLE secret (issuer text, kid text, secret bytea);
INSERT INTO secret VALUES ('https://one.example', 'k1', sha256('shared')), ('https://one.example', 'k2', sha256('own')), ('https://two.example', 'k3', sha256('shared')), ('', 'k4', sha256('nameless'));
SELECT count(jwt_add_secret(issuer, secret, 'HS256', kid)) FROM secret \g /dev/null

-- Times are seconds since half past.
CREATE TEMP TABLE token AS
SELECT row_number() OVER () AS n, s.issuer, s.kid, s.secret, jti, sid, sub, iat, sign(jsonb_strip_nulls(jsonb_build_object('iss', nullif(s.issuer, ''), 'aud', 'api', 'jti', jti, 'sid', sid, 'sub', sub,
	'iat', at + iat, 'exp', at + 3600))::text, jsonb_build_object('alg', 'HS256', 'kid', s.kid)::text, s.secret) AS token
FROM secret s, (VALUES (NULL), ('a'), ('b')) j (jti), (VALUES (NULL), ('a')) i (sid), (VALUES (NULL), ('a'), ('b')) u (sub), (VALUES (NULL), (-10), (0), (10)) t (iat),
	LATERAL (SELECT extract(epoch FROM half_past())::bigint) h (at);
CREATE TEMP TABLE revocation AS
SELECT row_number() OVER () AS n, r.* FROM (
	SELECT i.issuer, kind, 'a' AS value, NULL::int AS issued_before FROM unnest('{https://one.example,""}'::text[]) i (issuer), unnest('{jti,sid,sub}'::text[]) kind UNION ALL
	SELECT 'https://one.example', 'sub', 'a', b FROM unnest('{-10,0}'::int[]) b UNION ALL
	SELECT i, 'iss', i, b FROM unnest('{https://one.example,""}'::text[]) i, unnest('{NULL,0}'::int[]) b UNION ALL
	-- rows that match no token
	SELECT 'https://other.example', kind, 'a', NULL FROM unnest('{jti,sid,sub}'::text[]) kind UNION ALL
	SELECT 'https://one.example', kind, value, NULL FROM unnest('{jti,sub}'::text[]) kind, unnest('{A,"a ",""}'::text[]) value UNION ALL
	SELECT '', 'key', jwt_thumbprint(jsonb_build_object('kty', 'oct', 'k', b64url(secret))), NULL FROM unnest(ARRAY[sha256('shared'), sha256('nameless'), sha256('nobody')]) secret) r;

CREATE FUNCTION pg_temp.revokes(r revocation, t token) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT coalesce(CASE r.kind
		WHEN 'key' THEN r.value = jwt_thumbprint(jsonb_build_object('kty', 'oct', 'k', b64url(t.secret)))
		WHEN 'iss' THEN r.issuer = t.issuer AND (t.iat IS NULL OR r.issued_before IS NULL OR t.iat <= r.issued_before)
		WHEN 'sub' THEN r.issuer = t.issuer AND r.value = t.sub AND (t.iat IS NULL OR r.issued_before IS NULL OR t.iat <= r.issued_before)
		WHEN 'sid' THEN r.issuer = t.issuer AND r.value = t.sid
		WHEN 'jti' THEN r.issuer = t.issuer AND r.value = t.jti END, false)
$$;
CREATE TEMP TABLE expected AS SELECT r.n AS revocation, t.n AS token, pg_temp.revokes(r, t) AS revoked FROM revocation r, token t;

CREATE TEMP TABLE outcome (setting text, rows bigint[], token bigint, verdict text);
CREATE FUNCTION pg_temp.judge(setting text, rows bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM jwt_denylist;
	INSERT INTO jwt_denylist (issuer, kind, value, issued_before)
	SELECT r.issuer, r.kind, r.value, half_past() + make_interval(secs => r.issued_before) FROM revocation r WHERE r.n = ANY (rows);
	INSERT INTO outcome SELECT setting, rows, t.n, verdict(t.token) FROM token t;
END $$;
CREATE FUNCTION pg_temp.wrong(setting text) RETURNS text LANGUAGE sql RETURN format($$
	SELECT o.rows, t.issuer, t.kid, t.jti, t.sid, t.sub, t.iat, o.verdict FROM outcome o JOIN token t ON t.n = o.token
	WHERE o.setting = %L AND o.verdict IS DISTINCT FROM
		CASE WHEN EXISTS (SELECT FROM expected e WHERE e.revocation = ANY (o.rows) AND e.token = o.token AND e.revoked) THEN '28J11' ELSE 'valid' END$$, setting);

SELECT pg_temp.judge('none', '{}') \g /dev/null
SELECT is_empty(pg_temp.wrong('none'), 'each of ' || (SELECT count(*) FROM token) || ' tokens is valid when nothing is revoked');
SELECT count(pg_temp.judge('each', ARRAY[n])) FROM revocation \g /dev/null
SELECT is_empty(pg_temp.wrong('each'), 'under each of ' || (SELECT count(*) FROM revocation) || ' rows alone');
SELECT count(pg_temp.judge('pair', ARRAY[a.n, b.n])) FROM revocation a JOIN revocation b ON a.n < b.n WHERE (a.n + b.n) % 10 = 0 \g /dev/null
SELECT is_empty(pg_temp.wrong('pair'), 'under ' || (SELECT count(DISTINCT rows) FROM outcome WHERE setting = 'pair') || ' pairs of them');
DROP INDEX jwt_denylist_value_kind_issuer_idx;
SELECT count(pg_temp.judge('each, without index', ARRAY[n])) FROM revocation \g /dev/null
SELECT is_empty(pg_temp.wrong('each, without index'), 'under each when there is no index');
SELECT pg_temp.judge('all, without index', array_agg(n)) FROM revocation \g /dev/null
SELECT is_empty(pg_temp.wrong('all, without index'), 'and under all of them');
CREATE INDEX ON jwt_denylist (issuer, kind, value);
SELECT pg_temp.judge('all', array_agg(n)) FROM revocation \g /dev/null
SELECT is_empty(pg_temp.wrong('all'), 'also with a new index');
-- Thousands of other rows make no difference.
INSERT INTO jwt_denylist (issuer, kind, value) SELECT 'https://one.example', kind, 'x' || i FROM generate_series(1, 10000) i, unnest('{jti,sid,sub}'::text[]) kind;
DELETE FROM jwt_denylist WHERE value !~ '^x';
DELETE FROM outcome WHERE setting = 'none';
INSERT INTO outcome SELECT 'none', '{}', t.n, verdict(t.token) FROM token t;
SELECT is_empty(pg_temp.wrong('none'), 'nor is one refused for what others have been revoked by');
SELECT set_eq('SELECT DISTINCT r.kind FROM expected e JOIN revocation r ON r.n = e.revocation WHERE e.revoked', '{jti,sid,sub,iss,key}'::text[], 'each kind has revoked');
SELECT set_eq('SELECT verdict FROM outcome', '{valid,28J11}'::text[], 'each verdict occurs');

SELECT * FROM finish();
DELETE FROM jwt_issuer;
TRUNCATE jwt_denylist;

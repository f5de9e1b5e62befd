"""The measures of make bench.

A session is one backend and its measures.  A measure has a name, which bench/rows
uses, and parts.  A part is SQL whose instructions are counted, and a weight; the
measure is the weighted sum of its parts.  Most measures repeat the same work a few
times and many times.  The weights make the difference the cost of one repetition, so
the costs of parsing, planning and starting cancel out.

To add a row, add a measure here, its tables to fixture.sql, and a line to
bench/rows."""
import base64
import os
import uuid
from collections import namedtuple

KEY_FILE = os.environ["BENCH_KEY_FILE"]     # of jwt_auth

Session = namedtuple("Session", "name database settings before measures")
Measure = namedtuple("Measure", "name before parts repeats")
Part = namedtuple("Part", "before sql weight")

# The work in OpenSSL alone (floor.c), repeated a few times and many times.
FLOOR = {"RS256": (50, 150), "PS256": (50, 150), "ES256": (20, 80), "ES384": (5, 25), "EdDSA": (10, 50), "HS256": (50, 1050),
         "sign_RS256": (5, 25), "sign_ES256": (20, 80), "sign_EdDSA": (10, 50), "check_RS256": (1, 6), "check_ES256": (10, 50)}


def each(name, sql, short, long, per=1, setup=(), before=lambda n: []):
    """The cost of one repetition: sql(n) are statements that do the work n times.
    The statements of setup run once, and those of before(n) before each sql(n);
    neither are counted."""
    weight = 1 / (long - short) / per
    return Measure(name, [*setup, *before(short), *sql(short)],
                   [Part(before(short), sql(short), -weight), Part(before(long), sql(long), weight)], True)


def first(name, sql, later):
    """The additional cost of the first statement of a backend."""
    return Measure(name, [], [Part([], [sql], 1), Part([], [later], -1)], False)


def floor():
    return Session("floor", None, {}, [], [each(f"floor_{name}", lambda n: [], *lengths) for name, lengths in FLOOR.items()])


def calls(name, call, short, long):
    return each(name, lambda n: [f"SELECT count({call}) FROM generate_series(1, {n})"], short, long)


def statements(name, *sql, setup=()):
    return each(name, lambda n: [*sql] * n, 20, 120, setup=setup)


def refreshes(n):
    """A session, and each of its refresh tokens redeemed for the next.  Its issuer has
    no grace."""
    return [f"WITH RECURSIVE r (i, answer) AS (SELECT 0, jwt_start_session('https://ES256', 'alice') UNION ALL"
            f" SELECT i + 1, jwt_refresh(answer ->> 'refresh_token') FROM r WHERE i < {n})"
            f" SELECT 1 / (count(answer -> 'access_token') = {n} + 1)::int FROM r"]


# Sessions by their sid, as SQL; the third one has no row.
SESSIONS = {"forged": "sha256('live'), NULL", "ended": "NULL, now()", "unknown": None}


def refusals(suffix):
    """Refresh tokens of the right form with a wrong MAC: of a session that lives, of one
    that has ended, and of none."""
    for i, (name, columns) in enumerate(SESSIONS.items()):
        sid = uuid.UUID(int=0x40008000000000000001 + i)
        row = ("INSERT INTO jwt_session (sid, issuer, sub, claims, started_at, expires_at, rotated_at, counter, repeats, seed, ended_at)"
               f" VALUES ('{sid}', 'https://ES256', 'alice', '{{}}', now(), 'infinity', now(), 0, 0, {columns}) ON CONFLICT DO NOTHING")
        token = base64.urlsafe_b64encode(b"\1\2k1" + sid.bytes + bytes(40)).decode()
        yield each(f"refused_{name}{suffix}",
                   lambda n, t=token: [f"SELECT 1 / (count(*) = {n})::int FROM generate_series(1, {n}) WHERE jwt_refresh('{t}') ->> 'error' = 'invalid_grant'"],
                   5, 25, setup=[row] if columns else [])


def per_token(name, call):
    """The cost of a call, with each of the 1,024 tokens in turn."""
    return each(name, lambda n: [f"SELECT count({call}) FROM generate_series(1, {n}), token"], 1, 6, per=1024)


def scan(name, policy):
    """The cost of a row under a policy."""
    return each(name, lambda n: [f"SELECT 1 / count(*) FROM doc_{n}"], 2000, 22000,
                setup=["RESET ROLE", *(f"ALTER POLICY own ON doc_{n} USING ({policy})" for n in (2000, 22000)), "SET ROLE client"])


def imports(kind, short, long):
    """The cost of one key of a JWK Set of this size, for new keys and for known keys."""
    def added(n, action="added"):
        return [f"SELECT 1 / (count(*) = {n})::int FROM key_set, jwt_import_jwks('https://big.example', jwk_set::text)"
                f" WHERE kind = '{kind}' AND size = {n} AND action = '{action}'"]

    def emptied(n):
        return ["DELETE FROM jwt_key WHERE issuer = 'https://big.example'"]

    return [Session(f"import_{kind}", "plain", {}, [], [each(f"import_{kind}", added, short, long, before=emptied)]),
            Session(f"import_{kind}_again", "plain", {}, [], [
                each(f"import_{kind}_again", lambda n: added(n, "unchanged"), short, long, before=lambda n: [*emptied(n), *added(n)])])]


def sessions(token, claims):
    """token(alg, sub) makes a token, by default for Alice; claims are her claims in
    JSON.  Sessions that take longest come first."""
    verify = {alg: f"jwt_verify('{token(alg)}')" for alg in ("RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256")}
    uncached = "SET jwt.cache_size = 0"
    proof, thumbprint, iat = token.dpop()

    # the repetitions of the floor suit work of similar length
    yield floor()
    yield from imports("RSA", 1, 6)
    yield Session("cold", "plain", {}, [uncached], [
        *(calls(f"cold_{alg}", call, *FLOOR[alg]) for alg, call in verify.items()),
        # a proof is accepted once and for a minute, so this calls its check without the list of used proofs
        calls("dpop_ES256", f"1 / (jwt_test_dpop('{token('ES256')}', '{proof}', '{thumbprint}', to_timestamp({iat})) = 'good')::int", *FLOOR["ES256"])])
    for database, suffix, algorithms in (("issuing", "", ("RS256", "ES256", "EdDSA")), ("issuing_many", "_many", ("ES256",))):
        yield Session(f"signed{suffix}", database, {"jwt_auth.key_file": KEY_FILE}, [], [
            *(calls(f"sign_{alg}{suffix}", f"""jwt_sign('{{"sub":"alice","scope":"read write"}}', 'https://{alg}')""",
                    *FLOOR[f"sign_{alg}"]) for alg in algorithms),
            each(f"refresh{suffix}", refreshes, 5, 25),
            *refusals(suffix),
            statements(f"session_update{suffix}", "UPDATE jwt_session SET counter = counter + 1 WHERE sub = 'bench'"
                       " AND sid = '00000000-0000-4000-8000-000000000000'")])
    yield from imports("EC", 100, 500)
    # the last statement before the measures reads the table into PostgreSQL's buffers
    yield Session("scan", "plain", {}, [f"SELECT jwt_authenticate('{token('RS256')}', false)",
                                        f"SELECT set_config('request.jwt.claims', '{claims}', false)",
                                        "SELECT count(*) FROM doc_22000"], [
        scan("scan_constant", "owner = 'alice'"),
        scan("scan_subject", "owner = jwt_subject()"),
        scan("scan_claim", "owner = jwt_claim('sub')"),
        scan("scan_claims", "owner = jwt_claims() ->> 'sub'"),
        scan("scan_unverified", "owner = current_setting('request.jwt.claims', true)::jsonb ->> 'sub'")])

    yield Session("cached", "plain", {}, [], [
        *(calls(f"cached_{alg}", verify[alg], 1000, 11000) for alg in ("HS256", "RS256")),
        calls("noop", f"jwt_test_noop('{token('HS256')}')", 1000, 11000)])
    yield Session("cached_1024", "plain", {}, [], [
        per_token("cached_1024", "jwt_verify(token)"), per_token("noop_1024", "jwt_test_noop(token)")])

    for database in ("revoked_all", "revoked", "revoked_others", "plain"):
        yield Session(f"statement_{database}", database, {}, [], [
            statements(f"statement_cached_{database}", f"SELECT {verify['RS256']}"),
            *(statements(f"statement_{alg}_{database}", f"SELECT {verify[alg]}", setup=[uncached]) for alg in ("RS256", "HS256"))])
    revoke = "INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://idp.example', 'jti', 'another')"
    yield Session("churn", "plain", {}, [], [
        statements("churn_verified", revoke, f"SELECT {verify['RS256']}"), statements("churn", revoke)])
    yield Session("many_keys", "many_keys", {}, [uncached], [calls("cold_many_keys", verify["HS256"], *FLOOR["HS256"])])

    yield Session("transaction", "plain", {}, [
        f"PREPARE authenticate AS SELECT jwt_authenticate('{token('RS256')}')",
        f"PREPARE set_claims AS SELECT set_config('request.jwt.claims', '{claims}', true)",
        "PREPARE verified (int) AS SELECT body FROM verified WHERE id = $1",
        "PREPARE unverified (int) AS SELECT body FROM unverified WHERE id = $1",
        "SET ROLE client"], [
        statements("transaction_verified", "BEGIN", "EXECUTE authenticate", "EXECUTE verified(4711)", "COMMIT"),
        statements("transaction_unverified", "BEGIN", "EXECUTE set_claims", "EXECUTE unverified(4711)", "COMMIT")])

    # the usual initialisation of a backend
    known = ["SELECT jwt_test_noop('x')", "SELECT count(*) FROM pg_class"]
    rows = "SELECT jwk, audience FROM jwt_key JOIN jwt_issuer USING (issuer) WHERE kid = 'RS256'"
    for name, settings in (("first", {}), ("first_preloaded", {"shared_preload_libraries": "jwt"})):
        yield Session(name, "plain", settings, known, [
            first(name, f"SELECT jwt_verify('{token('RS256', 'one')}')", f"SELECT jwt_verify('{token('RS256', 'two')}')")])
    yield Session("first_select", "plain", {}, known, [first("first_select", rows, rows)])

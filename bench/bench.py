#!/usr/bin/python3
"""The measurements of make bench.  Each row is a ratio of two times that are
taken in turns, so that what else the machine does hits both; of each the best
round counts."""
import json
import os
import subprocess
import sys
import tempfile
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

ROUNDS = int(os.environ.get("ROUNDS", "7"))
DATABASE = "jwt_bench"
ISSUER = "https://idp.example"
ONLY = set(sys.argv[1:])
failed = []


def psql(sql, database=DATABASE):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database], input=sql,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr[:3000])
    return done.stdout.strip()


class Session:
    """One backend that stays, so that its caches do."""

    def __init__(self, *settings):
        self.psql = subprocess.Popen(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", DATABASE],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for setting in settings:
            self.run(setting)

    def run(self, sql):
        self.psql.stdin.write(sql + ";\n\\echo -- done\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line.rstrip() == "-- done":
                return lines[-1] if lines else None
            lines.append(line.rstrip("\n"))
        sys.exit("the session ended: " + "\n".join(lines)[-500:])

    def ns(self, call, n):
        """Nanoseconds of one of n evaluations, through the executor."""
        return float(self.run(f"SELECT time_of($q$SELECT count({call}) FROM generate_series(1, {n})$q$) / {n}"))

    def query_ns(self, query):
        return float(self.run(f"SELECT time_of($q${query}$q$)"))


def best(*measures):
    """The best of each, taken in turns."""
    results = [[] for _ in measures]
    for _ in range(ROUNDS):
        for result, measure in zip(results, measures):
            result.append(measure())
    return [min(result) for result in results]


def report(what, value, limit, detail, unit="x"):
    good = limit is None or value <= limit
    if not good:
        failed.append(what)
    verdict = "" if limit is None else f"  must be <= {limit:g}" + ("" if good else "  MISSED")
    print(f"{what:62s} {value:9.2f} {unit:3s}{verdict:24s} {detail}", flush=True)


def pipeline(script):
    return "\\startpipeline\n" + script + "\\endpipeline\n"


def on_one_processor():
    """Have sessions that begin from now on, and us, share one: waking another
    one up takes longer than a whole transaction, and differs more."""
    postmaster = int(psql("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))
    os.sched_setaffinity(postmaster, {0})
    os.sched_setaffinity(0, {0})


def wanted(section):
    return not ONLY or section in ONLY


folder = tempfile.mkdtemp()
now = int(time.time())
CLAIMS = {"iss": ISSUER, "aud": "api", "iat": now, "exp": now + 86400, "jti": "6f2b9cf2-6a1c-4d5b", "scope": "read write",
          "tenant": "acme", "email": "alice@example.com", "name": "Alice Example", "azp": "web-client"}
SECRET = os.urandom(32)
keys = {
    "RS256": rsa.generate_private_key(65537, 2048), "PS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()), "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(), "HS256": SECRET,
}


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM,
                                         serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def token(alg, sub="alice", kid=None):
    return jwt.encode({**CLAIMS, "sub": sub}, keys[alg], alg, headers={"kid": kid or alg})


subprocess.run(["createdb", DATABASE], check=True)
psql(f"""
CREATE EXTENSION jwt;
CREATE EXTENSION jwt_test;
CREATE EXTENSION pgcrypto;
CREATE FUNCTION time_of(query text) RETURNS float LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := clock_timestamp();
    ignored bigint;
BEGIN
    EXECUTE query INTO ignored;
    RETURN extract(epoch FROM clock_timestamp() - start) * 1e9;
END $$;
INSERT INTO jwt_issuer (issuer, audience, algorithms)
VALUES ('{ISSUER}', '{{api}}', '{{RS256,PS256,ES256,ES384,EdDSA,HS256}}');
""" + "\n".join(f"SELECT jwt_add_secret('{ISSUER}', '\\x{key.hex()}', 'HS256', 'HS256');" if alg == "HS256" else
                f"SELECT jwt_add_key('{ISSUER}', '{pem(key)}', '{alg}', '{alg}');" for alg, key in keys.items()))

if wanted("cold"):
    session = Session("SET jwt.cache_size = 0")
    for alg, limit in (("RS256", 1.05), ("PS256", 1.05), ("ES256", 1.05), ("ES384", 1.05), ("EdDSA", 1.05), ("HS256", 2.0)):
        text = token(alg)
        head, _, tail = text.rpartition(".")
        signature = jwt.utils.base64url_decode(tail)
        if alg.startswith("ES"):
            size = len(signature) // 2
            signature = utils.encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
        names = [os.path.join(folder, f"{alg}.{name}") for name in ("key", "input", "signature")]
        for name, content in zip(names, (SECRET if alg == "HS256" else pem(keys[alg]).encode(), head.encode(), signature)):
            with open(name, "wb") as file:
                file.write(content)
        n = {"HS256": 100000, "ES384": 1000}.get(alg, 5000)

        def floor():
            return float(subprocess.run([os.environ["FLOOR"], alg, *names, "0.3"], check=True, capture_output=True, text=True).stdout)

        ours, beneath = best(lambda: session.ns(f"jwt_verify('{text}')", n), floor)
        report(f"cold jwt_verify, {alg} / OpenSSL alone", ours / beneath, limit, f"{ours / 1000:.2f} us / {beneath / 1000:.2f} us")

if wanted("cached"):
    session = Session()
    text = token("RS256")
    ours, noop = best(lambda: session.ns(f"jwt_verify('{text}')", 1000000), lambda: session.ns(f"jwt_test_noop('{text}')", 1000000))
    report("cached jwt_verify, 1 token, over a no-op C function", ours - noop, 60, f"{ours:.1f} ns - {noop:.1f} ns", "ns")
    psql("CREATE TABLE token (n int, token text);\n" +
         "".join(f"INSERT INTO token VALUES ({n}, '{token('EdDSA', f'user{n}')}');\n" for n in range(1024)))
    session.run("SELECT count(jwt_verify(token)) FROM token")
    each = "FROM generate_series(1, 1000), token"
    ours, noop = best(lambda: session.query_ns(f"SELECT count(jwt_verify(token)) {each}") / 1024000,
                      lambda: session.query_ns(f"SELECT count(jwt_test_noop(token)) {each}") / 1024000)
    report("cached jwt_verify, 1,024 tokens, over a no-op C function", ours - noop, 100, f"{ours:.1f} ns - {noop:.1f} ns", "ns")

if wanted("rls"):
    psql("CREATE TABLE doc (id int, owner text, body text);"
         "INSERT INTO doc SELECT i, CASE WHEN i % 10 = 0 THEN 'alice' ELSE 'user' || i % 1000 END, repeat('x', 40) FROM generate_series(1, 1000000) i;"
         "ALTER TABLE doc ENABLE ROW LEVEL SECURITY; CREATE ROLE bench_user; GRANT SELECT ON doc TO bench_user; VACUUM ANALYZE doc;"
         "CREATE POLICY own ON doc USING (true); GRANT EXECUTE ON FUNCTION time_of TO bench_user;")
    text = token("RS256")
    owner = Session(f"SELECT jwt_authenticate('{text}', false) IS NOT NULL")
    session = Session("SET ROLE bench_user", f"SELECT jwt_authenticate('{text}', false) IS NOT NULL",
                      f"SELECT set_config('request.jwt.claims', '{json.dumps({**CLAIMS, 'sub': 'alice'})}', false) IS NOT NULL")
    claims_now = json.dumps({**CLAIMS, "sub": "alice"})
    for policy, limit in (("owner = jwt_subject()", 1.08), ("owner = jwt_claim('sub')", 1.08), ("owner = jwt_claims() ->> 'sub'", 2.0),
                          # what a C function costs there that gives out a constant
                          ("owner = jwt_test_same('alice'::text)", None), (f"owner = jwt_test_same('{claims_now}'::jsonb) ->> 'sub'", None),
                          ("owner = current_setting('request.jwt.claims', true)::jsonb ->> 'sub'", None)):
        psql(f"ALTER POLICY own ON doc USING ({policy})")
        ours, constant = best(lambda: session.query_ns("SELECT count(*) FROM doc"),
                              lambda: owner.query_ns("SELECT count(*) FROM doc WHERE owner = 'alice'"))
        report(f"1M rows, {policy[:48]}", ours / constant, limit, f"{ours / 1e6:.1f} ms / {constant / 1e6:.1f} ms")

if wanted("transaction"):
    on_one_processor()
    psql("CREATE TABLE account (id int PRIMARY KEY, owner text, body text);"
         "INSERT INTO account SELECT i, 'alice', 'x' FROM generate_series(1, 10000) i; VACUUM ANALYZE account;")
    text = token("RS256")
    # the same rows behind a policy that reads our claims, one that reads theirs,
    # and none
    psql("CREATE ROLE client LOGIN; GRANT SELECT ON account TO client;" +
         "".join(f"CREATE TABLE {name} (LIKE account INCLUDING ALL); INSERT INTO {name} TABLE account; VACUUM ANALYZE {name};"
                 f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; GRANT SELECT ON {name} TO client; CREATE POLICY own ON {name} USING ({policy});"
                 for name, policy in (("verified", "owner = jwt_subject()"),
                                      ("believed", "owner = current_setting('request.jwt.claims', true)::jsonb ->> 'sub'"))))
    ways = {
        "jwt_authenticate": f"SELECT jwt_authenticate('{text}')",
        # for who does not need to be told the claims
        "jwt_authenticate IS NOT NULL": f"SELECT jwt_authenticate('{text}') IS NOT NULL",
        "jwt.token": f"SELECT set_config('jwt.token', '{text}', true)",
        "claims": f"SELECT set_config('request.jwt.claims', '{json.dumps({**CLAIMS, 'sub': 'alice'})}', true)",
    }

    def latency(way, table, mode):
        script = f"BEGIN;\n{ways[way]};\nSELECT body FROM {table} WHERE id = 4711;\nCOMMIT;\n"
        name = os.path.join(folder, f"{way}.{table}.{mode}")
        with open(name, "w", encoding="utf-8") as file:
            file.write(pipeline(script) if mode == "prepared" else script)
        out = subprocess.run(["pgbench", "-n", "-M", mode, "-T", "2", "-U", "client", "-f", name, DATABASE],
                             check=True, capture_output=True, text=True).stdout
        return 1e6 / float(out.split("tps = ")[1].split(" ")[0])

    for way, ours_table, theirs_table, limit in (("jwt_authenticate IS NOT NULL", "verified", "believed", 0.95), ("jwt_authenticate", "verified", "believed", 0.95),
                                                 ("jwt.token", "verified", "believed", 0.95), ("jwt_authenticate", "account", "account", None)):
        for mode in ("simple", "prepared"):
            ours, theirs = best(lambda: latency(way, ours_table, mode), lambda: latency("claims", theirs_table, mode))
            report(f"transaction, {way}{'' if ours_table == 'verified' else ', no policy'} / unverified, {'pipeline' if mode == 'prepared' else mode}",
                   ours / theirs, limit if mode == "prepared" else None, f"{ours:.1f} us / {theirs:.1f} us")

if wanted("keys"):
    def cold_and_cached():
        session = Session("SET jwt.cache_size = 0")
        cached = Session()
        text = token("ES256")
        return (session, cached, text)

    few = cold_and_cached()
    few_cold, few_cached = best(lambda: few[0].ns(f"jwt_verify('{few[2]}')", 3000), lambda: few[1].ns(f"jwt_verify('{few[2]}')", 300000))
    psql("INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://issuer' || i, '{api}', '{EdDSA}' FROM generate_series(1, 1000) i;"
         "INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://issuer' || i % 1000 + 1, 'kid' || i, 'EdDSA',"
         " '{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}' FROM generate_series(1, 100000) i; ANALYZE jwt_key;")
    many_cold, many_cached = best(lambda: few[0].ns(f"jwt_verify('{few[2]}')", 3000), lambda: few[1].ns(f"jwt_verify('{few[2]}')", 300000))
    report("cold jwt_verify, 100,000 keys of 1,000 issuers / few", many_cold / few_cold, 1.1, f"{many_cold / 1000:.2f} us / {few_cold / 1000:.2f} us")
    report("cached jwt_verify, 100,000 keys of 1,000 issuers / few", many_cached / few_cached, 1.1, f"{many_cached:.1f} ns / {few_cached:.1f} ns")

if wanted("revocation"):
    on_one_processor()
    psql("CREATE TABLE IF NOT EXISTS account (id int PRIMARY KEY, owner text, body text);"
         "INSERT INTO account SELECT i, 'alice', 'x' FROM generate_series(1, 10000) i ON CONFLICT DO NOTHING; VACUUM ANALYZE account;"
         "ALTER TABLE account ENABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS own ON account; CREATE POLICY own ON account USING (owner = jwt_subject());"
         "DO $$ BEGIN CREATE ROLE client LOGIN; EXCEPTION WHEN duplicate_object THEN END $$; GRANT SELECT ON account TO client;")
    # an issuer that has never revoked anything, beside one that has
    psql(f"INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://quiet.example', '{{api}}', '{{RS256}}');"
         f"SELECT jwt_add_key('https://quiet.example', '{pem(keys['RS256'])}', 'RS256', 'quiet');")
    texts = {"rls": token("RS256"), "quiet": jwt.encode({**CLAIMS, "sub": "alice", "iss": "https://quiet.example"}, keys["RS256"], "RS256", headers={"kid": "quiet"})}
    for name, text in texts.items():
        with open(os.path.join(folder, f"{name}.sql"), "w", encoding="utf-8") as file:
            file.write(pipeline(f"BEGIN;\nSELECT jwt_authenticate('{text}') IS NOT NULL;\nSELECT body FROM account WHERE id = 4711;\nCOMMIT;\n"))
    psql("CREATE TABLE unverified (LIKE account INCLUDING ALL); INSERT INTO unverified SELECT * FROM account; VACUUM ANALYZE unverified;"
         "ALTER TABLE unverified ENABLE ROW LEVEL SECURITY; GRANT SELECT ON unverified TO client;"
         "CREATE POLICY own ON unverified USING (owner = current_setting('request.jwt.claims', true)::jsonb ->> 'sub')")
    with open(os.path.join(folder, "unverified.sql"), "w", encoding="utf-8") as file:
        file.write(pipeline(f"BEGIN;\nSELECT set_config('request.jwt.claims', '{json.dumps({**CLAIMS, 'sub': 'alice'})}', true);\n"
                            "SELECT body FROM unverified WHERE id = 4711;\nCOMMIT;\n"))

    def transaction(script, user):
        out = subprocess.run(["pgbench", "-n", "-M", "prepared", "-T", "2", "-U", user, "-f", os.path.join(folder, script), DATABASE],
                             check=True, capture_output=True, text=True).stdout
        return 1e6 / float(out.split("tps = ")[1].split(" ")[0])

    live = 0
    for count in (0, 1000, 1000000):
        psql(f"INSERT INTO jwt_revocation (issuer, jti, expires_at) SELECT '{ISSUER}', 'r' || i, now() + interval '1 day'"
             f" FROM generate_series({live + 1}, {count}) i; VACUUM ANALYZE jwt_revocation;")
        live = count
        cold, cached = Session("SET jwt.cache_size = 0"), Session()
        cold_some, cold_none, cached_some, cached_none, rls_some, rls_none, theirs = best(
            *(lambda session=session, text=text, n=n: session.ns(f"jwt_verify('{text}')", n)
              for session, n in ((cold, 3000), (cached, 300000)) for text in texts.values()),
            *(lambda name=name: transaction(f"{name}.sql", "client") for name in (*texts, "unverified")))
        if count > 0:
            for what, some, none, unit in (("cold jwt_verify, RS256", cold_some / 1000, cold_none / 1000, "us"), ("cached jwt_verify", cached_some, cached_none, "ns"),
                                           ("RLS transaction", rls_some, rls_none, "us")):
                report(f"{what}, {count:,} revocations / none", some / none, 1.1, f"{some:.1f} {unit} / {none:.1f} {unit}")
        report(f"RLS transaction, {count:,} revocations / unverified set_config", rls_some / theirs, 1.0, f"{rls_some:.0f} us / {theirs:.0f} us")
    psql("UPDATE jwt_revocation SET expires_at = now() - interval '1 day'")
    pruning = subprocess.Popen(["psql", "-Xqc", "SELECT jwt_prune_revocations()", DATABASE], stdout=subprocess.PIPE)
    start = time.time()
    during = []
    while pruning.poll() is None:
        during.append(transaction("rls.sql", "client"))
    report("RLS transaction while 1,000,000 revocations are pruned / none", sum(during) / len(during) / rls_none, None,
           f"{sum(during) / len(during):.0f} us, pruned in {time.time() - start:.0f} s")
    psql("ALTER TABLE account DISABLE ROW LEVEL SECURITY; DELETE FROM jwt_revocation; VACUUM jwt_revocation")

if wanted("first"):
    first, second = token("RS256", "one"), token("RS256", "two")

    preloaded = "jwt" in psql("SHOW shared_preload_libraries")
    # looking the function up in cold catalogs is PostgreSQL's, and a null token
    # gets no further; but it loads the library, which counts when not preloaded
    warm = "PERFORM jwt_verify(NULL);" if preloaded else ""

    def first_call():
        session = Session("SELECT 1 + 1", "SELECT length('x'), '{}'::jsonb", "SELECT clock_timestamp()", "SELECT count(*) FROM pg_class")
        session.run("PREPARE v (text) AS SELECT jwt_test_noop($1)")
        out = session.run("SELECT 1;\nDO $$ DECLARE s timestamptz; e timestamptz; a float; b float; BEGIN " + warm + "\n"
                          f"s := clock_timestamp(); PERFORM jwt_verify('{first}'); e := clock_timestamp(); a := extract(epoch FROM e - s) * 1e6;\n"
                          f"s := clock_timestamp(); PERFORM jwt_verify('{second}'); e := clock_timestamp(); b := extract(epoch FROM e - s) * 1e6;\n"
                          "PERFORM set_config('bench.first', a || ' ' || b, false); END $$;\nSELECT current_setting('bench.first')")
        session.psql.stdin.close()
        return [float(us) / 1000 for us in out.split()]

    firsts, laters = zip(*(first_call() for _ in range(3 * ROUNDS)))
    value = min(firsts) - min(laters)
    report("first verification of a backend beyond a later one" + (", preloaded" if preloaded else ""), value, 0.3 if preloaded else 2, "", "ms")

    def first_query():
        session = Session("SELECT 1 + 1", "SELECT length('x'), '{}'::jsonb", "SELECT clock_timestamp()", "SELECT count(*) FROM pg_class")
        query = "PERFORM jwk, audience FROM jwt_key JOIN jwt_issuer USING (issuer) WHERE kid = 'RS256';"
        out = session.run(f"DO $$ DECLARE s timestamptz; e timestamptz; a float; b float; BEGIN s := clock_timestamp(); {query} e := clock_timestamp(); a := extract(epoch FROM e - s) * 1e3;\n"
                          f"s := clock_timestamp(); {query} e := clock_timestamp(); b := extract(epoch FROM e - s) * 1e3;\n"
                          "PERFORM set_config('bench.first', a || ' ' || b, false); END $$;\nSELECT current_setting('bench.first')")
        session.psql.stdin.close()
        return [float(ms) for ms in out.split()]

    firsts, laters = zip(*(first_query() for _ in range(3 * ROUNDS)))
    report("for comparison: the first SELECT of key and issuer, the same way", min(firsts) - min(laters), None, "", "ms")

if wanted("others"):
    psql("""
CREATE FUNCTION pgjwt_verify(token text, secret text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := string_to_array(token, '.');
    signed text := translate(encode(hmac(parts[1] || '.' || parts[2], secret, 'sha256'), 'base64'), E'+/=\\n', '-_');
    payload text;
BEGIN
    IF signed <> parts[3] THEN RETURN NULL; END IF;
    payload := translate(parts[2], '-_', '+/');
    RETURN convert_from(decode(rpad(payload, (length(payload) + 3) / 4 * 4, '='), 'base64'), 'utf8')::json;
END $$;
CREATE TABLE secret AS SELECT 'a secret of pgjwt that is long enough'::text AS secret;
""")
    session = Session("SET jwt.cache_size = 0")
    text = token("HS256")
    their = jwt.encode({**CLAIMS, "sub": "alice"}, "a secret of pgjwt that is long enough", "HS256")
    ours, theirs = best(lambda: session.ns(f"jwt_verify('{text}')", 20000),
                        lambda: session.ns(f"pgjwt_verify('{their}', 'a secret of pgjwt that is long enough')", 5000))
    report("PL/pgSQL as pgjwt does it, HS256 / cold jwt_verify", theirs / ours, None, f"{theirs / 1000:.1f} us / {ours / 1000:.1f} us")
    if psql("SELECT count(*) FROM pg_available_extensions WHERE name = 'plpython3u'") == "1":
        psql("CREATE EXTENSION plpython3u; CREATE FUNCTION pyjwt_verify(token text, key text) RETURNS text LANGUAGE plpython3u AS $$\n"
             "import jwt, json\nif 'key' not in GD:\n    from cryptography.hazmat.primitives.serialization import load_pem_public_key\n"
             "    GD['key'] = load_pem_public_key(key.encode())\n"
             "return json.dumps(jwt.decode(token, GD['key'], algorithms=['RS256'], audience='api'))\n$$;")
        text = token("RS256")
        ours, theirs = best(lambda: session.ns(f"jwt_verify('{text}')", 3000), lambda: session.ns(f"pyjwt_verify('{text}', '{pem(keys['RS256'])}')", 1000))
        report("PL/Python with PyJWT, RS256 / cold jwt_verify", theirs / ours, None, f"{theirs / 1000:.1f} us / {ours / 1000:.1f} us")

if failed:
    print(f"{len(failed)} missed: " + "; ".join(failed))

#!/usr/bin/python3
"""Measures the import of key sets and their refresh; called by bench/refresh."""
import json
import os
import subprocess
import time

from cryptography.hazmat.primitives.asymmetric import ec, rsa
import base64

FOLDER = os.environ["FOLDER"]


def psql(sql):
    return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input=sql, check=True, capture_output=True, text=True).stdout.strip()


def timed(sql):
    out = psql("\\timing on\n" + sql)
    return float(out.split("Time: ")[-1].split(" ms")[0])


def number(n, size=None):
    return base64.urlsafe_b64encode(n.to_bytes(size or (n.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def ec_key(i):
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": f"e{i}", "x": number(point.x, 32), "y": number(point.y, 32)}


def rsa_key(i):
    n = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    return {"kty": "RSA", "alg": "RS256", "kid": f"r{i}", "n": number(n), "e": "AQAB"}


def write(name, keys):
    with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as file:
        json.dump({"keys": keys}, file)
    return json.dumps({"keys": keys})


psql("CREATE EXTENSION jwt; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://big.example', '{api}', '{RS256,ES256}')")
few_rsa = [rsa_key(i) for i in range(20)]
# the same moduli under many kids: what is measured is our work on them
many = {"ES256": [ec_key(i) for i in range(1000)], "RS256": [{**few_rsa[i % 20], "kid": f"r{i}"} for i in range(1000)]}
for name, keys in many.items():
    text = write("big", keys)
    first = timed(f"SELECT count(*) FROM jwt_import_jwks('https://big.example', '{text}');")
    again = timed(f"SELECT count(*) FROM jwt_import_jwks('https://big.example', '{text}');")
    print(f"importing 1,000 keys for {name:6s} {first:9.0f} ms   the same again {again:9.0f} ms", flush=True)
    psql("DELETE FROM jwt_key")

write("small", [ec_key(1), ec_key(2)])
endpoint = subprocess.Popen(["node", "test/t/endpoint.mjs", FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
try:
    ports = {}
    for line in endpoint.stdout:
        if line == "ready\n":
            break
        name, port = line.split()
        ports[name] = port
    url = f"https://localhost:{ports['good']}/delay"

    def refresh(where):
        start = time.time()
        psql(f"UPDATE jwt_jwks_source SET next_attempt = CASE WHEN {where} THEN now() ELSE 'infinity' END, refresh_interval = refresh_interval")
        while psql(f"SELECT count(*) FROM jwt_jwks_source WHERE {where} AND (last_success IS NULL OR next_attempt < now() + interval '10 min')") != "0":
            time.sleep(0.02)
        return time.time() - start

    psql("INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://i' || i || '.example', '{api}', '{ES256}' FROM generate_series(1, 500) i;"
         "INSERT INTO jwt_jwks_source (issuer, uri, next_attempt) SELECT 'https://i' || i || '.example',"
         f" '{url}/' || CASE WHEN i % 100 = 0 THEN 3000 ELSE 50 + i % 100 END || '-small', 'infinity' FROM generate_series(1, 500) i;")
    slow = refresh("issuer = 'https://i100.example'")
    psql("UPDATE jwt_jwks_source SET last_success = NULL")
    all_of_them = refresh("true")
    print(f"refreshing 500 issuers {all_of_them:6.2f} s, the slowest of them alone {slow:6.2f} s: {all_of_them / slow:.2f} x", flush=True)

    def cpu(pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    pid = psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'")
    psql("UPDATE jwt_jwks_source SET next_attempt = 'infinity'")
    time.sleep(2)
    before = cpu(pid)
    time.sleep(65)
    with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
        resident = (int(file.read().split()[1])) * 4
    print(f"idle launcher: {cpu(pid) - before:.0f} ms of CPU in 65 s, {resident} kB resident (shared memory included), no connection to a database")
finally:
    endpoint.kill()

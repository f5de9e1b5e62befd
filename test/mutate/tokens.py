#!/usr/bin/python3
"""Writes SQL: two issuers with keys, good tokens (table good), and tokens with a good
signature that must be refused for their claims (table refused)."""
import secrets
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

secret = secrets.token_bytes(64)
keys = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "HS256": secret,
}
print("CREATE EXTENSION jwt;\nCREATE EXTENSION jwt_test;\nCREATE TABLE good (token text);\nCREATE TABLE refused (token text);\n"
      "SET client_min_messages = warning;\n\\o /dev/null")
for issuer in ("https://one.example", "https://two.example"):
    print(f"INSERT INTO jwt_issuer (issuer, audience, algorithms)"
          f" VALUES ('{issuer}', '{{api}}', '{{RS256,PS256,ES256,EdDSA,HS256}}');")
now = int(time.time())
for n, (alg, key) in enumerate(keys.items()):
    issuer = "https://one.example" if n % 2 == 0 else "https://two.example"
    if alg == "HS256":
        print(f"SELECT jwt_add_secret('{issuer}', '\\x{secret.hex()}', 'HS256', 'k{n}');")
    else:
        pem = key.public_key().public_bytes(serialization.Encoding.PEM,
                                            serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        print(f"SELECT jwt_add_key('{issuer}', '{pem}', '{alg}', 'k{n}');")
    for sub, kid in (("alice", f"k{n}"), ("bob", f"k{n}"), ("alice", None)):
        claims = {"iss": issuer, "aud": "api", "sub": sub, "iat": now, "exp": now + 86400}
        token = jwt.encode(claims, key, alg, headers={"kid": kid} if kid else None)
        print(f"INSERT INTO good VALUES ('{token}');")
    for change in ({"exp": now - 3600}, {"nbf": now + 3600}, {"iss": "https://three.example"}, {"aud": "other"}, {"exp": None}):
        changed = {name: value for name, value in {**claims, **change}.items() if value is not None}
        token = jwt.encode(changed, key, alg, headers={"kid": f"k{n}"})
        print(f"INSERT INTO refused VALUES ('{token}');")

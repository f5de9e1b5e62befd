#!/usr/bin/python3
"""Prints SQL that fills a database with all that the extension keeps, and puts
tokens into a table of the user's, each with its verdict."""
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

ISSUER = "https://idp.example"
NOW = int(time.time())
rsa_key = rsa.generate_private_key(65537, 2048)
KEYS = {
    "RS256": rsa_key, "PS512": rsa_key, "ES256": ec.generate_private_key(ec.SECP256R1()), "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()), "ES256K": ec.generate_private_key(ec.SECP256K1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(), "Ed448": ed448.Ed448PrivateKey.generate(), "HS256": b"a secret that is long enough for it",
}


def key_of(alg, kid, name=None):
    key = KEYS[alg]
    if alg == "HS256":
        return f"SELECT jwt_add_secret('{ISSUER}', '\\x{key.hex()}', 'HS256', '{kid}');"
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return f"SELECT jwt_add_key('{ISSUER}', '{pem}', '{name or alg}', '{kid}');"


def token(verdict, alg, kid=None, **claims):
    claims = {"iss": ISSUER, "aud": "api", "sub": "alice", "jti": "j", "iat": NOW - 60, "exp": NOW + 86400, **claims}
    text = jwt.encode(claims, KEYS[alg], "EdDSA" if alg == "Ed448" else alg, headers={"kid": kid or alg})
    print(f"INSERT INTO tokens VALUES ('{text}', '{verdict}');")


print("CREATE TABLE tokens (token text, verdict text);")
print(f"INSERT INTO jwt_issuer (issuer, audience, algorithms, required_claims, leeway, max_lifetime, role_claim, roles)"
      f" VALUES ('{ISSUER}', '{{api}}', '{{RS256,PS512,ES256,ES384,ES512,ES256K,EdDSA,HS256}}', '{{exp,sub}}', '10 s', '2 days', 'role', '{{guest}}'),"
      " ('', '{*}', '{EdDSA}', '{exp}', '0', NULL, NULL, '{}');")
for algorithm in KEYS:
    print(key_of(algorithm, algorithm, "EdDSA" if algorithm == "Ed448" else None))
    token("valid", algorithm)
token("28J05", "ES256", exp=NOW - 3600)
token("28J08", "ES256", aud="other")
for kid, change in (("standby", "not_before = now() + interval '1 day'"), ("previous", "not_after = now()"),
                    ("gone", "not_after = now() - interval '1 day'"), ("window", "not_before = now() - interval '1 day', not_after = now() + interval '30 days'")):
    print(key_of("ES256", kid))
    print(f"UPDATE jwt_key SET {change} WHERE kid = '{kid}';")
    token("valid" if kid == "window" else "28J03", "ES256", kid)

print("""SELECT count(*) FROM jwt_import_jwks('https://idp.example', (SELECT jsonb_build_object('keys', jsonb_agg(jwk || jsonb_build_object('kid', 'set-' || kid, 'alg', alg)))::text
    FROM jwt_key WHERE kid IN ('ES384', 'ES512')));
SELECT count(*) FROM jwt_import_jwks('https://idp.example', (SELECT jsonb_build_object('keys', jsonb_agg(jwk || jsonb_build_object('kid', 'set-' || kid, 'alg', alg)))::text
    FROM jwt_key WHERE kid IN ('ES384')));
INSERT INTO jwt_jwks_source (issuer, uri, grace) VALUES ('https://idp.example', 'https://idp.example/jwks', '1 hour');
INSERT INTO jwt_jwks_state (issuer, uri, etag, last_attempt, last_success, next_attempt, failures, last_error)
VALUES ('https://idp.example', 'https://idp.example/jwks', '"x"', now(), now(), now() + interval '1 hour', 3, 'an error with a \t tab');""")
token("valid", "ES384", "set-ES384")
token("28J03", "ES512", "set-ES512")
print(f"SELECT jwt_revoke_id('{ISSUER}', 'out', 'infinity', 'because'); SELECT jwt_revoke_subject('{ISSUER}', 'mallory', to_timestamp({NOW}));"
      f" SELECT jwt_revoke_session('{ISSUER}', 'ended');")
token("28J11", "EdDSA", jti="out")
token("28J11", "EdDSA", sub="mallory")
token("valid", "EdDSA", sub="mallory", iat=NOW + 5, jti="later")
token("28J11", "EdDSA", sid="ended", jti="another")

#!/usr/bin/python3
"""Tokens of every algorithm that PyJWT has, with their keys as JWK and as PEM."""
import json
import secrets
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

now = int(time.time())
claims = {"iss": "https://pyjwt.example", "aud": "api", "sub": "alice", "iat": now, "exp": now + 600,
          "deep": {"a": [1, 2.5, True, None, "\u00e9\u20ac\U0001f600"]}}


def emit(alg, kid, signer, **record):
    token = jwt.encode(claims, signer, alg, headers={"kid": kid})
    print(json.dumps({"by": "pyjwt", "alg": alg, "kid": kid, "token": token, **record}))


rsa_key = rsa.generate_private_key(65537, 3072)
keys = [(alg, rsa_key) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")] + [
    ("ES256", ec.generate_private_key(ec.SECP256R1())),
    ("ES384", ec.generate_private_key(ec.SECP384R1())),
    ("ES512", ec.generate_private_key(ec.SECP521R1())),
    ("ES256K", ec.generate_private_key(ec.SECP256K1())),
    ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ("EdDSA", ed448.Ed448PrivateKey.generate()),
]
for n, (alg, key) in enumerate(keys):
    pem = key.public_key().public_bytes(serialization.Encoding.PEM,
                                        serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    emit(alg, f"pyjwt {n} pem", key, key=pem)
    if alg == "EdDSA":
        emit(alg, f"pyjwt {n} jwk", key, key=jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    elif alg[:2] in ("RS", "PS"):
        emit(alg, f"pyjwt {n} jwk", key, key=jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
for alg, size in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
    secret = secrets.token_bytes(size)
    emit(alg, f"pyjwt {alg}", secret, secret=secret.hex())

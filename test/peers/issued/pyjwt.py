#!/usr/bin/python3
"""Verifies access tokens by PyJWT, and makes keys.

    pyjwt.py URL ISSUER AUDIENCE

The commands are those of jose.mjs.
"""
import json
import re
import sys
import urllib.request

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

url, issuer, audience = sys.argv[1:]
with urllib.request.urlopen(url) as response:
    max_age = int(re.search(r"max-age=(\d+)", response.headers["cache-control"])[1])
keys = jwt.PyJWKClient(url, lifespan=max_age, cooldown_duration=1e9)
require = ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "sid", "client_id", "scope"]
curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}


def check(token):
    key = keys.get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=[key.algorithm_name], issuer=issuer, audience=audience, options={"require": require})


def verify(*tokens):
    accepted, reason = 0, ""
    for token in tokens:
        try:
            check(token)
            accepted += 1
        except jwt.PyJWTError as error:
            reason = reason or f" {type(error).__name__} {error}"
    return f"{accepted}{reason}"


def make(algorithm, form):
    if algorithm in curves:
        key, kind = ec.generate_private_key(curves[algorithm]()), jwt.algorithms.ECAlgorithm
    elif algorithm.startswith("EdDSA"):
        curve = ed448.Ed448PrivateKey if algorithm == "EdDSA/Ed448" else ed25519.Ed25519PrivateKey
        key, kind = curve.generate(), jwt.algorithms.OKPAlgorithm
    else:
        key, kind = rsa.generate_private_key(65537, 2048), jwt.algorithms.RSAAlgorithm
    if form == "jwk":
        return json.dumps(kind.to_jwk(key, as_dict=True))
    return json.dumps(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()).decode())


print("= ready", flush=True)
for line in sys.stdin:
    command, *words = line.split()
    print("=", {"verify": verify, "make": make}[command](*words), flush=True)

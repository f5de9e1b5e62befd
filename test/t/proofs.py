#!/usr/bin/python3
"""Makes tokens and DPoP proofs: a JSON object a line in, a line out.

    {"key": NAME, "alg": ALG, "bits": 2048}   makes a key; its thumbprint
    {"certificate": FILE}                     the thumbprint of a PEM certificate
    {"token": CLAIMS, "secret": SECRET}       a token, HS256
    {"proof": KEY, "header": {...}, "claims": {...}, "remove": [...], ...}
        a good proof by that key with some members changed or removed; token is
        what it is for.  header_text and claims_text are what is written instead,
        sign is the key that signs it, alg by what, jwk the key whose JWK it has.
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, rsa

CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}
ALGORITHMS = jwt.algorithms.get_default_algorithms()
# members of RFC 7638 section 3.2
REQUIRED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
keys = {}


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def make_key(alg, bits):
    if alg[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65537, bits)
    if alg in CURVES:
        return ec.generate_private_key(CURVES[alg]())
    return {"Ed25519": ed25519.Ed25519PrivateKey, "Ed448": ed448.Ed448PrivateKey}[alg].generate()


def jwk_of(key):
    maker = (jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else
             jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.OKPAlgorithm)
    made = maker.to_jwk(key.public_key())
    made = json.loads(made) if isinstance(made, str) else made
    if isinstance(key, ec.EllipticCurvePrivateKey):
        # PyJWT leaves out leading zeros, which RFC 7518 section 6.2.1.2 has
        point = key.public_key().public_numbers()
        size = (key.curve.key_size + 7) // 8
        made |= {"x": b64(point.x.to_bytes(size, "big")), "y": b64(point.y.to_bytes(size, "big"))}
    return {name: made[name] for name in REQUIRED[made["kty"]]}


def thumbprint(jwk):
    return b64(hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


def sign(alg, key, message):
    if alg == "none":
        return b""
    if alg[:2] == "HS":
        return hmac.new(json.dumps(jwk_of(key)).encode(), message, hashlib.sha256).digest()
    return ALGORITHMS["EdDSA" if alg[:2] == "Ed" else alg].sign(message, key)


def proof(order):
    alg, key = keys[order["proof"]]
    alg = order.get("alg", alg)
    jwk = jwk_of(keys[order.get("jwk", order["proof"])][1])
    header = {"typ": "dpop+jwt", "alg": alg, "jwk": {**jwk, **order.get("jwk_members", {})}, **order.get("header", {})}
    claims = {"jti": b64(os.urandom(12)), "htm": "GET", "htu": "https://api.example/things",
              "iat": int(time.time()) + order.get("age", 0), "ath": b64(hashlib.sha256(order["token"].encode()).digest()),
              **order.get("claims", {})}
    for name in order.get("remove", []):
        header.pop(name, None)
        claims.pop(name, None)
    for name in order.get("remove_jwk", []):
        header["jwk"].pop(name)
    signed = b64(order.get("header_text", json.dumps(header))) + "." + b64(order.get("claims_text", json.dumps(claims)))
    return signed + "." + b64(sign(alg, keys[order.get("sign", order["proof"])][1], signed.encode()))


for line in sys.stdin:
    order = json.loads(line)
    if "key" in order:
        keys[order["key"]] = order["alg"], make_key(order["alg"], order.get("bits", 2048))
        answer = thumbprint(jwk_of(keys[order["key"]][1]))
    elif "certificate" in order:
        with open(order["certificate"], "rb") as file:
            answer = b64(x509.load_pem_x509_certificate(file.read()).fingerprint(hashes.SHA256()))
    elif "token" in order and "proof" not in order:
        signed = b64(json.dumps({"alg": "HS256", "kid": "k1"})) + "." + b64(json.dumps(
            {"iss": "https://idp.example", "aud": "api", "exp": int(time.time()) + 3600, **order["token"]}))
        answer = signed + "." + b64(hmac.new(order["secret"].encode(), signed.encode(), hashlib.sha256).digest())
    else:
        answer = proof(order)
    print(answer, flush=True)

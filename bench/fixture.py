"""Keys, tokens and databases for the bench."""
import hashlib
import json
import math
import os
import subprocess
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

HERE = os.path.dirname(os.path.abspath(__file__))
SIGNED = ("RS256", "ES256", "EdDSA")    # algorithms of jwt_sign
SIZES = (1, 6, 100, 500)            # of the JWK Sets


class Tokens:
    """A private key for each algorithm, and tokens that differ only in algorithm and
    subject."""

    def __init__(self):
        self.keys = {
            "RS256": rsa.generate_private_key(65537, 2048), "PS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.derive_private_key(0x5ec2e7, ec.SECP256R1()), "ES384": ec.derive_private_key(0x5ec2e7, ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"EdDSA").digest()),
            "HS256": hashlib.sha256(b"HS256").digest()}
        now = int(time.time())
        self.claims = {"iss": "https://idp.example", "aud": "api", "iat": now, "exp": now + 86400,
                       "jti": "6f2b9cf2-6a1c-4d5b", "scope": "read write", "sub": "alice"}
        self.made = {}

    def __call__(self, alg, sub="alice"):
        if (alg, sub) not in self.made:
            self.made[alg, sub] = jwt.encode({**self.claims, "sub": sub}, self.keys[alg], alg, headers={"kid": alg})
        return self.made[alg, sub]

    def dpop(self):
        """A DPoP proof for the ES256 token by its key, the key's thumbprint, and its time."""
        key = self.keys["ES256"]
        digest = text(hashlib.sha256(self("ES256").encode()).digest())
        proof = jwt.encode({"jti": "6f2b9cf2-6a1c-4d5b", "htm": "GET", "htu": "https://api.example/things", "iat": self.claims["iat"],
                            "ath": digest}, key, "ES256", headers={"typ": "dpop+jwt", "jwk": ec_jwk(key)})
        members = json.dumps(ec_jwk(key), sort_keys=True, separators=(",", ":"))
        return proof, text(hashlib.sha256(members.encode()).digest()), self.claims["iat"]


def text(raw):
    return jwt.utils.base64url_encode(raw).decode()


def rsa_jwk(n):
    return {"kty": "RSA", "n": text(n.to_bytes(256, "big")), "e": "AQAB"}


def ec_jwk(key):
    point = key.public_key().public_numbers()
    size = key.curve.key_size // 8
    return {"kty": "EC", "crv": f"P-{key.curve.key_size}", "x": text(point.x.to_bytes(size, "big")), "y": text(point.y.to_bytes(size, "big"))}


def jwk(key):
    if isinstance(key, bytes):
        return {"kty": "oct", "k": text(key)}
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa_jwk(key.public_key().public_numbers().n)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ec_jwk(key)
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": text(raw)}


def moduli():
    """Numbers that look like RSA moduli and are fast to make: odd, without small factors."""
    small = math.prod(range(3, 1000, 2))
    for seed in range(10 ** 6):
        n = int.from_bytes(hashlib.shake_256(seed.to_bytes(8, "big")).digest(256), "big") | 1 << 2047 | 1
        if math.gcd(n, small) == 1:
            yield n


def key_sets():
    """JWK Sets of each size and kind of key."""
    keys = {"RSA": [{**rsa_jwk(n), "alg": "RS256"} for n, _ in zip(moduli(), range(SIZES[-1]))],
            "EC": [ec_jwk(ec.derive_private_key(n + 1, ec.SECP256R1())) for n in range(SIZES[-1])]}
    return {kind: {size: {"keys": [{**key, "kid": f"key{n}"} for n, key in enumerate(some[:size])]} for size in SIZES}
            for kind, some in keys.items()}


def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write_for_floor(tokens, folder):
    """The files for floor.c."""
    def write(name, content):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)

    for alg, key in tokens.keys.items():
        signed, _, end = tokens(alg).rpartition(".")
        signature = jwt.utils.base64url_decode(end)
        if alg[:2] == "ES":
            half = len(signature) // 2
            signature = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
        write(f"{alg}.input", signed.encode())
        write(f"{alg}.signature", signature)
        write(f"{alg}.key", key if alg == "HS256" else key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        if alg in SIGNED:
            write(f"{alg}.private", pem(key))


def make_databases(tokens):
    """Creates the databases of fixture.sql in psql's server. Returns their OIDs."""
    variables = {"keys": {alg: jwk(key) for alg, key in tokens.keys.items()}, "key_sets": key_sets(),
                 "private_keys": {alg: pem(tokens.keys[alg]).decode() for alg in SIGNED},
                 "tokens": [tokens("HS256", f"user{n:04}") for n in range(1024)]}
    # psql interprets backslashes
    texts = {name: json.dumps(value).replace("\\", "\\\\") for name, value in variables.items()}
    script = "".join(f"\\set {name} '{text}'\n" for name, text in texts.items())
    with open(os.path.join(HERE, "fixture.sql"), encoding="utf-8") as file:
        script += file.read()
    subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1"], input=script, text=True, check=True, stdout=subprocess.DEVNULL)
    oids = subprocess.run(["psql", "-XAtF=", "-c", "SELECT datname, oid FROM pg_database WHERE oid >= 16384"],
                          text=True, check=True, capture_output=True).stdout
    return dict(line.split("=") for line in oids.splitlines())

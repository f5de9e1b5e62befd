#!/usr/bin/python3
"""Writes the documents of an endpoint of key sets into a folder.

    fixtures.py FOLDER

Certificates for localhost: ca.pem, and NAME.pem with NAME.key for good,
wrong-host, expired, unknown-authority, and forged-name, which is for no host that
can be, in characters that no log is to have.  Keys of the issuer
https://set.example: kN.jwk, and kN.token signed by it.  All are made here and
worth nothing.
"""
import base64
import datetime
import ipaddress
import json
import os
import sys
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FOLDER = sys.argv[1]
NOW = datetime.datetime.utcnow()
DAY = datetime.timedelta(days=1)


def name(common):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def write(path, content):
    with open(os.path.join(FOLDER, path), "wb") as file:
        file.write(content)


def certificate(subject, key, issuer, issuer_key, names, start, end):
    builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
               .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(common):
    key = ec.generate_private_key(ec.SECP256R1())
    return key, certificate(common, key, common, key, [], NOW - 9 * DAY, NOW + 9 * DAY)


ca_key, ca = authority("Test Authority")
other_key, _ = authority("Nobody's Authority")
write("ca.pem", ca.public_bytes(serialization.Encoding.PEM))
FORGED = "forged\x1b[31m\u202e\u0085\nLOG:  forged"
LOCALHOST = [x509.DNSName("localhost"), *[x509.DNSName(name + ".test") for name in ("listed", "public", "rebound")], x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
for file, issuer, issuer_key, names, start, end in (
        ("good", "Test Authority", ca_key, LOCALHOST, NOW - DAY, NOW + DAY),
        ("wrong-host", "Test Authority", ca_key, [x509.DNSName("other.example")], NOW - DAY, NOW + DAY),
        ("expired", "Test Authority", ca_key, LOCALHOST, NOW - 2 * DAY, NOW - DAY),
        ("unknown-authority", "Nobody's Authority", other_key, LOCALHOST, NOW - DAY, NOW + DAY),
        ("forged-name", "Test Authority", ca_key, [], NOW - DAY, NOW + DAY)):
    key = ec.generate_private_key(ec.SECP256R1())
    cert = certificate(file if names else FORGED, key, issuer, issuer_key, names, start, end)
    write(file + ".pem", cert.public_bytes(serialization.Encoding.PEM))
    write(file + ".key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))


def number(n):
    return base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode()


# k3b is another key with the kid of k3; anonymous has no kid
for name, kid in (("k1", "k1"), ("k2", "k2"), ("k3", "k3"), ("k3b", "k3"), ("anonymous", None), ("anonymous2", None)):
    named = {"kid": kid} if kid else {}
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    write(name + ".jwk", json.dumps({"kty": "EC", "crv": "P-256", **named, "use": "sig", "alg": "ES256",
                                     "x": number(point.x), "y": number(point.y)}).encode())
    claims = {"iss": "https://set.example", "aud": "api", "sub": "alice", "exp": int(time.time()) + 3600}
    write(name + ".token", jwt.encode(claims, key, "ES256", headers=named).encode())

#!/usr/bin/python3
"""Writes a seed corpus for the fuzz targets: seeds.py FOLDER

Made here, from keys that are forgotten; nothing of it is committed.
"""
import base64
import datetime
import json
import os
import subprocess
import sys

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, rsa

FOLDER = sys.argv[1]
AT = 1767225600  # 2026-01-01, the time of the target "claims"


def seed(target, content):
    folder = os.path.join(FOLDER, target)
    os.makedirs(folder, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    with open(os.path.join(folder, f"seed{len(os.listdir(folder))}"), "wb") as file:
        file.write(data)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KEYS = {"RS256": rsa.generate_private_key(65537, 2048), "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()), "ES512": ec.generate_private_key(ec.SECP521R1()),
        "ES256K": ec.generate_private_key(ec.SECP256K1()), "EdDSA": ed25519.Ed25519PrivateKey.generate()}
jwks = []
for alg, key in KEYS.items():
    maker = {"RS": jwt.algorithms.RSAAlgorithm, "ES": jwt.algorithms.ECAlgorithm, "Ed": jwt.algorithms.OKPAlgorithm}[alg[:2]]
    jwk = json.loads(maker.to_jwk(key.public_key()))
    jwks.append({**jwk, "kid": alg, "use": "sig"})
    jwks[-1].pop("key_ops", None)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    seed("key_text", pem)
    if alg != "ES256K":
        seed("jws", jwt.encode({"iss": "https://idp.example", "exp": AT + 60}, key, alg, headers={"kid": alg}))
jwks.append({"kty": "OKP", "crv": "Ed448", "x": b64(ed448.Ed448PrivateKey.generate().public_key().public_bytes(
    serialization.Encoding.Raw, serialization.PublicFormat.Raw))})
jwks.append({"kty": "oct", "k": b64(os.urandom(64)), "alg": "HS256", "key_ops": ["verify"]})
jwks.append({"kty": "AKP", "alg": "ML-DSA-44", "pub": b64(os.urandom(1312))})
ec_key = KEYS["ES256"].public_key()
for secret in (bytes(64), json.dumps(jwks[0]).encode(), b"ssh-rsa " + bytes(60),
               ec_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
               ec_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)):
    seed("jwk", json.dumps({"kty": "oct", "k": b64(secret)}))
for jwk in jwks:
    seed("jwk", json.dumps(jwk))
    seed("key_text", json.dumps(jwk))
    seed("jwks", json.dumps({"keys": [jwk]}))
seed("jwks", json.dumps({"keys": jwks}))
# the keys that run imports and revokes
revoked = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
known = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
seed("jwks", json.dumps({"keys": [revoked]}))
seed("jwks", json.dumps({"keys": [known, revoked, {**known, "kid": "1"}, {**revoked, "kid": "1"}, known]}))
rsa_key = KEYS["RS256"]
seed("key_text", rsa_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1))
seed("key_text", rsa_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp.example")])
now = datetime.datetime.utcnow()
for key, signs in ((rsa_key, True), (KEYS["ES256"], True), (KEYS["ES256"], False)):
    usage = x509.KeyUsage(signs, False, False, False, True, False, False, False, False)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
                   .not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
                   .add_extension(usage, True).sign(key, hashes.SHA256()))
    seed("key_text", certificate.public_bytes(serialization.Encoding.PEM))
for restriction in ([], ["-pkeyopt", "rsa_pss_keygen_md:sha256", "-pkeyopt", "rsa_pss_keygen_mgf1_md:sha256", "-pkeyopt", "rsa_pss_keygen_saltlen:32"]):
    private = subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", *restriction],
                             check=True, capture_output=True).stdout
    seed("key_text", subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True).stdout)

for n in range(0, 70, 7):
    seed("base64url", b64(os.urandom(n)))
DOCUMENTS = ['{}', '{"a":1,"b":[true,false,null],"c":{"d":"\\u00e9\\ud83d\\ude00"}}', '{"n":[-0,1.5e10,1e-5,123456789012345678901234567890]}',
             '{"":"","a":"\\"\\\\\\/\\b\\f\\n\\r\\t"}', '{"a":' + "[" * 60 + "]" * 60 + "}", '{"bb":1,"a":2,"ccc":3}', ' { "x" : "\u00e9\u4e2d" } ']
for document in DOCUMENTS:
    seed("json", document)
CLAIMS = [{}, {"exp": AT + 60}, {"iss": "https://idp.example", "aud": "api", "sub": "alice", "exp": AT + 60, "iat": AT, "nbf": AT, "jti": "x"},
          {"iss": "https://idp.example", "aud": ["x", "other"], "exp": AT + 0.5, "jti": "1"}, {"aud": [], "exp": 1e300, "nbf": -1e300},
          {"iss": "https://idp.example", "aud": ["api"], "azp": "api", "typ": "at+jwt", "exp": AT + 60, "iat": AT, "jti": "x"},
          {"iss": "https://idp.example", "aud": [str(n) for n in range(9, 21)] + ["8"], "exp": AT + 60, "jti": "x", "sid": "s" * 1024}]
for claims in CLAIMS:
    for choice in (0, 1, 3, 5, 7, 0xff, 0x69):
        seed("claims", bytes([choice]) + json.dumps(claims).encode())
for header in ({"alg": "none"}, {"alg": "RS256", "crit": ["b64"], "b64": False}, {"alg": "HS256", "kid": "../../x", "jwk": {}}, {"alg": 1}, {"typ": "at+jwt", "alg": "ES256"}):
    seed("jws", b64(json.dumps(header).encode()) + ".e30.")
seed("jws", "Bearer " + b64(b'{"alg":"none"}') + ".e30.")
for uri in ("https://api.example/things", "HTTP://[::1]:80/a/./b/../%7e%2f?q#f", "https://a%50i.example:443", "https://h/../..", "http://h:/"):
    seed("uri", uri)
    # the digest of "token"
    seed("dpop", json.dumps({"jti": "x", "htm": "GET", "htu": uri, "iat": AT, "ath": "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A", "nonce": "n"}))
seed("dpop", " " + b64(b'{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
                       b'"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}') + ".e30." + b64(bytes(64)))
# the first byte: which of the issuers of run, and which typ
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
SECEVENT = "https://schemas.openid.net/secevent/"
IDP, OTHER = ("https://op.example", "https://hub.example")
for changes in ({"sid": "s1", "exp": 4102444800}, {"sub": "alice", "exp": 4102444800}, {"sub": "alice"}, {"sid": "s1", "nonce": "n", "exp": 4102444800}):
    for choice, iss in ((2 << 2, IDP), (0, IDP), (1 << 2 | 1, OTHER), (2 << 2 | 2, "https://api.example"), (3 << 2 | 3, "https://gone.example")):
        seed("event", bytes([choice]) + json.dumps({"iss": iss, "aud": "app", "iat": AT, "jti": "l1", "events": {LOGOUT: {}}, **changes}).encode())
NAMES = [{"format": "iss_sub", "iss": IDP, "sub": "alice"}, {"format": "opaque", "id": "s1"}, {"format": "jwt_id", "iss": IDP, "jti": "j1"},
         {"format": "email", "email": "alice@op.example"}, {"format": "iss_sub", "iss": "https://gone.example", "sub": "x"}, {"format": "saml_assertion_id", "issuer": IDP, "assertion_id": "x"}]
SUBJECTS = NAMES + [{"format": "aliases", "identifiers": NAMES}, {"format": "complex", "user": NAMES[0]}, {"format": "complex", "session": NAMES[1], "user": NAMES[0]},
                    {"format": "complex", "session": NAMES[2], "tenant": NAMES[1]}, {"format": "complex", "user": {"format": "aliases", "identifiers": NAMES[:1]}},
                    {"format": "complex", "user": NAMES[0], "device": NAMES[1]}, {"format": "complex", "user": {"format": "complex", "user": NAMES[0]}}]
EVENTS = [{"caep/event-type/session-revoked": {"event_timestamp": AT - 1.5}}, {"caep/event-type/credential-change": {"change_type": "delete"}},
          {"caep/event-type/credential-change": {"change_type": "create"}, "risc/event-type/account-purged": {"event_timestamp": 1e300}},
          {"risc/event-type/sessions-revoked": {}, "ssf/event-type/verification": {"state": "x"}}, {"risc/event-type/account-enabled": {}}]
for sub_id in SUBJECTS:
    for n, events in enumerate(EVENTS):
        iss = (IDP, OTHER)[n % 2]
        seed("event", bytes([4 << 2 | n % 2]) + json.dumps({"iss": iss, "aud": ["app", "x"], "iat": AT, "jti": "e1", "toe": AT - n, "sub_id": sub_id,
                                                           "events": {SECEVENT + name: payload for name, payload in events.items()}}).encode())
for patterns in ("idp.example", "*.example:8443, idp.example:*", "*", "a.example,*.b.example:1", "[::1]:443"):
    for host in ("idp.example", "x.b.example", "[::1]"):
        for address in (b"\0" * 15 + b"\1", b"\0" * 10 + b"\xff\xff\x7f\0\0\1", b"\x20\1\x0d\xb8" + b"\x08" * 12):
            seed("address", patterns.encode() + b"\n" + host.encode() + b"\n" + address)

# private keys: PKCS #8, and the JWKs of RFC 7515 appendix A.3 and RFC 8037 appendix A
for private in (rsa_key, ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()):
    seed("private_key", private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
seed("private_key", '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}')
seed("private_key", '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}')

# refresh tokens: version, length of the name, name, sid, counter, MAC
for name in (b"k1", b"k", b"x" * 32, b"x" * 33, b"k 1", b""):
    raw = bytes([1, len(name)]) + name + bytes(range(16)) + (7).to_bytes(8, "big") + bytes(32)
    seed("refresh_token", b64(raw))
    seed("refresh_token", b" " + raw)
    # sealed keys: version, length of the name, name, nonce, ciphertext, tag
    seed("sealed", bytes([1, len(name)]) + name + bytes(12 + 64 + 16))
# key files, after the name and the database that are looked for
FILE_KEYS = [base64.b64encode(os.urandom(32)).decode() for _ in range(3)]
for name, database in (("", "app"), ("k2", "app"), ("k2", 'a"b'), ("k9", "x, y")):
    seed("key_lines", f"{name}\n{database}\n# keys\n\nk1:{FILE_KEYS[0]}:*\nk2:{FILE_KEYS[1]}: app, \"x, y\",\"a\"\"b\"\r\nk9:{FILE_KEYS[2]}:other")
    seed("key_lines", f"{name}\n{database}\nk2:{FILE_KEYS[0]}:app\nk2:{FILE_KEYS[1]}:*\n")

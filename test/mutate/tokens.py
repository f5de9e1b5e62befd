#!/usr/bin/python3
"""Writes SQL: two issuers with keys, good tokens (table good), and tokens with a good
signature that must be refused for their claims (table refused); logout tokens and
Security Event Tokens with a good signature, and the answer that each must have (table
event): err, ignored, or what it ends."""
import json
import random
import secrets
import sys
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
      "CREATE TABLE event (token text, answer text);\n"
      "SET client_min_messages = warning;\n\\o /dev/null")
ONE, TWO = "https://one.example", "https://two.example"
for issuer, more in ((ONE, ""), (TWO, f", event_without_exp => true, event_opaque_is_sub => true, events_for => '{{{ONE}}}'")):
    print(f"SELECT jwt_add_issuer('{issuer}', '{{api}}', '{{RS256,PS256,ES256,EdDSA,HS256}}', event_audience => '{{app}}'{more});")
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

# Events of any claims, and what the documentation says of them.
dice = random.Random(sys.argv[1] if len(sys.argv) > 1 else now)
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
CAEP, RISC, SSF = (f"https://schemas.openid.net/secevent/{group}/event-type/" for group in ("caep", "risc", "ssf"))
ENDING = (CAEP + "session-revoked", RISC + "account-disabled", RISC + "account-purged", RISC + "credential-compromise", RISC + "sessions-revoked")
CHANGE = CAEP + "credential-change"
MEMBERS = {"iss_sub": ("iss", "sub"), "opaque": ("id",), "jwt_id": ("iss", "jti"), "account": ("uri",), "email": ("email",),
           "phone_number": ("phone_number",), "did": ("url",), "uri": ("uri",), "saml_assertion_id": ("issuer", "assertion_id")}
ABSENT, LONG = object(), "x" * 1025


def pick(good, *bad, odds=0.04):
    return dice.choice(bad) if bad and dice.random() < odds else dice.choice(good)


def make_subject(depth=0):
    form = pick(["iss_sub"] * 4 + ["opaque", "opaque", "jwt_id", "email", "account", "unheard-of"] +
                ([] if depth > 1 else ["aliases", "complex", "complex"]), 1, ABSENT, "")
    value = {} if form is ABSENT else {"format": form}
    for member in MEMBERS.get(form, ()):
        value[member] = pick([ONE, ONE, TWO, "https://three.example"], "", 1, None) if member == "iss" else \
            pick(["alice", "bob", "s1", f"x{dice.randrange(9)}"], "", 1, LONG, ["alice"])
    if form == "aliases":
        value["identifiers"] = pick([[make_subject(depth + 1) for _ in range(dice.randrange(1, 4))]], [], {}, "alice", [make_subject(2)] * 101)
    if form == "complex":
        for member in dice.sample(("session", "user", "device", "tenant", "x"), dice.choice((0, 1, 1, 1, 2, 2, 3))):
            value[member] = pick([make_subject(depth + 1)], "alice", None)
    if value and dice.random() < 0.03:
        value[dice.choice(("x", "format", *value))] = "x"
    return value


class Refused(Exception):
    pass


def text(value):
    return isinstance(value, str) and value != ""


def form_of(value):
    if not isinstance(value, dict) or not text(value.get("format")):
        raise Refused
    members = MEMBERS.get(value["format"])
    if members and (set(value) != {"format", *members} or not all(text(value[name]) for name in members)):
        raise Refused
    return value["format"]


def named(iss, kind, value, sender, others):
    if iss != sender and not (others and sender == TWO and iss == ONE):
        return ["denied"]
    return ["ignored"] if len(value) > 1024 else [(kind, iss, value)]


def ends(value, sender, within=None):
    form = form_of(value)
    if form == "iss_sub":
        return named(value["iss"], "sub", value["sub"], sender, True)
    if form == "jwt_id":
        return named(value["iss"], "jti", value["jti"], sender, False)
    if form == "opaque" and sender == TWO:
        return named(sender, "sub", value["id"], sender, False)
    if form == "aliases":
        names = value.get("identifiers")
        if within == "aliases" or set(value) != {"format", "identifiers"} or not isinstance(names, list) or not 1 <= len(names) <= 100:
            raise Refused
        return [end for name in names for end in ends(name, sender, "aliases")]
    if form != "complex":
        return ["ignored"]
    if within:
        raise Refused
    parts = {name: part for name, part in value.items() if name != "format"}
    if not parts:
        raise Refused
    for part in parts.values():
        ends(part, sender, "complex")
    if "session" in parts:
        session, user = parts["session"], parts.get("user", {})
        users = user["identifiers"] if isinstance(user.get("identifiers"), list) else [user]
        if any(isinstance(one, dict) and text(one.get("iss")) and one["iss"] != sender for one in users):
            return ["ignored"]
        if session["format"] == "opaque":
            return named(sender, "sid", session["id"], sender, False)
        return ends(session, sender, "complex") if session["format"] == "jwt_id" else ["ignored"]
    return ends(parts["user"], sender, "complex") if set(parts) == {"user"} else ["ignored"]


def answer(claims, typ, sender):
    try:
        typ = typ and (typ[12:] if typ.lower().startswith("application/") else typ).lower()
        if claims.get("iss") != sender or "app" not in (claims.get("aud") if isinstance(claims.get("aud"), list) else [claims.get("aud")]):
            raise Refused
        for name in ("sub", "sid", "jti"):
            if name in claims and (not isinstance(claims[name], str) or len(claims[name]) > 1024):
                raise Refused
        if claims.get("exp", now + 60) < now or not text(claims.get("jti")) or not isinstance(claims.get("iat"), (int, float)) or claims["iat"] > now + 600:
            raise Refused
        events = claims.get("events")
        if not isinstance(events, dict) or not events or not all(isinstance(event, dict) for event in events.values()):
            raise Refused
        if LOGOUT in events:
            if typ not in (None, "logout+jwt", "jwt") or "nonce" in claims or ("exp" not in claims and sender != TWO):
                raise Refused
            if not claims.get("sid") and not claims.get("sub"):
                raise Refused
            return [("sid", sender, claims["sid"]) if claims.get("sid") else ("sub", sender, claims["sub"])]
        if typ != "secevent+jwt" or "exp" in claims or "sub" in claims or not isinstance(claims.get("sub_id"), dict):
            raise Refused
        ending = [name for name in ENDING if name in events]
        if CHANGE in events:
            change = events[CHANGE].get("change_type")
            if change not in ("create", "revoke", "update", "delete"):
                raise Refused
            ending += [CHANGE] if change != "create" else []
        if not isinstance(claims.get("toe", 0), (int, float)) or any(not isinstance(events[name].get("event_timestamp", 0), (int, float)) for name in ending):
            raise Refused
        if not ending:
            return "ignored"
        found = ends(claims["sub_id"], sender)
    except Refused:
        return "err"
    return [end for end in found if isinstance(end, tuple)] or ("err" if "denied" in found else "ignored")


events_made = set()
for n in range(4000):
    sender = dice.choice((ONE, TWO))
    alg, kid = dice.choice([(alg, f"k{i}") for i, alg in enumerate(keys) if (i % 2 == 0) == (sender == ONE)])
    if n % 4 == 0:
        typ = pick(["logout+jwt", "JWT", None, "application/LOGOUT+jwt"], "at+jwt", "secevent+jwt")
        claims = {"sub": pick(["alice", "bob", ABSENT], "", 1, LONG), "sid": pick(["s1", "s2", ABSENT, ABSENT], "", 1, LONG),
                  "exp": pick([now + 86400], ABSENT, now - 3600, odds=0.3), "nonce": pick([ABSENT], "n"),
                  "events": pick([{LOGOUT: {}}, {LOGOUT: {}, "urn:x": {"x": 1}}], {LOGOUT: 1}, {}, [LOGOUT], ABSENT, {LOGOUT + "/": {}})}
    else:
        typ = pick(["secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"], "logout+jwt", "JWT", None)
        times = [{}, {"event_timestamp": now - dice.randrange(9)}]
        events = {name: pick(times, {"event_timestamp": "1"}, {"event_timestamp": -1e300}, {"event_timestamp": 1e300}, 1)
                  for name in dice.sample((*ENDING, SSF + "verification", CAEP + "session-established"), dice.choice((1, 1, 2)))}
        if dice.random() < 0.2:
            events[CHANGE] = {"change_type": pick(["create", "revoke", "update", "delete"], "x", None, 1)}
        claims = {"sub_id": pick([make_subject()], ABSENT, "alice", None, []), "toe": pick([ABSENT, now - 5], "x"), "exp": pick([ABSENT], now + 60), "sub": pick([ABSENT], "alice"),
                  "events": pick([events], ABSENT, {}, [])}
    claims |= {"iss": pick([sender], ONE, TWO, "https://three.example", ABSENT), "aud": pick(["app", ["api", "app"]], "api", ["api"], ABSENT),
               "iat": pick([now, now - 100.5], ABSENT, "1", now + 86400), "jti": pick([f"e{n}"], ABSENT, 1, "", LONG)}
    claims = {name: value for name, value in claims.items() if value is not ABSENT}
    said = answer(claims, typ, sender)
    said = said if isinstance(said, str) else ",".join(" ".join(end) for end in said)
    payload = json.dumps(claims, separators=(",", ":")).encode()
    token = jwt.PyJWS().encode(payload, keys[alg], alg, headers={"kid": kid, "typ": typ})
    if len(token) <= 8192 and token not in events_made:
        events_made.add(token)
        print(f"INSERT INTO event VALUES ('{token}', '{said}');")

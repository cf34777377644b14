"""Vectors of Project Wycheproof (tests/data/wycheproof): keys are loaded and signatures verified as the edge does it."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from busgate.edge.compact import TokenRefused, read_parts
from busgate.edge.issuers import IssuerSettings
from busgate.edge.keys import Key, KeySet, UnfitKeyError, jwks_keys, secret_key
from busgate.edge.tokens import TokenVerifier

FOLDER = Path(__file__).parents[1] / "data" / "wycheproof"
NOT_TAKEN = "an algorithm that no key here is for; RS256, ES256, EdDSA and HS256 are"
NOT_BASE64URL = "a character that is not of base64url: two readers could see two tokens (RFC 7515, 2)"

EMPTY = "an empty payload is no set of claims"
SAME_TEXT = "called invalid, but to the letter the text of 357, which is valid: its comment speaks of a padding"

DIFFERENT = {
    ("signature", 259): EMPTY,
    **{
        ("signature", number): NOT_TAKEN
        for number in (*range(264, 276), 287, 288, *range(320, 324), *range(325, 329), 346, 347, 350, 351)
    },
    ("signature", 367): SAME_TEXT,
    ("signature", 370): SAME_TEXT,
    ("signature", 372): NOT_BASE64URL,
    ("signature", 373): NOT_BASE64URL,
    ("key", 14): NOT_TAKEN,
    ("key", 15): NOT_TAKEN,
}
"""Vectors that have another result here, and why."""


def vectors() -> dict[tuple[str, int], tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Keys and test of each, by file and number."""
    found = {}
    for kind in ("signature", "key"):
        for group in json.loads((FOLDER / f"json_web_{kind}_test.json").read_text())["testGroups"]:
            keys = group.get("public") or group["private"]
            for test in group["tests"]:
                found[kind, test["tcId"]] = (keys.get("keys", [keys]), test)
    return found


VECTORS = vectors()


def load(entries: list[dict[str, Any]]) -> KeySet:
    """As settings would: a set of public keys as a JWK Set, shared secrets one by one."""
    if all(entry["kty"] == "oct" for entry in entries):
        return KeySet(shared(entry) for entry in entries if entry["alg"] == "HS256")
    return KeySet(jwks_keys(json.dumps({"keys": entries})))


def shared(entry: dict[str, Any]) -> Key:
    """A secret is text in settings; one that is none can only be put there by hand."""
    secret = base64.urlsafe_b64decode(entry["k"] + "==")
    try:
        return secret_key(secret.decode(), kid=entry["kid"])
    except UnicodeDecodeError:
        return Key("HS256", secret, entry["kid"])


def holds(keys: KeySet, text: str) -> bool:
    """Whether the edge finds a key, and by it the signature good. It never gets as far as to look at claims."""
    header, _ = read_parts(text)
    for key in keys.find(header.get("kid"), header.get("alg")):
        try:
            jwt.PyJWS().decode(text, key.material, algorithms=[key.algorithm])
        except jwt.PyJWTError:
            continue
        return True
    return False


@pytest.mark.parametrize("name", VECTORS, ids=lambda name: f"{name[0]} {name[1]}")
def test_a_vector_has_the_result_that_it_should_have(name: tuple[str, int]) -> None:
    entries, test = VECTORS[name]

    try:
        found = holds(load(entries), test["jws"])
    except (UnfitKeyError, TokenRefused):
        found = False

    assert found == ((test["result"] == "valid") != (name in DIFFERENT)), test["comment"]


def test_no_vector_is_taken_that_is_not_a_valid_one() -> None:
    valid = {test["jws"] for _, test in VECTORS.values() if test["result"] == "valid"}

    assert {VECTORS[name][1]["jws"] for name in DIFFERENT} <= valid
    assert [name for name, why in DIFFERENT.items() if VECTORS[name][1]["result"] != "valid" and why != SAME_TEXT] == []


def test_every_vector_is_here() -> None:
    numbers = {kind: sorted(number for of, number in VECTORS if of == kind) for kind in ("signature", "key")}

    assert numbers == {"signature": list(range(1, 402)), "key": list(range(1, 27))}


def test_every_kind_of_vector_is_here() -> None:
    flags = {flag for _, test in VECTORS.values() for flag in test["flags"]}

    assert flags == {
        "AlgIsNone",
        "Ambiguous",
        "DuplicateKid",
        "JsonSerialization",
        "MixedKeySet",
        "ModifiedPadding",
        "ModifiedSignature",
        "WrongPrimitive",
    }


def test_a_padding_that_was_changed_is_a_near_miss() -> None:
    """Only then does its vector try what it is for: a typing error would not begin as a padding does."""
    tried = 0
    for entries, test in VECTORS.values():
        if "ModifiedPadding" in test["flags"]:
            modulus = int.from_bytes(base64.urlsafe_b64decode(entries[0]["n"] + "=="), "big")
            signature = base64.urlsafe_b64decode(test["jws"].rpartition(".")[2] + "==")
            opened = pow(int.from_bytes(signature, "big"), 65537, modulus).to_bytes(256, "big")
            tried += 1

            assert opened.startswith(b"\0\1" + b"\xff" * 100), test["comment"]
    assert tried > 200


def test_a_key_of_a_chip_whose_keys_can_be_broken_is_known_by_its_form() -> None:
    """T48, ROCA."""
    with pytest.raises(UnfitKeyError, match="CVE-2017-15361"):
        load(VECTORS["key", 7][0])


@pytest.mark.parametrize("name", VECTORS, ids=lambda name: f"{name[0]} {name[1]}")
def test_no_vector_lets_anybody_in(name: tuple[str, int]) -> None:
    """Not the good ones either: what they sign are no claims."""
    jwks = json.dumps({"keys": VECTORS["key", 5][0] + VECTORS["signature", 18][0]})
    issuer = IssuerSettings.model_validate({"issuer": "i", "audience": "a", "keys": [{"jwks": jwks}], "untyped": True})

    with pytest.raises(TokenRefused):
        TokenVerifier([issuer]).verify(VECTORS[name][1]["jws"])

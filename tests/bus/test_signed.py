"""The signed caller: what a signature proves, and that nothing else passes for one."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from busgate.bus.short_memory import ShortMemory
from busgate.bus.signed import (
    LIFETIME,
    SignedCaller,
    SigningKey,
    UnfitKeyError,
    Unverified,
    Verifier,
    digest,
    jwk_set,
    new_pem,
    public_keys,
)
from busgate.contracts import Caller

NOW = 1_800_000_000
VECTORS = Path(__file__).parents[1] / "vectors"
CALLER = Caller("user-7", "https://issuer.example", frozenset({"orders:write"}), {"vip": True}).to_json()


def rfc_8037_key() -> SigningKey:
    """The key of RFC 8037, appendix A, which the golden vector is signed with."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return SigningKey(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


KEY = rfc_8037_key()
PRIVATE = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
KEYS = {KEY.kid: KEY.public}


def verify(jws: bytes, caller: bytes = CALLER, *, now: float = NOW, keys: Any = KEYS) -> SignedCaller:
    return Verifier(keys).verify(jws, caller, now)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


HEAD = {"alg": "EdDSA", "kid": KEY.kid, "typ": "caller+jwt"}
CLAIMS = {"aud": "shop.orders", "iat": NOW, "exp": NOW + 60, "caller": json.loads(CALLER)}


def made(head: Any = HEAD, claims: Any = CLAIMS) -> bytes:
    """A JWS with a good signature of whatever this is."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (head, claims)]
    signed = ".".join(map(encoded, parts)).encode()
    return signed + b"." + encoded(PRIVATE.sign(signed)).encode()


def test_a_signature_proves_the_caller_and_whom_it_was_made_for() -> None:
    proved = verify(KEY.sign(CALLER, "shop.orders", now=NOW))

    assert proved.caller == Caller.from_json(CALLER)
    assert proved.caller.claims == {"vip": True}
    assert (proved.audience, proved.expires, proved.message) == ("shop.orders", NOW + LIFETIME, "")


def test_the_golden_vector_is_what_the_key_of_rfc_8037_signs() -> None:
    headers = json.loads((VECTORS / "call-signed.json").read_text())["headers"]
    caller = headers["caller"].encode()

    assert KEY.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, appendix A.3
    assert KEY.sign(caller, "shop.orders", now=NOW).decode() == headers["jws"]
    assert verify(headers["jws"].encode(), caller).caller.subject == "user-7"


@given(st.data())
def test_no_letter_of_it_can_be_changed(data: st.DataObject) -> None:
    jws = KEY.sign(CALLER, "shop.orders", now=NOW)
    at = data.draw(st.integers(0, len(jws) - 1))
    letter = data.draw(st.integers(0, 255).filter(lambda letter: letter != jws[at]))

    with pytest.raises(Unverified):
        verify(jws[:at] + bytes([letter]) + jws[at + 1 :])


@given(st.binary(max_size=300))
def test_nothing_that_is_no_signature_passes_or_breaks_the_check(jws: bytes) -> None:
    with pytest.raises(Unverified):
        verify(jws)


@given(st.lists(st.binary(max_size=80), min_size=3, max_size=3))
def test_nothing_of_the_right_form_passes_or_breaks_the_check(parts: list[bytes]) -> None:
    with pytest.raises(Unverified):
        verify(".".join(map(encoded, parts)).encode())


BAD = {
    "no signature": (made().rpartition(b".")[0] + b".", CALLER, "malformed"),
    "an empty one": (b"", CALLER, "malformed"),
    "padding": (made() + b"=", CALLER, "malformed"),
    "a line feed": (made() + b"\n", CALLER, "malformed"),
    "another spelling of the last letter": (made()[:-1] + bytes([made()[-1] + 1]), CALLER, "malformed"),
    "longer than any": (made(claims=CLAIMS | {"more": "x" * 8000}), CALLER, "malformed"),
    "alg none": (made(HEAD | {"alg": "none"}), CALLER, "malformed"),
    "alg HS256": (made(HEAD | {"alg": "HS256"}), CALLER, "malformed"),
    "no typ, as of a token": (made({key: HEAD[key] for key in ("alg", "kid")}), CALLER, "malformed"),
    "typ JWT, as of a token": (made(HEAD | {"typ": "JWT"}), CALLER, "malformed"),
    "crit": (made(HEAD | {"crit": ["exp"]}), CALLER, "malformed"),
    "a key in it": (made(HEAD | {"jwk": KEY.jwk}), CALLER, "malformed"),
    "no kid": (made({key: HEAD[key] for key in ("alg", "typ")}), CALLER, "unknown-key"),
    "kid is a number": (made(HEAD | {"kid": 7}), CALLER, "unknown-key"),
    "another kid": (made(HEAD | {"kid": "other"}), CALLER, "unknown-key"),
    "the header is a list": (made([1]), CALLER, "malformed"),
    "the header is not JSON": (made(b"{"), CALLER, "malformed"),
    "the header is nested deeply": (made(b"[" * 5000), CALLER, "malformed"),
    "the payload is a text": (made(claims="caller"), CALLER, "malformed"),
    "the payload is not UTF-8": (made(claims=b'{"aud":"\xff"}'), CALLER, "malformed"),
    "exp is a text": (made(claims=CLAIMS | {"exp": str(NOW + 60)}), CALLER, "malformed"),
    "exp is true": (made(claims=CLAIMS | {"exp": True}), CALLER, "malformed"),
    "exp is no whole number": (made(claims=CLAIMS | {"exp": NOW + 1.5}), CALLER, "malformed"),
    "no iat": (made(claims={key: CLAIMS[key] for key in ("aud", "exp", "caller")}), CALLER, "malformed"),
    "good for over a minute": (made(claims=CLAIMS | {"exp": NOW + 61}), CALLER, "time"),
    "ends before it begins": (made(claims=CLAIMS | {"exp": NOW}), CALLER, "time"),
    "from the future": (made(claims=CLAIMS | {"iat": NOW + 6, "exp": NOW + 60}), CALLER, "time"),
    "over": (made(claims=CLAIMS | {"iat": NOW - 65, "exp": NOW - 5}), CALLER, "expired"),
    "aud is a list": (made(claims=CLAIMS | {"aud": ["shop.orders"]}), CALLER, "malformed"),
    "no aud": (made(claims={key: CLAIMS[key] for key in ("iat", "exp", "caller")}), CALLER, "malformed"),
    "msg is a number": (made(claims=CLAIMS | {"msg": 1}), CALLER, "malformed"),
    "no caller in it": (made(claims={key: CLAIMS[key] for key in ("aud", "iat", "exp")}), CALLER, "malformed"),
    "a caller without sub": (made(claims=CLAIMS | {"caller": {"iss": "x"}}), CALLER, "malformed"),
    "no caller beside it": (made(), b"", "malformed"),
    "a caller beside it that is not JSON": (made(), b"{", "malformed"),
    "a caller beside it that is nested deeply": (made(), b"[" * 100_000, "malformed"),
    "another caller beside it": (made(), Caller("root").to_json(), "mismatch"),
    "one scope more beside it": (made(), CALLER.replace(b"orders:write", b"orders:write admin"), "mismatch"),
    "true and 1 are not the same": (made(), CALLER.replace(b"true", b"1"), "mismatch"),
}


@pytest.mark.parametrize(("jws", "caller", "reason"), BAD.values(), ids=BAD)
def test_it_proves_nothing(jws: bytes, caller: bytes, reason: str) -> None:
    with pytest.raises(Unverified) as refused:
        verify(jws, caller)

    assert refused.value.reason == reason


def test_a_signature_by_another_key_under_a_known_name_is_forged() -> None:
    with pytest.raises(Unverified) as refused:
        verify(made(), keys={KEY.kid: SigningKey(new_pem()).public})

    assert refused.value.reason == "forged"


def test_another_writer_of_json_may_order_and_space_the_caller_as_it_likes() -> None:
    loose = json.dumps(dict(reversed(json.loads(CALLER).items())), indent=1).encode()

    assert verify(made(), loose).caller.subject == "user-7"


def test_a_caller_in_another_spelling_does_not_shut_out_the_one_of_the_edge() -> None:
    verifier = Verifier(KEYS)
    loose = json.dumps(json.loads(CALLER), indent=1).encode()

    for spelling in (loose, CALLER, loose):
        assert verifier.verify(made(), spelling, NOW).caller.subject == "user-7"


def test_what_was_verified_is_remembered_and_still_ends_and_still_belongs_to_its_caller() -> None:
    verifier = Verifier(KEYS)
    jws = made()
    first = verifier.verify(jws, CALLER, NOW)

    assert verifier.verify(jws, CALLER, NOW + 64) is first
    with pytest.raises(Unverified, match="has ended"):
        verifier.verify(jws, CALLER, NOW + 65)
    with pytest.raises(Unverified, match="not what was signed"):
        verifier.verify(jws, Caller("root").to_json(), NOW)


def test_what_a_key_proved_is_forgotten_with_the_key() -> None:
    verifier = Verifier(KEYS)
    verifier.verify(made(), CALLER, NOW)
    verifier.replace_keys({})

    with pytest.raises(Unverified, match="no key that is known"):
        verifier.verify(made(), CALLER, NOW)


def test_the_longest_caller_fits() -> None:
    longest = Caller("x" * (4096 - len(Caller("").to_json()))).to_json()
    jws = KEY.sign(longest, "a" * 200, now=NOW, message=digest("t", b"c", b"b"))

    assert verify(jws, longest).caller.subject.startswith("xxx")


def test_the_digest_of_a_message_changes_with_each_part_of_it() -> None:
    one = digest("a.b.v1", b"0" * 32, b"{}")

    assert (
        len(
            {
                one,
                digest("a.c.v1", b"0" * 32, b"{}"),
                digest("a.b.v1", b"1" * 32, b"{}"),
                digest("a.b.v1", b"0" * 32, b"[]"),
            }
        )
        == 4
    )


# -- keys


def test_a_published_key_is_read_back() -> None:
    other = SigningKey(new_pem())

    keys = public_keys(jwk_set([KEY, other]))

    assert set(keys) == {KEY.kid, other.kid}
    assert verify(made(), keys=keys).audience == "shop.orders"
    assert b'"d"' not in jwk_set([KEY])


JWK = dict(KEY.jwk)
UNFIT = {
    "not JSON": b"{",
    "a list": b"[]",
    "no keys": b'{"keys": []}',
    "keys is a text": b'{"keys": "all"}',
    "a key is a text": b'{"keys": ["all"]}',
    "nested deeply": b"[" * 100_000,
    "a private key": json.dumps({"keys": [JWK | {"d": "secret"}]}).encode(),
    "no kid": json.dumps({"keys": [{key: JWK[key] for key in ("kty", "crv", "x")}]}).encode(),
    "two of one kid": json.dumps({"keys": [JWK, JWK]}).encode(),
    "x is short": json.dumps({"keys": [JWK | {"x": JWK["x"][:-4]}]}).encode(),
    "x is missing": json.dumps({"keys": [{key: JWK[key] for key in ("kty", "crv", "kid")}]}).encode(),
    "for encryption": json.dumps({"keys": [JWK | {"use": "enc"}]}).encode(),
    "RSA": json.dumps({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"}]}).encode(),
}


@pytest.mark.parametrize("text", UNFIT.values(), ids=UNFIT)
def test_a_set_that_holds_no_key_of_an_edge_is_refused(text: bytes) -> None:
    with pytest.raises(UnfitKeyError):
        public_keys(text)


def test_only_an_ed25519_key_without_a_password_signs() -> None:
    rsa = generate_private_key(65537, 2048)
    pem = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    with pytest.raises(UnfitKeyError, match="not an Ed25519 key"):
        SigningKey(pem)
    with pytest.raises(UnfitKeyError, match="not a private key"):
        SigningKey(b"hunter2")


# -- the memory


@given(st.integers(1, 5), st.lists(st.integers(0, 12), max_size=60))
def test_a_short_memory_knows_the_last_values_and_stays_small(half: int, keys: list[int]) -> None:
    memory: ShortMemory[int, str] = ShortMemory(half)
    for key in keys:
        memory.put(key, str(key))

    assert len(memory) <= 2 * half
    recent = list(dict.fromkeys(reversed(keys)))[:1]
    assert all(memory.get(key) == str(key) for key in recent)
    assert all(memory.get(key) in (None, str(key)) for key in range(13))
    memory.clear()
    assert len(memory) == 0

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from busgate.edge.compact import TokenRefused, read_compact
from busgate.edge.issuers import IssuerSettings
from busgate.edge.keys import KeySet, UnfitKeyError, jwks_keys, public_key, secret_key
from busgate.edge.tokens import TokenVerifier

NOW = 1_900_000_000
ISSUER = "https://issuer.example"
SECRET = "s" * 32
SIGNED_BY = ("HS256", "RS256", "ES256", "EdDSA")


@cache
def private_key(algorithm: str) -> Any:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return SECRET


def pem(key: Any) -> str:
    text: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


@cache
def public_pem(algorithm: str) -> str:
    return pem(private_key(algorithm).public_key())


def key_table(algorithm: str, **more: Any) -> dict[str, Any]:
    if algorithm == "HS256":
        return {"secret": SECRET, **more}
    return {"algorithm": algorithm, "public_key": public_pem(algorithm), **more}


def issuer(algorithm: str = "RS256", **settings: Any) -> IssuerSettings:
    table = {"issuer": ISSUER, "audience": "shop", "keys": [key_table(algorithm)], **settings}
    return IssuerSettings.model_validate(table)


def verifier(
    algorithm: str = "RS256",
    *,
    clock: Callable[[], float] = lambda: NOW,
    remembered: int = 100,
    **settings: Any,
) -> TokenVerifier:
    return TokenVerifier([issuer(algorithm, **settings)], clock=clock, remembered=remembered)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; None takes one away."""
    good = {"iss": ISSUER, "aud": "shop", "sub": "ann", "iat": NOW, "exp": NOW + 600, "scope": "a b"}
    return {name: value for name, value in (good | changes).items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, payload: Any, algorithm: str = "RS256") -> str:
    """A token with a good signature over any header and payload, objects or raw bytes."""
    raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    text = ".".join(map(b64, raw))
    key = private_key(algorithm)
    signature = (
        key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "RS256"
        else jwt.get_algorithm_by_name(algorithm).sign(
            text.encode(), jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        )
    )
    return f"{text}.{b64(signature)}"


def token(header: dict[str, Any] | None = None, algorithm: str = "RS256", **changes: Any) -> str:
    head = {"alg": algorithm, "typ": "at+jwt"} | (header or {})
    return signed({k: v for k, v in head.items() if v is not None}, claims(**changes), algorithm)


def raw_claims(text: str) -> str:
    """A token whose payload is this text, with BODY standing for all the good claims."""
    body = json.dumps(claims())[1:-1]
    return signed({"alg": "RS256", "typ": "at+jwt"}, text.replace("BODY", body).encode())


def hs256(secret: bytes, *, header: dict[str, Any] | None = None) -> str:
    """What an attacker makes who takes our public key for a shared secret (T04, T05)."""
    text = f"{b64(json.dumps({'alg': 'HS256', 'typ': 'at+jwt'} | (header or {})).encode())}.{b64(json.dumps(claims()).encode())}"
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(text.encode())
    return f"{text}.{b64(mac.finalize())}"


def unsigned(algorithm: str) -> str:
    head = {"alg": algorithm, "typ": "at+jwt"}
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims()).encode())}."


def spare_bits(text: str) -> str:
    """Another spelling of the signature: its last character with bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def other_payload(text: str) -> str:
    head, _, signature = text.split(".")
    return f"{head}.{b64(json.dumps(claims(sub='eve')).encode())}.{signature}"


def der(algorithm: str) -> bytes:
    public: bytes = (
        private_key(algorithm)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public


@dataclass
class Row:
    name: str
    make: Callable[[], str]
    why: str | None = None
    """A part of the reason for which it is refused; None where it is good."""


ROWS = [
    Row("T01 alg none", lambda: unsigned("none"), "three parts"),
    Row("T02 alg None", lambda: unsigned("None"), "three parts"),
    Row("T03 alg nOnE", lambda: unsigned("nOnE"), "three parts"),
    Row("T01 alg none, with a signature", lambda: unsigned("none") + "AAAA", "no key"),
    Row("T04 HS256 by the public key in PEM", lambda: hs256(public_pem("RS256").encode()), "no key"),
    Row("T05 HS256 by the public key in DER", lambda: hs256(der("RS256")), "no key"),
    Row("T06 alg missing", lambda: token({"alg": None}), "no key"),
    Row("T06 alg null", lambda: signed({"alg": None, "typ": "JWT"}, claims()), "no key"),
    Row("T06 alg list", lambda: token({"alg": ["RS256"]}), "no key"),
    Row("T06 alg number", lambda: token({"alg": 1}), "no key"),
    Row("T07 alg in lower case", lambda: token({"alg": "rs256"}), "no key"),
    Row("T08 another alg", lambda: token({"alg": "PS256"}), "no key"),
    Row("T08 an alg of another key", lambda: token(algorithm="ES256"), "no key"),
    Row("T09 signature empty", lambda: token().rpartition(".")[0] + ".", "three parts"),
    Row("T10 signature bit flipped", lambda: flipped(token(), -20), "no key"),
    Row("T10 signature truncated", lambda: token()[:-4], "no key|spare bits"),
    Row("T10 signature extended", lambda: token() + "AAAA", "no key"),
    Row("T11 payload changed", lambda: other_payload(token()), "no key"),
    Row("T12 two segments", lambda: token().rpartition(".")[0], "three parts"),
    Row("T12 four segments", lambda: token() + ".AAAA", "three parts"),
    Row("T12 five segments", lambda: token() + ".AAAA.AAAA", "three parts"),
    Row("T13 standard base64", lambda: token().replace("_", "/").replace("-", "+") + "+", "three parts"),
    Row("T13 whitespace inside", lambda: token().replace(".", ". ", 1), "three parts"),
    Row("T13 newline at the end", lambda: token() + "\n", "three parts"),
    Row("T14 padding", lambda: token() + "==", "three parts"),
    Row("T15 spare bits in the last character", lambda: spare_bits(token()), "spare bits"),
    Row("T16 expired by leeway + 1", lambda: token(exp=NOW - 31, iat=NOW - 600), "expired"),
    Row("T17 expired within the leeway", lambda: token(exp=NOW - 29, iat=NOW - 600)),
    Row("T18 exp missing", lambda: token(exp=None), "it has no exp"),
    Row("T19 exp text", lambda: token(exp=str(NOW + 600)), "exp is not a number"),
    Row("T20 exp 10^30", lambda: token(exp=10**30), "max_lifetime"),
    Row("T20 exp 10^30 without iat", lambda: token(exp=10**30, iat=None), "max_lifetime"),
    Row("T21 exp NaN", lambda: raw_claims(json.dumps(claims(exp=float("nan")))), "reads alike"),
    Row("T21 exp 1e400", lambda: raw_claims(json.dumps(claims(exp=0)).replace('"exp": 0', '"exp": 1e400')), "reads alike"),
    Row("T22 exp negative", lambda: token(exp=-1), "expired"),
    Row("T22 exp bool", lambda: token(exp=True), "exp is not a number"),
    Row("exp null", lambda: raw_claims(json.dumps(claims() | {"exp": None})), "it has no exp"),
    Row("T23 lives too long", lambda: token(exp=NOW + 24 * 3600 + 1), "max_lifetime"),
    Row("T23 lived too long", lambda: token(iat=NOW - 24 * 3600), "max_lifetime"),
    Row("T24 nbf in the future", lambda: token(nbf=NOW + 31), "not good yet"),
    Row("T24 iat in the future", lambda: token(iat=NOW + 31), "issued in the future"),
    Row("nbf text", lambda: token(nbf=str(NOW)), "nbf is not a number"),
    Row("T25 aud wrong", lambda: token(aud="bank"), "its aud does not name us"),
    Row("T25 aud missing", lambda: token(aud=None), "it has no aud"),
    Row("T25 aud empty list", lambda: token(aud=[]), "it has no aud"),
    Row("T25 aud longer", lambda: token(aud="shops"), "its aud does not name us"),
    Row("T25 aud shorter", lambda: token(aud="sho"), "its aud does not name us"),
    Row("T25 aud list of numbers", lambda: token(aud=[1, "shop"]), "its aud does not name us"),
    Row("T26 aud list with ours", lambda: token(aud=["bank", "shop"])),
    Row("T27 iss wrong", lambda: token(iss="https://evil.example"), "not trusted"),
    Row("T27 iss prefix", lambda: token(iss=ISSUER[:-1]), "not trusted"),
    Row("T27 iss list", lambda: token(iss=[ISSUER]), "not trusted"),
    Row("T27 iss with a slash", lambda: token(iss=ISSUER + "/"), "not trusted"),
    Row("T29 sub number", lambda: token(sub=1), "InvalidSubjectError"),
    Row("T29 sub missing", lambda: token(sub=None), "it has no sub"),
    Row("T29 sub empty", lambda: token(sub=""), "1 to 256 bytes"),
    Row("T29 sub 257 bytes", lambda: token(sub="é" * 129), "1 to 256 bytes"),
    Row("sub 256 bytes", lambda: token(sub="é" * 128)),
    Row("W20 sub with NUL", lambda: token(sub="a\0b"), "control characters"),
    Row("W07 sub with half a surrogate pair", lambda: raw_claims('{BODY, "x": "\\ud800"}'), "reads alike"),
    Row("T30 ID token by typ", lambda: token({"typ": "id+jwt"}), "this typ"),
    Row("T30 ID token by hash", lambda: token(at_hash="x"), "an ID token"),
    Row("T30 ID token by typ claim", lambda: token({"typ": "JWT"}, typ="ID"), "its typ claim"),
    Row("T30 ID token by token_use", lambda: token({"typ": "JWT"}, token_use="id"), "token_use"),
    Row("T31 refresh token by typ", lambda: token({"typ": "refresh+jwt"}), "this typ"),
    Row("T31 refresh token by typ claim", lambda: token({"typ": "JWT"}, typ="Refresh"), "its typ claim"),
    Row("typ claim Bearer", lambda: token({"typ": "JWT"}, typ="Bearer")),
    Row("T32 typ missing", lambda: token({"typ": None}), "it has no typ"),
    Row("typ number", lambda: token({"typ": 1}), "this typ"),
    Row("typ in another case", lambda: token({"typ": "jwt"})),
    Row("typ in full", lambda: token({"typ": "application/at+jwt"})),
    Row("T33 crit unknown", lambda: token({"crit": ["x"], "x": 1}), "InvalidTokenError"),
    Row("T33 crit empty", lambda: token({"crit": []}), "InvalidTokenError"),
    Row("T33 crit not a list", lambda: token({"crit": "exp"}), "InvalidTokenError"),
    Row("T34 b64", lambda: token({"crit": ["b64"], "b64": False}), "compressed or detached"),
    Row("T35 zip", lambda: token({"zip": "DEF"}), "compressed or detached"),
    Row("T36 alg twice", lambda: signed(b'{"alg": "none", "alg": "RS256", "typ": "at+jwt"}', claims()), "reads alike"),
    Row("T37 sub twice", lambda: raw_claims('{BODY, "sub": "eve"}'), "reads alike"),
    Row("T37 a member twice, deeper", lambda: raw_claims('{BODY, "x": [{"y": 1, "y": 2}]}'), "reads alike"),
    Row("T38 payload a list", lambda: raw_claims("[1]"), "not a JSON object"),
    Row("T38 payload deep", lambda: raw_claims("[" * 5000), "reads alike"),
    Row("T39 payload UTF-16", lambda: signed({"alg": "RS256", "typ": "JWT"}, json.dumps(claims()).encode("utf-16")), "reads alike"),
    Row("payload UTF-8 with a mark", lambda: signed({"alg": "RS256", "typ": "JWT"}, json.dumps(claims()).encode("utf-8-sig")), "reads alike"),
    Row("T40 header a list", lambda: signed(b"[1]", claims()), "not a JSON object"),
    Row("T42 kid that nothing has", lambda: token({"kid": "../../dev/null"})),
    Row("T42 kid of 129", lambda: token({"kid": "k" * 129}), "short text"),
    Row("T42 kid number", lambda: token({"kid": 1}), "short text"),
    Row("T43 jku", lambda: token({"jku": "https://evil.example/keys"})),
    Row("T44 x5u and x5c", lambda: token({"x5u": "https://evil.example/c", "x5c": ["x"]})),
    Row("T45 embedded jwk", lambda: hs256(b"a" * 32, header={"jwk": {"kty": "oct", "k": b64(b"a" * 32)}}), "no key"),
    Row("T49 8193 bytes", lambda: token().ljust(8193, "A"), "longer than 8192 bytes"),
    Row("T57 revoked", lambda: token(jti="gone"), "revoked"),
    Row("jti number", lambda: token(jti=1), "InvalidJTIError"),
    Row("T59 scope list", lambda: token(scope=["a"])),
    Row("T59 scope missing", lambda: token(scope=None)),
    Row("T59 scope null", lambda: raw_claims(json.dumps(claims() | {"scope": None})), "scopes are neither"),
    Row("T59 scope number", lambda: token(scope=1), "scopes are neither"),
    Row("T59 scope list of numbers", lambda: token(scope=[1]), "scopes are neither"),
    Row("T61 bound to a certificate", lambda: token(cnf={"x5t#S256": "x"}), "bound to a key"),
    Row("scopes that do not fit a header", lambda: token(scope=" ".join(f"scope-{n}" for n in range(450))), "too large"),
    Row("good", token),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_of_the_table_of_tokens_is_answered_as_it_says(row: Row) -> None:
    tokens = verifier(revoked=["gone"])
    text = row.make()

    if row.why is None:
        assert tokens.verify(text).caller.issuer == ISSUER
    else:
        with pytest.raises(TokenRefused, match=row.why):
            tokens.verify(text)
    assert len(tokens) == (row.why is None)


@pytest.mark.parametrize("algorithm", SIGNED_BY)
def test_a_good_token_gives_a_caller_ready_to_travel(algorithm: str) -> None:
    verified = verifier(algorithm, claims=["tenant"]).verify(token(algorithm=algorithm, tenant="t1", other=1))

    assert (verified.caller.issuer, verified.caller.subject) == (ISSUER, "ann")
    assert verified.scopes == {"a", "b"}
    assert json.loads(verified.header) == {
        "sub": "ann",
        "iss": ISSUER,
        "scope": "a b",
        "claims": {"tenant": "t1"},
    }
    assert verified.expires == NOW + 600 + 30


@pytest.mark.parametrize("algorithm", SIGNED_BY)
@settings(deadline=None)
@given(data=st.data())
def test_no_character_of_a_token_can_be_another(algorithm: str, data: st.DataObject) -> None:
    text = token(algorithm=algorithm)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[at]))

    with pytest.raises(TokenRefused):
        verifier(algorithm).verify(text[:at] + other + text[at + 1 :])


@settings(deadline=None)
@given(st.text(max_size=200) | st.from_regex(r"[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{1,40}", fullmatch=True))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        verifier().verify(text)


@settings(deadline=None)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_no_header_or_payload_does_more_than_be_refused(header: bytes, payload: bytes) -> None:
    with pytest.raises(TokenRefused):
        read_compact(f"{b64(header)}.{b64(payload)}.AAAA")


def test_an_ecdsa_signature_in_its_other_spelling_is_verified_by_itself() -> None:
    """(r, n - s) signs what (r, s) signs: a second text of one token, and a second entry."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    tokens = verifier("ES256")
    text = token(algorithm="ES256")
    head, _, signature = text.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    twin = f"{head}.{b64(raw[:32] + (order - int.from_bytes(raw[32:], 'big')).to_bytes(32, 'big'))}"

    first, second = tokens.verify(text), tokens.verify(twin)

    assert first is not second
    assert first.header == second.header


def test_a_scope_with_a_tab_or_a_space_inside_is_never_granted() -> None:
    scopes = verifier().verify(token(scope=["a\tadmin", "b admin", "", "\u0430dmin", "c"])).scopes

    assert scopes == {"c"}


def test_a_text_of_scopes_is_split_at_spaces_alone() -> None:
    assert verifier().verify(token(scope="a\tadmin b  c")).scopes == {"b", "c"}


# -- issuers and keys


def test_one_subject_of_two_issuers_is_two_callers() -> None:
    """T28."""
    other = {"issuer": "https://other.example", "audience": "shop", "keys": [key_table("ES256")]}
    tokens = TokenVerifier([issuer(), IssuerSettings.model_validate(other)], clock=lambda: NOW)

    first = tokens.verify(token())
    second = tokens.verify(token(algorithm="ES256", iss="https://other.example"))

    assert first.caller != second.caller
    assert first.header != second.header


def test_an_issuer_cannot_sign_for_another() -> None:
    """T28."""
    other = {"issuer": "https://other.example", "audience": "shop", "keys": [key_table("ES256")]}
    tokens = TokenVerifier([issuer(), IssuerSettings.model_validate(other)], clock=lambda: NOW)

    with pytest.raises(TokenRefused):
        tokens.verify(token(algorithm="ES256"))


def test_a_kid_chooses_its_key_alone() -> None:
    table = [key_table("RS256", kid="one"), key_table("ES256", kid="two")]
    tokens = verifier(keys=table)

    tokens.verify(token({"kid": "one"}))
    tokens.verify(token({"kid": "two"}, algorithm="ES256"))
    for header in ({"kid": "two"}, {"kid": "three"}, {}):
        with pytest.raises(TokenRefused):
            tokens.verify(token(header))


def test_the_only_key_needs_no_kid_in_the_token() -> None:
    assert verifier(keys=[key_table("RS256", kid="one")]).verify(token()).caller.subject == "ann"


def test_keys_without_a_kid_are_tried_in_turn() -> None:
    old = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    table = [{"algorithm": "RS256", "public_key": pem(old.public_key())}, key_table("RS256")]

    assert verifier(keys=table).verify(token({"kid": "2026-11"})).caller.subject == "ann"


def test_a_token_for_others_is_taken_only_where_the_settings_say_so() -> None:
    tokens = verifier(audience=(), any_audience=True)

    assert tokens.verify(token(aud="bank")).caller.subject == "ann"
    assert tokens.verify(token(aud=None)).caller.subject == "ann"


def test_a_token_without_typ_is_taken_only_where_the_settings_say_so() -> None:
    assert verifier(untyped=True).verify(token({"typ": None})).caller.subject == "ann"


def jwk(algorithm: str, **more: Any) -> dict[str, Any]:
    public = private_key(algorithm).public_key()
    return jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True) | more


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_jwk_set_names_its_keys_and_algorithms(algorithm: str) -> None:
    document = json.dumps({"keys": [without(jwk(algorithm, kid="one"), "key_ops", "use")]})
    tokens = verifier(keys=[{"jwks": document}])

    assert tokens.verify(token({"kid": "one"}, algorithm=algorithm)).caller.subject == "ann"


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "PS256"},
        {"alg": "none"},
        {"kty": "oct", "k": b64(b"k" * 32)},
        {"kty": "EC"},
        {"kty": None},
    ],
)
def test_a_jwk_for_another_use_is_left_out(change: dict[str, Any]) -> None:
    """T47."""
    with pytest.raises(UnfitKeyError, match="no key"):
        jwks_keys(json.dumps({"keys": [without(jwk("RS256"), "key_ops", "use") | change]}))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "not a JWK Set"),
        ("[]", "not a JWK Set"),
        ('{"keys": 1}', "not a JWK Set"),
        ('{"keys": [1]}', "not a JWK Set"),
        ('{"keys": [], "keys": []}', "not a JWK Set"),
        ('{"keys": []}', "no key"),
        ('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', "valid|2048"),
        ('{"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]}', "not a valid ES256 key"),
        ('{"keys": [{"kty": "RSA", "d": "AQAB"}]}', "private key"),
        ('{"keys": [{"kty": "RSA", "kid": 1}]}', "kid"),
    ],
)
def test_a_jwk_set_that_cannot_be_used_is_refused(document: str, why: str) -> None:
    with pytest.raises(UnfitKeyError, match=why):
        jwks_keys(document)


def test_a_jwk_set_with_one_kid_twice_is_refused() -> None:
    """T47."""
    keys = [without(jwk(algorithm, kid="one"), "key_ops", "use") for algorithm in ("RS256", "ES256")]

    with pytest.raises(UnfitKeyError, match="one kid"):
        jwks_keys(json.dumps({"keys": keys}))


def test_weak_and_unfit_keys_are_refused() -> None:
    """T48."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    cubic = rsa.generate_private_key(public_exponent=3, key_size=2048)
    curve = ec.generate_private_key(ec.SECP384R1())

    with pytest.raises(UnfitKeyError, match="2048"):
        public_key("RS256", pem(weak.public_key()))
    with pytest.raises(UnfitKeyError, match="exponent"):
        public_key("RS256", pem(cubic.public_key()))
    with pytest.raises(UnfitKeyError, match="P-256"):
        public_key("ES256", pem(curve.public_key()))
    with pytest.raises(UnfitKeyError, match="32 bytes"):
        secret_key("short")
    with pytest.raises(UnfitKeyError, match="PEM"):
        secret_key(public_pem("RS256"))
    with pytest.raises(UnfitKeyError, match="not a key for EdDSA"):
        public_key("EdDSA", public_pem("RS256"))


def test_a_private_key_is_refused_where_a_public_one_belongs() -> None:
    text = (
        private_key("RS256")
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )

    with pytest.raises(UnfitKeyError, match="private"):
        public_key("RS256", text)


def test_a_key_shows_nothing_of_itself() -> None:
    assert SECRET not in repr(secret_key(SECRET))


def test_a_key_set_bounds_what_one_token_can_cost() -> None:
    with pytest.raises(UnfitKeyError, match="no kid"):
        KeySet(secret_key(f"{n}" * 32) for n in range(5))


# -- remembering


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_token_is_verified_once() -> None:
    tokens = verifier()
    text = token()

    assert tokens.verify(text) is tokens.verify(text)
    assert len(tokens) == 1


def test_a_remembered_token_is_forgotten_when_it_ends() -> None:
    clock = Clock()
    tokens = verifier(clock=clock)
    text = token()
    tokens.verify(text)
    clock.now = NOW + 600 + 30

    with pytest.raises(TokenRefused, match="expired"):
        tokens.verify(text)
    assert len(tokens) == 0


def test_the_token_unused_for_longest_goes_first() -> None:
    tokens = verifier(remembered=2)
    first, second, third = (token(sub=name) for name in "abc")
    kept = tokens.verify(first)
    dropped = tokens.verify(second)
    tokens.verify(first)
    tokens.verify(third)

    assert len(tokens) == 2
    assert tokens.verify(first) is kept
    assert tokens.verify(second) is not dropped


def test_nothing_is_remembered_where_the_settings_say_so() -> None:
    tokens = verifier(remembered=0)
    text = token()

    assert tokens.verify(text) is not tokens.verify(text)
    assert len(tokens) == 0


def test_other_keys_end_every_remembered_token() -> None:
    """T58."""
    tokens = verifier()
    text = token()
    tokens.verify(text)
    tokens.replace_keys(ISSUER, KeySet([public_key("ES256", public_pem("ES256"))]))

    assert len(tokens) == 0
    with pytest.raises(TokenRefused):
        tokens.verify(text)
    assert tokens.verify(token(algorithm="ES256")).caller.subject == "ann"


def test_the_clock_is_that_of_the_world_unless_given() -> None:
    now = int(time.time())

    assert TokenVerifier([issuer()]).verify(token(iat=now, exp=now + 60)).caller.subject == "ann"


# -- roles, tenants, and what an issuer's tokens must say

MAPPED: dict[str, Any] = {"role_claim": ["realm_access", "roles"], "tenant_claim": "https://shop.example/tenant"}


def test_roles_and_tenant_stand_where_the_settings_say() -> None:
    sent: dict[str, Any] = {"realm_access": {"roles": ["clerk", "", "a\tb"]}, "https://shop.example/tenant": "north"}

    caller = verifier(**MAPPED).verify(token(**sent)).caller

    assert caller.roles == {"clerk"}
    assert caller.tenant == "north"


def test_scopes_may_stand_deeper_and_roles_in_a_text() -> None:
    caller = verifier(scope_claim=["a", "b"], role_claim="role").verify(token(a={"b": "x y"}, role="clerk boss")).caller

    assert caller.scopes == {"x", "y"}
    assert caller.roles == {"clerk", "boss"}
    assert caller.tenant == ""


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"https://shop.example/tenant": "n", "realm_access": {"roles": 1}}, "roles are neither"),
        ({"https://shop.example/tenant": "n", "realm_access": {"roles": None}}, "roles are neither"),
        ({"https://shop.example/tenant": "n", "realm_access": {"roles": [1]}}, "roles are neither"),
        ({}, "tenant"),
        ({"https://shop.example/tenant": ""}, "tenant"),
        ({"https://shop.example/tenant": ["n"]}, "tenant"),
        ({"https://shop.example/tenant": "n\n"}, "tenant"),
        ({"https://shop.example/tenant": "n" * 257}, "tenant"),
    ],
)
def test_roles_and_tenants_that_are_none_are_refused(sent: dict[str, Any], why: str) -> None:
    with pytest.raises(TokenRefused, match=why):
        verifier(**MAPPED).verify(token(**sent))


@pytest.mark.parametrize("sent", [{"realm_access": "clerk"}, {"realm_access": {}}, {}])
def test_a_token_without_roles_grants_none(sent: dict[str, Any]) -> None:
    caller = verifier(**MAPPED).verify(token(**sent | {"https://shop.example/tenant": "n"})).caller

    assert caller.roles == frozenset()


RULES: dict[str, Any] = {
    "require": ["jti", "azp"],
    "match": {"azp": ["web", "app"], "level": [2], "mfa": [True], "groups": ["eu"]},
}
GOOD: dict[str, Any] = {"jti": "1", "azp": "app", "level": 2, "mfa": True, "groups": ["us", "eu"]}


def test_a_token_that_says_what_it_must_is_good() -> None:
    assert verifier(**RULES).verify(token(**GOOD)).caller.subject == "ann"


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": None},
        {"jti": ""},
        {"azp": "ap"},
        {"azp": "APP"},
        {"azp": ["desktop"]},
        {"azp": {"app": 1}},
        {"azp": None},
        {"level": True},
        {"level": 2.0},
        {"level": "2"},
        {"mfa": 1},
        {"mfa": "true"},
        {"groups": []},
        {"groups": [["eu"]]},
    ],
)
def test_a_token_that_does_not_say_what_it_must_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused, match="settings"):
        verifier(**RULES).verify(token(**GOOD | changes))


@pytest.mark.parametrize(
    "table",
    [{"match": {"azp": []}}, {"role_claim": ""}, {"role_claim": []}, {"scope_claim": ["a", ""]}, {"match": "azp"}],
)
def test_rules_that_no_token_could_follow_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        issuer(**table)

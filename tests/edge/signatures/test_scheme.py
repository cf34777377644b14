"""One signed request at a time: what holds, and every way not to."""

import asyncio
import hmac
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import md5, sha512
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.signed import (
    AUTHORITY,
    BODY,
    KEYID,
    NOW,
    PARAMETERS,
    PATH,
    QUERY,
    SECRET,
    TARGET,
    digest,
    mac,
    request,
    signed,
)

from busgate.edge.exchange import Exchange
from busgate.edge.refusal import STORE_UNAVAILABLE, Refusal
from busgate.edge.signatures.scheme import Signatures
from busgate.edge.signatures.settings import SignatureSettings
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.store import Store, StoreUnavailable
from busgate.edge.verified import CredentialRefused, VerifiedCaller

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
WITH_BODY = f'{TARGET} "content-digest"'
BODY_HEADERS = ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
POST = f"POST {PATH}{QUERY} HTTP/1.1"


def sign_ed25519(base: str) -> str:
    return b64encode(PRIVATE.sign(base.encode())).decode()


def scheme(*, store: Store | None = None, now: float = NOW, **settings: Any) -> Signatures:
    keys = [
        {"keyid": KEYID, "subject": "shop", "secret": SECRET, "scopes": ["orders:read"], "roles": ["shop"]},
        {"keyid": "shop-2", "subject": "shop", "secret": "l" * 32},
        {"keyid": "mill-1", "subject": "mill", "public_key": PUBLIC, "issuer": "us", "tenant": "t1"},
        {"keyid": "old-1", "subject": "shop", "secret": SECRET, "not_after": "2020-01-01T00:00:00Z"},
        {"keyid": "new-1", "subject": "shop", "secret": SECRET, "not_before": "2100-01-01T00:00:00Z"},
    ]
    table = SignatureSettings.model_validate({"keys": keys} | settings)
    return Signatures(table, MemoryStore() if store is None else store, clock=lambda: now)


def verify(asked: Exchange, **settings: Any) -> VerifiedCaller:
    found = scheme(**settings).verify(asked)
    assert isinstance(found, VerifiedCaller)
    return found


def body_request(
    *more: str,
    components: str = WITH_BODY,
    content_digest: str = digest(BODY),
    body: bytes = BODY,
    framing: str | None = None,
) -> Exchange:
    """A POST whose signature covers its digest, unless the components say otherwise."""
    values = {"@method": "POST", "content-digest": content_digest}
    framing = framing or f"Content-Length: {len(BODY)}"
    headers = signed(components, values=values)
    return request(*headers, f"Content-Digest: {content_digest}", framing, *more, line=POST, body=body)


def parameters(**changes: str | None) -> str:
    """Those of a good signature, some changed or, by None, left out. Values are as they stand in the header."""
    good: dict[str, str | None] = {"created": str(NOW), "keyid": f'"{KEYID}"', "nonce": '"n-1"'}
    return ";".join(f"{name}={value}" for name, value in (good | changes).items() if value is not None)


@dataclass
class Row:
    name: str
    make: Callable[[], Exchange]
    why: str | None = None
    """A part of the reason for which it is refused; None where it is good."""
    settings: dict[str, Any] = field(default_factory=dict)


def spoilt(change: Callable[[list[str]], list[str]], *arguments: Any, **options: Any) -> Exchange:
    return request(*change(signed(*arguments, **options)))


def with_parameters(**changes: str | None) -> Callable[[], Exchange]:
    return lambda: request(*signed(TARGET, parameters(**changes)))


def with_components(components: str, *more: str, **values: str) -> Callable[[], Exchange]:
    return lambda: request(*signed(components, values=values), *more)


def replaced(old: str, new: str) -> Callable[[], Exchange]:
    """A good signature whose headers were changed afterwards."""
    return lambda: request(*[line.replace(old, new) for line in signed()])


URI = {"@target-uri": f"http://{AUTHORITY}{PATH}{QUERY}", "@scheme": "http"}

GOOD = [
    Row("a request without a body", lambda: request(*signed())),
    Row("@target-uri in place of its parts", lambda: request(*signed('"@method" "@target-uri"', values=URI))),
    Row("both", lambda: request(*signed(f'{TARGET} "@target-uri" "@scheme"', values=URI))),
    Row("in another order", with_components('"@query" "@path" "@method" "@authority"')),
    Row("with a body", body_request),
    Row("with sha-512", lambda: body_request(content_digest=digest(BODY, sha512, "sha-512"))),
    Row("with both", lambda: body_request(content_digest=f"{digest(BODY)}, {digest(BODY, sha512, 'sha-512')}")),
    Row("a body in chunks", lambda: body_request(framing="Transfer-Encoding: chunked")),
    Row(
        "an empty body in chunks",
        lambda: body_request(framing="Transfer-Encoding: chunked", content_digest=digest(b""), body=b""),
    ),
    Row("a body of no bytes", lambda: request(*signed(values={"@method": "POST"}), "Content-Length: 0", line=POST)),
    Row(
        "a digest of nothing",
        lambda: request(*signed(WITH_BODY, values={"content-digest": digest(b"")}), f"Content-Digest: {digest(b'')}"),
    ),
    Row("a header more", with_components(f'{TARGET} "x-shop"', "X-Shop:  a  b\t", **{"x-shop": "a  b"})),
    Row("an empty header", with_components(f'{TARGET} "x-shop"', "X-Shop:", **{"x-shop": ""})),
    Row("a header twice", with_components(f'{TARGET} "x-a"', "X-A: 1", "X-A: 2", **{"x-a": "1, 2"})),
    Row("the oldest", with_parameters(created=str(NOW - 60))),
    Row("the newest", with_parameters(created=str(NOW + 60))),
    Row("expires later", with_parameters(expires=str(NOW + 1))),
    Row("names its algorithm", with_parameters(alg='"hmac-sha256"')),
    Row("any tag", with_parameters(tag='"app"')),
    Row("the tag", with_parameters(tag='"app"'), settings={"tag": "app"}),
    Row("the longest nonce", with_parameters(nonce=f'"{"n" * 128}"')),
    Row(
        "the second key",
        lambda: request(*signed(TARGET, parameters(keyid='"shop-2"'), sign=lambda b: mac(b, "l" * 32))),
    ),
    Row("ed25519", lambda: request(*signed(TARGET, parameters(keyid='"mill-1"'), sign=sign_ed25519))),
    Row("another label", lambda: request(*signed(label="*a-1.b_c*"))),
    Row(
        "behind a proxy",
        lambda: request(*signed(values={"@authority": "shop.example"})),
        settings={"origin": "https://Shop.example:443"},
    ),
    Row(
        "behind a proxy, by target URI",
        lambda: request(
            *signed('"@method" "@target-uri"', values={"@target-uri": f"https://shop.example:8443{PATH}{QUERY}"})
        ),
        settings={"origin": "https://shop.example:8443"},
    ),
    Row(
        "the default port is none",
        lambda: request(*signed(), line=f"GET http://{AUTHORITY}{PATH}{QUERY} HTTP/1.1"),
    ),
    Row(
        "what settings add",
        with_components(f'{TARGET} "x-shop"', "X-Shop: a", **{"x-shop": "a"}),
        settings={"components": ["x-shop"]},
    ),
]

BAD = [
    # what is signed
    Row("nothing covered", with_components(""), "method and target"),
    Row("no method", with_components('"@authority" "@path" "@query"'), "method and target"),
    Row("no authority", with_components('"@method" "@path" "@query"'), "method and target"),
    Row("no path", with_components('"@method" "@authority" "@query"'), "method and target"),
    Row("no query", with_components('"@method" "@authority" "@path"'), "method and target"),
    Row("host is not @authority", with_components('"@method" "host" "@path" "@query"', host=AUTHORITY), "method and"),
    Row("a component twice", with_components(f'{TARGET} "@method"'), "twice"),
    Row("a header twice in the list", with_components(f'{TARGET} "x-a" "x-a"', "X-A: 1", **{"x-a": "1"}), "twice"),
    Row("an unknown component", with_components(f'{TARGET} "@body"'), "not known"),
    Row("of an answer", with_components(f'{TARGET} "@status"'), "not known"),
    Row("@request-target", with_components(f'{TARGET} "@request-target"'), "not known"),
    Row("@signature-params itself", with_components(f'{TARGET} "@signature-params"'), "not known"),
    Row("@query-param", with_components(f'{TARGET} "@query-param";name="limit"'), "not one signature"),
    Row("@query-param without a name", with_components(f'{TARGET} "@query-param"'), "not known"),
    Row("@query-param in place of @query", with_components('"@method" "@authority" "@path" "@query-param";name="limit"'), "not one signature"),
    *[
        Row(f"a component with ;{flag}", with_components(f'{TARGET} "x-a";{flag}', "X-A: 1"), "not one signature")
        for flag in ("sf", "bs", "tr", "req", 'key="a"', "sf;bs", "x")
    ],
    Row("a covered header is missing", with_components(f'{TARGET} "x-shop"'), "not there"),
    Row("a header that is not ASCII", with_components(f'{TARGET} "x-a"', "X-A: \xe9", **{"x-a": "\xe9"}), "not ASCII"),
    Row("a name in upper case", with_components(f'{TARGET} "X-A"', "X-A: 1", **{"X-A": "1"}), "not one signature"),
    Row("what settings add is missing", lambda: request(*signed()), "must be covered", {"components": ["x-shop"]}),
    Row("another method", lambda: request(*signed(), line=f"PUT {PATH}{QUERY} HTTP/1.1"), "wrong"),
    Row("another path", lambda: request(*signed(), line=f"GET /orders/8{QUERY} HTTP/1.1"), "wrong"),
    Row("the path in another spelling", lambda: request(*signed(), line=f"GET /%6frders/7{QUERY} HTTP/1.1"), "wrong"),
    Row("another query", lambda: request(*signed(), line=f"GET {PATH}?limit=11 HTTP/1.1"), "wrong"),
    Row("the query in another order", lambda: request(*signed(), line=f"GET {PATH}?q=a%20b&limit=10 HTTP/1.1"), "wrong"),
    Row("the query in another spelling", lambda: request(*signed(), line=f"GET {PATH}?limit=10&q=a+b HTTP/1.1"), "wrong"),
    Row("another host", lambda: request(*signed(values={"@authority": "other.example"})), "wrong"),
    Row("the host behind the proxy", lambda: request(*signed()), "wrong", {"origin": "https://shop.example"}),
    Row("the scheme is another", lambda: request(*signed('"@method" "@target-uri"', values={"@target-uri": f"https://{AUTHORITY}{PATH}{QUERY}"})), "wrong"),
    # times and names
    Row("too old", with_parameters(created=str(NOW - 61)), "window"),
    Row("from the future", with_parameters(created=str(NOW + 61)), "window"),
    Row("from another age", with_parameters(created="0"), "window"),
    Row("created is missing", with_parameters(created=None), "created is missing"),
    Row("created as text", with_parameters(created=f'"{NOW}"'), "another type"),
    Row("created with a fraction", with_parameters(created=f"{NOW}.5"), "not one signature"),
    Row("created below zero", with_parameters(created=f"-{NOW}"), "not one signature"),
    Row("created with a zero before it", with_parameters(created=f"0{NOW}"), "not one signature"),
    Row("created of 16 digits", with_parameters(created="1" * 16), "not one signature"),
    Row("created as a date", with_parameters(created=f"@{NOW}"), "not one signature"),
    Row("expired", with_parameters(expires=str(NOW)), "expired"),
    Row("expired before it was created", with_parameters(created=str(NOW + 9), expires=str(NOW - 9)), "expired"),
    Row("expires as text", with_parameters(expires=f'"{NOW + 9}"'), "another type"),
    Row("no nonce", with_parameters(nonce=None), "nonce is missing"),
    Row("an empty nonce", with_parameters(nonce='""'), "nonce is missing"),
    Row("a long nonce", with_parameters(nonce=f'"{"n" * 129}"'), "nonce is missing, empty or too long"),
    Row("a nonce that is a number", with_parameters(nonce="7"), "another type"),
    Row("a nonce with an escape", with_parameters(nonce='"a\\"b"'), "not one signature"),
    Row("a nonce with a tab", with_parameters(nonce='"a\tb"'), "not one signature"),
    Row("a nonce that is not ASCII", with_parameters(nonce='"\xe9"'), "not one signature"),
    Row("a nonce that is a token", with_parameters(nonce="abc"), "not one signature"),
    Row("no keyid", with_parameters(keyid=None), "keyid is missing"),
    Row("an empty keyid", with_parameters(keyid='""'), "keyid is missing"),
    Row("a keyid with an escaped quote", with_parameters(keyid='"shop\\"1"'), "not one signature"),
    Row("an unknown key", with_parameters(keyid='"eve-1"'), "not known"),
    Row("a keyid in another case", with_parameters(keyid='"SHOP-1"'), "not known"),
    Row("a keyid with a blank", with_parameters(keyid='"shop-1 "'), "not known"),
    Row("a key of the past", with_parameters(keyid='"old-1"'), "not known, not good now"),
    Row("a key of the future", with_parameters(keyid='"new-1"'), "not known, not good now"),
    Row("another algorithm", with_parameters(alg='"ed25519"'), "another algorithm"),
    Row("no algorithm", with_parameters(alg='"none"'), "another algorithm"),
    Row("an algorithm in upper case", with_parameters(alg='"HMAC-SHA256"'), "another algorithm"),
    Row("an algorithm that is a token", with_parameters(alg="hmac-sha256"), "not one signature"),
    Row("a MAC by a public key", lambda: request(*signed(TARGET, parameters(keyid='"mill-1"'), sign=lambda base: mac(base, PUBLIC))), "another algorithm"),
    Row("a key of another caller", lambda: request(*signed(TARGET, parameters(keyid='"shop-2"'))), "wrong"),
    Row("no tag", lambda: request(*signed()), "tag", {"tag": "app"}),
    Row("another tag", with_parameters(tag='"App"'), "tag", {"tag": "app"}),
    Row("an unknown parameter", with_parameters(aud='"us"'), "unknown"),
    Row("a parameter without a value", lambda: request(*signed(TARGET, PARAMETERS + ";tag")), "not one signature"),
    Row("a parameter twice", lambda: request(*signed(TARGET, PARAMETERS + ';nonce="n-2"')), "twice"),
    Row("created twice", lambda: request(*signed(TARGET, PARAMETERS + f";created={NOW}")), "twice"),
    Row("blanks between parameters", lambda: request(*signed(TARGET, PARAMETERS.replace(";", "; "))), "not one signature"),
    Row("blanks in the list", with_components(f" {TARGET}"), "not one signature"),
    Row("two blanks in the list", with_components(TARGET.replace(" ", "  ")), "not one signature"),
    # the headers
    Row("Signature alone", lambda: spoilt(lambda lines: lines[1:]), "no Signature-Input"),
    Row("Signature-Input alone", lambda: spoilt(lambda lines: lines[:1]), "no Signature"),
    Row("both empty", lambda: request("Signature-Input:", "Signature:"), "not one signature"),
    Row("labels that differ", lambda: request(signed()[0], signed(label="other")[1]), "not the one"),
    Row("a label in upper case", lambda: request(*signed(label="Sig")), "not one signature"),
    Row("two signatures", lambda: request(*[f"{a}, {b.partition(': ')[2]}" for a, b in zip(signed(), signed(label="two"), strict=True)]), "not one signature"),
    Row("two signatures, one input", lambda: request(signed()[0], f"{signed()[1]}, two=:AAAA:"), "not the one"),
    Row("one label twice", lambda: request(*[f"{line}, {line.partition(': ')[2]}" for line in signed()]), "not one signature"),
    Row("a member more", lambda: request(signed()[0] + ", a=1", signed()[1]), "not one signature"),
    Row("a comma at the end", lambda: request(signed()[0] + ",", signed()[1]), "not one signature"),
    Row("a huge header", with_parameters(tag=f'"{"t" * 2000}"'), "too long"),
    Row("a signature that is no byte sequence", replaced("sig=:", "sig="), "not the one"),
    Row("a signature as text", lambda: request(signed()[0], 'Signature: sig="abc"'), "not the one"),
    Row("an empty signature", lambda: request(signed()[0], "Signature: sig=::"), "not the one"),
    Row("a signature with a parameter", lambda: request(signed()[0], signed()[1] + ";a=1"), "not the one"),
    Row("a signature in base64url", lambda: request(signed()[0], "Signature: sig=:" + "-_" * 21 + "A=:"), "not the one"),
    Row("a signature without padding", lambda: spoilt(lambda lines: [lines[0], lines[1].replace("=:", ":")]), "not the one|length"),
    Row("a signature cut short", lambda: request(signed()[0], "Signature: sig=:AAAA:"), "length"),
    Row("a signature of another length", lambda: request(signed()[0], f"Signature: sig=:{'A' * 86}==:"), "another algorithm"),
    Row("spare bits in Base64", lambda: request(signed()[0], spare_bits(signed()[1])), "wrong"),
    Row("spare bits of ed25519", lambda: spoilt(lambda lines: [lines[0], spare_bits(lines[1], 16)], TARGET, parameters(keyid='"mill-1"'), sign=sign_ed25519), "spare bits"),
    Row("an ed25519 signature that is wrong", lambda: spoilt(lambda lines: [lines[0], f"Signature: sig=:{'A' * 86}==:"], TARGET, parameters(keyid='"mill-1"')), "wrong"),
    # the body
    Row("a body that is not covered", lambda: body_request(components=TARGET), "body is not covered"),
    Row("chunks that are not covered", lambda: body_request(components=TARGET, framing="Transfer-Encoding: chunked"), "body is not covered"),
    Row("covered, but there is no digest", with_components(WITH_BODY), "Content-Digest is not"),
    Row("md5", lambda: body_request(content_digest=digest(BODY, md5, "md5")), "by sha-256 or sha-512"),
    Row("md5 beside sha-256", lambda: body_request(content_digest=f"{digest(BODY)}, {digest(BODY, md5, 'md5')}"), "by sha-256"),
    Row("a digest twice", lambda: body_request(content_digest=f"{digest(BODY)}, {digest(BODY)}"), "by sha-256"),
    Row("a digest twice, one of them wrong", lambda: body_request(content_digest=f"{digest(BODY)}, {digest(b'')}"), "by sha-256"),
    Row("a digest in upper case", lambda: body_request(content_digest=digest(BODY).replace("sha", "SHA")), "by sha-256"),
    Row("a digest as text", lambda: body_request(content_digest='sha-256="abc"'), "by sha-256"),
    Row("a digest with a parameter", lambda: body_request(content_digest=digest(BODY) + ";a=1"), "by sha-256"),
    Row("a digest and a comma", lambda: body_request(content_digest=digest(BODY) + ", "), "by sha-256|content"),
    Row("an empty digest", lambda: body_request(content_digest="sha-256=::"), "by sha-256"),
    Row("a digest in hex", lambda: body_request(content_digest="sha-256=:" + "ab" * 32 + ":"), "content"),
    Row("a digest of another body", lambda: body_request(body=BODY + b" "), "content"),
    Row("a digest of another length", lambda: body_request(content_digest=digest(BODY, sha512, "sha-256")), "content"),
    Row("one of two digests wrong", lambda: body_request(content_digest=f"{digest(BODY)}, {digest(b'', sha512, 'sha-512')}"), "content"),
    Row("a digest with spare bits", lambda: body_request(content_digest=spare_bits(digest(BODY))), "content"),
    Row("a body that was taken away", lambda: body_request(body=b"", framing="Content-Length: 0"), "content"),
]  # fmt: skip


def spare_bits(line: str, step: int = 1) -> str:
    """Another spelling of the Base64 at the end of a line: its last letter with bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(line.rstrip("=:")) - 1
    return line[:at] + alphabet[alphabet.index(line[at]) ^ (1 if step == 1 else 15)] + line[at + 1 :]


def judge(row: Row) -> str:
    """The name of who signed, after its body was looked at too."""
    asked = row.make()
    caller = verify(asked, **row.settings)
    assert asked.signed is not None
    if not asked.signed.is_of(asked.body):
        raise CredentialRefused("content")
    return caller.caller.subject


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_a_signature_that_holds_names_its_caller(row: Row) -> None:
    assert judge(row) in ("shop", "mill")


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_a_signature_that_does_not_hold_is_refused(row: Row) -> None:
    with pytest.raises(CredentialRefused, match=row.why):
        judge(row)


def test_no_reason_holds_anything_that_was_sent() -> None:
    for row in BAD:
        with pytest.raises(CredentialRefused) as caught:
            judge(row)

        assert not any(word in str(caught.value) for word in ("eve-1", "SHOP-1", "n-1", "other.example", "AAAA"))


def test_a_caller_is_what_was_written_down_for_its_key() -> None:
    shop = verify(request(*signed()))
    mill = verify(request(*signed(TARGET, parameters(keyid='"mill-1"'), sign=sign_ed25519)))

    assert (shop.caller.issuer, *shop.scopes, *shop.caller.roles) == ("busgate", "orders:read", "shop")
    assert (mill.caller.issuer, mill.caller.tenant, mill.scopes) == ("us", "t1", frozenset())
    assert (shop.scheme, shop.credential, mill.credential) == ("signature", KEYID, "mill-1")


# -- replays


def test_a_signature_is_good_once() -> None:
    store = MemoryStore()
    verify(request(*signed()), store=store)

    with pytest.raises(CredentialRefused, match="nonce"):
        verify(request(*signed()), store=store)


def test_two_keys_may_have_one_nonce() -> None:
    store = MemoryStore()
    other = signed(TARGET, parameters(keyid='"shop-2"'), sign=lambda base: mac(base, "l" * 32))

    assert verify(request(*signed()), store=store).credential == KEYID
    assert verify(request(*other), store=store).credential == "shop-2"


def test_a_wrong_signature_uses_no_nonce_up() -> None:
    store = MemoryStore()
    with pytest.raises(CredentialRefused):
        verify(request(*signed(sign=lambda base: mac(base, "x" * 32))), store=store)

    assert len(store) == 0
    assert verify(request(*signed()), store=store).credential == KEYID


@pytest.mark.parametrize("age", [-60, 0, 60])
def test_a_nonce_is_remembered_for_as_long_as_its_signature_could_hold(age: int) -> None:
    class Noting(MemoryStore):
        ttl = 0.0

        def once(self, key: str, ttl: float) -> bool:
            self.ttl = ttl
            return super().once(key, ttl)

    store = Noting()
    verify(request(*signed(TARGET, parameters(created=str(NOW - age)))), store=store)

    assert store.ttl >= 60 - age
    assert store.ttl < 60 - age + 2


class Far(MemoryStore):
    """A store that must be waited for."""

    def __init__(self, answer: bool | StoreUnavailable) -> None:
        super().__init__()
        self.answer = answer

    def once(self, key: str, ttl: float) -> Any:
        async def answer() -> bool:
            await asyncio.sleep(0)
            if isinstance(self.answer, StoreUnavailable):
                raise self.answer
            return self.answer

        return answer()


class Away(MemoryStore):
    def once(self, key: str, ttl: float) -> bool:
        raise StoreUnavailable("away")


async def waited(asked: Exchange, store: Store) -> VerifiedCaller:
    found = scheme(store=store).verify(asked)
    assert isinstance(found, Awaitable)
    return await found


async def test_a_store_that_is_far_away_is_waited_for() -> None:
    assert (await waited(request(*signed()), Far(answer=True))).credential == KEYID
    with pytest.raises(CredentialRefused, match="nonce"):
        await waited(request(*signed()), Far(answer=False))


async def test_without_its_store_no_signature_is_taken() -> None:
    with pytest.raises(Refusal) as far:
        await waited(request(*signed()), Far(StoreUnavailable("away")))
    with pytest.raises(Refusal) as near:
        verify(request(*signed()), store=Away())

    assert far.value.kind is near.value.kind is STORE_UNAVAILABLE


# -- what costs


def test_every_key_and_none_costs_one_check_of_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = hmac.digest

    def counted(*arguments: Any) -> bytes:
        made.append(1)
        return real(*arguments)

    monkeypatch.setattr(hmac, "digest", counted)
    costs = []
    for keyid in (KEYID, "eve-1", "old-1", "new-1", "mill-1"):
        lines = signed(TARGET, parameters(keyid=f'"{keyid}"'), sign=lambda _: "A" * 43 + "=")
        made.clear()
        with pytest.raises(CredentialRefused):
            verify(request(*lines))
        costs.append(len(made))

    assert costs == [1, 1, 1, 1, 1]


def test_lists_of_components_are_remembered_only_once_they_held() -> None:
    signatures = scheme()
    for number in range(300):
        lines = signed(f'{TARGET} "x-{number}"', sign=lambda _: "A" * 43 + "=")
        with pytest.raises(CredentialRefused):
            signatures.verify(request(*lines, f"X-{number}:"))
    signatures.verify(request(*signed()))

    assert list(signatures._coverages) == [f"({TARGET})"]

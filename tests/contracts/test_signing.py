"""What a Signer makes, judged by an implementation of RFC 9421 that is not ours, and what it refuses to sign."""

import io
import subprocess
import sys
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from http_message_signatures.exceptions import InvalidSignature
from support.signed import request

from busgate.contracts.signing import Signer
from busgate.edge.signatures.scheme import Signatures
from busgate.edge.signatures.settings import SignatureSettings
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.verified import CredentialRefused, VerifiedCaller

SECRET = "0123456789abcdef" * 2
URL = "https://API.shop.example:443/orders/a%20b?q=1&q=%C3%A4"
BODY = b'{"sku":"A-1"}'
HEADERS = {"Content-Type": "application/json"}


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: Any) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> Any:
        return self._key

    def resolve_private_key(self, key_id: str) -> Any:
        return self._key


class Message:
    """A request as the other implementation wants it."""

    def __init__(self, method: str, url: str, headers: dict[str, str]) -> None:
        self.method, self.url, self.headers = method, url, headers


def verify(signer: Signer, key: Any, algorithm: Any, body: bytes, *, received: bytes | None = None) -> set[str]:
    """What the other implementation says is covered."""
    headers = HEADERS | signer.headers("post", URL, body, HEADERS)
    verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys(key))
    (result,) = verifier.verify(Message("POST", URL, headers), body=body if received is None else received)
    return {name.strip('"') for name in result.covered_components}


@pytest.mark.parametrize("body", [BODY, b""])
@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519"])
def test_others_understand_what_it_signs(algorithm: str, body: bytes) -> None:
    private = Ed25519PrivateKey.generate()
    signer, key, kind = {
        "hmac-sha256": (Signer("k", SECRET), SECRET.encode(), algorithms.HMAC_SHA256),
        "ed25519": (Signer("k", private.sign, tag="app"), private.public_key(), algorithms.ED25519),
    }[algorithm]

    covered = verify(signer, key, kind, body)

    assert covered >= {"@method", "@authority", "@path", "@query", "content-type", "@signature-params"}
    assert ("content-digest" in covered) is bool(body)


def test_others_refuse_what_it_did_not_sign() -> None:
    with pytest.raises(InvalidSignature):
        verify(Signer("k", SECRET), b"x" * 32, algorithms.HMAC_SHA256, BODY)
    with pytest.raises(InvalidSignature):
        verify(Signer("k", SECRET), SECRET.encode(), algorithms.HMAC_SHA256, BODY, received=BODY + b" ")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_secret_may_be_what_a_file_holds_with_the_end_of_its_line(end: str) -> None:
    assert verify(Signer("k", SECRET + end), SECRET.encode(), algorithms.HMAC_SHA256, BODY)


@pytest.mark.parametrize("covered", [("@method", "@target-uri"), ("@method", "@authority", "@path", "@query")])
def test_an_edge_takes_what_others_sign(covered: tuple[str, ...]) -> None:
    url = "https://shop.example/orders/7?limit=10"
    message = Message("POST", url, {"Host": "shop.example", **HEADERS})
    theirs = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys(SECRET.encode()))
    theirs.sign(message, key_id="k", nonce="n", covered_component_ids=covered, body=BODY)
    settings = {"keys": [{"keyid": "k", "subject": "shop", "secret": SECRET}], "origin": "https://shop.example"}
    scheme = Signatures(SignatureSettings.model_validate(settings), MemoryStore())
    del message.headers["Host"]

    def sent(body: bytes) -> Any:
        lines = [f"{name}: {value}" for name, value in message.headers.items()]
        line = "POST /orders/7?limit=10 HTTP/1.1"
        return request(*lines, f"Content-Length: {len(BODY)}", line=line, body=body)

    asked = sent(BODY)
    found = scheme.verify(asked)

    assert isinstance(found, VerifiedCaller)
    assert asked.signed is not None
    assert asked.signed.is_of(BODY)
    assert not asked.signed.is_of(BODY + b" ")
    with pytest.raises(CredentialRefused):
        scheme.verify(sent(BODY))


def test_each_signature_is_another() -> None:
    signer = Signer("k", SECRET)

    assert signer.headers("GET", URL) != signer.headers("GET", URL)


def test_more_headers_are_covered_where_they_are_sent() -> None:
    signer = Signer("k", SECRET, covered=("X-Shop",))

    assert '"x-shop"' in signer.headers("GET", URL, b"", {"x-shop": " a "})["Signature-Input"]
    assert '"x-shop"' not in signer.headers("GET", URL)["Signature-Input"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Signer("k", "short"),
        lambda: Signer("k", b"x" * 31),
        lambda: Signer('a"b', SECRET),
        lambda: Signer("a\\b", SECRET),
        lambda: Signer("a\nb", SECRET),
        lambda: Signer("ä", SECRET),
        lambda: Signer("k", SECRET, tag='"'),
        lambda: Signer("k", SECRET).headers("GET", "/orders"),
        lambda: Signer("k", SECRET).headers("GET", "https:///orders"),
        lambda: Signer("k", SECRET).headers("GET", "ftp://shop.example/"),
        lambda: Signer("k", SECRET).headers("GET", "https://shop.example/a b"),
        lambda: Signer("k", SECRET).headers("GET", "https://shop.example/ä"),
        lambda: Signer("k", SECRET).headers("GET", "https://shop.example/a\nb"),
        lambda: Signer("k", SECRET).headers("GET", URL, b"", {"Content-Type": "a\nb"}),
        lambda: Signer("k", SECRET).headers("GET", URL, b"", {"Content-Type": "ä"}),
    ],
)
def test_what_cannot_be_sent_as_it_is_is_not_signed(make: Any) -> None:
    with pytest.raises(ValueError, match=r"secret|plain|URL"):
        make()


@pytest.mark.parametrize("body", [iter([b"a"]), io.BytesIO(b"a")], ids=["generator", "file"])
def test_a_body_that_is_streamed_is_refused_with_the_cure(body: Any) -> None:
    streamed = requests.Request("POST", URL, data=body, auth=Signer("k", SECRET))

    with pytest.raises(ValueError, match="give it as a whole, as bytes"):
        streamed.prepare()


def test_signing_needs_nothing_but_python() -> None:
    code = "import sys, busgate.contracts.signing; print(*({'aiohttp', 'cryptography', 'jwt', 'requests', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == []

"""The examples of the standards that apply: RFC 9421, appendix B (keys of B.1, requests of B.2), and RFC 9530."""

from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from support.signed import request

from busgate.contracts import Caller
from busgate.edge.signatures.components import Coverage, Origin
from busgate.edge.signatures.content import SignedContent
from busgate.edge.signatures.fields import read_digests
from busgate.edge.signatures.keys import SigningKey
from busgate.edge.verified import VerifiedCaller

NOBODY = VerifiedCaller(Caller("nobody"), 0.0, "signature")
SHARED_SECRET = b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
BODY = b'{"hello": "world"}'
DIGEST = b"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
B25 = ["date", "@authority", "content-type"], ';created=1618884473;keyid="test-shared-secret"'
B26 = (
    ["date", "@method", "@path", "@authority", "content-type", "content-length"],
    ';created=1618884473;keyid="test-key-ed25519"',
)


def base(names: list[str], tail: str) -> bytes:
    asked = request(
        "Date: Tue, 20 Apr 2021 02:07:55 GMT",
        "Content-Type: application/json",
        "Content-Digest: " + DIGEST.decode(),
        "Content-Length: 18",
        line="POST http://api.example.com/foo?param=Value&Pet=dog HTTP/1.1",
    )
    text = "(" + " ".join(f'"{name}"' for name in names) + ")" + tail
    return Coverage(names).base(asked, Origin("https://example.com"), text)


def test_b_2_5_a_request_signed_by_hmac_sha256() -> None:
    key = SigningKey(NOBODY, SHARED_SECRET)

    assert base(*B25).decode() == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )
    assert key.check(base(*B25), b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=")
    assert not key.check(base(*B25) + b" ", b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=")


def test_b_2_6_a_request_signed_by_ed25519() -> None:
    public = load_pem_public_key(PUBLIC_KEY.encode())
    assert isinstance(public, Ed25519PublicKey)
    signature = b"wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    key = SigningKey(NOBODY, public)

    assert key.check(base(*B26), signature)
    assert not key.check(base(*B26) + b" ", signature)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("@method", '"@method": POST'),
        ("@target-uri", '"@target-uri": https://example.com/foo?param=Value&Pet=dog'),
        ("@authority", '"@authority": example.com'),
        ("@scheme", '"@scheme": https'),
        ("@path", '"@path": /foo'),
        ("@query", '"@query": ?param=Value&Pet=dog'),
        ("content-length", '"content-length": 18'),
    ],
)
def test_2_2_components_are_what_the_standard_says(name: str, value: str) -> None:
    assert base([name], ";x").decode().splitlines()[0] == value


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        ("GET /path HTTP/1.1", "/path", "?"),
        ("GET /path? HTTP/1.1", "/path", "?"),
        ("GET /path?queryString HTTP/1.1", "/path", "?queryString"),
        ("GET /path?param=value&foo=bar&baz=bat%2Dman HTTP/1.1", "/path", "?param=value&foo=bar&baz=bat%2Dman"),
        ("GET http://api.example.com HTTP/1.1", "/", "?"),
        ("GET http://api.example.com?a HTTP/1.1", "/", "?a"),
        ("GET /a%20b?c%20d HTTP/1.1", "/a%20b", "?c%20d"),
        ("GET /a?b?c HTTP/1.1", "/a", "?b?c"),
    ],
)
def test_2_2_6_path_and_query_are_as_they_were_sent(line: str, path: str, query: str) -> None:
    made = Coverage(["@path", "@query"]).base(request(line=line), Origin(), "").decode().splitlines()

    assert made[:2] == [f'"@path": {path}', f'"@query": {query}']


def test_rfc_9530_digests_of_the_example() -> None:
    of_sha_256 = b"sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"

    for digest in (DIGEST, of_sha_256, DIGEST + b", " + of_sha_256):
        assert SignedContent(frozenset(), read_digests(digest)).is_of(BODY)
        assert not SignedContent(frozenset(), read_digests(digest)).is_of(BODY + b"\n")

"""Signs HTTP requests (RFC 9421, HTTP Message Signatures) for whoever calls an edge. Needs nothing but Python.

It works with any client: `headers` gives what to send along, and a Signer is an `auth` of requests and httpx
and has a middleware for aiohttp. What is signed: method, host, path, query, the body and its type.
"""

import hmac
import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

SECRET_BYTES = 32
"""As many as the hash has."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Signer:
    """Signs for one caller.

    Args:
        keyid: the name under which the edge knows the key.
        secret: shared with the edge, at least 32 bytes: the signature is an HMAC (`hmac-sha256`). Line ends after
            a text do not count, as at the edge: it may be what a file holds. Or, for `ed25519`, what signs: the
            method `sign` of a private key.
        tag: what the signatures are for, where the edge asks for it.
        covered: names of more headers that are signed, where a request has them.

    Raises:
        ValueError: the secret is too short, or keyid or tag have letters that cannot stand in a header.
    """

    def __init__(
        self,
        keyid: str,
        secret: str | bytes | Callable[[bytes], bytes],
        *,
        tag: str | None = None,
        covered: tuple[str, ...] = (),
    ) -> None:
        self._end = f';keyid="{_plain(keyid)}"' + ("" if tag is None else f';tag="{_plain(tag)}"')
        self._covered = ("content-type", *(name.lower() for name in covered))
        if callable(secret):
            self._sign = secret
        else:
            self._sign = _mac(secret.rstrip("\r\n").encode() if isinstance(secret, str) else secret)

    def headers(
        self, method: str, url: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """What to send along with one request. Each signature is good once, and for a minute or so.

        Args:
            method: of HTTP.
            url: exactly as it is sent: with its query, its letters escaped.
            body: exactly as it is sent.
            headers: that are sent; those that are covered are signed.

        Raises:
            ValueError: the URL or a header cannot be sent as it is, or the body is a stream.
        """
        authority, path, query = _split(url)
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        parts = {"@method": method.upper(), "@authority": authority, "@path": path, "@query": query}
        parts |= {name: _plain(sent[name].strip(), quoted=False) for name in self._covered if name in sent}
        made = {}
        if body:
            digest = sha256(_whole(body)).digest()
            parts["content-digest"] = made["Content-Digest"] = f"sha-256={_bytes(digest)}"
        names = " ".join(f'"{name}"' for name in parts)
        once = f';created={int(time.time())};nonce="{secrets.token_urlsafe(16)}"'
        parts["@signature-params"] = f"({names}){once}{self._end}"
        base = "\n".join(f'"{name}": {value}' for name, value in parts.items())
        made["Signature-Input"] = f"sig={parts['@signature-params']}"
        made["Signature"] = f"sig={_bytes(self._sign(base.encode('ascii')))}"
        return made

    def __call__(self, request: Any) -> Any:
        """Sign a request of requests or httpx: `requests.post(url, json=order, auth=signer)`."""
        content = request.content if hasattr(request, "content") else request.body  # httpx has the first
        request.headers.update(self.headers(request.method, str(request.url), content or b"", request.headers))
        return request

    async def middleware(self, request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        """Sign the requests of aiohttp: `aiohttp.ClientSession(middlewares=[signer.middleware])`."""
        body = await request.body.as_bytes() if request.body else b""
        request.headers.update(self.headers(request.method, str(request.url), body, request.headers))
        return await send(request)


def _mac(secret: bytes) -> Callable[[bytes], bytes]:
    if len(secret) < SECRET_BYTES:
        raise ValueError(f"a secret has at least {SECRET_BYTES} bytes, this one {len(secret)}")
    return lambda base: hmac.digest(secret, base, "sha256")


def _whole(body: object) -> bytes:
    """A body as bytes; clients let it be a file or a generator too."""
    if not isinstance(body, str | bytes | bytearray | memoryview):
        raise ValueError("a body that is streamed cannot be signed: give it as a whole, as bytes")  # noqa: TRY004 - as all that cannot be signed
    return body.encode() if isinstance(body, str) else bytes(body)


def _split(url: str) -> tuple[str, str, str]:
    """Host, path and query as RFC 9421 wants them."""
    parts = urlsplit(url)
    whole = parts.scheme in _DEFAULT_PORTS and parts.netloc
    if not whole or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL must be as it is sent: http:// or https://, its letters escaped")
    authority = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
    return authority, parts.path or "/", f"?{parts.query}"


def _plain(text: str, *, quoted: bool = True) -> str:
    """A text that stands in a signature as it is."""
    if not text.isascii() or not text.isprintable() or (quoted and ('"' in text or "\\" in text)):
        raise ValueError("what is signed must be plain ASCII, names without quotes and backslashes")
    return text


def _bytes(data: bytes) -> str:
    """A byte sequence of a structured field (RFC 9651)."""
    return f":{b64encode(data).decode()}:"

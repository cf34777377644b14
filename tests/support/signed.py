"""Signed requests for tests: a signer that can be told to do everything wrong, and requests as the edge gets them."""

import asyncio
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD

from busgate.edge.exchange import Exchange
from busgate.edge.front_door import check
from busgate.edge.parsing import new_parser
from busgate.edge.request import Origin, Request

NOW = 1_900_000_000
KEYID, SECRET = "shop-1", "k" * 32
AUTHORITY, PATH, QUERY = "api.example.com", "/orders/7", "?limit=10&q=a%20b"
TARGET = '"@method" "@authority" "@path" "@query"'
PARAMETERS = f'created={NOW};keyid="{KEYID}";nonce="n-1"'
BODY = b'{"sku":"A-1"}'


class Plain:
    """A connection without TLS."""

    peer = "127.0.0.1"
    transport: asyncio.Transport | None = None

    def send_continue(self) -> None:
        raise AssertionError("nobody reads a body here")


def request(*headers: str, line: str = f"GET {PATH}{QUERY} HTTP/1.1", body: bytes = b"") -> Exchange:
    """A request that came through the front door, and its body."""
    loop = asyncio.new_event_loop()
    try:
        lines = [line, f"Host: {AUTHORITY}", *headers, "", ""]
        messages, _, _ = new_parser(BaseProtocol(loop), loop).feed_data("\r\n".join(lines).encode("latin-1"))
    finally:
        loop.close()
    made = Exchange(Request(b"0" * 32, messages[0][0], EMPTY_PAYLOAD, cast(Origin, Plain())), 0.0)
    made.head = check(messages[0][0])
    made.body = body
    return made


def digest(body: bytes, hashed: Callable[[bytes], Any] = sha256, name: str = "sha-256") -> str:
    return f"{name}=:{b64encode(hashed(body).digest()).decode()}:"


def mac(base: str, secret: str = SECRET) -> str:
    return b64encode(hmac.digest(secret.encode(), base.encode("latin-1"), "sha256")).decode()


def signed(
    components: str = TARGET,
    parameters: str = PARAMETERS,
    *,
    values: Mapping[str, str] | None = None,
    sign: Callable[[str], str] = mac,
    label: str = "sig",
) -> list[str]:
    """The two headers of a signature over these components, whatever they are.

    Args:
        components: the list, as it stands in the header.
        parameters: behind it, without the first semicolon.
        values: of components, where they differ from those of `request()`.
        sign: makes the signature of a text.
    """
    known = {"@method": "GET", "@authority": AUTHORITY, "@path": PATH, "@query": QUERY} | dict(values or {})
    parsed = [part for part in components.split(" ") if part]
    lines = [f"{part}: {known.get(part.partition(';')[0].strip(chr(34)), '')}" for part in parsed]
    text = f"({components});{parameters}"
    base = "\n".join([*lines, f'"@signature-params": {text}'])
    return [f"Signature-Input: {label}={text}", f"Signature: {label}=:{sign(base)}:"]

"""The front door: what a request must be before anything else looks at it. Pure; no I/O.

The parser has already refused what is not HTTP. Here goes what is HTTP, but has two readings, or would mean
one thing to a proxy in front and another to us (docs: THREAT_MODEL.md).
"""

import functools
import re
from dataclasses import dataclass

from aiohttp.http import HttpVersion11, RawRequestMessage

from .refusal import (
    BAD_REQUEST,
    EXPECTATION_FAILED,
    MISDIRECTED,
    NOT_IMPLEMENTED,
    UNSUPPORTED_MEDIA_TYPE,
    VERSION_NOT_SUPPORTED,
    Refusal,
)
from .target import split_target

SINGLE = frozenset(
    {
        b"authorization",
        b"content-digest",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"if-unmodified-since",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"signature",
        b"signature-input",
        b"transfer-encoding",
        b"user-agent",
        b"x-api-key",
    }
)
"""Headers that stand once or not at all: which of two would be believed is anybody's guess."""

KEPT = SINGLE | {b"forwarded", b"x-forwarded-for"}
"""Headers that something here may decide by. Listed in Connection they would be for one hop alone (RFC 9110, 7.6.1):
whoever follows that would take away what a proxy in front has said, or what was looked at there."""

_SPECIAL = frozenset({b"connection", b"content-encoding", b"expect", b"transfer-encoding"})
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
_OPTION = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]*")
_HOST = re.compile(rb"((?:[A-Za-z0-9][A-Za-z0-9._-]{0,253}|\[[0-9A-Fa-f:.]{2,45}\]))(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What differs between doors.

    Args:
        hosts: the lower-case authorities that are served, with or without a port; empty: any.
        single: the headers that may stand only once; those that contracts read belong to them.
        kept: the headers that Connection may not list.
    """

    hosts: frozenset[bytes] = frozenset()
    single: frozenset[bytes] = SINGLE
    kept: frozenset[bytes] = KEPT


class Head:
    """The head of a request that came through the front door.

    `path` is decoded, `query` is raw (see `target.query_pairs`), `headers` has lower-case names and raw
    values; a header that was repeated and may be has its values joined by a comma.
    """

    __slots__ = ("headers", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[bytes, bytes]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers


DEFAULT_RULES = DoorRules()


def check(message: RawRequestMessage, rules: DoorRules = DEFAULT_RULES) -> Head:
    """Let a parsed request head in.

    Raises:
        Refusal: it has two readings, or asks for what is not done here.
    """
    if message.version != HttpVersion11:
        raise Refusal(VERSION_NOT_SUPPORTED, close=True)
    headers: dict[bytes, bytes] = {}
    for raw_name, value in message.raw_headers:
        name = raw_name.lower()
        if name in headers:
            headers[name] = _join(name, headers[name], value, rules)
        else:
            headers[name] = value
    if b"_" in b"".join(headers):
        raise Refusal(BAD_REQUEST, "a header name has an underscore")
    host = headers.get(b"host", b"")
    if not _is_host(host):
        raise Refusal(BAD_REQUEST, "the Host header is not one host", close=True)
    if rules.hosts and not _is_served(host, rules.hosts):
        raise Refusal(MISDIRECTED)
    if not _SPECIAL.isdisjoint(headers):
        _check_special(headers, rules)
    path, query = split_target(message.path, host)
    return Head(message.method, path, query, headers)


def head_size(message: RawRequestMessage) -> int:
    """Bytes of the request line and all headers, near enough for a limit."""
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def _join(name: bytes, first: bytes, second: bytes, rules: DoorRules) -> bytes:
    if name in rules.single:
        raise Refusal(BAD_REQUEST, f"the header {name.decode()} stands twice", close=True)
    return first + b", " + second


def has_body(headers: dict[bytes, bytes]) -> bool:
    """Whether a body belongs to a head; one of chunks may turn out empty."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


@functools.lru_cache(maxsize=256)
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


@functools.lru_cache(maxsize=256)
def _is_served(host: bytes, hosts: frozenset[bytes]) -> bool:
    matched = _HOST.fullmatch(host.lower())
    return matched is not None and (matched[0] in hosts or matched[1] in hosts)


def _check_special(headers: dict[bytes, bytes], rules: DoorRules) -> None:
    connection = headers.get(b"connection", b"close")
    if connection not in _PLAIN_CONNECTION:
        listed = {token.strip(b" \t") for token in connection.lower().split(b",")}
        if not all(map(_OPTION.fullmatch, listed)):
            raise Refusal(BAD_REQUEST, "the Connection header is no list of names", close=True)
        if not rules.kept.isdisjoint(listed):
            raise Refusal(BAD_REQUEST, "the Connection header lists a header that is not its own", close=True)
    if b"transfer-encoding" in headers:
        if b"content-length" in headers:
            raise Refusal(BAD_REQUEST, "Content-Length and Transfer-Encoding stand together", close=True)
        if headers[b"transfer-encoding"].lower() != b"chunked":
            raise Refusal(NOT_IMPLEMENTED, close=True)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(UNSUPPORTED_MEDIA_TYPE, "a body is taken only without content coding")
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Refusal(EXPECTATION_FAILED)

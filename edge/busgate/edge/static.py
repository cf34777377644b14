"""Answers that never change while a process runs: encoded once, at start, and known by their ETag."""

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping

from .response import CLOSE, END, Response, header_block

_REFUSED = re.compile(rb"q=0(\.0*)?")
_WORTH_IT = 1024
"""Bytes below which a compressed body is not worth its headers."""


class StaticResponse(Response):
    """One encoding of a static file, or the word (304) that a client has it already."""

    __slots__ = ("_head",)

    def __init__(self, status: int, body: bytes, head: bytes) -> None:
        super().__init__(status, body)
        self._head = head

    def encode(
        self,
        request_id: bytes,
        date: bytes,
        *,
        close: bool,
        with_body: bool = True,
        standard: bytes = b"",  # noqa: ARG002 - as in the base class
    ) -> bytes:
        """The answer as it goes on the wire; `standard` is left out: the file has its own."""
        body = self.body if with_body else b""
        return b"%sDate: %s\r\nX-Request-Id: %s\r\n%s%s" % (self._head, date, request_id, CLOSE if close else END, body)


class StaticFile:
    """A body that is the same for everybody.

    Args:
        body: the whole of it.
        content_type: of it.
        headers: more headers.
    """

    __slots__ = ("_gzip", "_plain")

    def __init__(self, body: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        tag = hashlib.sha256(body).hexdigest()[:32]
        more = [
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-cache"),
            ("Vary", "Accept-Encoding"),
            *headers,
        ]
        self._plain = _Encoded(body, content_type, f'"{tag}"', more)
        self._gzip = self._plain
        if len(body) >= _WORTH_IT:
            packed = gzip.compress(body, mtime=0)
            self._gzip = _Encoded(packed, content_type, f'"{tag}-gzip"', [*more, ("Content-Encoding", "gzip")])

    def answer(self, headers: Mapping[bytes, bytes]) -> StaticResponse:
        """The answer to a request with these headers, names in lower case."""
        encoded = self._gzip if _takes_gzip(headers.get(b"accept-encoding", b"")) else self._plain
        known = [name.strip().removeprefix(b"W/") for name in headers.get(b"if-none-match", b"").split(b",")]
        return encoded.unchanged if encoded.tag in known or b"*" in known else encoded.whole


class _Encoded:
    __slots__ = ("tag", "unchanged", "whole")

    def __init__(self, body: bytes, content_type: str, tag: str, headers: list[tuple[str, str]]) -> None:
        self.tag = tag.encode()
        kept = header_block([("ETag", tag), *headers])
        described = header_block([("Content-Type", content_type), ("Content-Length", str(len(body)))])
        self.whole = StaticResponse(200, body, b"HTTP/1.1 200 OK\r\n" + described + kept)
        self.unchanged = StaticResponse(304, b"", b"HTTP/1.1 304 Not Modified\r\n" + kept)


def _takes_gzip(accepted: bytes) -> bool:
    for coding in accepted.lower().split(b","):
        name, _, weight = (part.strip() for part in coding.partition(b";"))
        if name == b"gzip":
            return not _REFUSED.fullmatch(weight)
    return False

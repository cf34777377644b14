"""Answers: a status, a body and a block of headers, turned into one bytes object for one write.

Everything constant is prebuilt; what an answer costs is one dictionary lookup and one bytes format.
"""

import functools
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from busgate.contracts import CallFailed, Problem

from .refusal import Refusal

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"

_BODYLESS = frozenset({204, 304})
_CLOSE = b"Connection: close\r\n\r\n"
_END = b"\r\n"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Response:
    """An answer before it is sent.

    Args:
        status: 200 to 599.
        body: the whole body; not sent for HEAD, 204 and 304.
        headers: more headers, from `header_block`. The standard ones are written by `encode`.
        content_type: of the body.
        close: end the connection after this answer.
    """

    __slots__ = ("body", "close", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        headers: bytes = b"",
        content_type: bytes = JSON,
        close: bool = False,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type
        self.close = close

    def encode(self, request_id: bytes, date: bytes, *, close: bool, with_body: bool = True) -> bytes:
        """The answer as it goes on the wire; `with_body` is False for HEAD."""
        status, body = self.status, self.body
        end = _CLOSE if close else _END
        if status in _BODYLESS:
            return b"%s%s\r\nX-Request-Id: %s\r\n%s%s" % (
                _prefix(status, b""),
                date,
                request_id,
                self.headers,
                end,
            )
        return b"%s%s\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n%s%s%s" % (
            _prefix(status, self.content_type),
            date,
            request_id,
            len(body),
            self.headers,
            end,
            body if with_body else b"",
        )


@functools.lru_cache(maxsize=512)
def _prefix(status: int, content_type: bytes) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Other"
    lines = [b"HTTP/1.1 %d %s" % (status, phrase.encode())]
    if content_type:
        lines.append(b"Content-Type: " + content_type)
    lines += [b"X-Content-Type-Options: nosniff", b"Cache-Control: no-store", b"Date: "]
    return b"\r\n".join(lines)


def header_block(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they go on the wire, for `Response.headers`; build constant ones once.

    Raises:
        ValueError: a name is not a token, or a value holds CR, LF, NUL or another control character.
    """
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the response header {name!r} cannot be written")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


class DateHeader:
    """The value of `Date`, formatted once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode()
        return self._text


def problem_response(
    failure: Refusal | CallFailed | Problem,
    request_id: bytes,
    *,
    show_service: bool = False,
    stages: Mapping[str, float] | None = None,
) -> Response:
    """A failure as application/problem+json (RFC 9457), with an `instance` that names the request.

    `show_service` lets the name of the service that failed out; by default the gateway hides what is inside.
    `stages` says how long each stage took, in milliseconds.
    """
    status, document = _document(failure)
    if not show_service:
        document.pop("service", None)
    if stages:
        document["stages"] = {name: round(taken, 1) for name, taken in stages.items()}
    document["instance"] = f"urn:busgate:request:{request_id.decode()}"
    headers: list[tuple[str, str]] = []
    close = False
    if isinstance(failure, Refusal):
        headers.extend(failure.headers)
        close = failure.close
    elif isinstance(failure, CallFailed) and failure.retry_after is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(failure.retry_after)))))
    return Response(
        status,
        json.dumps(document, separators=(",", ":")).encode(),
        headers=header_block(headers),
        content_type=PROBLEM_JSON,
        close=close,
    )


def _document(failure: Refusal | CallFailed | Problem) -> tuple[int, dict[str, object]]:
    if isinstance(failure, Problem):
        return failure.status, dict(failure.document())
    if isinstance(failure, CallFailed):
        return failure.kind.status, failure.document()
    kind = failure.kind
    document: dict[str, object] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "outcome": kind.outcome,
        "by": kind.by,
    }
    if failure.detail is not None:
        document["detail"] = failure.detail
    if failure.errors:
        document["errors"] = list(failure.errors)
    return kind.status, document

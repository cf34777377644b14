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

Failure = Refusal | CallFailed | Problem
"""What ends a request without a reply: the edge refuses it, no handler answered, or one declared a problem."""

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"

_BODYLESS = frozenset({204, 304})
CLOSE = b"Connection: close\r\n\r\n"
END = b"\r\n"
STANDARD = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
"""On every answer, unless the configuration says otherwise for a route."""
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def header_block(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they go on the wire, for `Response.headers`; build constant ones once.

    Raises:
        ValueError: a name is not a token, or a value holds CR, LF, NUL or another control character.
    """
    lines = []
    for name, value in headers:
        if not is_header_name(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the response header {name!r} cannot be written")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


def is_header_name(text: str) -> bool:
    """Whether a text is a token (RFC 9110, 5.1)."""
    return _NAME.fullmatch(text) is not None


def is_header_value(text: str) -> bool:
    """Whether a text can be a value as it stands: printable ASCII."""
    return text.isascii() and _VALUE.fullmatch(text) is not None


STANDARD_BLOCK = header_block(STANDARD)


class Response:
    """An answer before it is sent.

    Args:
        status: 200 to 599.
        body: the whole body; not sent for HEAD, 204 and 304.
        headers: more headers, from `header_block`. The standard ones are written by `encode`.
        content_type: of the body.
        close: end the connection after this answer.

    `fixed` takes the place of the headers that are on every answer; None: they are as everywhere.
    """

    __slots__ = ("body", "close", "content_type", "fixed", "headers", "status")

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
        self.fixed: bytes | None = None

    def encode(
        self, request_id: bytes, date: bytes, *, close: bool, with_body: bool = True, standard: bytes = STANDARD_BLOCK
    ) -> bytes:
        """The answer as it goes on the wire.

        Args:
            request_id: 32 hex digits.
            date: the value of `Date`.
            close: say that the connection ends.
            with_body: False for HEAD.
            standard: the headers that are on every answer.
        """
        status, body = self.status, self.body
        fixed = standard if self.fixed is None else self.fixed
        end = CLOSE if close else END
        if status in _BODYLESS:
            return b"%s%s\r\nX-Request-Id: %s\r\n%s%s" % (
                _prefix(status, b"", fixed),
                date,
                request_id,
                self.headers,
                end,
            )
        return b"%s%s\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n%s%s%s" % (
            _prefix(status, self.content_type, fixed),
            date,
            request_id,
            len(body),
            self.headers,
            end,
            body if with_body else b"",
        )


@functools.lru_cache(maxsize=4096)
def _prefix(status: int, content_type: bytes, fixed: bytes) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Other"
    described = b"Content-Type: %s\r\n" % content_type if content_type else b""
    return b"HTTP/1.1 %d %s\r\n%s%sDate: " % (status, phrase.encode(), described, fixed)


class DateHeader:
    """The value of `Date`, formatted once a second, with the headers behind it that all answers of a server have."""

    __slots__ = ("_more", "_second", "_text")

    def __init__(self, headers: bytes = b"") -> None:
        self._more = (b"\r\n" + headers).removesuffix(b"\r\n")
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode() + self._more
        return self._text


def problem_response(
    failure: Failure,
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


def _document(failure: Failure) -> tuple[int, dict[str, object]]:
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
    if failure.violated:
        document["violated-policies"] = list(failure.violated)
    return kind.status, document

"""aiohttp's HTTP/1 parser: how we set it up, and what its errors are to a client.

Only the parser in C (llhttp) will do: most of the advisories of the past are about the one in Python.
"""

import asyncio

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.http_exceptions import BadHttpMethod, BadStatusLine, InvalidURLError, LineTooLong

from .refusal import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    NOT_IMPLEMENTED,
    URI_TOO_LONG,
    VERSION_NOT_SUPPORTED,
    Refusal,
)

MAX_TARGET = 8190
MAX_FIELD = 8192
"""Not the same as MAX_TARGET, because the number is all that tells which of the two was too long."""

MAX_HEADERS = 64
MAX_PIPELINED = 32
READ_BUFFER = 64 * 1024

# The parser's message goes on with what the client sent; only these beginnings are its own.
_BEGINNINGS = (
    ("Bad status line:\n  Invalid HTTP version", VERSION_NOT_SUPPORTED, None),
    ("Bad status line:\n  Expected HTTP/2", VERSION_NOT_SUPPORTED, None),
    ("Pause on PRI/Upgrade", VERSION_NOT_SUPPORTED, None),
    ("Too many headers", HEADERS_TOO_LARGE, f"there are more than {MAX_HEADERS} headers"),
    ("Request has invalid `Transfer-Encoding`", NOT_IMPLEMENTED, None),
    ("Duplicate", BAD_REQUEST, "a header stands twice that may stand once"),
)
_CLASSES: tuple[tuple[type[HttpProcessingError], str], ...] = (
    (BadHttpMethod, "the method is not known"),
    (BadStatusLine, "the request line is not valid"),
    (InvalidURLError, "the request target is not valid"),
    (HttpProcessingError, "the headers or the framing of the body are not valid"),
)


def require_c_parser() -> None:
    """Refuse to go on without the parser in C.

    Raises:
        RuntimeError: aiohttp runs on its pure-Python parser.
    """
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError(
            "aiohttp has no C parser here (AIOHTTP_NO_EXTENSIONS is set, or it was built without); "
            "install a binary wheel of aiohttp"
        )


def new_parser(protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    """A parser for one connection, which leaves bodies as they are."""
    return HttpRequestParser(
        protocol,
        loop,
        READ_BUFFER,
        max_line_size=MAX_TARGET,
        max_field_size=MAX_FIELD,
        max_headers=MAX_HEADERS,
        auto_decompress=False,
        max_msg_queue_size=MAX_PIPELINED,
    )


def refusal_of(error: HttpProcessingError) -> Refusal:
    """What the client is told about an error of the parser; nothing of what it sent."""
    if isinstance(error, LineTooLong):
        kind = URI_TOO_LONG if error.args[1] == MAX_TARGET else HEADERS_TOO_LARGE
        return Refusal(kind, close=True)
    for beginning, kind, detail in _BEGINNINGS:
        if error.message.startswith(beginning):
            return Refusal(kind, detail, close=True)
    detail = next(text for cls, text in _CLASSES if isinstance(error, cls))
    return Refusal(BAD_REQUEST, detail, close=True)

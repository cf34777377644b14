"""A lean HTTP client for loads that wrk cannot make: one request at a time on each of many connections."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from bench.gateway import BODY


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send which request, as bytes."""

    host: str
    port: int
    request: bytes

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> "Target":
        parts = urlsplit(url)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(BODY)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode()
        return cls(parts.hostname or "", parts.port or 80, head + b"\r\n\r\n" + BODY)


class Client(asyncio.Protocol):
    """One connection that is kept alive.

    `on_answer` gets the client, the head of the answer (None: the connection fell) and when it was whole.
    """

    __slots__ = ("_buffer", "_expected", "_on_answer", "_transport", "due")

    _transport: asyncio.Transport

    def __init__(self, on_answer: Callable[["Client", bytes | None, float], None]) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self._expected = False
        self.due = 0.0
        """When the request on its way should have been sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, target: Target, due: float) -> None:
        self.due = due
        self._expected = True
        self._transport.write(target.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if self._expected and blank and len(body) >= int(header(head, b"content-length") or 0):
            self._buffer = b""
            self._expected = False
            self._on_answer(self, head, time.monotonic())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of a protocol
        if self._expected:
            self._on_answer(self, None, time.monotonic())

    def close(self) -> None:
        self._expected = False
        self._transport.abort()


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header, by its name in lower case."""
    _, found, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None

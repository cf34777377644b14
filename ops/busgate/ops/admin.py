"""The admin listener of a process: for the operator, never for the world.

`/` lists the others: `/livez` says that the process runs, `/readyz` whether it should get work, `/metrics` what it
counted; `/jwks` shows the public keys that an edge signs callers with, `/tap` the calls of an embedded bus. Each
process has its own listener, at its own port (`AdminTable.port_of`): behind a shared one, each look would find another.

It speaks as much HTTP as probes, scrapers and curl do: one GET or HEAD without a body for each connection, which
ends with the answer. So a worker needs no HTTP server installed.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Protocol, Self
from urllib.parse import parse_qsl

import structlog

from busgate.bus.exposition import CONTENT_TYPE
from busgate.contracts.failure import TYPE_PREFIX

log = structlog.stdlib.get_logger("busgate.ops")

HEAD_BYTES = 8192
HEAD_WAIT = 5.0
"""Seconds for a request to arrive."""
ANSWER_WAIT = 30.0
"""Seconds for an answer, or a piece of a stream, to be put together and taken."""
PATIENCE = 1.0
"""Seconds that answers in flight get at the end."""
CONNECTIONS = 64
"""Open at a time; more are hung up on."""
PIECES = 100
"""Pieces of metrics between two looks at other work: less than a millisecond."""

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


_PATHS = {
    "/livez": "200 while the process runs",
    "/readyz": "200 while it should get work, else 503 with the reasons",
    "/metrics": "all that it counts, for Prometheus",
    "/jwks": "public keys that callers are signed with, as a JWK Set",
    "/tap": "calls as they happen, for busgate tap --admin",
}

_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: ("bad-request", "The request is not well-formed"),
    HTTPStatus.NOT_FOUND: ("not-found", "There is nothing here"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method-not-allowed", "This method is not served here"),
    HTTPStatus.MISDIRECTED_REQUEST: ("misdirected-request", "This host is not served here"),
    HTTPStatus.TOO_MANY_REQUESTS: ("too-many-taps", "Too many taps are open"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal-error", "The admin listener failed"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("unready", "This process should get no work now"),
}
"""Name and title of all that is not 200."""


class Stream(Protocol):
    """Server-sent events, for as long as somebody reads."""

    @property
    def full(self) -> bool:
        """Whether as many read as may."""

    def events(self, query: Mapping[str, str]) -> AsyncGenerator[str, None]:
        """What to send, piece by piece."""


class _Problem(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, status: HTTPStatus, **more: object) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.more = more


class AdminServer:
    """The admin listener of one process. Use it as a context manager, or call `start` and `close`.

    Args:
        sock: bound, to listen on; it is closed at the end.
        readiness: why this process should get no work; empty when it should.
        remarks: what else `/readyz` says, though the process should get work.
        metrics: all metrics as text, in pieces; calls are served in between.
        hosts: names, with or without a port, that requests may use for this listener. Addresses and
            localhost they always may; any other name could be a page of the web, rebound to this address.
        tap: of the embedded bus; None where there is a broker to tap.
        jwks: a JWK Set of the keys that callers are signed with; None where they are not.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        readiness: Callable[[], list[str]],
        metrics: Callable[[], Iterable[str]],
        remarks: Callable[[], list[str]] = list,
        hosts: Collection[str] = (),
        tap: Stream | None = None,
        jwks: Callable[[], bytes] | None = None,
    ) -> None:
        self._socket = sock
        self._readiness = readiness
        self._metrics = metrics
        self._remarks = remarks
        self._hosts = frozenset(hosts)
        self._tap = tap
        self._jwks = jwks
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket, limit=HEAD_BYTES)

    async def close(self) -> None:
        """Stop listening and end all connections, in bounded time."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in self._connections - self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering, timeout=PATIENCE)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- one connection, one request

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS:
            writer.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            writer.close()

        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_WAIT):
                head = await _read_head(reader)
            stream = await self._answer(head, writer)
            if stream is not None:
                await _send(stream, writer)
        except (TimeoutError, EOFError, OSError):
            log.debug("a connection to the admin listener ended before its answer")

    async def _answer(self, head: bytes | None, writer: asyncio.StreamWriter) -> AsyncGenerator[str, None] | None:
        """Answer a request, but for what is to follow for as long as somebody reads."""
        task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # it is that of _serve
        self._answering.add(task)
        stream = None
        try:
            async with asyncio.timeout(ANSWER_WAIT):
                try:
                    answer, stream = await self._look(*self._check(head))
                except _Problem as problem:
                    answer = _problem(problem.status, problem.more)
                except Exception:
                    log.exception("the admin listener failed")
                    answer = _problem(HTTPStatus.INTERNAL_SERVER_ERROR, {})
                writer.write(answer)
                await writer.drain()
        finally:
            self._answering.discard(task)
        return stream

    def _check(self, head: bytes | None) -> tuple[str, str, str]:
        """Method, path and query of a request that may be answered."""
        request, *lines = (head or b"").split(b"\r\n")
        found = _REQUEST.fullmatch(request)
        headers = [_HEADER.fullmatch(line) for line in lines]
        if found is None or None in headers:
            raise _Problem(HTTPStatus.BAD_REQUEST)
        pairs = [(header[1].lower(), header[2].decode("latin-1").lower()) for header in headers if header]
        hosts = [value for name, value in pairs if name == b"host"]
        lengths = [value for name, value in pairs if name in (b"content-length", b"transfer-encoding")]
        if len(hosts) > 1 or lengths not in ([], ["0"]):
            raise _Problem(HTTPStatus.BAD_REQUEST)
        if not self._is_ours(hosts[0] if hosts else ""):
            raise _Problem(HTTPStatus.MISDIRECTED_REQUEST)
        method, (path, _, query) = found[1].decode(), found[2].decode().partition("?")
        if path != "/" and path not in self._paths:
            raise _Problem(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            raise _Problem(HTTPStatus.METHOD_NOT_ALLOWED)
        return method, path, query

    @property
    def _paths(self) -> dict[str, str]:
        missing = {path for path, found in (("/tap", self._tap), ("/jwks", self._jwks)) if found is None}
        return {path: text for path, text in _PATHS.items() if path not in missing}

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return found is not None and (_is_local(found[1]) or host in self._hosts or found[1] in self._hosts)

    async def _look(self, method: str, path: str, query: str) -> tuple[bytes, AsyncGenerator[str, None] | None]:
        """The answer, and what is to follow."""
        bodyless = method == "HEAD"
        if path == "/tap" and self._tap is not None:
            if self._tap.full:
                raise _Problem(HTTPStatus.TOO_MANY_REQUESTS)
            head = _response(HTTPStatus.OK, "text/event-stream", None)
            return head, None if bodyless else self._tap.events(dict(parse_qsl(query)))
        if path == "/":
            text = "".join(f"{name:8}  {text}\n" for name, text in self._paths.items())
            return _response(HTTPStatus.OK, "text/plain; charset=utf-8", text.encode(), bodyless=bodyless), None
        if path == "/jwks" and self._jwks is not None:
            return _response(HTTPStatus.OK, "application/jwk-set+json", self._jwks(), bodyless=bodyless), None
        if path == "/metrics":
            return _response(HTTPStatus.OK, CONTENT_TYPE, await self._metrics_text(), bodyless=bodyless), None
        if path == "/readyz" and (reasons := self._readiness()):
            raise _Problem(HTTPStatus.SERVICE_UNAVAILABLE, reasons=reasons)
        remarks = self._remarks() if path == "/readyz" else []
        document = {"status": "ok"} | ({"remarks": remarks} if remarks else {})
        return _response(HTTPStatus.OK, "application/json", json.dumps(document).encode(), bodyless=bodyless), None

    async def _metrics_text(self) -> bytes:
        text = bytearray()
        for number, piece in enumerate(self._metrics()):
            text += piece.encode()
            if number % PIECES == 0:
                await asyncio.sleep(0)
        return bytes(text)


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """A request's head without its end; None where it is too long. Raises EOFError where it breaks off."""
    with suppress(asyncio.LimitOverrunError):
        return (await reader.readuntil(b"\r\n\r\n"))[:-4]
    return None


async def _send(stream: AsyncGenerator[str, None], writer: asyncio.StreamWriter) -> None:
    """Send a stream until its reader leaves. Raises OSError then."""
    async with aclosing(stream):
        async for piece in stream:
            writer.write(piece.encode())
            async with asyncio.timeout(ANSWER_WAIT):
                await writer.drain()


def _is_local(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _problem(status: HTTPStatus, more: dict[str, object]) -> bytes:
    name, title = _PROBLEMS[status]
    document = {"type": TYPE_PREFIX + name, "title": title, "status": int(status), **more}
    allow = ("Allow: GET, HEAD",) if status is HTTPStatus.METHOD_NOT_ALLOWED else ()
    return _response(status, "application/problem+json", json.dumps(document).encode(), *allow)


def _response(
    status: HTTPStatus, content_type: str, body: bytes | None, *headers: str, bodyless: bool = False
) -> bytes:
    """A whole answer; without a body, the head of one that goes on until the connection ends."""
    lines = [
        f"HTTP/1.1 {status:d} {status.phrase}",
        f"Content-Type: {content_type}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *headers,
    ]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + (b"" if bodyless or body is None else body)

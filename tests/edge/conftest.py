"""A server on a free port, and clients that speak raw bytes to it."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
import uvloop

from busgate.edge.limits import DoorLimits
from busgate.edge.server import GateServer, Handler

PATIENCE = 10.0


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What touches sockets runs on both loops."""
    if item.nodeid.split("::")[0].rsplit("/", 1)[-1].startswith("test_server"):
        return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}


class Answer:
    """One HTTP answer as it was read off the wire."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.raw_head = head
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = [line.split(": ", 1) for line in lines[1:] if line]
        self.headers = {name.lower(): value for name, value in pairs}
        assert len(self.headers) == len(pairs), "a header stands twice"
        self.body = body

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"

    def problem(self) -> dict[str, Any]:
        """The problem document, after checking all that every one must be."""
        assert self.headers["content-type"] == "application/problem+json"
        document = json.loads(self.body)
        assert document["status"] == self.status
        assert document["instance"] == f"urn:busgate:request:{self.headers['x-request-id']}"
        assert {"type", "title", "outcome"} <= document.keys()
        assert self.headers["cache-control"] == "no-store"
        return dict(document)


class Client:
    """A connection that sends what it is told and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, bodyless: bool = False) -> Answer:
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            if not bodyless and answer.status not in (100, 204):
                answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        return answer

    async def ask(self, data: bytes, *, bodyless: bool = False) -> Answer:
        self.send(data)
        return await self.answer(bodyless=bodyless)

    async def rest(self) -> bytes:
        """What still comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def stop_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def close(self) -> None:
        self.writer.close()


class Gate:
    """A running server."""

    def __init__(self, server: GateServer, port: int, closing: AsyncExitStack) -> None:
        self.server = server
        self.port = port
        self._closing = closing

    async def connect(self, *, tls: ssl.SSLContext | None = None, name: str | None = None) -> Client:
        """Connect; over TLS, to a host of that name."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname=name))
        self._closing.callback(client.close)
        return client

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)

    async def until_connections(self, count: int) -> None:
        """Wait until the server has so many connections."""
        await self.until(lambda: len(self.server) == count)


OpenGate = Callable[..., Awaitable[Gate]]


@pytest.fixture
async def open_gate(caplog: pytest.LogCaptureFixture) -> AsyncIterator[OpenGate]:
    """Start a server for a handler and limits; at the end nothing may be left and nothing have been logged."""
    async with AsyncExitStack() as closing:
        servers = []

        async def open_one(
            handle: Handler, *, tls: ssl.SSLContext | None = None, headers: bytes = b"", **limits: Any
        ) -> Gate:
            sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
            server = GateServer(handle, limits=DoorLimits(**({"sweep": 0.02} | limits)), headers=headers)
            await server.listen(sock, tls=tls)
            servers.append(server)
            return Gate(server, sock.getsockname()[1], closing)

        yield open_one
        for server in servers:
            async with asyncio.timeout(PATIENCE):
                await server.stop(grace=0)
            assert len(server) == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []

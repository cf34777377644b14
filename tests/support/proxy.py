"""A TCP proxy that breaks the link between a client and a broker on demand.

Up is from the client to the broker, down is back. A fault holds for the links that are open and for
those to come, until `heal`.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from support.ports import HOST, free_port

CHUNK = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Flow:
    """The faults of one direction."""

    drop: bool = False
    """Lose the bytes. A link that lost some stays deaf in that direction, as a gap would forge frames."""
    delay: float = 0.0
    """Seconds from arrival to departure of every byte."""
    rate: float | None = None
    """Bytes per second."""
    cut_after: int | None = None
    """Reset the link that brings the count of bytes to this number; they are still delivered."""

    def heal(self) -> None:
        self.drop, self.delay, self.rate, self.cut_after = False, 0.0, None, None


class FaultProxy:
    """Use it as `async with FaultProxy(host, port) as proxy` and connect to `proxy.url(amqp_url)`."""

    def __init__(self, host: str, port: int) -> None:
        self.up = Flow()
        self.down = Flow()
        self.port = free_port()
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        tasks = list(self._links)
        self.reset_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url(self, upstream_url: str) -> str:
        """The same URL by way of this proxy."""
        url = urlsplit(upstream_url)
        credentials, at, _ = url.netloc.rpartition("@")
        return url._replace(netloc=f"{credentials}{at}{HOST}:{self.port}").geturl()

    @property
    def connections(self) -> int:
        return len(self._links)

    async def listen(self) -> None:
        """Accept connections, again on the same port after `refuse`."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay so."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def blackhole(self) -> None:
        """Lose everything both ways, with all connections left open."""
        self.up.drop = self.down.drop = True

    def reset_all(self) -> None:
        """Reset both sides of every link that is open."""
        for task in self._links:
            task.cancel()

    def halfopen(self) -> None:
        """Reset the client's side of every open link and leave the broker's open: it is not told."""
        for link in self._links.values():
            link.orphan()

    async def heal(self) -> None:
        """No faults any more; links that lost bytes are reset, orphans too, and connections accepted."""
        self.up.heal()
        self.down.heal()
        for task, link in self._links.items():
            if link.lossy:
                task.cancel()
        if self._server is None:
            await self.listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer)
        task = asyncio.create_task(link.run(self._upstream, self.up, self.down))
        self._links[task] = link
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Not in `run` itself: a task that is cancelled before its first step runs none of its code.
        self._links.pop(task).abort()


class _Link:
    """One client connection and the broker connection that belongs to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lossy = False
        self._reader = reader
        self._client = writer
        self._broker: asyncio.StreamWriter | None = None
        self._orphaned = False

    async def run(self, upstream: tuple[str, int], up: Flow, down: Flow) -> None:
        try:
            reader, self._broker = await asyncio.open_connection(*upstream)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(self._reader, self._broker, up))
                tasks.create_task(self._pump(reader, self._client, down))
            self._client.close()
            self._broker.close()
        except* OSError:
            pass  # one side is gone, and `abort` tells the other

    def abort(self) -> None:
        _abort(self._client)
        _abort(self._broker)

    def orphan(self) -> None:
        self._orphaned = self.lossy = True
        _abort(self._client)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flow: Flow) -> None:
        sink.transport.set_write_buffer_limits(0)  # `drain` then means: handed to the kernel
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(source, chunks, flow))
            tasks.create_task(self._send(chunks, sink, flow))

    async def _receive(
        self, source: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]], flow: Flow
    ) -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = await source.read(CHUNK)
            except OSError:
                if not self._loses(flow):
                    raise
                chunk = b""
            await chunks.put((_now() + flow.delay, chunk))

    async def _send(self, chunks: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, flow: Flow) -> None:
        deaf = False
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(max(0, due - _now()))
            deaf = deaf or self._loses(flow)
            if deaf:
                self.lossy = True
            elif chunk:
                await _forward(chunk, sink, flow)
            else:
                sink.write_eof()
                return

    def _loses(self, flow: Flow) -> bool:
        return flow.drop or self._orphaned


async def _forward(chunk: bytes, sink: asyncio.StreamWriter, flow: Flow) -> None:
    if flow.rate:
        await asyncio.sleep(len(chunk) / flow.rate)
    if flow.cut_after is not None:
        chunk = chunk[: flow.cut_after]
        flow.cut_after -= len(chunk)
    sink.write(chunk)
    await sink.drain()
    if flow.cut_after == 0:
        flow.cut_after = None
        raise ConnectionResetError("cut")


def _abort(writer: asyncio.StreamWriter | None) -> None:
    """Close with a RST, which drops what was not sent."""
    if writer is not None and not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()

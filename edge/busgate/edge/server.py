"""The HTTP server of the edge: its connections, their number and their clocks, and an orderly end.

    server = GateServer(handle)
    await server.listen(sock)
    ...
    await server.stop(grace=10)

`handle` takes a Request and returns a Response; Refusal, CallFailed and Problem may be raised and become
problem documents. When the client goes away the task that runs `handle` is cancelled.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from busgate.bus.wire import Ids

from .connection import Connection
from .limits import DoorLimits
from .parsing import require_c_parser
from .refusal import TOO_MANY_CONNECTIONS, Refusal
from .request import Request
from .response import STANDARD_BLOCK, DateHeader, Response

Handler = Callable[[Request], Awaitable[Response]]

_AT_ONCE = 64
_RETRY = (("Retry-After", "1"),)


class GateServer:
    """Serves HTTP/1.1 on any number of listeners in one event loop.

    `standard` are the headers of every answer that has none of its own in their place.

    `refused` counts, by kind, what was answered without the handler: requests that are not HTTP, that did not
    arrive in time, and connections too many; `dropped` counts connections cut without an answer.

    Args:
        handle: answers a request.
        limits: of what clients may take.
        ids: for requests.
        headers: of every answer, from `header_block`.

    Raises:
        RuntimeError: aiohttp has no C parser here.
    """

    def __init__(
        self,
        handle: Handler,
        *,
        limits: DoorLimits | None = None,
        ids: Ids | None = None,
        standard: bytes = STANDARD_BLOCK,
        headers: bytes = b"",
    ) -> None:
        require_c_parser()
        self.handle = handle
        self.limits = limits or DoorLimits()
        self.ids = ids or Ids()
        self.date = DateHeader(headers)
        self.standard = standard
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.draining = False
        self.refused: Counter[str] = Counter()
        self.dropped = 0
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._listeners: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def __call__(self) -> Connection:
        """A protocol factory, as `loop.create_server` wants one."""
        return Connection(self)

    def __len__(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def listen(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None, backlog: int = 1024) -> None:
        """Accept connections from a bound socket."""
        timeout = self.limits.handshake if tls else None
        listener = await self.loop.create_server(
            self, sock=sock, ssl=tls, ssl_handshake_timeout=timeout, backlog=backlog
        )
        self._listeners.append(listener)

    async def stop(self, *, grace: float) -> bool:
        """Accept no more, end idle connections, and let what is in flight finish for at most `grace` seconds.

        False when something had to be cut.
        """
        for listener in self._listeners:
            listener.close()
        self.draining = True
        for connection in tuple(self._connections):
            connection.retire()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            self.close()
            await self._empty.wait()
            return False
        return True

    def close(self) -> None:
        """Cut everything now."""
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.abort()

    def dismiss_certified(self) -> None:
        """End the connections of clients with certificates, each after the call in hand."""
        for connection in tuple(self._connections):
            if connection.certificate is not None:
                connection.dismiss()

    # -- what connections tell

    def admit(self, connection: Connection) -> None:
        """Take in a new connection, or refuse it: politely, and when it is far too much by cutting it."""
        limits = self.limits
        self._connections.add(connection)
        self._addresses[connection.peer] += 1
        self._empty.clear()
        if self._sweep is None:
            self.now = self.loop.time()
            connection.deadline = self.now + limits.first_byte
            self._sweep = self.loop.call_later(limits.sweep, self._look_at_clocks)
        over = len(self._connections) - limits.connections
        if connection.peer:
            over = max(over, self._addresses[connection.peer] - limits.connections_per_address)
        if over > limits.refused_at_once:
            self.dropped += 1
            connection.abort()
        elif over > 0:
            connection.refuse(Refusal(TOO_MANY_CONNECTIONS, headers=_RETRY, close=True))

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._addresses[connection.peer] -= 1
        if not self._addresses[connection.peer]:
            del self._addresses[connection.peer]
        if not self._connections:
            self._empty.set()

    def _look_at_clocks(self) -> None:
        now = self.loop.time()
        delay = self.limits.sweep
        # After a stall of ours, what clients sent meanwhile is read before they are judged.
        stalled = now - self.now > 4 * delay
        self.now = now
        if not stalled and self._end_overdue(now) == _AT_ONCE:
            delay = min(delay, 0.01)
        self._sweep = self.loop.call_later(delay, self._look_at_clocks) if self._connections else None

    def _end_overdue(self, now: float) -> int:
        """Judge who is late, a bounded number in one turn of the loop, so that good clients need not wait."""
        late = [connection for connection in self._connections if connection.deadline <= now][:_AT_ONCE]
        for connection in late:
            connection.overdue(now)
        return len(late)

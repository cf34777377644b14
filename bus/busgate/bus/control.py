"""The control bus on RabbitMQ: a connection of its own, through aio-pika, for presences, drains and tap leases.

It is apart from the lane, so that nothing here can hold up a call; and it is no part of serving: a process whose
control connection is down, or not permitted, serves as before, and says so. While the lane is down too, that tells.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence

import aio_pika
import structlog
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable

from .address import Address
from .aio import connect, one_line
from .link import BusError
from .repeats import Outage
from .wire import CONTROL_EXCHANGE

log = structlog.stdlib.get_logger("busgate.bus")

PATIENCE = 5.0
"""Seconds that a step on the control bus may take."""
GOODBYE = 1.0
"""Seconds for the end, which comes after a drain has used its grace."""
AT_ONCE = 0.05
"""Seconds in which a connection that may publish says so."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
QUEUE_PREFIX = "busgate.control."
QUEUE_ARGUMENTS: FieldTable = {"x-queue-type": "classic", "x-max-length": 1000, "x-overflow": "drop-head"}
"""Bounded: who does not read loses the oldest, and nobody else anything."""

Receive = Callable[[str, bytes], None]
"""Gets the key and the body of each message."""


class Control:
    """A place on the control bus: hears messages under some keys, and sends them.

    Args:
        find: the address of the broker now; None where there is none.
        name: of this process, for the broker's lists.
        keys: patterns of what to hear, `presence.#`.
        receive: called for each message; must not raise.
        on_up: called when it is connected, each time.
        calls: set while there is a connection for calls: without one, that is what is told, and tried again with it.
    """

    def __init__(
        self,
        find: Callable[[], Address | None],
        *,
        name: str,
        keys: Sequence[str],
        receive: Receive,
        on_up: Callable[[], None] = lambda: None,
        calls: asyncio.Event | None = None,
    ) -> None:
        self._find = find
        self._address = find()
        self._name = name
        self._keys = keys
        self._receive = receive
        self._on_up = on_up
        self._calls = calls
        self._outage = Outage(log)
        self._exchange: aio_pika.abc.AbstractExchange | None = None
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Connect in the background, and stay connected until `close`."""
        self._keeper = asyncio.create_task(self._keep_connected(), name=f"{self._name} control")

    async def open(self) -> None:
        """Connect now.

        Raises:
            BusError: the broker cannot be used, or the user may not use the control bus.
        """
        self._address = address = self._find()
        if address is None:
            raise BusError("there is no control bus here")
        with one_line(address):
            async with asyncio.timeout(PATIENCE):
                self._lost.clear()
                self._connection = await connect(address, name=f"{self._name} control")
                channel = await self._connection.channel(publisher_confirms=False)
                for closing in (self._connection.close_callbacks, channel.close_callbacks):
                    closing.add(self._on_closed)
                exchange = await channel.get_exchange(CONTROL_EXCHANGE)
                queue = await channel.declare_queue(
                    f"{QUEUE_PREFIX}{self._name}.{secrets.token_hex(6)}", exclusive=True, arguments=QUEUE_ARGUMENTS
                )
                for key in self._keys:
                    await queue.bind(exchange, key)
                await queue.consume(self._hear, no_ack=True)
        self._exchange = exchange
        self._on_up()

    async def send(self, key: str, body: bytes = b"", *, expires: float = 60.0) -> bool:
        """Send a message to whoever hears its key now; False: it could not be sent.

        `expires` is in seconds: a message that waits longer, in a queue that nobody reads, is worth nothing.
        """
        exchange = self._exchange
        if exchange is None:
            return False
        message = aio_pika.Message(body, content_type="application/json", expiration=expires)
        try:
            with one_line(self._address):
                async with asyncio.timeout(PATIENCE):
                    await exchange.publish(message, key, mandatory=False)
        except BusError as error:
            log.debug("nothing can be sent on the control bus", error=str(error))
            return False
        return True

    async def is_blocked(self) -> bool:
        """Whether the broker takes no messages: it says so, in an alarm, to each connection that sent one."""
        transport = None if self._connection is None else self._connection.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(AT_ONCE):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        """Hang up, in bounded time."""
        self._closed = True  # a cancellation alone can get lost in the client library while it connects
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._hang_up()

    async def _keep_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            failed: BusError | None = None
            try:
                await self.open()
                pause = FIRST_PAUSE
                self._outage.ends("on the control bus again")
                if not self._closed:
                    await self._lost.wait()
            except BusError as error:
                failed = error
            except Exception:  # a bug must cost this try, not the presence of the process
                log.exception("the control bus failed")
            await self._hang_up()
            if self._closed:
                return
            back = await self._pause(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
            # Told only now: if it is the broker that went, calls say so, and may have heard of it a moment later.
            if failed is not None and not back and (self._calls is None or self._calls.is_set()):
                self._outage.goes_on(
                    "not on the control bus: no presence, no taps, no drain from afar", error=str(failed)
                )
            pause = FIRST_PAUSE if back else min(pause * 2, LONGEST_PAUSE)

    async def _pause(self, seconds: float) -> bool:
        """Wait before another try; True: it ended early, because calls are connected again."""
        if self._calls is None or self._calls.is_set():
            await asyncio.sleep(seconds)
            return False
        try:
            async with asyncio.timeout(seconds):
                return await self._calls.wait()
        except TimeoutError:
            return False

    async def _hang_up(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is None:
            return
        try:
            with one_line(self._address):
                async with asyncio.timeout(GOODBYE):
                    await connection.close()
        except BusError as error:
            log.debug("the broker did not answer our goodbye", error=str(error))

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self._receive(message.routing_key or "", message.body)

    def _on_closed(self, *_: object) -> None:
        self._exchange = None
        self._lost.set()

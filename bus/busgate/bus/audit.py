"""The exchange busgate.audit: records of calls, published by edges and listened to by whoever may read it.

It is a durable topic exchange with two keys. A message holds records as JSON, one in a line. Who wants to keep
them binds a durable queue; what no queue takes is told to the edge by the broker.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import PublishError

from .address import Address
from .aio import connect, one_line
from .link import BusError
from .topology import Topology
from .wire import AUDIT_EXCHANGE

ALLOWED, REFUSED = "call.allowed", "call.refused"
"""The keys."""
CONTENT_TYPE = "application/x-ndjson"
PATIENCE = 10.0
"""Seconds for a step; the broker confirms within moments, or not at all."""
UNREAD = 1000
"""Messages that a listener may leave unread; it loses the oldest."""


class UnheardError(BusError):
    """No queue took a message."""


class AuditChannel:
    """Publishes with confirms, over a connection of its own that is made anew where it fell.

    Args:
        find: the address of the broker now; None: there is none.
        name: of this process, for the broker's lists.
    """

    def __init__(self, find: Callable[[], Address | None], *, name: str) -> None:
        self._find = find
        self._name = name
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    async def open(self) -> None:
        """Connect, and make the exchange where it is missing.

        Raises:
            BusError: the broker cannot be used, or the user may not use the exchange.
        """
        address = self._find()
        if address is None:
            raise BusError("the embedded bus has no exchange for audit records; choose a file", permanent=True)
        async with Topology(address) as topology:
            await topology.make_audit()
        with one_line(address):
            async with asyncio.timeout(PATIENCE):
                self._connection = await connect(address, name=f"{self._name} audit")
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await channel.get_exchange(AUDIT_EXCHANGE, ensure=False)

    async def publish(self, key: str, body: bytes) -> None:
        """Send one message, and return when the broker has it.

        Raises:
            BusError: it may not have it.
            UnheardError: no queue took it.
        """
        address = self._find()
        if self._exchange is None or self._connection is None or self._connection.is_closed:
            await self.close()
            await self.open()
        assert self._exchange is not None
        message = aio_pika.Message(
            body, content_type=CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, app_id=self._name
        )
        try:
            with one_line(address):
                async with asyncio.timeout(PATIENCE):
                    await self._exchange.publish(message, key, mandatory=True)
        except BusError as error:
            if isinstance(error.__cause__, PublishError):
                raise UnheardError(f"no queue is bound to {AUDIT_EXCHANGE}") from error
            self._exchange = None  # whatever is wrong with the connection: the next try has a new one
            raise

    async def close(self) -> None:
        """Hang up, in bounded time."""
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is None:
            return
        try:
            with one_line(None):
                async with asyncio.timeout(1.0):
                    await connection.close()
        except BusError:
            return  # it had fallen


async def records(address: Address, *, name: str, key: str = "#") -> AsyncGenerator[bytes, None]:
    """Bodies of messages from now on, until the reader leaves.

    Raises:
        BusError: the broker cannot be used, there is no such exchange, or the connection fell.
    """
    with one_line(address):
        connection = await connect(address, name=f"{name} audit")
        async with connection:
            channel = await connection.channel(publisher_confirms=False)
            exchange = await channel.get_exchange(AUDIT_EXCHANGE)
            queue = await channel.declare_queue(
                f"busgate.control.{name}.{secrets.token_hex(6)}",  # a name that permissions let operators use
                exclusive=True,
                arguments={"x-queue-type": "classic", "x-max-length": UNREAD, "x-overflow": "drop-head"},
            )
            await queue.bind(exchange, key)
            async with queue.iterator(no_ack=True) as messages:
                async for message in messages:
                    yield message.body
    raise BusError(f"{address}: the connection fell")

"""Exchanges and queues: what must exist, what does, and making it so. Through aio-pika, off the hot path.

Everything is looked at passively first and made only where it is missing, so that a user without the right to
configure can run on a topology that `busgate topology --apply` made. docs/wire.md shows the whole.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from .address import Address
from .aio import connect, one_line
from .link import reason
from .opening import CONNECT_TIMEOUT
from .wire import AUDIT_EXCHANGE, CALLS_EXCHANGE, CONTROL_EXCHANGE, QUEUE_ARGUMENTS, REPLIES_EXCHANGE

ExchangeKind = Literal["direct", "topic"]
State = Literal["present", "missing", "made", "differs"]


@dataclass(frozen=True, slots=True)
class Part:
    """One exchange or queue of the topology and how it was found."""

    what: Literal["exchange", "queue"]
    name: str
    kind: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Depth:
    """What AMQP tells of a queue: messages that wait to be delivered, and consumers."""

    ready: int
    consumers: int


class Topology:
    """The topology of one vhost. A broker keeps the kind of the first declaration.

    Args:
        address: of the broker.
        kind: of busgate.calls.
        audit: busgate.audit too.
    """

    def __init__(self, address: Address, *, kind: ExchangeKind = "direct", audit: bool = False) -> None:
        self._address = address
        self._exchanges = {CALLS_EXCHANGE: kind, REPLIES_EXCHANGE: "direct", CONTROL_EXCHANGE: "topic"}
        if audit:
            self._exchanges[AUDIT_EXCHANGE] = "topic"
        self._connection: AbstractConnection | None = None

    async def make(self, topics: Iterable[str]) -> list[Part]:
        """Make what is missing: the exchanges, and a bound queue for each topic.

        Raises:
            BusError: something is missing and may not be made, or exists in another shape.
        """
        with one_line(self._address):
            exchanges = [await self._make_exchange(name, kind) for name, kind in self._exchanges.items()]
            return exchanges + [await self._make_queue(topic) for topic in topics]

    async def make_audit(self) -> Part:
        """Make busgate.audit where it is missing. Raises BusError as `make`."""
        with one_line(self._address):
            return await self._make_exchange(AUDIT_EXCHANGE, "topic")

    async def compare(self, topics: Iterable[str]) -> list[Part]:
        """How the broker's topology differs from what it should be; makes nothing."""
        with one_line(self._address):
            exchanges = [await self._compare_exchange(name, kind) for name, kind in self._exchanges.items()]
            return exchanges + [await self._compare_queue(topic) for topic in topics]

    async def depth(self, queue: str) -> Depth | None:
        """How many messages wait in a queue, and for how many consumers; None where there is no such queue."""
        return (await self.depths([queue]))[queue]

    async def depths(self, queues: Iterable[str]) -> dict[str, Depth | None]:
        """The depth of each, by one channel; the broker closes it at a queue that is not there, then by another."""
        found: dict[str, Depth | None] = {}
        left = deque(queues)
        with one_line(self._address):
            while left:
                async with self._channel() as channel:
                    with suppress(ChannelNotFoundEntity):
                        while left:
                            found[queue := left.popleft()] = None
                            told = (await channel.declare_queue(queue, passive=True)).declaration_result
                            found[queue] = Depth(told.message_count or 0, told.consumer_count or 0)
        return found

    async def delete(self, queues: Iterable[str]) -> None:
        """Delete queues with all that waits in them; one that is not there is no error.

        Raises:
            BusError: the broker refuses, or cannot be reached.
        """
        with one_line(self._address):
            for queue in queues:
                async with self._channel() as channel:
                    await channel.queue_delete(queue)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with one_line(self._address):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await connection.close()

    # -- one exchange, one queue

    async def _make_exchange(self, name: str, kind: str) -> Part:
        if await self._exchange_exists(name):
            return Part("exchange", name, kind, "present")
        async with self._channel() as channel:
            await channel.declare_exchange(name, aio_pika.ExchangeType(kind), durable=True)
        return Part("exchange", name, kind, "made")

    async def _make_queue(self, topic: str) -> Part:
        state: State = "present"
        if not await self._queue_exists(topic):
            async with self._channel() as channel:
                await channel.declare_queue(topic, durable=True, arguments={**QUEUE_ARGUMENTS})
            state = "made"
        try:
            async with self._channel() as channel:
                queue = await channel.get_queue(topic, ensure=False)
                await queue.bind(CALLS_EXCHANGE, topic)
        except ChannelAccessRefused:
            if state == "made":
                raise
            return Part("queue", topic, "classic", state, "this user may not bind it; who made it has done so")
        return Part("queue", topic, "classic", state)

    async def _compare_exchange(self, name: str, kind: str) -> Part:
        if not await self._exchange_exists(name):
            return Part("exchange", name, kind, "missing")
        try:  # to declare it again as it should be changes nothing, and tells whether it is
            async with self._channel() as channel:
                await channel.declare_exchange(name, aio_pika.ExchangeType(kind), durable=True)
        except ChannelPreconditionFailed as error:
            return Part("exchange", name, kind, "differs", reason(error))
        return Part("exchange", name, kind, "present")

    async def _compare_queue(self, topic: str) -> Part:
        if not await self._queue_exists(topic):
            return Part("queue", topic, "classic", "missing")
        try:
            async with self._channel() as channel:
                await channel.declare_queue(topic, durable=True, arguments={**QUEUE_ARGUMENTS})
        except ChannelPreconditionFailed as error:
            return Part("queue", topic, "classic", "differs", reason(error))
        return Part("queue", topic, "classic", "present")

    async def _exchange_exists(self, name: str) -> bool:
        try:
            async with self._channel() as channel:
                await channel.declare_exchange(name, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True

    async def _queue_exists(self, name: str) -> bool:
        try:
            async with self._channel() as channel:
                await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True

    # -- the connection

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel for one question: the broker closes it when the answer is an error."""
        if self._connection is None or self._connection.is_closed:
            self._connection = await connect(self._address, name="busgate topology")
        channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

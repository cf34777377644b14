"""Exchanges and queues: what must exist, what does, and making it so. Through aio-pika, off the hot path.

Everything is looked at passively first and made only where it is missing, so that a user without the right to
configure can run on a topology that `busgate topology --apply` made. docs/wire.md shows the whole.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from .lane import CONNECT_TIMEOUT, Address
from .link import BusError
from .wire import CALLS_EXCHANGE, CONTROL_EXCHANGE, QUEUE_ARGUMENTS, REPLIES_EXCHANGE

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


class Topology:
    """The topology of one vhost. `kind` is that of busgate.calls; a broker keeps the kind of the first declaration."""

    def __init__(self, address: Address, *, kind: ExchangeKind = "direct") -> None:
        self._address = address
        self._exchanges = {CALLS_EXCHANGE: kind, REPLIES_EXCHANGE: "direct", CONTROL_EXCHANGE: "topic"}
        self._connection: AbstractConnection | None = None
        for name in ("aio_pika", "aiormq"):  # every error reaches us as an exception; they log it as well
            logging.getLogger(name).setLevel(logging.CRITICAL)

    async def make(self, topics: Iterable[str]) -> list[Part]:
        """Make what is missing: the exchanges, and a bound queue for each topic.

        Raises:
            BusError: something is missing and may not be made, or exists in another shape.
        """
        with _one_line(self._address):
            exchanges = [await self._make_exchange(name, kind) for name, kind in self._exchanges.items()]
            return exchanges + [await self._make_queue(topic) for topic in topics]

    async def compare(self, topics: Iterable[str]) -> list[Part]:
        """How the broker's topology differs from what it should be; makes nothing."""
        with _one_line(self._address):
            exchanges = [await self._compare_exchange(name, kind) for name, kind in self._exchanges.items()]
            return exchanges + [await self._compare_queue(topic) for topic in topics]

    async def consumers(self, queue: str) -> int | None:
        """How many consumers a queue has; None where there is no such queue."""
        with _one_line(self._address):
            async with self._channel() as channel:
                try:
                    found = await channel.declare_queue(queue, passive=True)
                except ChannelNotFoundEntity:
                    return None
                return found.declaration_result.consumer_count or 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with _one_line(self._address):
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
            return Part("exchange", name, kind, "differs", _reason(error))
        return Part("exchange", name, kind, "present")

    async def _compare_queue(self, topic: str) -> Part:
        if not await self._queue_exists(topic):
            return Part("queue", topic, "classic", "missing")
        try:
            async with self._channel() as channel:
                await channel.declare_queue(topic, durable=True, arguments={**QUEUE_ARGUMENTS})
        except ChannelPreconditionFailed as error:
            return Part("queue", topic, "classic", "differs", _reason(error))
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
            self._connection = await self._connect()
        channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

    async def _connect(self) -> AbstractConnection:
        address = self._address
        return await aio_pika.connect(
            host=address.host,
            port=address.port,
            login=address.user,
            password=address.password,
            virtualhost=address.vhost,
            ssl=address.tls is not None,
            ssl_context=address.tls,
            timeout=CONNECT_TIMEOUT,
            heartbeat=5,
            name="busgate topology",
        )


class _one_line:  # noqa: N801 - reads as the statement it is
    """Turns every error of the client library into a BusError of one line."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ChannelPreconditionFailed):
            raise BusError(
                f"{self._address}: {_reason(error)}; it was declared otherwise before: delete it, or use another vhost",
                permanent=True,
            ) from error
        if isinstance(error, ChannelAccessRefused):
            raise BusError(
                f"{self._address}: {_reason(error)}; grant it, or let an operator run `busgate topology --apply`",
                permanent=True,
            ) from error
        if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
            raise BusError(f"{self._address}: {_reason(error)}", permanent=True) from error
        if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):  # it drops the broker's words
            raise BusError(
                f"{self._address}: the broker refuses this vhost: it does not exist, or the user has no rights in it",
                permanent=True,
            ) from error
        if isinstance(error, TimeoutError):
            raise BusError(f"{self._address}: no answer within {CONNECT_TIMEOUT:g} s") from error
        if isinstance(error, (AMQPError, ChannelInvalidStateError, OSError)):
            raise BusError(f"{self._address}: {_reason(error)}") from error
        if isinstance(error, asyncio.CancelledError) and not _cancelled_from_outside():
            raise BusError(f"{self._address}: the connection fell") from error  # how aiormq says so


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

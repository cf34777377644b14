"""What the tests of the bus share: a parser that records, and houses of buses on either broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import aio_pika
import pamqp.commands as amqp
import pytest
from support.bounding import bound
from support.broker import RabbitNode
from support.management import Vhost
from support.town import Town

from busgate.bus import Bus, BusError, CallContext, Delivery, RabbitBroker, Reply, WaitingCall
from busgate.bus.connection import Connection
from busgate.bus.consumer import Check, Handle
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.link import LinkEvents
from busgate.bus.settings import BusSettings
from busgate.bus.wire import Message
from busgate.contracts import CallFailed

FIELDS = [name for name in Message.__slots__ if name != "fault"]


class Recorder(Connection):
    """A connection that is fed by hand and writes down what it understood."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.events: list[Any] = []
        self.lost: Exception | None = None

    def _alive(self) -> None:
        if self.lost is not None:
            self.events.append(("after the end",))

    def message_arrived(self, channel: int, message: Message, *, returned: bool) -> None:
        self._alive()
        self.messages.append(message)
        content = None if message.fault else repr([getattr(message, name) for name in FIELDS])
        self.events.append(("message", channel, returned, message.tag, message.routing_key, content))

    def confirm_arrived(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        self._alive()
        self.events.append(("confirm", tag, multiple, accepted))

    def method_arrived(self, channel: int, method: Any) -> None:
        self._alive()
        self.events.append(("method", channel, method.name))

    def link_lost(self, error: Exception | None) -> None:
        self.events.append(("lost", str(error)))
        self.lost = error


Read = Callable[[Iterable[bytes]], Recorder]


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """Feed chunks to a new parser as a transport would: until the link is lost."""

    async def feed(chunks: Iterable[bytes]) -> Recorder:
        recorder = Recorder()
        for chunk in chunks:
            recorder.data_received(chunk)
            if recorder.lost is not None:
                break
        return recorder

    with asyncio.Runner() as runner:
        yield lambda chunks: runner.run(feed(chunks))


# -- houses of buses, on either broker


def cut(bus: Bus) -> None:
    """End all handlers that run."""
    for delivery in bus.consumers._running.values():
        assert delivery.task is not None
        delivery.task.cancel()


class EmbeddedGround:
    """Buses in memory."""

    embedded = True

    def __init__(self) -> None:
        self.broker = EmbeddedBroker()

    async def limit(self, topic: str, length: int) -> None:
        self.broker.limits[topic] = length

    async def delete_queue(self, name: str) -> None:
        self.broker.delete_queue(name)

    async def delete_reply_queue(self, bus: Bus) -> None:
        link: Any = bus._link
        self.broker.delete_queue(link.reply_queue)

    async def alarm(self) -> None:
        self.broker.set_alarm("low on memory")

    async def end_alarm(self) -> None:
        self.broker.set_alarm(None)

    async def publish(self, exchange: str, key: str, body: bytes = b"{}", **properties: Any) -> None:
        """As a foreign client would; properties by their names in Message, headers as a dict."""
        message = Message(exchange=exchange.encode(), routing_key=key.encode())
        message.body, message.expiration = body, b"60000"
        for name, value in properties.items():
            setattr(message, name, value if isinstance(value, dict) else str(value).encode())
        link = await self.broker.connect(LinkEvents(), name="foreign", generation=1)
        link._route(key, message)
        await link.close()


class RabbitGround:
    """Buses on a RabbitMQ, in a vhost of the test's own."""

    embedded = False

    def __init__(self, vhost: Vhost, node: RabbitNode | None = None) -> None:
        self.vhost = vhost
        self.node = node
        self.broker = RabbitBroker(BusSettings(url=vhost.url).addresses())

    async def limit(self, topic: str, length: int) -> None:
        """Of a queue that is made after it: one that is there has a policy only in its own time."""
        await self.vhost.set_policy("short", f"^{topic}$", **{"max-length": length, "overflow": "reject-publish"})

    async def delete_queue(self, name: str) -> None:
        await self.vhost.delete_queue(name)

    async def delete_reply_queue(self, bus: Bus) -> None:
        link: Any = bus._link
        with suppress(BusError):  # its consumer is cancelled first, and the link given up
            await link.call(2, amqp.Queue.Delete(queue=link.reply_queue))

    async def alarm(self) -> None:
        assert self.node is not None
        await self.node.raise_memory_alarm()

    async def end_alarm(self) -> None:
        assert self.node is not None
        await self.node.clear_memory_alarm()

    async def publish(self, exchange: str, key: str, body: bytes = b"{}", **properties: Any) -> None:
        connection = await aio_pika.connect(self.vhost.url)
        async with connection:
            channel = await connection.channel()
            target = await channel.get_exchange(exchange)
            await target.publish(aio_pika.Message(body, **properties), key, mandatory=False)


Ground = EmbeddedGround | RabbitGround


async def echo(delivery: Delivery) -> tuple[bytes, bytes]:
    return b"reply", delivery.message.body


class Gate:
    """A handler that waits to be let through, and counts."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[bytes] = []
        self.running = 0
        self.most = 0

    async def __call__(self, delivery: Delivery) -> tuple[bytes, bytes]:
        self.started.append(delivery.message.body)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        return b"reply", delivery.message.body


class House:
    """Buses on one ground, closed at the end of the test."""

    echo = staticmethod(echo)
    gate = Gate

    def __init__(self, ground: Ground, closing: AsyncExitStack) -> None:
        self.ground = ground
        self._closing = closing
        self._calls = 0

    async def bus(self, name: str = "edge", **options: Any) -> Bus:
        bus = Bus(self.ground.broker, name=name, **options)
        await bus.start(5)
        self._closing.push_async_callback(self._close, bus)
        return bus

    async def worker(
        self,
        topic: str,
        handle: Handle,
        *,
        name: str = "worker",
        prefetch: int = 16,
        reruns: bool = True,
        check: Check | None = None,
    ) -> Bus:
        bus = Bus(self.ground.broker, name=name)
        bus.serve(topic, handle, prefetch=prefetch, reruns=reruns, service="svc", check=check)
        await bus.start(5)
        self._closing.push_async_callback(self._close, bus)
        return bus

    async def _close(self, bus: Bus) -> None:
        async with asyncio.timeout(5):
            await bus.close()
        cut(bus)

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Wait for what no event announces."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    async def crash(self, bus: Bus) -> None:
        """As a process that dies: no reply, no ack, no goodbye."""
        assert bus._link is not None
        assert bus._keeper is not None
        bus._keeper.cancel()
        cut(bus)
        bus._link.abort()

    def context(self, *, caller: bytes = b"", hops: int = 0) -> CallContext:
        self._calls += 1
        return CallContext(b"%032x" % self._calls, TRACEPARENT, caller, hops)

    def call(self, bus: Bus, topic: str, body: bytes = b"{}", *, budget: float = 5.0, **context: Any) -> WaitingCall:
        return bus.endpoint(topic).call(body, self.context(**context), budget)

    async def failure(
        self, bus: Bus, topic: str, body: bytes = b"{}", *, within: float = 4.0, **options: Any
    ) -> CallFailed:
        """How a call fails, in far less than its budget unless `within` says more."""
        async with asyncio.timeout(within):
            try:
                reply = await self.call(bus, topic, body, **({"budget": 60.0} | options))
            except CallFailed as failed:
                return failed
        raise AssertionError(f"it did not fail but answered {reply.body!r}")

    async def problem(self, call: Awaitable[Reply]) -> str:
        """The kind of problem that a worker answers with."""
        reply = await call
        assert reply.type == b"problem"
        return str(json.loads(reply.body)["type"]).removeprefix("urn:busgate:")


TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def pytest_itemcollected(item: pytest.Item) -> None:
    bound(item, needs={"ground": "rabbit", "faulty_ground": "broker_node"})


@pytest.fixture(params=["embedded", "rabbitmq"])
def ground(request: pytest.FixtureRequest) -> Ground:
    return EmbeddedGround() if request.param == "embedded" else RabbitGround(request.getfixturevalue("vhost"))


@pytest.fixture(params=["embedded", "rabbitmq"])
def faulty_ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "embedded":
        return EmbeddedGround()
    return RabbitGround(request.getfixturevalue("faulty_vhost"), request.getfixturevalue("faulty_node"))


@pytest.fixture
async def house(ground: Ground) -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        yield House(ground, closing)


@pytest.fixture
async def faulty_house(faulty_ground: Ground) -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        yield House(faulty_ground, closing)


@pytest.fixture
async def town(vhost: Vhost) -> AsyncIterator[Town]:
    async with AsyncExitStack() as closing:
        yield Town(vhost, closing)

"""Buses that are members of the control bus of a real RabbitMQ, and an operator who looks at them."""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import aio_pika
from pydantic import BaseModel

from busgate.bus import Bus, CallContext, RabbitBroker, RollCall, joined, roll_call
from busgate.bus.consumer import Handle
from busgate.bus.settings import BusSettings
from busgate.contracts import Call, http

from .management import Vhost

TOPIC = "shop.echo.v1"


class Echo(BaseModel):
    a: int = 0


CONTRACT = Call(TOPIC, http.post("/echo"), request=Echo, reply=Echo)


class Town:
    """Buses that are members of one control bus, and an operator who looks at them."""

    def __init__(self, vhost: Vhost, closing: AsyncExitStack) -> None:
        self.vhost = vhost
        self.broker = RabbitBroker(BusSettings(url=vhost.url).addresses())
        self._closing = closing

    async def edge(self, name: str = "web") -> Bus:
        bus = Bus(self.broker, name=name)
        await self._closing.enter_async_context(bus)
        await self._closing.enter_async_context(
            joined(bus, kind="edge", contracts=[(CONTRACT, "")], on_drain=lambda: None)
        )
        return bus

    async def lone_edge(self) -> Bus:
        """It is no member: what it says of itself, the test says."""
        return await self._closing.enter_async_context(Bus(self.broker, name="lone"))

    async def worker(self, name: str = "shop", on_drain: Any = lambda: None, *, handle: Handle | None = None) -> Bus:
        bus = Bus(self.broker, name=name)
        bus.serve(TOPIC, handle or _echo, prefetch=8, reruns=True, service="echo")
        await self._closing.enter_async_context(bus)
        await self._closing.enter_async_context(
            joined(bus, kind="worker", contracts=[(CONTRACT, "echo")], on_drain=on_drain)
        )
        return bus

    async def operator(self) -> RollCall:
        return await self._closing.enter_async_context(roll_call(self.broker.control_address, name="operator", wait=0))

    async def lay_out(self) -> None:
        """Make the exchanges that are missing."""
        await self.broker.prepare([])

    async def publish(self, key: str, body: bytes) -> None:
        await self.publish_all([(key, body)])

    async def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        connection = await aio_pika.connect(self.vhost.url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange("busgate.control")
            for key, body in messages:
                await exchange.publish(aio_pika.Message(body), key, mandatory=False)


async def _echo(delivery: Any) -> tuple[bytes, bytes]:
    return b"reply", delivery.message.body


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def context() -> CallContext:
    return CallContext(uuid.uuid4().hex.encode(), b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

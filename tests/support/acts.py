"""What somebody may try at a broker, to see whether its rights allow it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel

from busgate.bus import Address

LONGEST = 30.0
"""Seconds."""

Act = Callable[[AbstractChannel], Awaitable[Any]]


async def attempt(address: Address, act: Act) -> None:
    """Do it as the user of this address. Raises ChannelAccessRefused: the broker does not let him."""
    connection = await aio_pika.connect(
        host=address.host, port=address.port, login=address.user, password=address.password, virtualhost=address.vhost
    )
    async with asyncio.timeout(LONGEST), connection:
        await act(await connection.channel(publisher_confirms=True))


def publish(exchange: str, key: str) -> Act:
    async def act(channel: AbstractChannel) -> None:
        target = channel.default_exchange if exchange == "" else await channel.get_exchange(exchange, ensure=False)
        await target.publish(aio_pika.Message(b"x"), key, mandatory=False)

    return act


def consume(queue: str) -> Act:
    async def ignore(_: object) -> None: ...

    async def act(channel: AbstractChannel) -> None:
        found = await channel.get_queue(queue, ensure=False)
        await found.consume(ignore)

    return act


def delete(queue: str) -> Act:
    return lambda channel: channel.queue_delete(queue)


def listen(exchange: str, key: str, queue: str) -> Act:
    """Have a queue of one's own that gets copies."""

    async def act(channel: AbstractChannel) -> None:
        await (await channel.declare_queue(queue, exclusive=True)).bind(exchange, key)

    return act

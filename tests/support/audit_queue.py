"""A durable queue that keeps all audit records, as an operator would have one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractQueue

Keep = Callable[[], Awaitable[AbstractQueue]]


@asynccontextmanager
async def keeping(url: str) -> AsyncIterator[Keep]:
    """Gives what makes the queue, once the exchange is there."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()

        async def keep() -> AbstractQueue:
            queue = await channel.declare_queue("kept", durable=True)
            await queue.bind(await channel.get_exchange("busgate.audit"), "#")
            return queue

        yield keep

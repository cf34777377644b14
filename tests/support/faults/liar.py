"""A worker of the topic `lied` that knows only the wire, and answers what a test wants."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from busgate.bus.wire import CALLS_EXCHANGE, QUEUE_ARGUMENTS, REPLIES_EXCHANGE

from .contracts import lied


class Liar:
    """Replies to a call; every part of a good reply can be replaced."""

    def __init__(self, replies: AbstractExchange) -> None:
        self._replies = replies

    async def reply(
        self, call: AbstractIncomingMessage, body: bytes, *, to: str | None = None, **properties: Any
    ) -> None:
        headers = {"wire": 1, "service": "liar", "received": int(time.time() * 1000), "ran": 1}
        good: dict[str, Any] = {
            "content_type": "application/json",
            "type": "reply",
            "correlation_id": call.correlation_id,
            "headers": headers,
        }
        await self._replies.publish(
            aio_pika.Message(body, **{**good, **properties}), to or call.reply_to or "", mandatory=False
        )


Answering = Callable[[Liar, AbstractIncomingMessage], Awaitable[None]]


@asynccontextmanager
async def lying(url: str, answer: Answering) -> AsyncIterator[None]:
    """Serve the topic with this while the context lasts."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(lied.topic, durable=True, arguments={**QUEUE_ARGUMENTS})
        await queue.bind(CALLS_EXCHANGE, lied.topic)
        liar = Liar(await channel.get_exchange(REPLIES_EXCHANGE))

        async def serve(message: AbstractIncomingMessage) -> None:
            await answer(liar, message)
            await message.ack()

        tag = await queue.consume(serve)
        yield
        await queue.cancel(tag)

"""Peers that know docs/wire.md and nothing of busgate: the worker that the page shows, and a caller."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from support.management import Vhost

from busgate.bus import Bus, CallContext, Delivery, RabbitBroker
from busgate.bus.settings import BusSettings

PAGE = (Path(__file__).parents[2] / "docs/wire.md").read_text(encoding="utf-8")
TOPIC = "shop.orders.place.v1"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def broker(vhost: Vhost) -> RabbitBroker:
    return RabbitBroker(BusSettings(url=vhost.url).addresses())


@pytest.fixture
async def worker_of_the_page(vhost: Vhost, broker: RabbitBroker) -> AsyncIterator[None]:
    found = re.search(r"<!-- a worker -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    page: dict[str, Any] = {}
    exec(compile(found[1], "docs/wire.md", "exec"), page)
    await broker.prepare([TOPIC])
    connection = await page["serve"](vhost.url)
    yield
    await connection.close()


async def test_the_worker_that_the_page_shows_serves_calls(broker: RabbitBroker, worker_of_the_page: None) -> None:
    async with Bus(broker, name="edge") as edge:
        endpoint = edge.endpoint(TOPIC)

        def order(quantity: object) -> Any:
            context = CallContext(b"0" * 31 + b"1", TRACEPARENT.encode())
            return endpoint.call(json.dumps({"sku": "A-1", "quantity": quantity}).encode(), context, 5)

        placed, refused, crashed = await asyncio.gather(order(1), order(11), order(None))

    assert (placed.type, json.loads(placed.body)["status"], placed.service) == (b"reply", "placed", "orders")
    assert (refused.type, json.loads(refused.body)["type"]) == (b"problem", "urn:problem:out-of-stock")
    assert json.loads(crashed.body) == {"type": "urn:busgate:handler-crashed"}
    assert (edge.counters.bad_replies, edge.counters.late_replies, edge.counters.skewed) == (0, 0, 0)


async def test_a_caller_that_knows_only_the_page_is_answered(vhost: Vhost, broker: RabbitBroker) -> None:
    async def echo(delivery: Delivery) -> tuple[bytes, bytes]:
        return b"reply", delivery.message.body

    worker = Bus(broker, name="worker")
    worker.serve(TOPIC, echo, prefetch=4, reruns=True, service="echo")
    async with worker, await aio_pika.connect(vhost.url) as connection, asyncio.timeout(20):
        channel = await connection.channel()
        name = "busgate.reply.mine.1.0123456789ab"
        queue = await channel.declare_queue(name, exclusive=True, arguments={"x-queue-type": "classic"})
        await queue.bind("busgate.replies", name)
        call = aio_pika.Message(
            b'{"a":1}',
            content_type="application/json",
            type="call",
            correlation_id="0123456789abcdef",
            reply_to=name,
            expiration=5,
            headers={
                "wire": 1,
                "call": "0" * 31 + "2",
                "deadline": int(time.time() * 1000) + 5000,
                "traceparent": TRACEPARENT,
                "hops": 0,
            },
        )
        await (await channel.get_exchange("busgate.calls")).publish(call, TOPIC)
        async with queue.iterator() as replies:
            reply = await anext(replies)
            await reply.ack()

    assert (reply.type, reply.body, reply.correlation_id) == ("reply", b'{"a":1}', "0123456789abcdef")
    assert reply.headers["service"] == "echo"

"""Replies that are late, foreign, twice, forged or too large: one answer for each call, and the good ones unharmed."""

import asyncio
import time
from typing import Any

import pytest

from busgate.bus import Bus, Delivery
from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import CallFailed

TOPIC = "shop.orders.place.v1"
OTHER = "shop.stock.check.v1"
only_rabbitmq = pytest.mark.parametrize("ground", ["rabbitmq"], indirect=True)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REPLY_QUEUE = "busgate.reply.foreign.1.0123456789ab"


def a_reply(correlation_id: str, **changes: Any) -> dict[str, Any]:
    headers = {"wire": 1, "service": "fake", "received": int(time.time() * 1000), "ran": 1}
    properties: dict[str, Any] = {"content_type": "application/json", "type": "reply", "correlation_id": correlation_id}
    for name, value in changes.items():
        if name.startswith("headers_"):
            headers[name.removeprefix("headers_")] = value
        else:
            properties[name] = value
    return properties | {"headers": {name: value for name, value in headers.items() if value is not None}}


class Caller:
    """An edge with a call that waits, and who answers it by hand."""

    def __init__(self, edge: Bus, call: Any, delivery: Delivery, gate: asyncio.Event) -> None:
        self.edge = edge
        self.call = call
        self.correlation_id = delivery.message.correlation_id.decode()
        self.reply_queue = delivery.message.reply_to.decode()
        self.gate = gate


@pytest.fixture
async def caller(house: Any) -> Caller:
    gate = asyncio.Event()
    deliveries: list[Delivery] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        deliveries.append(delivery)
        await gate.wait()
        return b"reply", b'"real"'

    await house.worker(TOPIC, handle)
    edge = await house.bus()
    call = house.call(edge, TOPIC)
    await house.eventually(lambda: deliveries)
    return Caller(edge, call, deliveries[0], gate)


@pytest.mark.parametrize(
    "properties",
    [{}, a_reply("0" * 32), a_reply("x"), {"type": "ping"}, {"correlation_id": "0" * 32, "headers": {"CC": ["a"]}}],
    ids=["nothing", "a foreign correlation id", "a short one", "somebody else's ping", "hardly anything"],
)
async def test_replies_that_nobody_waits_for_are_counted_and_dropped(
    house: Any, caller: Caller, properties: dict[str, Any]
) -> None:
    await house.ground.publish("busgate.replies", caller.reply_queue, b"garbage", **properties)
    if "type" not in properties or properties["type"] != "ping":
        await house.eventually(lambda: caller.edge.counters.late_replies == 1)
    caller.gate.set()

    assert (await caller.call).body == b'"real"'
    assert caller.edge.generation == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"headers_wire": 2},
        {"headers_wire": None},
        {"type": "item"},
        {"type": "call"},
        {"headers_service": None},
        {"headers_service": 7},
        {"headers_received": None},
        {"headers_received": "now"},
        {"headers_ran": None},
        {"headers_ran": -1},
    ],
    ids=str,
)
async def test_a_reply_that_is_not_of_this_format_ends_the_call_as_a_bad_reply(
    house: Any, caller: Caller, changes: dict[str, Any]
) -> None:
    await house.ground.publish("busgate.replies", caller.reply_queue, **a_reply(caller.correlation_id, **changes))
    with pytest.raises(CallFailed, match="bad-reply"):
        await caller.call
    caller.gate.set()

    assert caller.edge.counters.bad_replies == 1
    await house.eventually(lambda: caller.edge.counters.late_replies == 1)  # the real one comes too late


async def test_the_first_of_two_replies_counts(house: Any, caller: Caller) -> None:
    for body in (b"1", b"2"):
        await house.ground.publish("busgate.replies", caller.reply_queue, body, **a_reply(caller.correlation_id))
    reply = await caller.call
    caller.gate.set()
    await house.eventually(lambda: caller.edge.counters.late_replies == 2)

    assert (reply.body, reply.service) == (b"1", "fake")


@only_rabbitmq
async def test_a_reply_is_taken_under_the_second_key_too(house: Any, caller: Caller) -> None:
    """Replies travel under it while a tap holds a lease on their topic."""
    key = caller.reply_queue + ".tapped"
    await house.ground.publish("busgate.replies", key, b"1", **a_reply(caller.correlation_id))

    assert (await caller.call).body == b"1"
    caller.gate.set()


async def test_a_worker_with_a_wrong_clock_is_counted_and_not_refused(house: Any, caller: Caller) -> None:
    an_hour_ago = int(time.time() * 1000) - 3_600_000
    await house.ground.publish(
        "busgate.replies", caller.reply_queue, b"1", **a_reply(caller.correlation_id, headers_received=an_hour_ago)
    )

    assert (await caller.call).body == b"1"
    assert caller.edge.counters.skewed == 1
    caller.gate.set()


@only_rabbitmq
async def test_a_reply_larger_than_the_bus_carries_is_a_bad_reply_and_the_link_stays(
    house: Any, caller: Caller
) -> None:
    body = bytes(MAX_MESSAGE + 1)
    await house.ground.publish("busgate.replies", caller.reply_queue, body, **a_reply(caller.correlation_id))

    with pytest.raises(CallFailed, match="bad-reply"):
        await caller.call
    caller.gate.set()
    assert caller.edge.generation == 1

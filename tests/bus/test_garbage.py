"""Messages that are not of this house: counted and dropped, and the good ones beside them unharmed."""

import asyncio
import time
from typing import Any

import aio_pika
import pytest

from busgate.bus import Bus, Delivery
from busgate.bus.wire import MAX_MESSAGE

TOPIC = "shop.orders.place.v1"
OTHER = "shop.stock.check.v1"
only_rabbitmq = pytest.mark.parametrize("ground", ["rabbitmq"], indirect=True)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REPLY_QUEUE = "busgate.reply.foreign.1.0123456789ab"


class Counting:
    """A handler that echoes and remembers what it ran."""

    def __init__(self) -> None:
        self.ran: list[bytes] = []

    async def __call__(self, delivery: Delivery) -> tuple[bytes, bytes]:
        self.ran.append(delivery.message.body)
        return b"reply", delivery.message.body


def a_call(**changes: Any) -> dict[str, Any]:
    """The properties of a call as a plain client sends them; `headers_...` changes a header, None takes one away."""
    headers: dict[str, Any] = {
        "wire": 1,
        "call": "0" * 31 + "f",
        "deadline": int(time.time() * 1000) + 60_000,
        "traceparent": TRACEPARENT,
        "hops": 0,
    }
    properties: dict[str, Any] = {
        "content_type": "application/json",
        "type": "call",
        "correlation_id": "c" * 32,
        "reply_to": REPLY_QUEUE,
    }
    for name, value in changes.items():
        if name.startswith("headers_"):
            headers[name.removeprefix("headers_")] = value
        else:
            properties[name] = value
    headers = {name: value for name, value in headers.items() if value is not None}
    return {name: value for name, value in properties.items() if value is not None} | {"headers": headers}


async def test_a_call_of_a_plain_client_is_run(house: Any) -> None:
    handle = Counting()
    worker = await house.worker(TOPIC, handle)

    await house.ground.publish("busgate.calls", TOPIC, b'"plain"', **a_call())

    await house.eventually(lambda: worker.counters.unanswerable == 1)
    assert handle.ran == [b'"plain"']
    assert worker.counters.foreign == 0


NOT_CALLS: dict[str, dict[str, Any]] = {
    "nothing at all": {
        "content_type": None,
        "type": None,
        "correlation_id": None,
        "reply_to": None,
        "headers_wire": None,
    },
    "no wire version": {"headers_wire": None},
    "a later wire version": {"headers_wire": 2},
    "a wire version that is text": {"headers_wire": "1"},
    "a wire version that is true": {"headers_wire": True},
    "no type": {"type": None},
    "a reply": {"type": "reply"},
    "a command, which is of a later version": {"type": "command"},
    "another content type": {"content_type": "text/plain"},
    "no reply_to": {"reply_to": None},
    "a reply_to that is a queue of somebody": {"reply_to": TOPIC},
    "a reply_to that is a pseudo-queue": {"reply_to": "amq.rabbitmq.reply-to.g1hkABF"},
    "a reply_to with a wildcard": {"reply_to": "busgate.reply.#"},
    "a reply_to with a line break": {"reply_to": REPLY_QUEUE + "\n"},
    "no correlation id": {"correlation_id": None},
    "a correlation id that is too long": {"correlation_id": "c" * 65},
    "a correlation id that is too short": {"correlation_id": "c" * 15},
    "no call id": {"headers_call": None},
    "a call id in capitals": {"headers_call": "F" * 32},
    "a call id that is a number": {"headers_call": 7},
    "no deadline": {"headers_deadline": None},
    "a deadline that is text": {"headers_deadline": "soon"},
    "a deadline that is a float": {"headers_deadline": 1.5},
    "a traceparent of zeros": {"headers_traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
    "no hops": {"headers_hops": None},
    "too many hops": {"headers_hops": 9},
    "negative hops": {"headers_hops": -1},
    "a caller that is a table": {"headers_caller": {"sub": "admin"}},
}


async def test_what_is_not_a_call_is_counted_and_dropped(house: Any) -> None:
    handle = Counting()
    worker = await house.worker(TOPIC, handle, prefetch=4)  # fewer than the garbage: each must be settled
    edge = await house.bus()
    good = [asyncio.ensure_future(house.call(edge, TOPIC, b'"good"')) for _ in range(5)]

    for changes in NOT_CALLS.values():
        await house.ground.publish("busgate.calls", TOPIC, b'"garbage"', **a_call(**changes))
    await house.eventually(lambda: worker.counters.foreign == len(NOT_CALLS))
    good += [house.call(edge, TOPIC, b'"good"') for _ in range(5)]
    replies = await asyncio.gather(*good)

    assert {reply.body for reply in replies} == {b'"good"'}
    assert handle.ran == [b'"good"'] * 10
    assert worker.generation == 1
    assert worker.counters.answered == 10


@pytest.mark.parametrize("deadline", [-(2**63), 0, 1_000_000_000_000])
async def test_a_call_whose_deadline_is_over_is_refused_by_the_worker_itself(house: Any, deadline: int) -> None:
    """Its time in the queue does not protect it: that begins when the broker takes the message."""
    handle = Counting()
    worker = await house.worker(TOPIC, handle)

    await house.ground.publish("busgate.calls", TOPIC, **a_call(headers_deadline=deadline))
    await house.eventually(lambda: worker.counters.unanswerable == 1)

    assert worker.counters.refused_late == 1
    assert handle.ran == []


async def test_a_call_that_comes_again_after_its_deadline_is_not_said_to_be_not_executed(house: Any) -> None:
    """It may have run where it was first; `too-late` would invite the client to try again."""
    started, handle = asyncio.Event(), Counting()

    async def hang(_: Delivery) -> tuple[bytes, bytes]:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    dying = await house.worker(TOPIC, hang, name="dying")
    edge = await house.bus()
    replies: list[Any] = []
    edge._link._events.on_reply = replies.append
    deadline = int(time.time() * 1000) + 300
    await house.ground.publish(
        "busgate.calls", TOPIC, **a_call(headers_deadline=deadline, reply_to=edge._link.reply_queue)
    )
    await started.wait()
    await house.eventually(lambda: time.time() * 1000 > deadline)
    await house.worker(TOPIC, handle, name="other")
    await house.crash(dying)
    await house.eventually(lambda: any(reply.type == b"problem" for reply in replies))

    assert b"urn:busgate:redelivered" in replies[-1].body
    assert handle.ran == []


async def test_a_deadline_in_the_far_future_harms_nobody(house: Any) -> None:
    handle = Counting()
    worker = await house.worker(TOPIC, handle)

    await house.ground.publish("busgate.calls", TOPIC, **a_call(headers_deadline=2**63 - 1))
    await house.eventually(lambda: worker.counters.unanswerable == 1)

    assert len(handle.ran) == 1


@only_rabbitmq
async def test_a_call_that_was_carried_to_another_queue_is_dropped(house: Any) -> None:
    """A header CC brings a message past the permissions of its topic; it keeps the key it was published with."""
    handle = Counting()
    worker = Bus(house.ground.broker, name="worker")
    worker.serve(TOPIC, handle, prefetch=4, reruns=True, service="svc")
    other = await house.worker(OTHER, handle, name="other")
    async with worker:
        await house.ground.publish("busgate.calls", TOPIC, **a_call(headers_CC=[OTHER]))
        await house.eventually(lambda: other.counters.foreign == 1 and worker.counters.foreign == 1)

    assert handle.ran == []


async def test_the_same_call_twice_runs_once_and_both_who_wait_are_answered(house: Any) -> None:
    """Two attempts of one call have one call id and two correlation ids."""
    gate, handle = asyncio.Event(), Counting()

    async def slow(delivery: Delivery) -> tuple[bytes, bytes]:
        await gate.wait()
        return await handle(delivery)

    worker = await house.worker(TOPIC, slow)
    edge = await house.bus()
    context = house.context()
    endpoint = edge.endpoint(TOPIC)

    first = endpoint.call(b"1", context, 5.0)
    second = endpoint.call(b"1", context, 5.0)
    await house.eventually(lambda: worker.counters.duplicates == 1)
    gate.set()

    assert [reply.body for reply in await asyncio.gather(first, second)] == [b"1", b"1"]
    assert handle.ran == [b"1"]


async def test_another_attempt_of_a_call_that_was_answered_gets_the_same_answer_without_a_run(house: Any) -> None:
    handle = Counting()
    worker = await house.worker(TOPIC, handle)
    edge = await house.bus()
    context = house.context()
    endpoint = edge.endpoint(TOPIC)

    first = await endpoint.call(b"1", context, 5.0)
    second = await endpoint.call(b"1", context, 5.0)

    assert (second.body, second.ran_ms) == (first.body, first.ran_ms)
    assert handle.ran == [b"1"]
    assert worker.counters.duplicates == 1


async def test_one_call_id_in_two_topics_is_two_calls(house: Any) -> None:
    worker = Bus(house.ground.broker, name="worker")
    gate = asyncio.Event()

    async def first(_: Delivery) -> tuple[bytes, bytes]:
        await gate.wait()
        return b"reply", b'"first"'

    async def second(_: Delivery) -> tuple[bytes, bytes]:
        gate.set()
        return b"reply", b'"second"'

    worker.serve(TOPIC, first, prefetch=4, reruns=True, service="svc")
    worker.serve(OTHER, second, prefetch=4, reruns=True, service="svc")
    async with worker:
        edge = await house.bus()
        context = house.context()
        replies = await asyncio.gather(*(edge.endpoint(topic).call(b"{}", context, 5.0) for topic in (TOPIC, OTHER)))

    assert [reply.body for reply in replies] == [b'"first"', b'"second"']


# -- what only a real broker carries


@only_rabbitmq
async def test_a_message_with_headers_of_every_type_is_dropped(house: Any) -> None:
    worker = await house.worker(TOPIC, Counting())
    headers = {"a": [1, {"b": [True, None]}], "c": 1.5, "d": bytearray(b"\xff\xfe"), "wire": 1, "é": "ü"}

    await house.ground.publish("busgate.calls", TOPIC, b"\x00\xff", headers=headers)

    await house.eventually(lambda: worker.counters.foreign == 1)
    assert worker.generation == 1


@only_rabbitmq
async def test_a_message_that_is_published_to_the_queue_itself_is_a_call_like_others(house: Any) -> None:
    """Through the default exchange, which the house does not use; the key is the same."""
    handle = Counting()
    worker = await house.worker(TOPIC, handle)
    async with await aio_pika.connect(house.ground.vhost.url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b'"direct"', **a_call()), TOPIC)

    await house.eventually(lambda: worker.counters.unanswerable == 1)
    assert handle.ran == [b'"direct"']


@only_rabbitmq
async def test_a_worker_is_no_confused_deputy(house: Any) -> None:
    """A reply goes through the exchange of replies to a reply queue, or nowhere."""
    await house.worker(TOPIC, Counting())
    async with await aio_pika.connect(house.ground.vhost.url) as connection:
        channel = await connection.channel()
        victim = await channel.declare_queue("busgate.reply.victim", exclusive=True)
        await house.ground.publish("busgate.calls", TOPIC, **a_call(reply_to="busgate.reply.victim"))
        edge = await house.bus()
        await house.call(edge, TOPIC)

        assert await victim.get(fail=False) is None


async def test_a_worker_says_once_why_it_drops_and_quotes_nothing(
    house: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = await house.worker(TOPIC, Counting())

    for _ in range(3):
        await house.ground.publish(
            "busgate.calls", TOPIC, b"secret-body", **a_call(type="secret-type", headers_evil="secret-header")
        )
    await house.eventually(lambda: worker.counters.foreign == 3)

    said = capsys.readouterr().out
    assert said.count("dropped a message") == 1
    assert "secret" not in said


@only_rabbitmq
async def test_a_message_larger_than_the_bus_carries_is_dropped_and_the_link_stays(house: Any) -> None:
    """RabbitMQ 3.10 carries up to 128 MB; a link that falls over it would fall at every redelivery."""
    handle = Counting()
    worker = await house.worker(TOPIC, handle)
    edge = await house.bus()

    await house.ground.publish("busgate.calls", TOPIC, bytes(MAX_MESSAGE + 1), **a_call())
    await house.eventually(lambda: worker.counters.foreign == 1)

    assert (await house.call(edge, TOPIC, b"1")).body == b"1"
    assert worker.generation == 1

"""What a bus promises, on the embedded broker and on RabbitMQ: one suite, so that the two cannot drift apart."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import pytest

from busgate.bus import Bus, CallContext, Delivery, problem
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import CallFailed, FailureKind
from busgate.contracts.failure import (
    CALL_TOO_LARGE,
    CALLER_UNVERIFIED,
    HANDLER_CRASHED,
    NO_ROUTE,
    NO_WORKERS,
    OVERLOADED,
    QUEUE_FULL,
    TIMEOUT,
    TOO_MANY_HOPS,
)

TOPIC = "shop.orders.place.v1"
OTHER = "shop.stock.check.v1"


# -- calls and their replies


async def test_a_call_is_answered_by_its_handler(house: Any) -> None:
    await house.worker(TOPIC, house.echo)
    edge = await house.bus()

    reply = await house.call(edge, TOPIC, b'{"sku":"A-1"}')

    assert (reply.type, reply.body, reply.service) == (b"reply", b'{"sku":"A-1"}', "svc")
    assert 0 <= reply.ran_ms < 1000
    assert edge.counters.skewed == 0


async def test_a_handler_sees_the_context_and_the_deadline_of_its_call(house: Any) -> None:
    seen: list[Delivery] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        seen.append(delivery)
        return b"reply", b"{}"

    await house.worker(TOPIC, handle)
    edge = await house.bus()
    context = house.context(caller='{"sub":"zoë"}'.encode(), hops=3)
    before = time.time()

    await edge.endpoint(TOPIC).call(b"{}", context, 4.0)

    (delivery,) = seen
    inherited = delivery.context
    assert (inherited.call_id, inherited.traceparent) == (context.call_id, context.traceparent)
    assert (inherited.caller, inherited.hops) == (context.caller, 3)
    assert before + 3.9 < delivery.deadline <= time.time() + 4.0


async def test_a_signed_caller_travels_with_the_service_that_calls_on(house: Any) -> None:
    seen: list[Delivery] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        seen.append(delivery)
        return b"reply", b"{}"

    await house.worker(TOPIC, handle)
    edge = await house.bus()
    plain, signed, nested = (house.context(caller=b'{"sub":"ann"}') for _ in range(3))
    signed.jws = nested.jws = b"a.b.c"
    nested.via = b"orders"

    for context in (plain, signed, nested):
        await edge.endpoint(TOPIC).call(b"{}", context, 4.0)

    came = [(each.context.caller, each.context.jws, each.context.via) for each in seen]
    assert came == [
        (b'{"sub":"ann"}', b"", b""),
        (b'{"sub":"ann"}', b"a.b.c", b""),
        (b'{"sub":"ann"}', b"a.b.c", b"orders"),
    ]


async def test_a_call_that_its_check_refuses_is_answered_without_its_handler(house: Any) -> None:
    """Not even with what another attempt at the same call was answered; nor is another caller answered with that."""
    ran: list[Delivery] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        ran.append(delivery)
        return b"reply", b'"secret"'

    def check(delivery: Delivery) -> FailureKind | None:
        return None if delivery.context.caller in (b'"ann"', b'"bob"') else CALLER_UNVERIFIED

    await house.worker(TOPIC, handle, check=check)
    edge = await house.bus()
    good = house.context(caller=b'"ann"')
    forged = CallContext(good.call_id, good.traceparent, b'"eve"')
    other = CallContext(good.call_id, good.traceparent, b'"bob"')

    first = await edge.endpoint(TOPIC).call(b"{}", good, 4.0)
    second = await house.problem(edge.endpoint(TOPIC).call(b"{}", forged, 4.0))
    again = await edge.endpoint(TOPIC).call(b"{}", good, 4.0)

    await edge.endpoint(TOPIC).call(b"{}", other, 4.0)

    assert (first.body, second, again.body) == (b'"secret"', "caller-unverified", b'"secret"')
    assert [each.context.caller for each in ran] == [b'"ann"', b'"bob"']


async def test_a_problem_of_the_handler_reaches_the_caller(house: Any) -> None:
    async def refuse(_: Delivery) -> tuple[bytes, bytes]:
        return problem(CallFailed(HANDLER_CRASHED, service="svc"))

    await house.worker(TOPIC, refuse)
    edge = await house.bus()

    assert await house.problem(house.call(edge, TOPIC)) == "handler-crashed"


async def test_a_handler_that_fails_outside_its_guard_is_a_crash(house: Any) -> None:
    async def crash(_: Delivery) -> tuple[bytes, bytes]:
        raise RuntimeError("secret")

    await house.worker(TOPIC, crash)
    edge = await house.bus()

    reply = await house.call(edge, TOPIC)

    assert json.loads(reply.body)["type"] == "urn:busgate:handler-crashed"
    assert b"secret" not in reply.body


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 500_000])
async def test_bodies_of_any_size_travel_whole(house: Any, size: int) -> None:
    await house.worker(TOPIC, house.echo)
    edge = await house.bus()
    body = bytes(range(256)) * (size // 256 + 1)

    reply = await house.call(edge, TOPIC, body[:size])

    assert reply.body == body[:size]


async def test_many_calls_at_once_each_get_their_own_reply(house: Any) -> None:
    await house.worker(TOPIC, house.echo)
    edge = await house.bus()
    bodies = [b'{"n":%d}' % number for number in range(500)]

    replies = await asyncio.gather(*(house.call(edge, TOPIC, body) for body in bodies))

    assert [reply.body for reply in replies] == bodies
    assert edge.requester.waiting == 0


async def test_competing_consumers_share_the_calls(house: Any) -> None:
    took: Counter[str] = Counter()

    def handler(name: str) -> Any:
        async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
            took[name] += 1
            return b"reply", b"{}"

        return handle

    for name in ("one", "two", "three"):
        await house.worker(TOPIC, handler(name), name=name, prefetch=4)
    edge = await house.bus()

    await asyncio.gather(*(house.call(edge, TOPIC) for _ in range(60)))

    assert took.keys() == {"one", "two", "three"}
    assert took.total() == 60


async def test_no_more_handlers_run_than_the_prefetch_allows(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate, prefetch=3)
    edge = await house.bus()

    calls = [house.call(edge, TOPIC) for _ in range(10)]
    await house.eventually(lambda: gate.running == 3)
    gate.open.set()
    await asyncio.gather(*calls)

    assert gate.most == 3


async def test_a_slow_topic_does_not_hold_up_another_of_the_same_worker(house: Any) -> None:
    gate = house.gate()
    worker = Bus(house.ground.broker, name="worker")
    worker.serve(TOPIC, gate, prefetch=2, reruns=True, service="svc")
    worker.serve(OTHER, house.echo, prefetch=1, reruns=True, service="svc")
    async with worker:
        edge = await house.bus()
        slow = [house.call(edge, TOPIC) for _ in range(5)]
        await house.eventually(lambda: gate.running == 2)

        reply = await house.call(edge, OTHER, b"[1]")

        assert reply.body == b"[1]"
        gate.open.set()
        await asyncio.gather(*slow)


async def test_handlers_call_over_the_bus_that_they_are_served_by(house: Any) -> None:
    worker = Bus(house.ground.broker, name="worker")

    async def outer(delivery: Delivery) -> tuple[bytes, bytes]:
        inner = await house.call(worker, OTHER, b'"inner"', hops=delivery.context.hops + 1)
        return b"reply", inner.body

    worker.serve(TOPIC, outer, prefetch=1, reruns=True, service="svc")
    worker.serve(OTHER, house.echo, prefetch=1, reruns=True, service="svc")
    async with worker:
        edge = await house.bus()

        replies = await asyncio.gather(*(house.call(edge, TOPIC) for _ in range(5)))

    assert [reply.body for reply in replies] == [b'"inner"'] * 5


@pytest.mark.parametrize("name", ["", "two words", "ü", "x" * 101])
async def test_a_name_that_no_worker_would_answer_to_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a bus"):
        Bus(EmbeddedBroker(), name=name)


# -- calls that reach nobody


async def test_a_topic_without_a_queue_is_refused_at_once(house: Any) -> None:
    edge = await house.bus()

    failed = await house.failure(edge, TOPIC)

    assert failed.kind is NO_ROUTE
    assert edge.counters.returned == 1
    assert edge.requester.waiting == 0


async def test_a_queue_that_nobody_serves_is_refused_at_once_after_a_first_timeout(house: Any) -> None:
    ran: list[bytes] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        ran.append(delivery.message.body)
        return b"reply", b"{}"

    await (await house.worker(TOPIC, handle)).close()
    edge = await house.bus()

    first = await house.failure(edge, TOPIC, b'"old"', budget=0.2)
    await house.eventually(lambda: edge.endpoint(TOPIC).unserved)
    then = await house.failure(edge, TOPIC, b'"never sent"')
    await house.worker(TOPIC, handle, name="late")
    await house.eventually(lambda: not edge.endpoint(TOPIC).unserved)
    await house.call(edge, TOPIC, b'"new"')

    assert (first.kind, then.kind) == (TIMEOUT, NO_WORKERS)
    assert ran == [b'"new"']


async def test_a_full_queue_refuses_and_says_so(house: Any) -> None:
    gate = house.gate()
    await house.ground.limit(TOPIC, 2)
    await house.worker(TOPIC, gate, prefetch=1)
    edge = await house.bus()
    taken = [house.call(edge, TOPIC)]
    await house.eventually(lambda: gate.running)
    taken += [house.call(edge, TOPIC) for _ in range(2)]

    failed = await house.failure(edge, TOPIC, b'"refused"')

    assert failed.kind is QUEUE_FULL
    gate.open.set()
    await asyncio.gather(*taken)
    assert b'"refused"' not in gate.started


async def test_more_calls_than_may_wait_are_refused_at_once(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus(max_waiting=2)
    waiting = [house.call(edge, TOPIC) for _ in range(2)]

    failed = await house.failure(edge, TOPIC)

    assert failed.kind is OVERLOADED
    gate.open.set()
    await asyncio.gather(*waiting)
    assert (await house.call(edge, TOPIC)).type == b"reply"


async def test_a_call_that_nobody_waits_for_any_more_frees_its_place(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus(max_waiting=1)
    abandoned = house.call(edge, TOPIC, b'"abandoned"')
    await house.eventually(lambda: gate.running)

    abandoned.cancel()
    second = house.call(edge, TOPIC, b'"second"')
    gate.open.set()

    assert (await second).body == b'"second"'
    assert edge.counters.abandoned == 1
    await house.eventually(lambda: edge.counters.late_replies == 1)


async def test_a_task_that_is_cancelled_abandons_its_call(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()

    async def wait() -> None:
        await house.call(edge, TOPIC)

    task = asyncio.create_task(wait())
    await house.eventually(lambda: gate.running)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (edge.requester.waiting, edge.counters.abandoned) == (0, 1)


async def test_a_call_that_cannot_be_carried_is_refused_before_it_is_sent(house: Any) -> None:
    edge = await house.bus()

    large = await house.failure(edge, TOPIC, bytes(MAX_MESSAGE + 1))
    deep = await house.failure(edge, TOPIC, hops=9)

    assert (large.kind, deep.kind) == (CALL_TOO_LARGE, TOO_MANY_HOPS)
    assert edge.counters.returned == 0


async def test_a_reply_that_is_too_large_is_a_failure_and_not_a_lost_link(house: Any) -> None:
    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        return b"reply", bytes(MAX_MESSAGE + 1) if delivery.message.body == b'"large"' else b"{}"

    worker = await house.worker(TOPIC, handle)
    edge = await house.bus()

    assert await house.problem(house.call(edge, TOPIC, b'"large"')) == "handler-crashed"
    assert (await house.call(edge, TOPIC)).type == b"reply"
    assert worker.generation == 1


# -- deadlines


async def test_a_call_is_answered_when_its_budget_is_over(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()

    failed = await house.failure(edge, TOPIC, budget=0.15)

    assert failed.kind is TIMEOUT
    gate.open.set()
    await house.eventually(lambda: edge.counters.late_replies == 1)


@pytest.mark.parametrize("budget", [0.0, -1.0])
async def test_a_budget_that_is_already_over_ends_the_call_too(house: Any, budget: float) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()

    async with asyncio.timeout(20):
        outcome: Any = (await asyncio.gather(house.call(edge, TOPIC, budget=budget), return_exceptions=True))[0]

    assert "timeout" in str(outcome) or b"too-late" in outcome.body
    assert edge.requester.waiting == 0


async def test_a_call_that_waited_beyond_its_deadline_is_not_run(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate, prefetch=1)
    edge = await house.bus()
    first = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    failed = await house.failure(edge, TOPIC, b"2", budget=0.15)
    gate.open.set()
    await first
    await house.call(edge, TOPIC, b"3")

    assert failed.kind is TIMEOUT
    assert gate.started == [b"1", b"3"]


async def test_a_worker_that_starts_late_does_not_run_old_calls(house: Any) -> None:
    ran: list[bytes] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        ran.append(delivery.message.body)
        return b"reply", b"{}"

    await (await house.worker(TOPIC, handle)).close()
    edge = await house.bus()
    await asyncio.gather(*(house.failure(edge, TOPIC, b'"old"', budget=0.1) for _ in range(5)))

    await house.worker(TOPIC, handle, name="late")
    await house.eventually(lambda: not edge.endpoint(TOPIC).unserved)
    await house.call(edge, TOPIC, b'"new"')

    assert ran == [b'"new"']

"""What a bus promises when workers die, links fall, somebody drains or the broker is blocked; on both brokers."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from busgate.bus import Bus, Delivery
from busgate.contracts import CallFailed
from busgate.contracts.failure import (
    CONNECTION_LOST,
    NO_ROUTE,
    NO_WORKERS,
)

TOPIC = "shop.orders.place.v1"
OTHER = "shop.stock.check.v1"


# -- workers that die, links that fall


@pytest.mark.parametrize("reruns", [True, False])
async def test_a_call_of_a_worker_that_died_is_run_again_only_where_the_contract_allows(
    house: Any, reruns: bool
) -> None:
    gate, second = house.gate(), house.gate()
    second.open.set()
    dying = await house.worker(TOPIC, gate, name="dying", reruns=reruns)
    edge = await house.bus()
    call = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    other = await house.worker(TOPIC, second, name="other", reruns=reruns)
    await house.crash(dying)

    if reruns:
        assert (await call).body == b"1"
    else:
        assert await house.problem(call) == "redelivered"
    assert second.started == ([b"1"] if reruns else [])
    assert other.counters.redelivered == 1
    assert other.counters.refused_redelivered == (0 if reruns else 1)


async def test_only_what_was_not_finished_is_delivered_again(house: Any) -> None:
    """Acks travel together, and handlers do not end in the order in which they began."""
    gates = {b"%d" % number: asyncio.Event() for number in range(7)}
    again: list[bytes] = []

    async def slow(delivery: Delivery) -> tuple[bytes, bytes]:
        await gates[delivery.message.body].wait()
        return b"reply", b"{}"

    async def fast(delivery: Delivery) -> tuple[bytes, bytes]:
        again.append(delivery.message.body)
        return b"reply", b"{}"

    dying = await house.worker(TOPIC, slow, name="dying")
    edge = await house.bus()
    calls = {body: house.call(edge, TOPIC, body) for body in gates}
    await house.eventually(lambda: dying.consumers.running == 7)

    for batch in ([b"0", b"1", b"4"], [b"6"], [b"3"]):
        for body in batch:
            gates[body].set()
        await asyncio.gather(*(calls[body] for body in batch))
    await house.worker(TOPIC, fast, name="other")
    await house.crash(dying)
    await asyncio.gather(calls[b"2"], calls[b"5"])

    assert sorted(again) == [b"2", b"5"]


@pytest.mark.parametrize("reruns", [True, False])
async def test_a_handler_outlives_its_connection_and_runs_once(house: Any, reruns: bool) -> None:
    gate = house.gate()
    worker = await house.worker(TOPIC, gate, reruns=reruns)
    edge = await house.bus()
    call = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    worker._link.abort()
    await house.eventually(lambda: worker.counters.duplicates == 1)  # the copy, recognised on the new link
    gate.open.set()

    assert (await call).body == b"1"
    assert gate.started == [b"1"]
    assert worker.generation == 2
    assert (await house.call(edge, TOPIC, b"2")).body == b"2"


async def test_a_handler_that_ends_while_there_is_no_link_answers_on_the_next(house: Any) -> None:
    gate = house.gate()
    worker = await house.worker(TOPIC, gate, reruns=False)
    edge = await house.bus()
    call = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    worker._link.abort()
    gate.open.set()

    assert (await call).body == b"1"
    await house.eventually(lambda: worker.counters.duplicates == 1 and worker.consumers.running == 0)
    await house.eventually(lambda: edge.counters.late_replies == 1)
    assert gate.started == [b"1"]


async def test_a_lost_link_answers_all_that_wait_at_once_and_nothing_old_is_believed(house: Any) -> None:
    gate = house.gate()
    worker = await house.worker(TOPIC, gate)
    edge = await house.bus()
    waiting = [house.call(edge, TOPIC, budget=60) for _ in range(10)]
    await house.eventually(lambda: gate.running == 10)

    edge._link.abort()
    outcomes: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
    await house.eventually(lambda: edge.unready is None)
    gate.open.set()
    await house.eventually(lambda: worker.counters.unanswerable == 10)

    assert [outcome.kind for outcome in outcomes] == [CONNECTION_LOST] * 10
    assert (edge.generation, edge.requester.waiting) == (2, 0)
    assert (await house.call(edge, TOPIC, b"2")).body == b"2"


async def test_between_two_generations_calls_are_refused_at_once(house: Any) -> None:
    await house.worker(TOPIC, house.echo)
    edge = await house.bus()

    edge._link.abort()
    failed = await house.failure(edge, TOPIC)

    assert failed.kind.name == "bus-unavailable"
    assert edge.unready is not None
    await house.eventually(lambda: edge.unready is None)
    assert (await house.call(edge, TOPIC)).type == b"reply"


async def test_a_link_may_fall_again_and_again(house: Any) -> None:
    worker = await house.worker(TOPIC, house.echo)
    edge = await house.bus()

    for _ in range(3):
        worker._link.abort()
        edge._link.abort()
        await house.eventually(lambda: edge.unready is None and worker.unready is None)
        assert (await house.call(edge, TOPIC, b"1")).body == b"1"

    assert edge.generation == 4


async def test_a_reply_queue_that_is_deleted_begins_a_new_generation(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()
    call = house.call(edge, TOPIC, budget=60)
    await house.eventually(lambda: gate.running)

    await house.ground.delete_reply_queue(edge)

    with pytest.raises(CallFailed, match="connection-lost"):
        await call
    await house.eventually(lambda: edge.unready is None)
    gate.open.set()
    assert (await house.call(edge, TOPIC)).type == b"reply"
    assert edge.generation == 2


async def test_a_queue_that_is_deleted_is_made_and_consumed_again(house: Any) -> None:
    worker = await house.worker(TOPIC, house.echo)
    edge = await house.bus()
    link = worker._link

    await house.ground.delete_queue(TOPIC)

    async def answered() -> bool:
        try:
            await house.call(edge, TOPIC)
        except CallFailed as failed:
            assert failed.kind in (NO_ROUTE, NO_WORKERS)
            return False
        return True

    async with asyncio.timeout(20):
        while not await answered():
            await asyncio.sleep(0.01)
    assert worker._link is link


# -- drain


async def test_a_drain_lets_what_runs_finish_and_leaves_the_rest_to_others(house: Any) -> None:
    gate = house.gate()
    leaving = await house.worker(TOPIC, gate, name="leaving", prefetch=2)
    edge = await house.bus()
    calls = [house.call(edge, TOPIC, b"%d" % number) for number in range(6)]
    await house.eventually(lambda: gate.running == 2)

    drained = asyncio.create_task(leaving.drain(5))
    await house.worker(TOPIC, house.echo, name="staying")
    await asyncio.gather(*calls[2:])
    assert not drained.done()
    gate.open.set()

    assert await drained
    assert [reply.body for reply in await asyncio.gather(*calls)] == [b"%d" % number for number in range(6)]
    assert sorted(gate.started) == [b"0", b"1"]


async def test_a_drain_that_takes_too_long_cuts_what_runs_and_says_so(house: Any) -> None:
    gate = house.gate()
    leaving = await house.worker(TOPIC, gate, name="leaving")
    edge = await house.bus()
    call = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    assert not await leaving.drain(0.05)
    await leaving.close()
    await house.worker(TOPIC, house.echo, name="other")

    assert (await call).body == b"1"


async def test_a_drain_under_load_fails_no_call_not_even_one_that_must_not_run_twice(house: Any) -> None:
    leaving = await house.worker(TOPIC, house.echo, name="leaving", reruns=False)
    await house.worker(TOPIC, house.echo, name="staying", reruns=False)
    edge = await house.bus()
    outcomes: Counter[bytes] = Counter()
    stop = asyncio.Event()

    async def keep_calling() -> None:
        while not stop.is_set():
            outcomes[(await house.call(edge, TOPIC)).type] += 1

    callers = [asyncio.create_task(keep_calling()) for _ in range(30)]
    await house.eventually(lambda: outcomes.total() > 100)
    assert await leaving.drain(5)
    await leaving.close()
    after = outcomes.total()
    await house.eventually(lambda: outcomes.total() > after + 100)
    stop.set()
    await asyncio.gather(*callers)

    assert outcomes.keys() == {b"reply"}


async def test_a_drain_survives_the_loss_of_its_link(house: Any) -> None:
    gate = house.gate()
    leaving = await house.worker(TOPIC, gate, name="leaving")
    edge = await house.bus()
    call = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    drained = asyncio.create_task(leaving.drain(5))
    leaving._link.abort()
    await house.eventually(lambda: leaving.generation == 2 and leaving.unready is None)
    consumers = await house.ground.broker.consumers(TOPIC)
    gate.open.set()

    assert await drained
    assert consumers == 0
    assert (await call).body == b"1"


async def test_a_requester_that_drains_refuses_calls_over_all_generations(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()
    waiting = house.call(edge, TOPIC, b"1")
    await house.eventually(lambda: gate.running)

    edge.requester.drain()
    refused = await house.failure(edge, TOPIC)
    gate.open.set()
    assert (await waiting).body == b"1"
    edge._link.abort()
    await house.eventually(lambda: edge.unready is None)
    refused_again = await house.failure(edge, TOPIC)

    assert (refused.kind.name, refused_again.kind.name) == ("draining", "draining")


async def test_closing_a_bus_answers_what_waits(house: Any) -> None:
    gate = house.gate()
    await house.worker(TOPIC, gate)
    edge = await house.bus()
    waiting = house.call(edge, TOPIC, budget=60)
    await house.eventually(lambda: gate.running)

    await edge.close()

    with pytest.raises(CallFailed, match="connection-lost"):
        await waiting


# -- an alarm


async def test_a_blocked_broker_is_refused_at_once_and_used_again_afterwards(faulty_house: Any) -> None:
    house = faulty_house
    await house.worker(TOPIC, house.echo)
    edge = await house.bus()

    await house.ground.alarm()
    await house.eventually(lambda: edge.unready is not None)
    failed = await house.failure(edge, TOPIC)
    unready = edge.unready
    await house.ground.end_alarm()
    await house.eventually(lambda: edge.unready is None)

    assert failed.kind.name == "bus-blocked"
    assert "blocked" in unready
    assert (await house.call(edge, TOPIC, b"1")).body == b"1"
    assert edge.generation == 1


async def test_a_bus_that_starts_under_an_alarm_is_not_ready_until_it_ends(faulty_house: Any) -> None:
    house = faulty_house
    await house.ground.alarm()
    edge = Bus(house.ground.broker, name="edge")
    starting = asyncio.create_task(edge.start(20))
    await house.eventually(lambda: edge._blocked is not None)
    assert edge.unready is not None

    await house.ground.end_alarm()
    async with asyncio.timeout(10):
        await starting

    assert edge.unready is None
    await edge.close()

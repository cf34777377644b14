"""The broker itself is blocked, stopped, killed, or loses a queue or an exchange (F15, F18, F19, F26, F27)."""

import time

import pytest
from support.broker import RabbitNode
from support.faults.contracts import read, write
from support.faults.figures import observe, slowest, tally
from support.faults.history import Answer
from support.faults.world import World

RECOVERY = 15
"""Seconds. Ten times what is seen on a quiet machine; a limit on the tests, not the promise."""
LOST = {"connection-lost", "bus-unavailable", "timeout"}


def names_of(answers: list[Answer]) -> set[str]:
    return {each.name for each in answers if not each.good}


@pytest.mark.slow
async def test_a_memory_alarm_is_answered_at_once_with_retry_after(
    faulty_world: World, faulty_node: RabbitNode
) -> None:
    """F15. What was sent before the broker said so is unknown; nothing is published while it is blocked."""
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_node.raise_memory_alarm()
        await load.until(lambda: "bus-blocked" in names_of(faulty_world.history.since(fault)))
        blocked = time.monotonic()
        published = edge.bus._link._published  # type: ignore[union-attr]
        await load.until(lambda: len(faulty_world.history.since(blocked)) > 200)
        dark = faulty_world.history.since(blocked)
        await load.until(lambda: time.monotonic() > blocked + 3)
        assert published == edge.bus._link._published  # type: ignore[union-attr]
        await faulty_node.clear_memory_alarm()
        healed = time.monotonic()
        await load.flow(200)
        recovery = faulty_world.history.recovery(healed)
    answers = faulty_world.history.ended_since(fault)

    assert tally(dark) == {"503 bus-blocked": len(dark)}
    assert names_of(answers) == {"bus-blocked", "timeout"}
    assert edge.bus.generation == 1
    assert slowest(dark) < 1000
    assert recovery < RECOVERY
    observe("F15", answers=tally(answers), slowest_ms=slowest(answers), then_ms=slowest(dark), recovery_s=recovery)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 6, 20])
async def test_a_stopped_broker_is_noticed_and_found_again(
    faulty_world: World, faulty_node: RabbitNode, seconds: int
) -> None:
    """F18. A second is too short to give it up."""
    faulty_world.baseline = 20
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_node.pause()
        await load.until(lambda: time.monotonic() > fault + seconds, limit=seconds + 5)
        resumed = time.monotonic()
        await faulty_node.resume()
        await load.flow(200)
        recovery = faulty_world.history.recovery(resumed)
    answers = faulty_world.history.ended_since(fault)

    assert names_of(answers) <= LOST | {"redelivered", "too-late", "no-workers"}
    assert slowest(answers) < 3000
    assert recovery < RECOVERY
    if seconds == 1:
        assert edge.bus.generation == 1
    observe("F18", stopped_s=seconds, answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_killed_broker_is_found_again_when_it_is_back(faulty_world: World, faulty_node: RabbitNode) -> None:
    """F19: kill -9, then a start."""
    edge = await faulty_world.edge()
    worker = await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_node.kill()
        await faulty_node.start()
        back = time.monotonic()
        await load.flow(200)
        recovery = faulty_world.history.recovery(back)
    answers = faulty_world.history.ended_since(fault)

    assert worker.alive
    assert names_of(answers) <= LOST | {"redelivered", "no-route", "no-workers"}
    assert recovery < RECOVERY
    observe("F19", how="kill -9", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_restarted_broker_application_is_found_again(faulty_world: World, faulty_node: RabbitNode) -> None:
    """F19: stop_app, start_app."""
    edge = await faulty_world.edge()
    worker = await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_node.ctl("stop_app")
        await faulty_node.ctl("start_app")
        back = time.monotonic()
        await load.flow(200)
        recovery = faulty_world.history.recovery(back)
    answers = faulty_world.history.ended_since(fault)

    assert worker.alive
    assert names_of(answers) <= LOST | {"redelivered", "no-route", "no-workers"}
    assert recovery < RECOVERY
    observe("F19", how="stop_app", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_deleted_exchange_of_replies_is_made_again(faulty_world: World) -> None:
    """F26. The broker closes the channel of who publishes to it."""
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_world.vhost.delete_exchange("busgate.replies")
        await load.flow(200)
        recovery = faulty_world.history.recovery(fault)
    answers = faulty_world.history.ended_since(fault)

    assert names_of(answers) <= LOST | {"redelivered", "no-route"}
    assert edge.bus.generation <= 3
    assert recovery < RECOVERY
    observe("F26", exchange="replies", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_deleted_exchange_of_calls_is_refused_until_the_topology_is_applied(faulty_world: World) -> None:
    """F26. With the exchange all bindings are gone, and no worker can notice."""
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_world.vhost.delete_exchange("busgate.calls")
        await load.until(lambda: "no-route" in names_of(faulty_world.history.since(fault)))
        known = time.monotonic()
        await load.until(lambda: len(faulty_world.history.since(known)) > 100)
        dark = faulty_world.history.since(known)
        healed = time.monotonic()
        await edge.bus.broker.prepare([read.topic, write.topic])  # what `busgate topology --apply` does
        await load.flow(200)
        recovery = faulty_world.history.recovery(healed)
    answers = faulty_world.history.ended_since(fault)

    assert tally(dark) == {"503 no-route": len(dark)}
    assert slowest(dark) < 1000
    assert names_of(answers) <= LOST | {"no-route"}
    assert edge.bus.generation == 2
    assert recovery < RECOVERY
    observe("F26", exchange="calls", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_deleted_reply_queue_is_replaced(faulty_world: World, faulty_node: RabbitNode) -> None:
    """F27."""
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)
    queue = edge.bus._link.reply_queue  # type: ignore[union-attr]

    async with callers.load() as load:
        await load.flow()
        await faulty_node.ctl("eval", _delete(faulty_world.vhost.name, queue))
        fault = time.monotonic()
        await load.flow(200)
        recovery = faulty_world.history.recovery(fault)
    answers = faulty_world.history.ended_since(fault - 5)

    assert names_of(answers) <= LOST
    assert edge.bus.generation == 2
    assert recovery < RECOVERY
    observe("F27", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_deleted_queue_of_a_topic_is_made_again(faulty_world: World) -> None:
    callers = await faulty_world.callers(await faulty_world.edge())
    await faulty_world.worker()

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        await faulty_world.vhost.delete_queue("probe.read.v1")
        await load.flow(200)
        recovery = faulty_world.history.recovery(fault)
    answers = faulty_world.history.ended_since(fault)

    assert names_of(answers) <= {"no-route", "timeout"}
    assert recovery < RECOVERY
    observe("queue deleted", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


def _delete(vhost: str, queue: str) -> str:
    """An exclusive queue cannot be deleted from another connection, but from within."""
    name = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)'
    return f'{{ok, Q}} = rabbit_amqqueue:lookup({name}), rabbit_amqqueue:delete(Q, false, false, <<"test">>).'

"""The connection between edge or worker and broker breaks in every way (F8, F9, F10, F13)."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from support.broker import RabbitNode
from support.faults.callers import Callers
from support.faults.contracts import write
from support.faults.figures import observe, slowest, tally
from support.faults.history import Answer
from support.faults.world import World
from support.waiting import until

RECOVERY = 15
"""Seconds. Ten times what is seen on a quiet machine; a limit on the tests, not the promise."""
DURING = {"connection-lost", "bus-unavailable"}


def refused_at_once(answers: list[Answer]) -> list[Answer]:
    return [each for each in answers if each.outcome == "not_executed"]


async def break_under_load(
    world: World, callers: Callers, fault: Callable[[], object], *, limit: float = 40.0
) -> tuple[float, list[Answer]]:
    """Break something while calls are under way; seconds until all was well again, and what was answered meanwhile."""
    async with callers.load() as load:
        await load.flow()
        moment = time.monotonic()
        done = fault()
        if isinstance(done, Awaitable):
            await done
        ended = time.monotonic()
        await load.flow(200, limit=limit)
        return world.history.recovery(ended), world.history.ended_since(moment)


def names_of(answers: list[Answer]) -> set[str]:
    return {each.name for each in answers if not each.good}


@pytest.mark.slow
async def test_a_reset_of_the_edges_connection_is_answered_at_once_and_mended(faulty_world: World) -> None:
    """F8."""
    proxy = await faulty_world.proxy()
    edge = await faulty_world.edge(proxy.url(faulty_world.vhost.url))
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    recovery, answers = await break_under_load(faulty_world, callers, proxy.reset_all)

    assert "connection-lost" in names_of(answers) <= DURING
    assert edge.bus.generation == 2
    assert recovery < RECOVERY
    assert slowest(refused_at_once(answers)) < 1000
    observe("F8", side="edge", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_reset_of_the_workers_connection_costs_only_redelivered_writes(faulty_world: World) -> None:
    """F8 on the other side: a handler goes on, its reply is sent on the next generation and its copy recognised."""
    proxy = await faulty_world.proxy()
    edge = await faulty_world.edge()
    await faulty_world.worker(proxy.url(faulty_world.vhost.url))
    callers = await faulty_world.callers(edge)

    recovery, answers = await break_under_load(faulty_world, callers, proxy.reset_all)

    assert names_of(answers) <= {"redelivered", "timeout"}
    assert recovery < RECOVERY
    observe("F8", side="worker", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_handler_outlives_its_connection(faulty_world: World) -> None:
    proxy = await faulty_world.proxy()
    await faulty_world.worker(proxy.url(faulty_world.vhost.url))
    callers = await faulty_world.callers(await faulty_world.edge())
    await callers.ask(write)

    asked = asyncio.create_task(callers.ask(write, ms=2000))
    await until(lambda: len(faulty_world.history.executions()) == 2)
    proxy.reset_all()
    answer = await asked

    assert (answer.status, len(faulty_world.history.executions(answer.nonce))) == (201, 1)


@pytest.mark.slow
async def test_a_half_open_connection_does_not_keep_the_edge_waiting(faulty_world: World) -> None:
    """F9. The broker still thinks that the old connection lives; the name of the new reply queue is another."""
    proxy = await faulty_world.proxy()
    edge = await faulty_world.edge(proxy.url(faulty_world.vhost.url), bus={"heartbeat": 1})
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    recovery, answers = await break_under_load(faulty_world, callers, proxy.halfopen)
    await proxy.heal()

    assert names_of(answers) <= DURING
    assert edge.bus.generation == 2
    assert recovery < RECOVERY
    observe("F9", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_a_black_hole_is_noticed_by_the_ping(faulty_world: World) -> None:
    """F10. Every call ends by its deadline, and soon new ones are refused at once."""
    faulty_world.baseline = 20
    proxy = await faulty_world.proxy()
    edge = await faulty_world.edge(proxy.url(faulty_world.vhost.url))
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    async with callers.load() as load:
        await load.flow()
        fault = time.monotonic()
        proxy.blackhole()
        await load.until(lambda: names_of(faulty_world.history.since(fault)) >= {"bus-unavailable"})
        noticed = time.monotonic()
        await load.until(lambda: len(faulty_world.history.since(noticed)) > 200)
        dark = faulty_world.history.since(noticed)
        healed = time.monotonic()
        await proxy.heal()
        await load.flow(200)
        recovery = faulty_world.history.recovery(healed)
    answers = faulty_world.history.ended_since(fault)

    assert names_of(answers) <= DURING | {"timeout"}
    assert tally(dark) == {"503 bus-unavailable": len(dark)}
    assert noticed - fault < 10
    assert slowest(answers) < 3000
    assert slowest(dark) < 1000
    assert recovery < RECOVERY
    observe(
        "F10", answers=tally(answers), slowest_ms=slowest(answers), noticed_s=round(noticed - fault, 2),
        then_ms=slowest(dark), recovery_s=recovery,
    )  # fmt: skip


@pytest.mark.slow
async def test_connections_closed_by_an_operator_are_opened_again(faulty_world: World, faulty_node: RabbitNode) -> None:
    """F13: those of the edge and of the workers at once."""
    edge = await faulty_world.edge()
    await faulty_world.worker()
    callers = await faulty_world.callers(edge)

    recovery, answers = await break_under_load(faulty_world, callers, faulty_node.close_all_connections)

    assert names_of(answers) <= DURING | {"redelivered", "timeout", "no-workers"}
    assert edge.bus.generation == 2
    assert recovery < RECOVERY
    observe("F13", answers=tally(answers), slowest_ms=slowest(answers), recovery_s=recovery)

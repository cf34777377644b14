"""Edges that are told to stop, or killed (F35, F36)."""

import asyncio
import os
import signal
import time

import pytest
from support.faults.contracts import write
from support.faults.figures import observe, slowest, tally
from support.faults.history import CLOSED
from support.faults.world import World
from support.waiting import until


@pytest.mark.slow
async def test_an_edge_that_is_told_to_stop_finishes_what_it_has(world: World) -> None:
    """F35. No request that it took is lost and no answer is a failure."""
    world.history.may_be_closed = True
    await world.worker()
    edge, base = await world.edge_process()
    callers = await world.callers(base)

    async with callers.load(ms=300) as load:
        await load.flow()
        told = time.monotonic()
        code = await edge.stop()
        took = round(time.monotonic() - told, 2)
        load.stopped = True
    answers = world.history.ended_since(told)
    closed = [each for each in answers if each.status == CLOSED]

    assert code == 0
    assert all(each.good or each.status == CLOSED for each in answers)
    assert sum(each.good for each in answers) > 10
    assert not {each.nonce for each in closed} & {each.nonce for each in world.history.executions()}
    assert took < 5
    observe("F35", answers=tally(answers), drain_s=took)


@pytest.mark.slow
async def test_a_stopping_edge_waits_for_the_answer_of_a_slow_call(world: World) -> None:
    """F35."""
    await world.worker()
    edge, base = await world.edge_process()
    callers = await world.callers(base)

    asked = asyncio.create_task(callers.ask(write, ms=1500))
    await until(world.history.executions)
    code = await edge.stop()
    answer = await asked

    assert (code, answer.status) == (0, 201)
    assert answer.headers["connection"] == "close"


@pytest.mark.slow
async def test_the_death_of_one_of_several_edge_processes_resets_only_its_own_requests(world: World) -> None:
    """F36. A new one takes its place; the replies for the dead one are nobody's."""
    world.history.may_be_closed = True
    await world.worker()
    edge, base = await world.edge_process(processes=2)
    callers = await world.callers(base)
    victim = edge.children()[0]

    async with callers.load(wait=8) as load:
        await load.flow()
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await edge.until("edge ready", number=3)
        restarted = round(time.monotonic() - killed, 2)
        await load.flow(200)
    answers = world.history.ended_since(killed)
    closed = [each for each in answers if each.status == CLOSED]

    assert all(each.good or each.status == CLOSED for each in answers)
    assert len(closed) <= 24
    assert len(edge.children()) == 2
    observe("F36", answers=tally(answers), slowest_ms=slowest(answers), restarted_s=restarted)

"""Workers that are missing, stopped and killed (F1, F2, F3, F5, F6)."""

import asyncio
import signal
import time

import pytest
from support.faults.contracts import nowhere, obey, read, write
from support.faults.figures import observe, slowest, tally
from support.faults.world import World
from support.waiting import until


async def test_a_topic_without_a_queue_is_refused_at_once(world: World) -> None:
    """F1."""
    callers = await world.callers(await world.edge())
    await callers.ask(nowhere)

    answers = [await callers.ask(nowhere) for _ in range(20)]

    assert tally(answers) == {"503 no-route": 20}
    assert slowest(answers) < 1000
    observe("F1", answers=tally(answers), slowest_ms=slowest(answers))


@pytest.mark.slow
async def test_calls_are_shared_between_workers(world: World) -> None:
    await world.worker()
    await world.worker()
    callers = await world.callers(await world.edge())

    async with callers.load() as load:
        await load.flow(200)

    assert {each.pid for each in world.history.executions()} == {worker.pid for worker in world.workers}


@pytest.mark.slow
async def test_a_queue_without_a_worker_is_refused_once_that_is_known(world: World) -> None:
    """F2. What was in the queue is gone before a new worker comes."""
    callers = await world.callers(await world.edge())
    worker = await world.worker()
    await worker.stop()

    first = await asyncio.gather(*(callers.ask(read, wait=1) for _ in range(10)))
    later = [await callers.ask(read, wait=1)]
    while later[-1].name != "no-workers" and len(later) < 20:
        later.append(await callers.ask(read, wait=1))
    known = [await callers.ask(read) for _ in range(20)]
    await world.worker()
    back = time.monotonic()
    async with callers.load(4) as load:
        await load.flow(50)

    assert tally(first) == {"504 timeout": 10}
    assert tally(known) == {"503 no-workers": 20}
    assert slowest(known) < 1000
    assert not {each.nonce for each in first} & {each.nonce for each in world.history.executions()}
    assert world.history.recovery(back) < 3
    observe(
        "F2", first=tally(first), first_ms=slowest(first), known=tally(known), known_ms=slowest(known),
        recovery_s=world.history.recovery(back),
    )  # fmt: skip


@pytest.mark.slow
async def test_calls_of_a_worker_killed_before_it_started_them_go_to_another(world: World) -> None:
    """F3. Where the contract lets them run again; else they are refused, as nobody knows whether they ran."""
    callers = await world.callers(await world.edge())
    victim = await world.worker()
    await world.worker()
    await asyncio.gather(*(callers.ask(call) for call in (read, write) for _ in range(8)))

    victim.signal(signal.SIGSTOP)
    reads = [asyncio.create_task(callers.ask(read)) for _ in range(16)]
    writes = [asyncio.create_task(callers.ask(write)) for _ in range(16)]
    await until(lambda: sum(task.done() for task in reads + writes) >= 12)
    killed = time.monotonic()
    await victim.kill()
    read_answers, write_answers = await asyncio.gather(*reads), await asyncio.gather(*writes)
    took = round(max(each.sent + each.took for each in read_answers + write_answers) - killed, 3)

    assert tally(read_answers) == {"200": 16}
    assert tally(write_answers).keys() == {"201", "504 redelivered"}
    assert took < 1
    observe("F3", reads=tally(read_answers), writes=tally(write_answers), after_kill_s=took)


@pytest.mark.slow
async def test_a_call_whose_worker_died_over_it_is_answered_at_once(world: World) -> None:
    """F4, F30. It may have run, and is not tried on a second worker."""
    callers = await world.callers(await world.edge())
    victims = [await world.worker(), await world.worker()]

    answer = await callers.ask(obey, how="die")

    assert (answer.status, answer.name, answer.outcome) == (504, "redelivered", "unknown")
    assert sorted(worker.alive for worker in victims) == [False, True]
    observe("F4", answers=tally([answer]), slowest_ms=slowest([answer]))


@pytest.mark.slow
@pytest.mark.parametrize(("call", "runs"), [(read, 2), (write, 1)])
async def test_a_worker_killed_between_reply_and_ack_gives_one_answer(world: World, call, runs: int) -> None:
    """F5. A second run only where the contract allows it."""
    edge = await world.edge()
    callers = await world.callers(edge)
    dying = await world.dying_worker()

    answer = await callers.ask(call)
    await dying.ended()
    heir = await world.worker()
    await until(lambda: edge.bus.counters.late_replies)

    assert answer.good
    assert len(world.history.executions(answer.nonce)) == runs
    assert edge.bus.counters.late_replies == 1
    assert heir.alive
    observe("F5", contract=call.http.method, answers=tally([answer]), runs=runs, dropped_replies=1)


@pytest.mark.slow
async def test_a_stopped_worker_costs_only_the_calls_that_it_had(world: World) -> None:
    """F6. It runs none of them when it wakes up; nobody waits for them any more."""
    callers = await world.callers(await world.edge())
    victim = await world.worker(BUSGATE_BUS__HEARTBEAT="1")
    await world.worker()

    async with callers.load() as load:
        await load.flow()
        stopped = time.monotonic()
        victim.signal(signal.SIGSTOP)
        await load.flow(100)
        recovery = world.history.recovery(stopped)
        answers = world.history.ended_since(stopped)
        victim.signal(signal.SIGCONT)
        woken = time.time()
        await load.until(lambda: any(e.pid == victim.pid and e.at > woken + 1 for e in world.history.executions()))
        await load.flow(100)

    assert {each.name for each in answers if not each.good} <= {"timeout", "redelivered"}
    assert slowest(answers) < 3000
    observe("F6", heartbeat_s=1, answers=tally(answers), recovery_s=recovery)


@pytest.mark.slow
async def test_handlers_that_hold_the_event_loop_make_no_other_start_too_late(world: World) -> None:
    """F40 of a worker: ten calls arrive at once, each takes 0.4 s of a budget of 1 s; who cannot start in time does not."""
    callers = await world.callers(await world.edge())
    await world.worker()

    answers = await asyncio.gather(*(callers.ask(obey, how="block") for _ in range(10)))
    await callers.ask(read)  # behind all of them

    assert len(world.history.executions()) < 10
    assert {each.name for each in answers} <= {"", "timeout", "too-late"}
    observe("F40", answers=tally(answers), executed=len(world.history.executions()) - 1)

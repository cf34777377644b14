"""What a worker shows of itself."""

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from support.scrape import Scrape

from busgate.bus import Bus, Counters
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Nothing, Problem, http
from busgate.workers import Context, Service, serve
from busgate.workers.metrics import WorkerMetrics

if TYPE_CHECKING:
    from workers.conftest import House, Until


class Closed(Problem):
    """The desk is closed."""

    status = 409


ask = Call("test.ask.v1", http.post("/ask"), request=Nothing, reply=Nothing, errors=[Closed])
back = Call("test.back.v1", http.post("/back"), request=Nothing, reply=Nothing)


class Desk:
    """A service whose handler does what it is told to, on the house's broker."""

    def __init__(self, house: "House") -> None:
        self.service = Service("desk")
        self.bus = Bus(house.broker, name="desk")
        self.failure: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.service.handles(ask, cancel_at_deadline=False)(self._answer)
        executions = serve([self.service], self.bus, cancel_grace=0.05)
        for execution in executions:
            house.closing.callback(execution.close)
        self.metrics = WorkerMetrics(self.bus, executions)

    async def _answer(self, request: Nothing, context: Context) -> Nothing:
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        if context.hops == 0 and context.caller is not None:
            await context.call(back, request)
        return request

    def scrape(self) -> Scrape:
        return Scrape("".join(self.metrics.render()))


@pytest.fixture
async def desk(house: "House") -> Desk:
    desk = Desk(house)
    await house.closing.enter_async_context(desk.bus)
    return desk


async def test_answers_are_counted_by_what_they_were(house: "House", desk: Desk) -> None:
    for failure in (None, None, Closed("later"), ValueError("oops")):
        desk.failure = failure
        await house.send(ask, b"{}")
    await house.send(ask, b"nonsense")

    scrape = desk.scrape()
    counted = {
        failure: scrape.value("worker_answers_total", topic=ask.topic, failure=failure)
        for failure in ("", Closed.type, "handler-crashed", "unreadable-request")
    }
    assert counted == {"": 2, Closed.type: 1, "handler-crashed": 1, "unreadable-request": 1}


async def test_how_long_handlers_ran_is_there_for_all_that_ran(house: "House", desk: Desk) -> None:
    await house.send(ask, b"{}")
    desk.failure = ValueError("oops")
    await house.send(ask, b"{}")
    await house.send(ask, b"nonsense")

    assert desk.scrape().value("worker_run_duration_seconds_count", topic=ask.topic) == 2


async def test_what_runs_is_there_beside_what_may(house: "House", desk: Desk, until: "Until") -> None:
    desk.go_on.clear()
    calls = [asyncio.create_task(house.send(ask, b"{}")) for _ in range(3)]
    await until(lambda: desk.scrape().value("worker_running", topic=ask.topic) == 3)
    desk.go_on.set()
    await asyncio.gather(*calls)

    scrape = desk.scrape()
    assert (scrape.value("worker_running", topic=ask.topic), scrape.value("worker_prefetch", topic=ask.topic)) == (
        0,
        32,
    )


async def test_a_handler_that_nothing_can_end_is_there_while_it_runs(house: "House", until: "Until") -> None:
    release = asyncio.Event()
    service = Service("stubborn")

    @service.handles(ask)
    async def answer(request: Nothing, _context: Context) -> Nothing:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return request

    bus = Bus(house.broker, name="stubborn")
    executions = serve([service], bus, cancel_grace=0.01)
    metrics = WorkerMetrics(bus, executions)
    await house.closing.enter_async_context(bus)
    for execution in executions:
        house.closing.callback(execution.close)

    def shown(name: str) -> float:
        return Scrape("".join(metrics.render())).value(name, topic=ask.topic)

    call = asyncio.create_task(house.send(ask, b"{}", budget=0.1))
    await until(lambda: shown("worker_stuck") == 1)
    release.set()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: shown("worker_stuck") == 0)

    assert shown("worker_stuck_total") == 1


async def test_everything_that_the_bus_counts_is_there(desk: Desk) -> None:
    desk.bus.counters.foreign = 7

    scrape = desk.scrape()

    assert {f"busgate_bus_{field.name}_total" for field in fields(Counters)} <= scrape.names()
    assert scrape.value("bus_foreign_total") == 7


async def test_nested_calls_are_there_by_their_topic(house: "House", desk: Desk) -> None:
    service = Service("back")
    seen: list[float] = []

    @service.handles(back)
    async def answer(request: Nothing, _context: Context) -> Nothing:
        seen.append(desk.scrape().value("waiting_calls", topic=back.topic))
        return request

    await house.work(service)
    await house.send(ask, b"{}", caller=b'{"sub":"a","iss":"b","scope":""}')

    assert (seen, desk.scrape().value("waiting_calls", topic=back.topic)) == ([1], 0)


async def test_a_worker_is_ready_while_it_takes_calls() -> None:
    bus = Bus(EmbeddedBroker(), name="worker")
    metrics = WorkerMetrics(bus, [])
    before = metrics.readiness()
    async with bus:
        during = metrics.readiness()
        await bus.drain(1)
        draining = metrics.readiness()

    assert before == ["no connection to the broker: not connected yet"]
    assert (during, draining) == ([], ["draining"])
    assert "busgate_worker_draining{} 1\n" in "".join(metrics.render())

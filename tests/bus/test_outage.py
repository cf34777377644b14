"""The broker is away: what processes say of it, and what a drain does with answers that find no way out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.broker import RabbitNode
from support.management import Vhost
from support.town import TOPIC, Town, context, eventually

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import CallFailed


class Away:
    """A worker without a link, whose handler has just answered; who called still waits."""

    def __init__(self) -> None:
        self.broker = EmbeddedBroker()
        self.go_on = asyncio.Event()
        self.worker = Bus(self.broker, name="worker")
        self.worker.serve(TOPIC, self._handle, prefetch=4, reruns=True, service="svc")
        self.edge = Bus(self.broker, name="edge")

    async def _handle(self, delivery: Any) -> tuple[bytes, bytes]:
        await self.go_on.wait()
        return b"reply", delivery.message.body

    async def call(self, budget: float) -> "asyncio.Future[Any]":
        """A call that is answered while there is no link."""
        await self.worker.start()
        await self.edge.start()
        call = self.edge.endpoint(TOPIC).call(b"1", context(), budget)
        await eventually(lambda: self.worker.consumers.running)
        self.broker.down = True
        link: Any = self.worker._link
        link.abort()
        self.go_on.set()
        await eventually(lambda: not self.worker.consumers.running)
        return call

    async def close(self) -> None:
        await self.edge.close()
        await self.worker.close()


@pytest.fixture
async def away() -> AsyncIterator[Away]:
    house = Away()
    yield house
    await house.close()


async def test_a_drain_waits_for_the_link_that_answers_need(away: Away) -> None:
    call = await away.call(30)
    drained = asyncio.create_task(away.worker.drain(10))
    await asyncio.sleep(0)
    waits = not drained.done()

    away.broker.down = False

    assert waits
    assert await drained
    assert (await call).body == b"1"
    assert away.worker.counters.lost_answers == 0


async def test_a_drain_says_how_many_answers_it_could_not_send(away: Away) -> None:
    call = await away.call(30)

    with capture_logs() as logs:
        whole = await away.worker.drain(0.05)

    assert not whole
    assert [line["count"] for line in logs if line["event"].startswith("answers are lost")] == [1]
    assert away.worker.counters.lost_answers == 1
    call.cancel()


async def test_a_drain_does_not_wait_for_a_link_when_nobody_waits_for_the_answers(away: Away) -> None:
    call = await away.call(0.3)

    async with asyncio.timeout(10):
        whole = await away.worker.drain(3600)

    assert not whole
    with pytest.raises(CallFailed, match="timeout"):
        await call


async def test_answers_that_the_next_link_takes_too_late_are_counted_and_told(away: Away) -> None:
    call = await away.call(0.3)
    with pytest.raises(CallFailed, match="timeout"):
        await call

    with capture_logs() as logs:
        away.broker.down = False
        await eventually(lambda: away.worker.counters.lost_answers == 1)

    assert [line["count"] for line in logs if line["event"].startswith("answers are lost")] == [1]


# -- what the log says


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


# The client library leaves a coroutine behind for each connection that a dying or starting node refuses half-way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_that_dies_is_told_once_by_each_process_and_so_is_its_return(
    faulty_vhost: Vhost, faulty_node: RabbitNode, closing: AsyncExitStack
) -> None:
    """Two connections of each fall; while the broker is away, tries without end do not fill the log."""
    town = Town(faulty_vhost, closing)
    buses = [await town.edge(), await town.worker()]

    with capture_logs() as logs:
        await faulty_node.kill()
        await eventually(lambda: _count(logs)["no connection to the broker"] >= 4)
        await faulty_node.start()
        await eventually(lambda: _count(logs)["the broker is back"] == 2)
    roll = await town.operator()
    await eventually(lambda: {each.id for each in roll.present} == {bus.name for bus in buses})

    told = _count(logs, level="warning")
    assert (told["lost the broker"], told["the broker is back"]) == (2, 2)
    assert not any("control bus" in event for event in told)
    back = [line for line in logs if line["event"] == "the broker is back"]
    assert all(line["failed_tries"] > 0 and line["seconds_away"] > 0 for line in back)


async def test_a_control_connection_that_comes_back_at_once_is_not_worth_a_line(town: Town) -> None:
    await _seen_worker(town)

    with capture_logs() as logs:
        await town.vhost.close_connection("shop control")
        fresh = await town.operator()
        await eventually(lambda: fresh.present)

    assert _count(logs, level="warning") == {}


async def test_a_control_bus_that_is_missing_is_told_and_so_is_its_return(town: Town) -> None:
    await _seen_worker(town)
    connection = await town.vhost.connection("shop control")

    with capture_logs() as logs:
        await town.vhost.delete_exchange("busgate.control")
        await town.vhost.management.close_connection(connection)  # unless it has noticed already
        await eventually(lambda: any("not on the control bus" in event for event in _count(logs)))
        await town.lay_out()
        await eventually(lambda: _count(logs)["on the control bus again"] == 1)


async def test_floods_of_garbage_are_a_line_for_each_kind(town: Town) -> None:
    worker = await _seen_worker(town)

    with capture_logs() as logs:
        await town.publish_all([(key, b"\xff") for key in ("presence.edge.x", "tap.x") for _ in range(200)])
        await eventually(lambda: worker.counters.ignored_control == 400)

    told = [line["what"] for line in logs if line["event"] == "ignored a message on the control bus"]
    assert set(told) == {"a presence that is none, or not its sender's own", "a tap's lease that is none"}
    assert len(told) <= 12  # two, or a few more where the machine took seconds for it


async def _seen_worker(town: Town) -> Bus:
    """A worker that is on the control bus."""
    worker = await town.worker()
    roll = await town.operator()
    await eventually(lambda: roll.present)
    return worker


def _count(logs: list[Any], *, level: str | None = None) -> Counter[str]:
    return Counter(line["event"] for line in logs if level in (None, line["log_level"]))

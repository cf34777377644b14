import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from busgate.bus import Bus, BusError
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, CallFailed, Nothing, http
from busgate.workers import Context, Service, ServiceError, load_services, run_worker
from busgate.workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.conftest import House, Until

wait = Call("test.wait.v1", http.post("/wait"), request=Nothing, reply=Nothing)

MODULE = """
from busgate.workers import Service
orders = Service("orders")
inventory = Service("inventory")
number = 5
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of an author, importable for one test."""
    (tmp_path / "author_good.py").write_text(MODULE)
    (tmp_path / "author_bad.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("author_good", "author_bad"):
        sys.modules.pop(name, None)


def test_services_are_loaded_by_name_each_once() -> None:
    services = load_services(["author_good:orders", "author_good:inventory", "author_good:orders"])

    assert [service.name for service in services] == ["orders", "inventory"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("author_good", "'author_good': a service is given as module:name, like shop.services:orders"),
        (":orders", "':orders': a service is given as module:name"),
        (
            "author_gone:orders",
            "author_gone:orders: cannot import author_gone: ModuleNotFoundError: No module named",
        ),
        (
            "author_bad:orders",
            "author_bad:orders: cannot import author_bad: ZeroDivisionError: division by zero",
        ),
        (
            "author_good:order",
            "author_good:order: order is not there; services in author_good: inventory, orders",
        ),
        ("author_good:number", "author_good:number: number is a int, not a Service; services in"),
        ("..:x", "..:x: cannot import"),
    ],
)
def test_a_service_that_cannot_be_loaded_is_said_to_be_in_one_line(reference: str, message: str) -> None:
    with pytest.raises(ServiceError) as caught:
        load_services([reference])

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


async def test_a_worker_says_once_what_it_serves_and_ends_with_0() -> None:
    stop = asyncio.Event()
    stop.set()

    with capture_logs() as logs:
        code = await run_worker([waiting(asyncio.Event())], Bus(EmbeddedBroker(), name="worker"), stop=stop)

    assert code == 0
    assert {"event": "worker ready", "handlers": {"test.wait.v1": 32}, "log_level": "info"} in logs


async def test_a_worker_that_is_stopped_finishes_what_it_runs(house: "House", until: "Until") -> None:
    stop, started, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(
        run_worker(
            [waiting(go_on, started)], Bus(house.broker, name="worker"), stop=stop, settings=WorkerSettings(grace=5)
        )
    )
    call = asyncio.create_task(house.send_when_served(wait))
    await started.wait()
    stop.set()
    await until(lambda: not house.served(wait))
    go_on.set()

    assert (await call).type == b"reply"
    assert await worker == 0


async def test_a_drained_worker_can_still_make_nested_calls(house: "House", until: "Until") -> None:
    ping = Call("test.ping.v1", http.post("/ping"), request=Nothing, reply=Nothing)
    front, back = Service("front"), Service("back")
    stop, started, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @front.handles(wait)
    async def relay(request: Nothing, context: Context) -> Nothing:
        started.set()
        await go_on.wait()
        return await context.call(ping, request)

    @back.handles(ping)
    async def answer(request: Nothing, _context: Context) -> Nothing:
        return request

    await house.work(back)
    worker = asyncio.create_task(
        run_worker([front], Bus(house.broker, name="front"), stop=stop, settings=WorkerSettings(grace=5))
    )
    call = asyncio.create_task(house.send_when_served(wait))
    await started.wait()
    stop.set()
    await until(lambda: not house.served(wait))
    go_on.set()

    assert (await call).type == b"reply"
    assert await worker == 0


async def test_a_worker_that_cannot_finish_in_time_says_so_and_ends_with_1(house: "House") -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(
        run_worker(
            [waiting(asyncio.Event(), started)],
            Bus(house.broker, name="worker"),
            stop=stop,
            settings=WorkerSettings(grace=0.05),
        )
    )
    call = asyncio.create_task(house.send_when_served(wait))
    await started.wait()
    stop.set()

    with capture_logs() as logs:
        assert await worker == 1
    call.cancel()
    assert {"event": "worker stopped", "cut": True, "log_level": "info"} in logs


async def test_a_worker_that_loses_answers_at_its_end_says_how_many_and_ends_with_1(
    house: "House", until: "Until"
) -> None:
    stop, started, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    bus = Bus(house.broker, name="worker")
    settings = WorkerSettings(grace=0.05)
    worker = asyncio.create_task(run_worker([waiting(go_on, started)], bus, stop=stop, settings=settings))
    call = asyncio.create_task(house.send_when_served(wait))
    await started.wait()
    house.broker.stop()  # and with it every link
    go_on.set()
    await until(lambda: not bus.consumers.running)
    stop.set()

    with capture_logs() as logs:
        assert await worker == 1
    assert [line["count"] for line in logs if line["event"].startswith("answers are lost")] == [1]
    with pytest.raises(CallFailed):
        await call


async def test_a_worker_without_a_broker_fails_with_one_line() -> None:
    broker = EmbeddedBroker()
    broker.down = True

    with pytest.raises(BusError):
        await run_worker([waiting(asyncio.Event())], Bus(broker, name="worker"), stop=asyncio.Event(), wait=0.01)


def waiting(go_on: asyncio.Event, started: asyncio.Event | None = None) -> Service:
    """A service that answers when it is told to."""
    service = Service("waiting")

    @service.handles(wait)
    async def handle(request: Nothing, _context: Context) -> Nothing:
        if started is not None:
            started.set()
        await go_on.wait()
        return request

    return service

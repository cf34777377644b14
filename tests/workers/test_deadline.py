"""Handlers that run past their deadline."""

import asyncio
import time
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from busgate.bus import Bus, CallContext, Delivery, Message
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, CallFailed, Nothing, http
from busgate.workers import Context, Service
from busgate.workers.execution import Execution
from busgate.workers.nested import Calls

if TYPE_CHECKING:
    from workers.conftest import House, Until

wait = Call("test.wait.v1", http.post("/wait"), request=Nothing, reply=Nothing)


def execution_of(service: Service, **options: Any) -> Execution:
    """The execution of the only handler, off any bus."""
    (handler,) = service
    return Execution(handler, Calls(Bus(EmbeddedBroker(), name="test")), **options)


def delivery(remaining: float) -> Delivery:
    """A call that ends so many seconds from now."""
    message = Message()
    message.body = b"{}"
    context = CallContext(b"0" * 32, b"00-%032x-%016x-01" % (1, 1))
    now = time.time()
    return Delivery(None, message, context, deadline=now + remaining, now=now, service="test")  # type: ignore[arg-type]


async def test_a_handler_that_hangs_is_cancelled_and_the_log_shows_where() -> None:
    service = Service("waiters")
    cleaned_up = False

    @service.handles(wait)
    async def hang(_request: Nothing, _context: Context) -> Nothing:
        nonlocal cleaned_up
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up = True
        raise NotImplementedError

    with capture_logs() as logs:
        kind, body = await execution_of(service, cancel_grace=0.01)(delivery(0.01))

    assert kind == b"problem"
    assert b'"type":"urn:busgate:handler-timeout"' in body
    assert cleaned_up
    assert logs[0]["event"] == "a handler was cancelled past its deadline"
    assert isinstance(logs[0]["exc_info"], asyncio.CancelledError)


async def test_the_task_of_a_cancelled_handler_is_as_before() -> None:
    service = Service("waiters")

    @service.handles(wait)
    async def hang(_request: Nothing, _context: Context) -> Nothing:
        await asyncio.Event().wait()
        raise NotImplementedError

    await execution_of(service, cancel_grace=0.01)(delivery(0.01))

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_reply_of_a_cancelled_handler_is_believed() -> None:
    service = Service("waiters")

    @service.handles(wait)
    async def stubborn(_request: Nothing, _context: Context) -> Nothing:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Nothing()
        raise NotImplementedError

    assert await execution_of(service, cancel_grace=0.01)(delivery(0.01)) == (b"reply", b"{}")


async def test_whatever_a_cancelled_handler_raises_is_a_timeout() -> None:
    service = Service("waiters")

    @service.handles(wait)
    async def confused(_request: Nothing, _context: Context) -> Nothing:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("a driver's own words") from None
        raise NotImplementedError

    _, body = await execution_of(service, cancel_grace=0.01)(delivery(0.01))

    assert b"handler-timeout" in body


async def test_a_handler_may_opt_out_of_being_cancelled(house: "House", until: "Until") -> None:
    service = Service("waiters")
    go_on, finished = asyncio.Event(), asyncio.Event()

    @service.handles(wait, cancel_at_deadline=False)
    async def hang(_request: Nothing, context: Context) -> Nothing:
        await until(lambda: context.remaining() < -0.6)  # two looks of the watch
        await go_on.wait()
        finished.set()
        return Nothing()

    await house.work(service, cancel_grace=0.01)
    with pytest.raises(CallFailed):
        await house.send(wait, b"{}", budget=0.05)
    go_on.set()

    async with asyncio.timeout(5):
        await finished.wait()


async def test_a_handler_that_ignores_its_cancellation_is_counted_while_it_runs(until: "Until") -> None:
    service = Service("waiters")
    go_on = asyncio.Event()

    @service.handles(wait)
    async def deaf(_request: Nothing, _context: Context) -> Nothing:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return Nothing()

    execution = execution_of(service, cancel_grace=0.01)
    with capture_logs() as logs:
        task = asyncio.create_task(execution(delivery(0.01)))
        await until(lambda: execution.watch.stuck == 1)
        go_on.set()
        await task

    assert [line["why"] for line in logs] == ["it ignores its cancellation"]
    assert len(logs[0]["trace"]) == 32
    assert (execution.watch.stuck, execution.watch.stuck_total) == (0, 1)


async def test_a_thread_that_hangs_is_counted_once_and_its_reply_still_sent(until: "Until") -> None:
    service = Service("waiters")
    go_on = Event()

    @service.handles(wait)
    def hang(_request: Nothing, _context: Context) -> Nothing:
        assert go_on.wait(10)
        return Nothing()

    execution = execution_of(service, cancel_grace=0.01)
    with capture_logs() as logs:
        task = asyncio.create_task(execution(delivery(0.01)))
        await until(lambda: execution.watch.stuck == 1)
        go_on.set()
        answer = await task
    execution.close()

    assert answer == (b"reply", b"{}")
    assert [line["why"] for line in logs] == ["a thread cannot be cancelled"]
    assert (execution.watch.stuck, execution.watch.stuck_total) == (0, 1)


async def test_a_call_that_waited_too_long_for_a_thread_is_not_run(until: "Until") -> None:
    service = Service("waiters")
    go_on = Event()
    runs: list[float] = []

    @service.handles(wait, prefetch=1)
    def hang(_request: Nothing, context: Context) -> Nothing:
        runs.append(context.deadline)
        assert go_on.wait(10)
        return Nothing()

    execution = execution_of(service)
    late = delivery(0.05)
    first = asyncio.create_task(execution(delivery(60)))
    second = asyncio.create_task(execution(late))
    await until(lambda: late.remaining() < 0)
    go_on.set()
    await first
    _, body = await second
    execution.close()

    assert len(runs) == 1
    assert b'"type":"urn:busgate:too-late"' in body
    assert b'"outcome":"not_executed"' in body


async def test_a_cancellation_from_outside_is_not_answered() -> None:
    service = Service("waiters")
    started = asyncio.Event()

    @service.handles(wait)
    async def hang(_request: Nothing, _context: Context) -> Nothing:
        started.set()
        await asyncio.Event().wait()
        raise NotImplementedError

    task = asyncio.create_task(execution_of(service)(delivery(60)))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_watch_rests_when_nothing_runs(until: "Until") -> None:
    service = Service("waiters")

    @service.handles(wait)
    async def answer(_request: Nothing, _context: Context) -> Nothing:
        return Nothing()

    execution = execution_of(service)
    await execution(delivery(60))

    assert execution.watch._timer is not None
    await until(lambda: execution.watch._timer is None)

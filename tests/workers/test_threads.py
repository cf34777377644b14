import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from busgate.workers.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(2, name="test")
    yield threads
    threads.close()


async def test_a_thread_returns_what_the_function_returns(threads: Threads) -> None:
    assert await threads.run(lambda: 5) == 5


async def test_a_thread_raises_what_the_function_raises(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)


async def test_an_idle_thread_is_used_again(threads: Threads) -> None:
    idents = [await threads.run(threading.get_ident) for _ in range(3)]

    assert len(set(idents)) == 1
    assert idents[0] != threading.get_ident()


async def test_more_work_than_threads_waits_its_turn(threads: Threads) -> None:
    names = await asyncio.gather(*(threads.run(lambda: threading.current_thread().name) for _ in range(20)))

    assert set(names) <= {"test-1", "test-2"}


async def test_who_stops_waiting_does_not_disturb_the_others(threads: Threads) -> None:
    go_on = threading.Event()
    blocked = [threads.run(lambda: go_on.wait(10)) for _ in range(2)]
    blocked[0].cancel()
    go_on.set()

    assert await threads.run(lambda: 5) == 5
    assert await blocked[1] is True


async def test_closed_threads_end_and_are_daemons_until_then() -> None:
    threads = Threads(2, name="test")
    thread = await threads.run(threading.current_thread)
    threads.close()
    thread.join(5)

    assert thread.daemon
    assert not thread.is_alive()


def test_a_result_after_the_end_of_the_loop_is_dropped() -> None:
    go_on = threading.Event()

    async def leave_one() -> threading.Thread:
        threads = Threads(2, name="test")
        thread: threading.Thread = await threads.run(threading.current_thread)
        threads.run(lambda: go_on.wait(10))
        return thread

    thread = asyncio.run(leave_one())
    go_on.set()
    thread.join(5)

    assert not thread.is_alive()

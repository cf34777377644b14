"""Being told to stop: the first signal asks for a drain, the second ends the process at once."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CUT = 1
"""Exit code when something was cut short."""


@contextmanager
def stop_on_signals(at_once: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set. The handlers run even while the event loop is blocked.

    The second signal calls `at_once` and ends the process.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    told = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if told:
            at_once()
            os._exit(CUT)
        told = True
        loop.call_soon_threadsafe(stop.set)

    before = {each: signal.signal(each, on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def until_stopped(
    work: Callable[[asyncio.Event], Awaitable[int]], *, at_once: Callable[[], None] = lambda: None
) -> int:
    """Run the work of a process, which ends when the event is set; the exit code is its result.

    When work was cut, the process ends here: a thread that hangs would keep it for minutes.
    """
    with stop_on_signals(at_once) as stop:
        code = await work(stop)
    if code == CUT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code

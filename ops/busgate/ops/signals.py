"""Being told to stop: the first signal asks for a drain, the second ends the process at once."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

CUT = 1
"""Exit code when something was cut short."""


@contextmanager
def stop_on_signals(at_once: Callable[[], None], *, numbers: Collection[int]) -> Iterator[asyncio.Event]:
    """An event that signals set. The handlers run even while the event loop is blocked.

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

    before = {each: signal.signal(each, on_signal) for each in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def until_stopped(
    work: Callable[[asyncio.Event], Awaitable[int]],
    *,
    at_once: Callable[[], None] = lambda: None,
    numbers: Collection[int] | None = None,
) -> int:
    """Run the work of a process, which ends when the event is set; the exit code is its result.

    Args:
        work: what to run.
        at_once: called when it is to end without a drain.
        numbers: the signals that tell it to stop; None is Ctrl-C, SIGTERM, and a terminal that closes.

    When work was cut, the process ends here: a thread that hangs would keep it for minutes.
    """
    with stop_on_signals(at_once, numbers=_usual() if numbers is None else numbers) as stop:
        code = await work(stop)
    if code == CUT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _usual() -> list[int]:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup: to outlive the terminal
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]

"""Threads for plain handlers.

Daemons, unlike those of concurrent.futures, so that one that hangs cannot keep a process from its end.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Threads:
    """At most `size` threads that belong to one event loop, started when needed."""

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0
        self._busy = 0
        self._loop = asyncio.get_running_loop()

    def run(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Call the function in a thread; cancelling the future forgets the result, not the work."""
        future = self._loop.create_future()
        if self._busy >= self._started < self._size:
            self._started += 1
            Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._busy += 1
        self._jobs.put((function, future))
        return future

    def close(self) -> None:
        """Let every thread end after what it does now."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - it belongs to who waits for the result
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._settle, future, result, error)
            except RuntimeError:  # the loop is closed: the process ends
                return
            del job, function, future, result, error  # an idle thread must not keep a call's memory

    def _settle(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError("the handler raised StopIteration"))  # a future cannot carry it
        else:
            future.set_exception(error)

"""Things that happen on the hot path, noted there and worked on later, many at a time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

NotedT = TypeVar("NotedT")

FLUSH_EVERY = 0.1
"""Seconds until a batch is handed over."""
LARGEST_BATCH = 256
"""What a batch holds before it waits no longer: so it holds up the loop for some milliseconds at most."""


class Batches(Generic[NotedT]):
    """Collects what is noted in one event loop, and hands it over in batches.

    Args:
        takers: each gets every batch.
    """

    def __init__(self, *takers: Callable[[Sequence[NotedT]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = time.monotonic
        """By what clock things are timed. That of the loop has whole milliseconds in uvloop, of the start of a turn."""
        self._takers = takers
        self._batch: list[NotedT] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, noted: NotedT) -> None:
        """Note one thing: nothing is done with it yet."""
        batch = self._batch
        batch.append(noted)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_EVERY, self.flush)
        elif len(batch) >= LARGEST_BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand over what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batch:
            batch, self._batch = self._batch, []
            for take in self._takers:
                take(batch)

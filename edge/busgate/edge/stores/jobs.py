"""Work for a store that is not in this process: collected in each turn of the loop, done together, each told its own.

One transaction or one message for all the requests of a turn costs hardly more than for one of them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .rules import Ask
from .store import StoreUnavailable

BACKLOG = 10_000
"""Jobs that may wait; more are refused at once."""


class Take(NamedTuple):
    """See Store.take."""

    asks: Sequence[Ask]


class Once(NamedTuple):
    """See Store.once."""

    key: str
    lasts: int
    """Microseconds."""


class Get(NamedTuple):
    """See Store.get."""

    key: str


class Put(NamedTuple):
    """See Store.put."""

    key: str
    value: bytes
    lasts: int
    """Microseconds."""


Job = Take | Once | Get | Put


class Waiting(NamedTuple):
    """A job, and who waits for what comes of it."""

    job: Job
    answer: asyncio.Future[Any]

    def tell(self, result: object) -> None:
        if not self.answer.done():  # else who asked is gone
            self.answer.set_result(result)

    def fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(StoreUnavailable(reason))
            self.answer.exception()  # whoever is gone will not ask for it; it is no news to the loop


class Inbox:
    """The jobs that nobody works on yet.

    Args:
        wake: called when one is there, once for all that come in a turn of the loop and before they are taken.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, job: Job) -> asyncio.Future[Any]:
        """What will come of it. Raises StoreUnavailable where too many wait."""
        if len(self._waiting) >= BACKLOG:
            raise StoreUnavailable(f"{BACKLOG} requests wait for the store already")
        loop = asyncio.get_running_loop()
        waiting = Waiting(job, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._wake)
        return waiting.answer

    def empty(self, most: int) -> list[Waiting]:
        """Take out up to `most` jobs, the oldest first."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

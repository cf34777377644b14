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


class Hold(NamedTuple):
    """Have some more places of a key, or give some back; True where it is so now. See leases.py."""

    key: str
    holder: str
    """Who has them: letters and digits. Those of a holder who is not under `alive:` count no more."""
    change: int
    """How many more; fewer than 0 are given back, which is never refused."""
    most: int
    """That all holders may have together."""
    lasts: int
    """Microseconds after which nobody can have any of them still."""


Job = Take | Once | Get | Put | Hold


class Chain(NamedTuple):
    """What one request needs of the store, one after the other until one says no: the rest is not done then."""

    jobs: Sequence[Job]


def says_no(job: Job, result: Any) -> bool:
    """Whether what came of a job ends its chain."""
    match job:
        case Take():
            return not result.allowed
        case Once() | Hold():
            return not result
    return False


ALIVE = "alive:"
"""Under it and the name of a holder there is something as long as its process lives."""


class Answer(asyncio.Future[Any]):
    """What will come of a job. Whoever waits for it and is cancelled, is cancelled when it is there: only then it is
    known what has to be undone.
    """

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as Future.cancel
        return False


class Waiting(NamedTuple):
    """A job, and who waits for what comes of it."""

    job: Job | Chain
    answer: Answer

    def tell(self, result: object) -> None:
        self.answer.set_result(result)

    def fail(self, reason: str) -> None:
        if not self.answer.done():  # one that was refused is failed once more, with its connection
            self.answer.set_exception(StoreUnavailable(reason))
            self.answer.exception()  # nobody may wait for it; it is no news to the loop


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

    def add(self, job: Job | Chain) -> Answer:
        """What will come of it. Raises StoreUnavailable where too many wait."""
        if len(self._waiting) >= BACKLOG:
            raise StoreUnavailable(f"{BACKLOG} requests wait for the store already")
        loop = asyncio.get_running_loop()
        waiting = Waiting(job, Answer(loop=loop))
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._wake)
        return waiting.answer

    def empty(self, most: int) -> list[Waiting]:
        """Take out up to `most` jobs, the oldest first."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

"""Who was refused a moment ago: a flood of one caller need not reach the store."""

import time
from collections import OrderedDict
from collections.abc import Callable

from busgate.edge.stores.rules import MICROSECONDS

CAPACITY = 10_000
"""Keys; the oldest makes room."""
LONGEST = 1.0
"""Seconds that a refusal is remembered at most: so soon a process sees that somebody put a count back by hand."""


class Refused:
    """Keys that a store refused, until it might let them through: nothing that happens to a key makes that earlier."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def now(self) -> float:
        """The time to give to `note`, from before the store was asked."""
        return self._clock()

    def note(self, key: str, asked: float, wait: int) -> None:
        """A store that was asked then said to wait so many microseconds."""
        end = asked + wait / MICROSECONDS
        self._until[key] = min(end, asked + LONGEST), end
        self._until.move_to_end(key)
        if len(self._until) > CAPACITY:
            self._until.popitem(last=False)

    def wait(self, key: str) -> int:
        """Microseconds until the key might be let through; 0: ask the store."""
        found = self._until.get(key)
        if found is None:
            return 0
        now = self._clock()
        if found[0] <= now:
            del self._until[key]
            return 0
        return max(1, round((found[1] - now) * MICROSECONDS))

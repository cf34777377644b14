"""What happens again and again, and when it is worth a line in the log: at once, then ever more rarely."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

FIRST, LONGEST = 1.0, 60.0
"""Seconds until a thing that repeats is told again: doubles each time."""
STEADY = 10.0
"""Seconds after which an outage that is over does not count any more: the next is told at once, as the first."""
MOST_KINDS = 100

Clock = Callable[[], float]


class Pace:
    """When a thing that repeats is to be told: at once, after 1 s, 2 s, 4 s ... 60 s; after a long quiet at once."""

    def __init__(self) -> None:
        self._pause = FIRST
        self._due = float("-inf")

    def due(self, now: float) -> bool:
        """Whether to tell it now; then it is told."""
        if now < self._due:
            return False
        if now - self._due > LONGEST:
            self._pause = FIRST
        self._due = now + self._pause
        self._pause = min(self._pause * 2, LONGEST)
        return True


class Repeats:
    """Things of a few kinds, each counted, and told at its own pace. Beyond a hundred kinds new ones are not told."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}

    def count(self, kind: str) -> int:
        """Note one more: how many there were so far where a line is due; else 0."""
        if kind not in self._paces:
            if len(self._paces) >= MOST_KINDS:
                return 0
            self._paces[kind], self._counts[kind] = Pace(), 0
        self._counts[kind] += 1
        return self._counts[kind] if self._paces[kind].due(self._clock()) else 0


class Outage:
    """A thing that is away now and then: when it goes, while it is away, and that it is back.

    An end is told where the outage was. One that comes and goes all the time is told at the pace of all that repeats.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, *, clock: Clock = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._pace = Pace()
        self._began: float | None = None
        self._ended = float("-inf")
        self._since = ""
        self._tries = 0
        self._told = False

    def begins(self, event: str, **about: object) -> None:
        """It went away."""
        self._note()
        self._tell(event, about)

    def goes_on(self, event: str, **about: object) -> None:
        """A try to have it back failed; the first may be how it is found to be away."""
        self._note()
        self._tries += 1
        self._tell(event, {**about, "tries": self._tries, "since": self._since})

    def ends(self, event: str, **about: object) -> bool:
        """It is here: told, and True, only where it was told to be away."""
        began, tries, told = self._began, self._tries, self._told
        self._began, self._tries, self._told = None, 0, False
        if began is None:
            return False
        self._ended = self._clock()
        if told:
            self._log.warning(event, **about, seconds_away=round(self._ended - began, 1), failed_tries=tries)
        return told

    def _note(self) -> None:
        if self._began is None:
            self._began = self._clock()
            if self._began - self._ended > STEADY:
                self._pace = Pace()
            self._since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _tell(self, event: str, about: dict[str, object]) -> None:
        if self._pace.due(self._clock()):
            self._told = True
            self._log.warning(event, **about)

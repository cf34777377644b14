"""When a process says that it is there: every few seconds, and once for all who asked within a second."""

import random
from collections.abc import Callable

from .presence import PRESENCE_EVERY

ANSWER_EVERY = 1.0
"""Seconds between two answers to `who`: many may ask at once, and each answer goes to everybody."""
ANSWER_WITHIN = 0.2
"""Seconds within which a `who` is answered, at random: a hundred processes should not answer at once."""


class Cadence:
    """The next time to speak. Times are in seconds of one clock, `jitter` gives numbers from 0 to 1."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._usual = float("-inf")
        self._answer: float | None = None
        self._answered = float("-inf")

    @property
    def next(self) -> float:
        """When to speak next."""
        return self._usual if self._answer is None else min(self._usual, self._answer)

    def asked(self, now: float) -> None:
        """Somebody wants to know who is there."""
        if self._answer is None:
            self._answer = max(now, self._answered + ANSWER_EVERY) + ANSWER_WITHIN * self._jitter()

    def changed(self, now: float) -> None:
        """There is something new to say: at once."""
        self._usual = now

    def speaks(self, now: float) -> None:
        """It speaks now, which answers all who asked."""
        if self._answer is not None:
            self._answer, self._answered = None, now
        self._usual = now + PRESENCE_EVERY * (0.9 + 0.2 * self._jitter())

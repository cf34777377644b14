"""How many calls of one topic may wait: what its workers can answer in half of the budget, by Little's law.

The rate of replies is capacity only while calls queue up, which the replies tell: the time a call took less the
time its handler ran is the time it waited, and needs no common clock. While calls do not queue, anything is let
in; once they do, no more may be under way than the measured rate answers in the time that a handler runs and half
of what the budget leaves beside it. So those who are let in are answered in time, and the others know at once.
tests/bus/test_admission.py simulates it, from 2 to 10,000 calls a second.
"""

from busgate.contracts import CallFailed
from busgate.contracts.failure import OVERLOADED

SHORTEST, LONGEST = 0.1, 0.25
"""Seconds over which replies are counted: the sooner the gate closes under a rush, the fewer come in too many."""
ENOUGH = 16
"""Replies that make a short window mean something."""
BURST = 8
"""Calls that may always wait. Were it many, a slow topic would answer each of them too late: 256 calls at 20/s."""
QUEUEING = 0.05
"""Calls queue up when they wait longer than this part of the budget."""
SHARE = 0.5
"""The part of the budget that waiting may take, of what the handler leaves of it."""
SMOOTHING = 1 / 16


class Admission:
    """The gate of one topic. `waiting` is kept by the requester, `budget` is the contract's timeout in seconds."""

    __slots__ = ("_count", "_ran", "_rate", "_since", "budget", "limit", "waiting")

    def __init__(self, budget: float = 5.0) -> None:
        self.budget = budget
        self.waiting = 0
        self.limit: float = float("inf")
        self._count = 0
        self._ran = 0.0
        self._rate = 0.0
        self._since = 0.0

    def admit(self, now: float) -> None:
        """Let a call in.

        Raises:
            CallFailed: OVERLOADED, with the seconds after which the queue will have shrunk.
        """
        if self.waiting >= self.limit and self.waiting >= BURST:
            if now > self._since + LONGEST + self.budget:  # no reply for long: what was measured means nothing any more
                self.limit = float("inf")
                return
            over = (self.waiting - self.limit) / self._rate if self._rate else self.budget
            raise CallFailed(OVERLOADED, "the workers of this topic are at their limit", retry_after=max(1.0, over))

    def replied(self, now: float, queued: float, ran: float) -> None:
        """A reply came to a call that was queued for so many seconds, and its handler ran for so many."""
        self._count += 1
        self._ran += (ran - self._ran) * SMOOTHING
        length = now - self._since
        if length >= SHORTEST and (self._count >= ENOUGH or length >= LONGEST):
            self._measure(length, queued)
            self._count = 0
            self._since = now

    def _measure(self, length: float, queued: float) -> None:
        if length < max(self.budget, 1.0):
            rate = self._count / length
            self._rate = rate if not self._rate else (self._rate + rate) / 2
            free = max(self.budget - self._ran, 0.0)
            queueing = queued > self.budget * QUEUEING
            self.limit = self._rate * (self._ran + free * SHARE) if queueing else float("inf")
        else:  # after a pause the count says nothing about a rate
            self._rate = 0.0
            self.limit = float("inf")

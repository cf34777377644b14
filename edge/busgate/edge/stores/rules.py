"""What a store counts by: a pace (GCRA) or a tally, in whole microseconds, so that all stores count alike.

A pace needs one number for each key: when its next request would be due if all came evenly. How far that lies
ahead of now is how much of the burst is used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MICROSECONDS = 1_000_000
"""In a second."""

Spent = tuple[int, int]
"""What is kept of a key: when its next is due, or how many there were; and when it means nothing any more."""

NOTHING: Spent = (0, 0)


Standing = tuple[int, int, int]
"""Where a key stands with its rule after a verdict: how many more would be let through now; microseconds until one
more is, 0 unless this rule is why it was not; microseconds until everything that was used is back."""


class Verdict(NamedTuple):
    """Whether all rules of one `take` let it through. Only then it counts, with all of them."""

    allowed: bool
    standings: Sequence[Standing]
    """In the order of what was asked."""


Weighed = tuple[Spent, Standing]
"""What one rule says to one more: what to keep now, with it where it is let through; and how that leaves the key."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` at once, then one each `interval` microseconds."""

    interval: int
    burst: int
    span: int = field(init=False, compare=False)
    """Microseconds that a whole burst takes to come back."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "span", self.interval * self.burst)

    @classmethod
    def of(cls, count: int, window: float, burst: int) -> "Pace":
        """Never more than `count` within any `window` seconds; `burst` of them may come at once."""
        return cls(math.ceil(window * MICROSECONDS / (count - burst + 1)), burst)

    def weigh(self, spent: Spent, now: int, lasts: int) -> Weighed:  # noqa: ARG002 - as Tally.weigh
        used = spent[0] - now
        if used < 0:
            used = 0
        elif used > self.span:  # a clock was put back: that uses up one burst, not more
            used = self.span
        left = self.span - used - self.interval
        if left < 0:
            due = now + used
            return spent if spent[0] == due else (due, due), (0, -left, used)
        used += self.interval
        due = now + used
        return (due, due), (left // self.interval, 0, used)

    def standing(self, spent: Spent, now: int, lasts: int) -> Standing:  # noqa: ARG002 - as Tally.standing
        used = max(0, min(spent[0] - now, self.span))
        return (self.span - used) // self.interval, 0, used


@dataclass(frozen=True, slots=True)
class Tally:
    """At most `limit` for as long as the key is kept; a quota of a day has the day in its key."""

    limit: int

    def weigh(self, spent: Spent, now: int, lasts: int) -> Weighed:
        left = self.limit - spent[0] - 1
        if left < 0:
            return spent, (0, max(1, lasts), lasts)
        return (spent[0] + 1, now + lasts), (left, 0, lasts)

    def standing(self, spent: Spent, now: int, lasts: int) -> Standing:  # noqa: ARG002 - as Pace.standing
        return max(0, self.limit - spent[0]), 0, lasts


class Ask(NamedTuple):
    """One rule that one request must be let through by. No two of one request have one key."""

    key: str
    """Begins with what it is for and the name of the limit, like `rate:name:`; holds no secret."""
    rule: Pace | Tally
    lasts: int = 0
    """For a tally, the microseconds until its key means nothing any more."""


def weigh(asks: Sequence[Ask], found: Sequence[Spent], now: int) -> tuple[Verdict, Sequence[Spent]]:
    """The verdict on one request, and what is to be kept of each key: where nothing changed, what was found.

    Args:
        asks: all its rules.
        found: what is kept of each; NOTHING where nothing is, or where that means nothing any more.
        now: microseconds.
    """
    spent, standings, allowed = [], [], True
    for (_, rule, lasts), before in zip(asks, found, strict=True):
        after, standing = rule.weigh(before, now, lasts)
        spent.append(after)
        standings.append(standing)
        _, wait, _ = standing
        if wait:
            allowed = False
    if not allowed:  # rules that would have let it through have not counted it
        for at, ((_, rule, lasts), before) in enumerate(zip(asks, found, strict=True)):
            _, wait, _ = standings[at]
            if not wait:
                spent[at], standings[at] = before, rule.standing(before, now, lasts)
    return Verdict(allowed, standings), spent

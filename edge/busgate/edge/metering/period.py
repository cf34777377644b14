"""The day and the month, in UTC, that quotas count by."""

import calendar
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from busgate.edge.stores.rules import MICROSECONDS

Per = Literal["day", "month"]


class Period:
    """The current one, computed anew only when it is over.

    Args:
        per: its length.
        clock: epoch seconds.

    Attributes:
        label: names it, like 2026-11-24 or 2026-11.
        length: seconds, the whole of it.
    """

    __slots__ = ("_clock", "_end", "_per", "_start", "label", "length")

    def __init__(self, per: Per, clock: Callable[[], float] = time.time) -> None:
        self._per = per
        self._clock = clock
        self._start = self._end = 0.0
        self.label = ""
        self.length = 0

    def lasts(self) -> int:
        """Microseconds until its end; it is another one from then on."""
        now = self._clock()
        if not self._start <= now < self._end:
            self._turn(now)
        return max(1, int((self._end - now) * MICROSECONDS))

    def _turn(self, now: float) -> None:
        today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self._per == "day":
            start, days, self.label = today, 1, f"{today:%Y-%m-%d}"
        else:
            start, self.label = today.replace(day=1), f"{today:%Y-%m}"
            days = calendar.monthrange(today.year, today.month)[1]
        self.length = days * 24 * 3600
        self._start, self._end = start.timestamp(), (start + timedelta(days=days)).timestamp()

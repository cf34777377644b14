"""How far the clocks of other processes are from ours, by what their presences say.

A presence tells its sender's time and travels outside the queues of work, so the shortest of a few journeys is close
to the difference of both clocks. Only what is beyond a tolerance counts, and only when several presences in a row say
so: a worker whose clock is wrong must neither refuse every call as too late nor start what nobody waits for.

After an alarm or an outage presences come in a burst that waited for it. Each that waited shorter than those before it
proves that they were late, and they count no more: so a wait is not taken for a wrong clock.
"""

from collections import deque

TOLERANCE_MS = 500
"""Milliseconds that two clocks may differ: NTP keeps them closer by far, and deadlines are longer."""
JOURNEYS = 4
"""So many presences in a row must agree: a busy process hears some of them late."""
MOST_MS = 366 * 24 * 3600 * 1000
"""A clock that is further away is nonsense, not a clock."""


class Clocks:
    """Differences to other processes, by their id."""

    def __init__(self) -> None:
        self._journeys: dict[str, deque[int]] = {}
        self.ahead: dict[str, float] = {}
        """Seconds that our clock is ahead of theirs (negative: behind), for those beyond the tolerance."""

    def heard(self, process_id: str, *, theirs_ms: int, ours_ms: int) -> bool:
        """Note a presence; True when this process just went beyond the tolerance."""
        newest = ours_ms - theirs_ms
        in_time = (each for each in self._journeys.get(process_id, ()) if each <= newest + TOLERANCE_MS)
        journeys = self._journeys[process_id] = deque([*in_time, newest], maxlen=JOURNEYS)
        # Of journeys that all say the same, the one that says least: a single odd one, forged or late, changes nothing.
        difference = min(journeys, key=abs)
        agreed = len(journeys) == JOURNEYS and (min(journeys) > TOLERANCE_MS or max(journeys) < -TOLERANCE_MS)
        if not agreed or abs(difference) > MOST_MS:
            if not self._still_off(process_id, newest):
                self.ahead.pop(process_id, None)
            return False
        news = process_id not in self.ahead
        self.ahead[process_id] = difference / 1000
        return news

    def _still_off(self, process_id: str, newest: int) -> bool:
        """Whether a presence speaks for what was known of a clock, though those before it were late."""
        known = self.ahead.get(process_id, 0.0)
        return TOLERANCE_MS < abs(newest) <= MOST_MS and (newest > 0) == (known > 0)

    def forget(self, process_id: str) -> None:
        """It is gone."""
        self._journeys.pop(process_id, None)
        self.ahead.pop(process_id, None)

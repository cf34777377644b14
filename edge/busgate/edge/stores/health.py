"""How a store is: what it says of itself, in a log at growing intervals and in numbers."""

import time

import structlog

log = structlog.stdlib.get_logger("busgate.edge")

FIRST_SILENCE = 1.0
"""Seconds from the first line of a log about a failing store to the next; each one more waits twice as long."""
LONGEST_SILENCE = 300.0


class Health:
    """Whether a store can be used, and since when not.

    Attributes:
        reason: why it cannot be used now; None: it can.
        failures: how often it could not be.
    """

    def __init__(self, store: str, reason: str | None = None) -> None:
        self.reason = reason
        self.failures = 0
        self._store = store
        self._failing = False
        self._since = 0.0
        self._silence = FIRST_SILENCE
        self._next_line = 0.0

    def failed(self, reason: str) -> None:
        """It could not be used just now."""
        self.failures += 1
        now = time.monotonic()
        if not self._failing:
            self._failing, self._since, self._silence, self._next_line = True, now, FIRST_SILENCE, now
        self.reason = reason
        if now >= self._next_line:
            log.error("store unavailable", store=self._store, reason=reason, seconds=round(now - self._since))
            self._next_line = now + self._silence
            self._silence = min(2 * self._silence, LONGEST_SILENCE)

    def well(self) -> None:
        """It could be used just now."""
        self.reason = None
        if self._failing:
            self._failing = False
            log.info("store available again", store=self._store, seconds=round(time.monotonic() - self._since))

"""Who was heard of on the control bus and fell silent without a goodbye: it hangs, or it is dead."""

from .presence import MOST_SILENT, PRESENCE_EVERY, Presence, SilentProcess

SILENT_AFTER = 1.5 * PRESENCE_EVERY
"""Seconds: the next presence is overdue."""
FORGOTTEN_AFTER = 300.0
"""Seconds after which nobody is told of it any more."""
MOST = 10_000


class Silence:
    """All that were heard of and said no goodbye, and when that was. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[SilentProcess, float]] = {}

    def spoke(self, name: str, now: float) -> bool:
        """Note that a process spoke which is known here. False: it is not."""
        if name not in self._last:
            return False
        self._last[name] = self._last[name][0], now
        return True

    def left(self, name: str) -> None:
        """Note that a process said goodbye."""
        self._last.pop(name, None)

    def heard(self, presence: Presence, now: float) -> None:
        """Note who spoke."""
        if presence.state == "gone":
            self.left(presence.id)
            return
        services = sorted({each.service for each in presence.contracts if each.service})
        self._note(
            SilentProcess(
                id=presence.id,
                kind=presence.kind,
                host=presence.host,
                pid=presence.pid,
                seconds=0,
                services=services[:MOST_SILENT],
            ),
            now,
        )

    def told(self, process: SilentProcess, now: float) -> None:
        """Note what another remembers."""
        last = now - process.seconds
        if process.id not in self._last or self._last[process.id][1] < last:
            self._note(process, last)

    def silent(self, now: float) -> list[SilentProcess]:
        """Who is silent now, the latest first; as many as a presence may name."""
        self._last = {name: (one, last) for name, (one, last) in self._last.items() if now - last < FORGOTTEN_AFTER}
        overdue = [(now - last, one) for one, last in self._last.values() if now - last >= SILENT_AFTER]
        latest = sorted(overdue, key=lambda pair: (pair[0], pair[1].id))[:MOST_SILENT]
        return [one.model_copy(update={"seconds": int(seconds)}) for seconds, one in latest]

    def _note(self, process: SilentProcess, last: float) -> None:
        if process.id in self._last or len(self._last) < MOST:
            self._last[process.id] = process, last

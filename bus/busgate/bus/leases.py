"""Which topics are tapped right now: leases that taps take by the control bus, and that end by themselves."""

from collections.abc import Callable

from .presence import TapLease

MOST = 100
"""Leases at a time; more than any number of operators takes."""


class Leases:
    """The leases of all taps, for topics that are called from here. Times are in seconds of one clock.

    Args:
        called: whether a topic is called from here; the others of a lease cost nothing. One that is called later
            is looked for again when its tap renews the lease.
    """

    def __init__(self, called: Callable[[str], bool]) -> None:
        self._called = called
        self._held: dict[str, tuple[frozenset[bytes], float]] = {}

    def take(self, tap_id: str, lease: TapLease, now: float) -> bool:
        """Note a lease, or renew it; False: there are too many."""
        topics = frozenset(topic.encode() for topic in lease.topics if self._called(topic))
        if topics and tap_id not in self._held and len(self._held) >= MOST:
            return False
        if topics:
            self._held[tap_id] = topics, now + lease.seconds
        else:
            self._held.pop(tap_id, None)
        return True

    def topics(self, now: float) -> frozenset[bytes]:
        """The topics of all leases that hold."""
        self._held = {name: held for name, held in self._held.items() if held[1] > now}
        return frozenset[bytes]().union(*(topics for topics, _ in self._held.values()))

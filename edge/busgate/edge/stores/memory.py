"""The store of an edge of one process: dictionaries that are bounded whatever comes.

What is over leaves, two keys for each new one. When no more keys fit, a new key is not put in the place of one that
is still counted, for that would let its owner start anew: new keys then count together, in a fixed number of
places by their hash, and take that count along when they get a place of their own. So a flood of new keys costs
newcomers some of their share, and lets nobody through who is over a limit. Nonces are refused when no more fit.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from .health import Health
from .rules import MICROSECONDS, NOTHING, Ask, Pace, Spent, Standing, Verdict, weigh
from .store import StoreUnavailable

CAPACITY = 100_000
"""Keys of limits, and values; some 300 bytes each, and what the values take."""
NONCES = 1_000_000
"""Nonces; some 200 bytes each. Only who has signed a request can add one."""
SHARED = 1024
"""Places of each limit for the keys that do not fit."""

_Place = tuple[str, int]


def monotonic() -> int:
    """Microseconds of a clock that nobody puts back."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """A store for one process. Answers at once, and knows nothing after a restart.

    Args:
        capacity: the most keys of limits, and the most values.
        nonces: the most nonces.
        clock: microseconds.
    """

    unready = None

    def __init__(self, *, capacity: int = CAPACITY, nonces: int = NONCES, clock: Callable[[], int] = monotonic) -> None:
        self.health = Health("memory")
        self._capacity = capacity
        self._nonces = nonces
        self._clock = clock
        self._spent: OrderedDict[str, Spent] = OrderedDict()
        self._shared: dict[_Place, Spent] = {}
        self._said: OrderedDict[str, int] = OrderedDict()
        self._values: OrderedDict[str, tuple[bytes, int]] = OrderedDict()

    async def start(self) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        """There is nothing to do."""

    def __len__(self) -> int:
        """Keys that are kept, those that are over and have not left yet included."""
        return len(self._spent) + len(self._shared) + len(self._said) + len(self._values)

    def take(self, asks: Sequence[Ask]) -> Verdict:
        now = self._clock()
        found = [self._find(ask, now) for ask in asks]
        verdict, spent = weigh(asks, found, now)
        for ask, before, after in zip(asks, found, spent, strict=True):
            if after is not before:
                self._keep(ask, after, now)
        return verdict

    def taker(self, pace: Pace) -> Callable[[str], Standing]:
        """The same for requests that ask for one pace alone, which most do, at a third of the cost.

        What it returns takes a key, and lets the request through if nothing is to be waited for.
        """
        kept, clock, weigh_one = self._spent, self._clock, pace.weigh

        def take_key(key: str) -> Standing:
            spent = kept.get(key)
            if spent is None:
                return self.take([Ask(key, pace)]).standings[0]
            kept[key], standing = weigh_one(spent, clock(), 0)  # to a pace, what is over says as little as nothing
            return standing

        return take_key

    def once(self, key: str, ttl: float) -> bool:
        said, now = self._said, self._clock()
        for _ in range(min(2, len(said))):  # more than come in, so that what is over leaves
            oldest = next(iter(said))
            if said[oldest] > now:
                said.move_to_end(oldest)
            else:
                del said[oldest]
        if said.get(key, now) > now:
            return False
        if len(said) >= self._nonces and key not in said:
            raise StoreUnavailable(f"the memory of this process has no room for more than {self._nonces} nonces")
        said[key] = now + round(ttl * MICROSECONDS)
        return True

    def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        if found[1] <= self._clock():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: str, value: bytes, ttl: float) -> None:
        self._values[key] = value, self._clock() + round(ttl * MICROSECONDS)
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)  # the one that was not asked for longest: it can be had anew

    def _find(self, ask: Ask, now: int) -> Spent:
        spent = self._spent.get(ask.key)
        if spent is None and self._shared:
            spent = self._shared.get(_place(ask))
            if spent is not None and spent[1] <= now:
                del self._shared[_place(ask)]
        return NOTHING if spent is None or spent[1] <= now else spent

    def _keep(self, ask: Ask, spent: Spent, now: int) -> None:
        kept = self._spent
        if ask.key not in kept:
            for _ in range(min(2, len(kept))):  # more than come in, so that what is over leaves
                oldest = next(iter(kept))
                if kept[oldest][1] > now:
                    kept.move_to_end(oldest)
                else:
                    del kept[oldest]
            if len(kept) >= self._capacity:
                self._shared[_place(ask)] = spent
                return
        kept[ask.key] = spent


def _place(ask: Ask) -> _Place:
    """The one of its limit, which is what stands before the second colon; nobody can choose whose it is."""
    kind, name, _ = ask.key.split(":", 2)
    return f"{kind}:{name}", hash(ask.key) % SHARED

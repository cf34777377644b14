"""One limit as a contract's path asks for it: its key, its rule, and what answers say of it."""

from collections.abc import Callable

from busgate.edge.exchange import Exchange
from busgate.edge.stores.rules import Ask, Tally

from .keys import Part
from .period import Period
from .settings import Quota, Rate


class RatePolicy:
    """A rate.

    Attributes:
        name: what answers and metrics call it.
        item: that of `RateLimit-Policy`.
        head: how that of `RateLimit` begins.
        told: what it lets through, in words.
        pace: what stores count by.
        prefix: how the key of a request begins.
        part: the rest of it.
    """

    is_quota = False

    def __init__(self, name: str, rate: Rate, key: Part) -> None:
        self.name = name
        self.head = f'"{name}";r='
        self.item = f'"{name}";q={rate.count};w={rate.window}'
        self.told = f"{rate.count} requests in {rate.window} s"
        self.pace = rate.pace()
        self.prefix = f"rate:{name}:"
        self.part = key

    def ask(self, exchange: Exchange) -> Ask:
        return Ask(self.prefix + self.part(exchange), self.pace)


class QuotaPolicy:
    """A quota; see RatePolicy."""

    is_quota = True

    def __init__(self, name: str, quota: Quota, key: Part, *, clock: Callable[[], float]) -> None:
        self.name = name
        self.head = f'"{name}";r='
        self.told = f"{quota.count} requests in a {quota.per} (UTC)"
        self._count = quota.count
        self._key = key
        self._period = Period(quota.per, clock)
        self._tally = Tally(quota.count)

    @property
    def item(self) -> str:
        return f'"{self.name}";q={self._count};w={self._period.length}'

    def ask(self, exchange: Exchange) -> Ask:
        lasts = self._period.lasts()
        return Ask(f"quota:{self.name}:{self._period.label}:{self._key(exchange)}", self._tally, lasts)


Policy = RatePolicy | QuotaPolicy

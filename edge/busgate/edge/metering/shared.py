"""The same steps as in meter.py, where processes share the store: they leave looks, which are asked for together."""

from collections.abc import Sequence
from functools import partial

from busgate.edge.exchange import Exchange, Step
from busgate.edge.stores.jobs import Take
from busgate.edge.stores.leases import Leases
from busgate.edge.stores.rules import Ask, Verdict

from .keys import Part
from .meter import Counts, judge, no_place
from .policies import Policy
from .refused import Refused


class SharedMeter:
    """Has a store asked for the limits of a request.

    Args:
        counts: what is refused is noted there.
        open_without: let requests through while the store cannot be asked.
    """

    def __init__(self, counts: Counts, *, open_without: bool) -> None:
        self.counts = counts
        self.open_without = open_without
        self.refused = Refused()

    def of(self, policies: Sequence[Policy]) -> Step:
        """The step that has a request counted with all these. It raises Refusal: one refused it a moment ago."""

        def step(exchange: Exchange) -> None:
            assert exchange.looks is not None
            asks = [policy.ask(exchange) for policy in policies]
            self._look_back(exchange, policies, asks)
            exchange.looks.append(_Limits(self, policies, asks))

        return step

    def _look_back(self, exchange: Exchange, policies: Sequence[Policy], asks: Sequence[Ask]) -> None:
        waits = [self.refused.wait(ask.key) for ask in asks]
        if any(waits):
            refusing = [(policy, (0, wait, wait)) for policy, wait in zip(policies, waits, strict=True) if wait]
            policies, standings = zip(*refusing, strict=True)
            judge(exchange, policies, Verdict(allowed=False, standings=standings), self.counts)


class _Limits:
    """A look at all limits of a stage."""

    __slots__ = ("_asked", "_meter", "_policies", "job")
    proves_caller = False

    def __init__(self, meter: SharedMeter, policies: Sequence[Policy], asks: Sequence[Ask]) -> None:
        self.job = Take(asks)
        self._meter = meter
        self._policies = policies
        self._asked = meter.refused.now()

    def told(self, exchange: Exchange, result: Verdict) -> None:
        meter = self._meter
        if not result.allowed:
            for ask, (_, wait, _) in zip(self.job.asks, result.standings, strict=True):
                if wait:
                    meter.refused.note(ask.key, self._asked, wait)
        judge(exchange, self._policies, result, meter.counts)

    def untold(self, exchange: Exchange) -> bool:  # noqa: ARG002 - as in Look
        return self._meter.open_without


class SharedPlaces:
    """How many requests of each key run at a time, in all processes.

    While the store cannot be asked and requests are let through, each process lets as many run on its own.

    Args:
        name: of the limit.
        most: how many may.
        counts: what is refused is noted there.
        leases: of this process.
        open_without: let requests through while the store cannot be asked.
    """

    def __init__(self, name: str, most: int, counts: Counts, leases: Leases, *, open_without: bool) -> None:
        self.name = name
        self.most = most
        self.counts = counts
        self.leases = leases
        self.open_without = open_without

    def take(self, exchange: Exchange, key: Part) -> None:
        """A step: have a place taken until the request ends. Raises Refusal TOO_MANY_AT_ONCE."""
        assert exchange.looks is not None
        place = f"place:{self.name}:{key(exchange)}"
        if self.leases.of(place) >= self.most:  # whatever others have
            raise no_place(self.name, self.most, self.counts)
        exchange.looks.append(_Place(self, place))


class _Place:
    """A look whether there is a place."""

    __slots__ = ("_places", "job")
    proves_caller = False

    def __init__(self, places: SharedPlaces, place: str) -> None:
        self.job = places.leases.more(place, places.most)
        self._places = places

    def told(self, exchange: Exchange, result: bool) -> None:
        places = self._places
        if not result:
            raise no_place(places.name, places.most, places.counts)
        self._hold(exchange)

    def untold(self, exchange: Exchange) -> bool:
        self._places.leases.doubt()
        if self._places.open_without:
            self._hold(exchange)
        return self._places.open_without

    def _hold(self, exchange: Exchange) -> None:
        leases = self._places.leases
        leases.taken(self.job)
        if exchange.held is None:
            exchange.held = []
        exchange.held.append(partial(leases.give_back, self.job.key))

"""The steps that count requests and refuse those over a limit: all limits of a stage in one question to the store."""

from collections.abc import Awaitable, Sequence
from functools import partial

from busgate.edge.exchange import Exchange
from busgate.edge.refusal import QUOTA_EXCEEDED, RATE_EXCEEDED, STORE_UNAVAILABLE, TOO_MANY_AT_ONCE, Refusal
from busgate.edge.stores.rules import Ask, Standing, Verdict
from busgate.edge.stores.store import Store, StoreUnavailable

from .allowance import Allowance, seconds
from .keys import Part
from .policies import Policy
from .refused import Refused

RETRY_PLACE = 1
"""Seconds after which a place among those that run at a time is worth another try."""


class Counts:
    """What an edge counts of its limits.

    Attributes:
        refused: requests, by the limit that did not let them through.
        unchecked: requests that were let through because the store could not be asked.
    """

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self.unchecked = 0

    def note(self, name: str) -> None:
        self.refused[name] = self.refused.get(name, 0) + 1


class Meter:
    """Asks the store for the limits of a request.

    Args:
        store: where they are counted.
        counts: what is refused is noted there.
        open_without: let requests through while the store cannot be asked.
    """

    def __init__(self, store: Store, counts: Counts, *, open_without: bool) -> None:
        self._store = store
        self._counts = counts
        self._open_without = open_without
        self._refused = Refused() if store.distant else None

    def check(self, exchange: Exchange, policies: Sequence[Policy]) -> Awaitable[None] | None:
        """Count a request with all these limits.

        Raises:
            Refusal: one of them does not let it through, or nobody can tell.
        """
        asks = [policy.ask(exchange) for policy in policies]
        if self._refused is not None:
            self._look_back(exchange, policies, asks)
        try:
            verdict = self._store.take(asks)
        except StoreUnavailable as error:
            self._without(error)
            return None
        if isinstance(verdict, Verdict):
            self._judge(exchange, policies, verdict)
            return None
        return self._wait(exchange, policies, asks, verdict)

    def _look_back(self, exchange: Exchange, policies: Sequence[Policy], asks: Sequence[Ask]) -> None:
        """Refuse what the store refused a moment ago."""
        assert self._refused is not None
        waits = [self._refused.wait(ask.key) for ask in asks]
        if any(waits):
            refusing = [(policy, Standing(0, wait, wait)) for policy, wait in zip(policies, waits, strict=True) if wait]
            policies, standings = zip(*refusing, strict=True)
            self._judge(exchange, policies, Verdict(allowed=False, standings=standings))

    async def _wait(
        self, exchange: Exchange, policies: Sequence[Policy], asks: Sequence[Ask], answer: Awaitable[Verdict]
    ) -> None:
        asked = 0.0 if self._refused is None else self._refused.now()
        try:
            verdict = await answer
        except StoreUnavailable as error:
            self._without(error)
            return
        if not verdict.allowed and self._refused is not None:
            for ask, standing in zip(asks, verdict.standings, strict=True):
                if standing.wait:
                    self._refused.note(ask.key, asked, standing.wait)
        self._judge(exchange, policies, verdict)

    def _without(self, error: StoreUnavailable) -> None:
        if not self._open_without:
            raise Refusal(STORE_UNAVAILABLE, headers=(("Retry-After", "1"),)) from error
        self._counts.unchecked += 1

    def _judge(self, exchange: Exchange, policies: Sequence[Policy], verdict: Verdict) -> None:
        exchange.allowance = Allowance(policies, verdict.standings, exchange.allowance)
        if not verdict.allowed:
            self._refuse(policies, verdict)

    def _refuse(self, policies: Sequence[Policy], verdict: Verdict) -> None:
        refusing = [
            (policy, standing.wait)
            for policy, standing in zip(policies, verdict.standings, strict=True)
            if standing.wait
        ]
        for policy, _ in refusing:
            self._counts.note(policy.name)
        longest, wait = max(refusing, key=lambda each: each[1])
        raise Refusal(
            QUOTA_EXCEEDED if longest.is_quota else RATE_EXCEEDED,
            f"the limit {longest.name} lets {longest.told} through; the next is in {seconds(wait)} s",
            headers=(("Retry-After", str(seconds(wait))),),
            violated=[policy.name for policy, _ in refusing],
        )


class Places:
    """How many requests of each key run at a time, in this process.

    Args:
        name: of the limit.
        most: how many may.
        counts: what is refused is noted there.
    """

    def __init__(self, name: str, most: int, counts: Counts) -> None:
        self._name = name
        self._most = most
        self._counts = counts
        self._running: dict[str, int] = {}

    def __len__(self) -> int:
        """Keys of which requests run now."""
        return len(self._running)

    def take(self, exchange: Exchange, key: Part) -> None:
        """A step: take a place until the request ends. Raises Refusal TOO_MANY_AT_ONCE."""
        running, taken = self._running, key(exchange)
        count = running.get(taken, 0)
        if count >= self._most:
            self._counts.note(self._name)
            raise Refusal(
                TOO_MANY_AT_ONCE,
                f"the limit {self._name} lets {self._most} requests run at a time",
                headers=(("Retry-After", str(RETRY_PLACE)),),
                violated=[self._name],
            )
        running[taken] = count + 1
        if exchange.held is None:
            exchange.held = []
        exchange.held.append(partial(self._leave, taken))

    def _leave(self, taken: str) -> None:
        count = self._running[taken]
        if count > 1:
            self._running[taken] = count - 1
        else:
            del self._running[taken]

"""The steps that count requests and refuse those over a limit, where the store is that of this process alone."""

from collections.abc import Sequence
from functools import partial

from busgate.edge.exchange import Exchange, Step
from busgate.edge.refusal import QUOTA_EXCEEDED, RATE_EXCEEDED, TOO_MANY_AT_ONCE, Refusal
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.rules import Standing, Verdict

from .allowance import joined, seconds, standing_item
from .keys import Part
from .policies import Policy, RatePolicy

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

    def note_unchecked(self) -> None:
        self.unchecked += 1


class Meter:
    """Asks the store of this process for the limits of a request.

    Args:
        store: where they are counted.
        counts: what is refused is noted there.
    """

    def __init__(self, store: MemoryStore, counts: Counts) -> None:
        self._store = store
        self._counts = counts

    def of(self, policies: Sequence[Policy]) -> Step:
        """The step that counts a request with all these limits. It raises Refusal: one does not let it through."""
        first, *others = policies
        if not others and isinstance(first, RatePolicy):
            return self._of_rate(first)
        take, counts = self._store.take, self._counts

        def step(exchange: Exchange) -> None:
            judge(exchange, policies, take([policy.ask(exchange) for policy in policies]), counts)

        return step

    def _of_rate(self, policy: RatePolicy) -> Step:
        """The same for the most frequent case, at half the cost."""
        take, counts, item, head = self._store.taker(policy.pace), self._counts, policy.item, policy.head
        prefix, part = policy.prefix, policy.part

        def step(exchange: Exchange) -> None:
            standing = take(prefix + part(exchange))
            exchange.allowance = joined(exchange.allowance, (item, standing_item(head, standing)))
            _, wait, _ = standing
            if wait:
                _refuse((policy,), (standing,), counts)

        return step


def judge(exchange: Exchange, policies: Sequence[Policy], verdict: Verdict, counts: Counts) -> None:
    """Have the answer tell a verdict. Raises Refusal where it is a no."""
    items = ", ".join([policy.item for policy in policies])
    standings = ", ".join(
        [standing_item(policy.head, standing) for policy, standing in zip(policies, verdict.standings, strict=True)]
    )
    exchange.allowance = joined(exchange.allowance, (items, standings))
    if not verdict.allowed:
        _refuse(policies, verdict.standings, counts)


def _refuse(policies: Sequence[Policy], standings: Sequence[Standing], counts: Counts) -> None:
    refusing = [(policy, wait) for policy, (_, wait, _) in zip(policies, standings, strict=True) if wait]
    for policy, _ in refusing:
        counts.note(policy.name)
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
            raise no_place(self._name, self._most, self._counts)
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


def no_place(name: str, most: int, counts: Counts) -> Refusal:
    """What a request is refused with for which a limit of that name has no place."""
    counts.note(name)
    return Refusal(
        TOO_MANY_AT_ONCE,
        f"the limit {name} lets {most} requests run at a time",
        headers=(("Retry-After", str(RETRY_PLACE)),),
        violated=[name],
    )

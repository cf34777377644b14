"""The tables [[edge.rate]], [[edge.quota]], [[edge.concurrent]] and [[edge.plan]]: how often, how many at a time."""

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import Names, Table
from busgate.contracts import Catalog
from busgate.edge.access_rules import CallerName
from busgate.edge.places import ForContracts
from busgate.edge.stores.rules import MICROSECONDS, Pace

from .keys import NAMED, WORDS, faults_of
from .period import Per

YEAR = 366 * 24 * 3600
MOST = 10**9
"""Requests that a limit may count to."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


def _keys(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        kind = next((kind for kind in NAMED if word.startswith(kind)), None)
        name = "" if kind is None else word.removeprefix(kind)
        if word not in WORDS and not name:
            raise ValueError(
                f"{word!r} is nothing to count by; there are {', '.join(sorted(WORDS))}, "
                "header:NAME, path:NAME and claim:NAME"
            )
        if kind == "header:" and not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if kind == "header:" and "_" in name:
            raise ValueError(f"{name!r}: a header with an underscore is never let in")
    if len({word.lower() if word.startswith("header:") else word for word in words}) != len(words):
        raise ValueError("it counts by one thing twice")
    return words


By = Annotated[Names, AfterValidator(_keys)]


class Rate(Table):
    """How fast.

    Args:
        count: requests within any window of that length, at most.
        window: seconds.
        burst: how many of them may come at once; the others come back evenly. Without it a quarter of `count`.
    """

    count: int = Field(ge=1, le=MOST)
    window: int = Field(ge=1, le=YEAR)
    burst: int | None = Field(None, ge=1, le=MOST)

    def pace(self) -> Pace:
        """What stores count by."""
        return Pace.of(self.count, self.window, -(-self.count // 4) if self.burst is None else self.burst)

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.burst is not None and self.burst > self.count:
            raise ValueError("burst is more than count")
        if self.pace().span > YEAR * MICROSECONDS:
            raise ValueError("so large a burst would take more than a year to come back; make it smaller")
        return self


class Quota(Table):
    """How much.

    Args:
        count: requests, at most.
        per: `day` or `month`, in UTC.
    """

    count: int = Field(ge=1, le=MOST)
    per: Per


class RateSettings(Rate, ForContracts):
    """A table [[edge.rate]]: at most so many requests in a time, for each key of its own.

    Args:
        name: what answers and metrics call it.
        topics: patterns of the topics of contracts that it is about, `*` is any text.
        paths: the same for path templates, like `/orders/*`; a contract is meant by its topic or by its path.
            Neither given is all contracts.
        by: what it counts by: `caller`, `key` (each API key of a caller), `tenant`, `issuer`, `claim:NAME`, `address`,
            `contract`, `header:NAME`, `path:NAME` (a path variable). Several make one key together; none is one count
            for all. What a request lacks is a key too, one for all that lack it. Where a contract is public, the
            address stands for the caller.
        count: requests within any window of that length, at most.
        window: seconds.
        burst: how many of them may come at once; the others come back evenly. Without it a quarter of `count`.
    """

    name: Name
    by: By = ("caller",)


class QuotaSettings(Quota, ForContracts):
    """A table [[edge.quota]]: at most so many requests in a day or month, for each key of its own.

    Args:
        name: what answers and metrics call it.
        topics: patterns of the topics of contracts that it is about; see [[edge.rate]].
        paths: the same for path templates.
        by: what it counts by; see [[edge.rate]].
        count: requests, at most.
        per: `day` or `month`, in UTC.
    """

    name: Name
    by: By = ("caller",)


class ConcurrentSettings(ForContracts):
    """A table [[edge.concurrent]]: at most so many requests at a time, for each key of its own.

    Args:
        name: what answers and metrics call it.
        topics: patterns of the topics of contracts that it is about; see [[edge.rate]].
        paths: the same for path templates.
        by: what it counts by; see [[edge.rate]].
        count: requests at a time, at most; of all processes that share a store, of each one with `memory://`.
    """

    name: Name
    by: By = ("caller",)
    count: int = Field(ge=1, le=1_000_000)


class PlanClaim(Table):
    """What a claim of a caller must say for it to have the plan.

    Args:
        name: of the claim.
        values: any of these will do; of a claim that is a list, one of it.
    """

    name: str = Field(min_length=1)
    values: Names = Field(min_length=1)


class PlanSettings(ForContracts):
    """A table [[edge.plan]]: limits that go together, for the callers who have the plan.

    A caller has one plan: that of its API key, else the first that names it, else the first that a claim of it names,
    else the first that names its issuer, else the default.

    Args:
        name: what API keys, answers and metrics call it.
        topics: patterns of the topics of contracts that it is about; see [[edge.rate]].
        paths: the same for path templates.
        callers: who has it.
        claims: who has it by a claim, which must be among those that [[edge.jwt]] lets through.
        default: whoever has no other plan has it.
        by: what its limits count by: `caller`, or `key` to give each API key of a caller limits of its own.
        rate: how fast: tables with count, window and burst as in [[edge.rate]].
        quota: how much: tables with count and per as in [[edge.quota]].
        concurrent: requests at a time, as in [[edge.concurrent]]; none given: any number.
    """

    name: Name
    callers: tuple[CallerName, ...] = ()
    claims: tuple[PlanClaim, ...] = ()
    default: bool = False
    by: By = ("caller",)
    rate: tuple[Rate, ...] = ()
    quota: tuple[Quota, ...] = ()
    concurrent: int | None = Field(None, ge=1, le=1_000_000)

    def names(self) -> list[str]:
        """What its rates and quotas are called."""
        return [*map(self.name_of, self.rate), *map(self.name_of, self.quota)]

    def name_of(self, limit: Rate | Quota) -> str:
        """What one of its rates and quotas is called."""
        return f"{self.name}-{limit.per}" if isinstance(limit, Quota) else f"{self.name}-{limit.window}s"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        windows, periods = [rate.window for rate in self.rate], [quota.per for quota in self.quota]
        if len(set(windows)) != len(windows) or len(set(periods)) != len(periods):
            raise ValueError("two rates of it have one window, or two quotas one period")
        if not self.rate and not self.quota and self.concurrent is None:
            raise ValueError("it has no limit; give it a rate, a quota or concurrent")
        return self


Limit = RateSettings | QuotaSettings | ConcurrentSettings


class Limits(Table):
    """All limits of an edge, as EdgeSettings holds them."""

    rate: tuple[RateSettings, ...] = ()
    quota: tuple[QuotaSettings, ...] = ()
    concurrent: tuple[ConcurrentSettings, ...] = ()
    plan: tuple[PlanSettings, ...] = ()

    @property
    def counted(self) -> list[str]:
        """The tables whose counts processes must share."""
        plans = any(plan.rate or plan.quota for plan in self.plan)
        return [name for name, given in (("rate", self.rate), ("quota", self.quota), ("plan", plans)) if given]

    def places(self) -> dict[str, int]:
        """How many requests may run at a time, by the name of the limit or plan."""
        plans = {plan.name: plan.concurrent for plan in self.plan if plan.concurrent is not None}
        return {each.name: each.count for each in self.concurrent} | plans

    @property
    def claims(self) -> frozenset[str]:
        """The claims of callers that something counts by, or that a plan goes by."""
        tables: list[Limit | PlanSettings] = [*self.rate, *self.quota, *self.concurrent, *self.plan]
        counted = {word.removeprefix("claim:") for table in tables for word in table.by if word.startswith("claim:")}
        return frozenset(counted | {claim.name for plan in self.plan for claim in plan.claims})

    def faults(self, catalog: Catalog) -> Iterator[str]:
        """Limits of one name, about no contract, or by a key that requests of a contract cannot have."""
        tables: list[tuple[str, Limit | PlanSettings]] = [
            *(("rate", each) for each in self.rate),
            *(("quota", each) for each in self.quota),
            *(("concurrent", each) for each in self.concurrent),
            *(("plan", each) for each in self.plan),
        ]
        names = [table.name for _, table in tables]
        names += [name for plan in self.plan for name in plan.names()]
        yield from (
            f"edge: two limits or plans have the name {name}" for name in sorted(set(names)) if names.count(name) > 1
        )
        for kind, table in tables:
            where = f"edge.{kind}: {table.name}"
            for pattern in table.covers_none_of(catalog):
                yield f"{where} is about {pattern!r}, which no contract is like"
            for call in catalog:
                if table.covers(call):
                    yield from (f"{where}: {fault}" for fault in faults_of(table.by, call))
        if sum(plan.default for plan in self.plan) > 1:
            yield "edge.plan: two plans are the default"

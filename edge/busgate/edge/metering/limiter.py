"""The limits of an edge, made once: which steps they are on the path of each contract."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from busgate.contracts import Call
from busgate.edge.exchange import Exchange, Step
from busgate.edge.stores.distant import DistantStore
from busgate.edge.stores.leases import Leases
from busgate.edge.stores.memory import MemoryStore

from .keys import is_of_callers, key_of
from .meter import Counts, Meter, Places
from .plans import Plans
from .policies import Policy, QuotaPolicy, RatePolicy
from .settings import ConcurrentSettings, Limit, Limits, PlanSettings, QuotaSettings, RateSettings
from .shared import SharedMeter, SharedPlaces


class Limiter:
    """Gives each contract its steps.

    Limits that need no caller are asked before any credential is looked at; those of callers, and plans, when it is
    known that the caller may call.

    Args:
        limits: of the configuration.
        store: where they are counted.
        open_without: let requests through while the store cannot be asked.
        clock: epoch seconds, for the days and months of quotas.

    Attributes:
        counts: what was refused.
        leases: the places of this process among those of all; None where it shares none.
    """

    def __init__(
        self,
        limits: Limits,
        store: MemoryStore | DistantStore,
        *,
        open_without: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts = Counts()
        self.leases: Leases | None = None
        self.places: dict[str, Places] | dict[str, SharedPlaces]
        self._limits = limits
        self._clock = clock
        self._plans = Plans(limits.plan)
        places = limits.places()
        if not isinstance(store, DistantStore):
            self._meter: Meter | SharedMeter = Meter(store, self.counts)
            self.places = {name: Places(name, most, self.counts) for name, most in places.items()}
            return
        self._meter = SharedMeter(self.counts, open_without=open_without)
        self.leases = leases = Leases(store) if places else None
        self.places = (
            {}
            if leases is None
            else {
                name: SharedPlaces(name, most, self.counts, leases, open_without=open_without)
                for name, most in places.items()
            }
        )

    async def start(self) -> None:
        """Hold places from now on, where processes share them."""
        if self.leases is not None:
            await self.leases.start()

    async def close(self) -> None:
        """Hold none any more."""
        if self.leases is not None:
            await self.leases.close()

    def before_authentication(self, call: Call[Any, Any]) -> list[Step]:
        """The steps for limits that can be told without a caller. They raise Refusal."""
        limits = [limit for limit in self._about(call) if not _needs_caller(limit, call)]
        policies = self._policies(limits, call)
        return self._at_a_time(limits, call) + ([self._meter.of(policies)] if policies else [])

    def of_callers(self, call: Call[Any, Any]) -> list[Step]:
        """The steps for limits of callers who are known, and for their plans. They raise Refusal."""
        limits = [limit for limit in self._about(call) if _needs_caller(limit, call)]
        policies = self._policies(limits, call)
        steps = self._at_a_time(limits, call)
        plans = self._plans_of(call)
        if plans:
            steps += self._of_plans(plans, policies, call)
        elif policies:
            steps.append(self._meter.of(policies))
        return steps

    def about(self, call: Call[Any, Any]) -> bool:
        """Whether anything of a contract is limited."""
        return bool(self._about(call) or self._plans_of(call))

    def _plans_of(self, call: Call[Any, Any]) -> list[PlanSettings]:
        return [] if call.public else [plan for plan in self._limits.plan if plan.covers(call)]

    def _about(self, call: Call[Any, Any]) -> list[Limit]:
        every: list[Limit] = [*self._limits.rate, *self._limits.quota, *self._limits.concurrent]
        return [limit for limit in every if limit.covers(call)]

    def _policies(self, limits: Sequence[Limit], call: Call[Any, Any]) -> list[Policy]:
        policies: list[Policy] = []
        for limit in limits:
            key = key_of(limit.by, call)
            if isinstance(limit, RateSettings):
                policies.append(RatePolicy(limit.name, limit, key))
            elif isinstance(limit, QuotaSettings):
                policies.append(QuotaPolicy(limit.name, limit, key, clock=self._clock))
        return policies

    def _at_a_time(self, limits: Sequence[Limit], call: Call[Any, Any]) -> list[Step]:
        return [
            partial(self.places[limit.name].take, key=key_of(limit.by, call))
            for limit in limits
            if isinstance(limit, ConcurrentSettings)
        ]

    def _of_plans(self, plans: Sequence[PlanSettings], others: list[Policy], call: Call[Any, Any]) -> list[Step]:
        """The limits of the caller's plan, together with those of all callers: one question to the store."""
        plan_of = self._plans.of
        asked = {plan.name: others + self._policies_of(plan, call) for plan in plans}
        checks = {name: self._meter.of(policies) for name, policies in asked.items() if policies}
        without = self._meter.of(others) if others else None
        places = {
            plan.name: partial(self.places[plan.name].take, key=key_of(plan.by, call))
            for plan in plans
            if plan.concurrent is not None
        }

        def at_a_time(exchange: Exchange) -> None:
            assert exchange.caller is not None
            take = places.get(plan_of(exchange.caller) or "")
            if take is not None:
                take(exchange)

        def count(exchange: Exchange) -> Awaitable[None] | None:
            assert exchange.caller is not None
            check = checks.get(plan_of(exchange.caller) or "", without)
            return None if check is None else check(exchange)

        return [at_a_time, count] if places else [count]

    def _policies_of(self, plan: PlanSettings, call: Call[Any, Any]) -> list[Policy]:
        key = key_of(plan.by, call)
        rates: list[Policy] = [RatePolicy(plan.name_of(rate), rate, key) for rate in plan.rate]
        return rates + [QuotaPolicy(plan.name_of(quota), quota, key, clock=self._clock) for quota in plan.quota]


def _needs_caller(limit: Limit, call: Call[Any, Any]) -> bool:
    return not call.public and any(map(is_of_callers, limit.by))

"""Which usage plan a caller has."""

from collections.abc import Iterable, Sequence

from busgate.edge.verified import VerifiedCaller

from .settings import PlanSettings


class Plans:
    """The plans of an edge; PlanSettings says in which order they are looked for."""

    def __init__(self, plans: Sequence[PlanSettings]) -> None:
        self._by_name = {plan.name for plan in plans}
        self._by_caller: dict[tuple[str, str], str] = {}
        self._by_issuer: dict[str, str] = {}
        self._by_claim: list[tuple[str, frozenset[str], str]] = []
        self._default = next((plan.name for plan in plans if plan.default), None)
        for plan in plans:
            for caller in plan.callers:
                if caller.subject is None:
                    self._by_issuer.setdefault(caller.issuer, plan.name)
                else:
                    self._by_caller.setdefault((caller.issuer, caller.subject), plan.name)
            self._by_claim += [(claim.name, frozenset(claim.values), plan.name) for claim in plan.claims]

    def of(self, verified: VerifiedCaller) -> str | None:
        """The name of a caller's plan; None: it has none."""
        if verified.plan in self._by_name:
            return verified.plan
        caller = verified.caller
        found = self._by_caller.get((caller.issuer, caller.subject))
        if found is not None:
            return found
        for claim, values, name in self._by_claim:
            if not values.isdisjoint(_texts(caller.claims.get(claim))):
                return name
        return self._by_issuer.get(caller.issuer, self._default)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else ()

"""The tables [[edge.access]] and [[edge.accept]]: who may use what from where, and how they prove who they are."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from busgate.bus.tables import Names, Table
from busgate.contracts import Call

from .networks import Networks
from .places import ForContracts


class CallerName(Table):
    """A caller of [[edge.access]], or all callers of one issuer.

    Args:
        issuer: who vouches for it, exactly; empty for callers that no issuer vouches for.
        subject: its name, exactly; without it, every caller of the issuer.
    """

    issuer: str = ""
    subject: str | None = Field(None, min_length=1)


class AccessRule(ForContracts):
    """A table [[edge.access]]: a rule that allows or denies. All its conditions must hold for it to match.

    What any rule denies is denied. Where rules allow something of a contract, only what they allow is let in. The
    scopes that the contract asks for must be granted in any case.

    Args:
        name: what records and `busgate check --explain` call it.
        effect: what it does when it matches.
        topics: patterns of the topics of contracts that it is about, `*` is any text.
        paths: the same for path templates, like `/orders/*`; a contract is meant by its topic or by its path.
            Neither given is all contracts.
        callers: the caller is one of these.
        roles: the caller has one of these.
        scopes: the caller has all of these.
        tenants: the caller acts for one of these.
        addresses: the client's address is in one of these networks, like `10.0.0.0/8`, `2001:db8::/32`. One that is
            not known is in those of rules that deny, and in none of rules that allow.
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")
    effect: Literal["allow", "deny"]
    callers: tuple[CallerName, ...] = ()
    roles: Names = ()
    scopes: Names = ()
    tenants: Names = ()
    addresses: Networks = ()

    @property
    def asks_for_a_caller(self) -> bool:
        """Whether it says anything of who calls."""
        return bool(self.callers or self.roles or self.scopes or self.tenants)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.effect == "deny" and not (self.asks_for_a_caller or self.addresses or self.topics or self.paths):
            raise ValueError("it would deny everything to everybody")
        return self


class AcceptRule(ForContracts):
    """A table [[edge.accept]]: how callers may prove who they are, for some contracts. It narrows what those take.

    Args:
        topics: patterns of the topics of contracts that it is about, `*` is any text.
        paths: the same for path templates. Neither given is all contracts.
        schemes: any of these will do.
    """

    schemes: Names = Field(min_length=1)


def accepted(call: Call[Any, Any], rules: Iterable[AcceptRule], configured: Iterable[str]) -> frozenset[str]:
    """The schemes that a contract takes here: those configured, narrowed by the contract and by each rule for it."""
    taken = frozenset(configured)
    if call.schemes:
        taken &= frozenset(call.schemes)
    for rule in rules:
        if rule.covers(call):
            taken &= frozenset(rule.schemes)
    return taken

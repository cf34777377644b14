"""The access rules at work: made ready once for each contract, then asked for every request.

What the address alone decides is decided before any credential is looked at; the rest when the caller is known.
`busgate check --explain` asks the same code.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from busgate.contracts import Call, Caller

from .access_rules import AccessRule
from .networks import network

REMEMBERED = 4096
"""Addresses that a contract remembers its rules for; some 300 bytes each."""

Default = Literal["contract", "deny"]
Holds = Callable[[Caller], bool]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say.

    Attributes:
        allowed: whether the caller may.
        rule: the name of the rule that decided; empty where none did.
        why: in words.
    """

    allowed: bool
    rule: str
    why: str


def _denied(why: str) -> Decision:
    return Decision(allowed=False, rule="", why=why)


class AccessDenied(Exception):  # noqa: N818 - what happens to a request, not an error of ours
    """Why a request was refused, for its record: the client is not told.

    Attributes:
        rule: the name of the rule that refused it; empty where none did.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.why)
        self.rule = decision.rule


class Rule:
    """One rule, ready to be asked.

    Attributes:
        decision: what it comes to when it matches.
        conditions: what must hold of the caller, each by its name.
    """

    def __init__(self, settings: AccessRule) -> None:
        self.settings = settings
        self.name = settings.name
        allows = settings.effect == "allow"
        self.decision = Decision(allows, self.name, f"the rule {self.name} {'allows' if allows else 'denies'} it")
        self.conditions = dict(_conditions(settings))
        self._networks = [network(text) for text in settings.addresses]
        self._holds = tuple(self.conditions.values())

    def takes_address(self, address: str) -> bool:
        """Whether an address is among its networks, or it asks for none.

        One that is not known, over a Unix socket, may be any: it is denied what any is denied, and allowed nothing.
        """
        if not self._networks:
            return True
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return not self.decision.allowed
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in each for each in self._networks)

    def mismatches(self, caller: Caller | None, address: str) -> list[str]:
        """The conditions that do not hold; none: it matches. All of a caller's fail where nobody is known."""
        failed = [] if self.takes_address(address) else ["addresses"]
        return failed + [name for name, holds in self.conditions.items() if caller is None or not holds(caller)]

    def takes_caller(self, caller: Caller) -> bool:
        """Whether all that it says of the caller holds."""
        return all(holds(caller) for holds in self._holds)


def _conditions(settings: AccessRule) -> Iterator[tuple[str, Holds]]:
    if settings.callers:
        one = frozenset((name.issuer, name.subject) for name in settings.callers if name.subject is not None)
        all_of = frozenset(name.issuer for name in settings.callers if name.subject is None)
        yield "callers", lambda caller: (caller.issuer, caller.subject) in one or caller.issuer in all_of
    if settings.roles:
        roles = frozenset(settings.roles)
        yield "roles", lambda caller: not roles.isdisjoint(caller.roles)
    if settings.scopes:
        scopes = frozenset(settings.scopes)
        yield "scopes", lambda caller: scopes <= caller.scopes
    if settings.tenants:
        tenants = frozenset(settings.tenants)
        yield "tenants", lambda caller: caller.tenant in tenants


@dataclass(frozen=True, slots=True)
class _FromHere:
    """The rules that matter for one address."""

    denied: Decision | None
    deny: tuple[Rule, ...]
    allow: tuple[Rule, ...]


class Access:
    """The rules for one contract.

    Args:
        call: the contract.
        rules: all rules, of whatever contracts.
        default: what holds where no rule allows anything of the contract: `contract`, whoever has its scopes may.

    Attributes:
        rules: those about this contract.
        public: whether nobody is known there.
    """

    def __init__(self, call: Call[Any, Any], rules: Iterable[AccessRule], default: Default) -> None:
        self.rules = [Rule(settings) for settings in rules if settings.covers(call)]
        self.public = call.public
        self._default = default
        self._scopes = frozenset(call.scopes)
        self._deny = [rule for rule in self.rules if rule.settings.effect == "deny"]
        self._allow = [rule for rule in self.rules if rule.settings.effect == "allow"]
        self._known: OrderedDict[str, _FromHere] = OrderedDict()

    @property
    def looks_at_addresses(self) -> bool:
        return any(rule.settings.addresses for rule in self.rules)

    @property
    def looks_at_callers(self) -> bool:
        """Whether anything is left to decide, or a rule to name, once the caller is known."""
        return not self.public and bool(self.rules or self._scopes or self.closed)

    @property
    def closed(self) -> bool:
        """Whether nobody can ever be let in, whoever it is."""
        if any(not rule.conditions and not rule.settings.addresses for rule in self._deny):
            return True
        if not self._allow:
            return self._default == "deny"
        return self.public and all(rule.conditions for rule in self._allow)

    def at_the_door(self, address: str) -> Decision | None:
        """Why a client at this address is not let in, whoever it is; None where that depends."""
        return self._from(address).denied

    def decide(self, caller: Caller | None, address: str) -> Decision:
        """Whether a caller at this address may use the contract. None is for public contracts, which know nobody."""
        here = self._from(address)
        if here.denied is not None:
            return here.denied
        if caller is None or self.public:
            return here.allow[0].decision if here.allow else self._without_a_rule()
        if not self._scopes <= caller.scopes:
            missing = ", ".join(sorted(self._scopes - caller.scopes))
            return _denied(f"the contract asks for scopes that the caller lacks: {missing}")
        for rule in here.deny:
            if rule.takes_caller(caller):
                return rule.decision
        for rule in here.allow:
            if rule.takes_caller(caller):
                return rule.decision
        return self._without_a_rule([(rule, rule.mismatches(caller, address)) for rule in self._allow])

    def _without_a_rule(self, unmatched: Sequence[tuple[Rule, Sequence[str]]] = ()) -> Decision:
        """What holds where no rule decides: rules that allow something of the contract, and what of each is not met."""
        if self._allow:
            which = ", ".join(f"{rule.name} ({', '.join(failed)})" for rule, failed in unmatched)
            return _denied(f"rules allow some of this contract, and none of them matches: {which}")
        if self._default == "deny":
            return _denied("no rule allows anything of this contract")
        return Decision(allowed=True, rule="", why="the caller has the scopes of the contract, and no rule denies it")

    def _from(self, address: str) -> _FromHere:
        found = self._known.get(address)
        if found is None:
            while len(self._known) >= REMEMBERED:
                self._known.popitem(last=False)
            found = self._known[address] = self._look(address)
        return found

    def _look(self, address: str) -> _FromHere:
        deny = tuple(rule for rule in self._deny if rule.takes_address(address))
        allow = tuple(rule for rule in self._allow if rule.takes_address(address))
        if self.public:  # nobody is known there, so what rules say of callers matches nobody
            deny = tuple(rule for rule in deny if not rule.conditions)
            allow = tuple(rule for rule in allow if not rule.conditions)
        for rule in deny:
            if not rule.conditions:
                return _FromHere(rule.decision, deny, allow)
        denied = None
        if not allow and not self._without_a_rule().allowed:
            unmatched = [
                (rule, rule.mismatches(None, address) if self.public else ["addresses"]) for rule in self._allow
            ]
            denied = self._without_a_rule(unmatched)
        return _FromHere(denied, deny, allow)

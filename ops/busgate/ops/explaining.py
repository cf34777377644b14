"""`busgate check --explain`: whether a caller may use a contract, and by which rule. Asks what the edge asks."""

import argparse
import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

from busgate.contracts import Call, Caller, Catalog
from busgate.edge.access import Access, Decision
from busgate.edge.access_rules import accepted
from busgate.edge.settings import EdgeSettings

from .asking import find_contract, read_caller
from .faults import CommandError, printable

REFUSED = 1
"""Exit code for no."""

_TOKEN = re.compile(r"([Bb]earer )?eyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
"""A JWT, which would pass for the name of a caller that no rule is about."""


def explain(settings: EdgeSettings, catalog: Catalog, options: argparse.Namespace) -> int:
    """Say yes or no, and why; the exit code.

    Raises:
        CommandError: there is no such contract, or caller or address are none.
    """
    name, topic = options.explain
    if _TOKEN.fullmatch(name):
        raise CommandError(["--explain: that is a token; give a name, or its claims as JSON"])
    address = _address(options.address)
    call = find_contract(topic, catalog)
    if call is None:
        raise CommandError(["edge.contracts: there are no contracts to explain"])
    caller = None if call.public else read_caller(name)
    access = Access(call, settings.access, settings.access_default)
    decision = access.decide(caller, address)
    schemes = [] if call.public else sorted(accepted(call, settings.accept, settings.schemes))
    rules = list(_rules(access, caller, address))
    if options.json:
        print(json.dumps(_document(call, decision, schemes) | {"rules": rules}))
    else:
        print("\n".join(_text(call, decision, schemes, rules)))
        if not address and access.looks_at_addresses:
            print("  rules look at the client's address, which is not known: --address says which")
    return 0 if decision.allowed else REFUSED


def _address(text: str | None) -> str:
    try:
        return "" if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        raise CommandError([f"--address: {text!r} is not an address like 10.1.2.3 or 2001:db8::1"]) from None


def _rules(access: Access, caller: Caller | None, address: str) -> Iterator[dict[str, Any]]:
    for rule in access.rules:
        failed = rule.mismatches(caller, address)
        yield {"rule": rule.name, "effect": rule.settings.effect, "matches": not failed, "fails": failed}


def _document(call: Call[Any, Any], decision: Decision, schemes: list[str]) -> dict[str, Any]:
    return {
        "topic": call.topic,
        "allowed": decision.allowed,
        "rule": decision.rule or None,
        "why": decision.why,
        "schemes": schemes,
    }


def _text(call: Call[Any, Any], decision: Decision, schemes: list[str], rules: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'yes' if decision.allowed else 'no'}: {printable(decision.why)}"
    yield (
        f"  {call.topic} is public: nobody is asked who they are"
        if call.public
        else (f"  {call.topic} takes: {', '.join(schemes)}")
    )
    for rule in rules:
        what = "matches" if rule["matches"] else f"does not match: {', '.join(rule['fails'])}"
        yield f"  {rule['effect']:<5}  {rule['rule']:<24}  {what}"

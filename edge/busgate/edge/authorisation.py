"""Whether a request may use a contract: the steps that ask the access rules. Deny unless allowed."""

from typing import Any

from busgate.contracts import Call

from .access import Access, AccessDenied
from .exchange import Exchange, Step
from .refusal import FORBIDDEN, Refusal


def find_address(exchange: Exchange) -> None:
    """The step that makes sure that it can be told where a client is. Raises Refusal BAD_REQUEST."""
    address_of(exchange)


def address_check(access: Access) -> Step | None:
    """The step that refuses addresses, before any credential is looked at; None where none is refused as such.

    The step raises Refusal FORBIDDEN.
    """
    where = address_of if access.looks_at_addresses else _nowhere

    def step(exchange: Exchange) -> None:
        denied = access.at_the_door(where(exchange))
        if denied is not None:
            raise Refusal(FORBIDDEN) from AccessDenied(denied)

    def of_public(exchange: Exchange) -> None:
        decision = access.decide(None, where(exchange))
        if not decision.allowed:
            raise Refusal(FORBIDDEN) from AccessDenied(decision)
        exchange.rule = decision.rule

    if access.public:
        return of_public if access.rules or access.closed else None
    return step if access.looks_at_addresses or access.closed else None


def authorisation(call: Call[Any, Any], access: Access) -> Step | None:
    """The step that lets through who may use a contract; None where everybody may.

    The step raises Refusal FORBIDDEN, with a challenge that names the scopes where it is for them (RFC 6750, 3.1).
    """
    if not access.looks_at_callers:
        return None
    required = frozenset(call.scopes)
    challenge = f'Bearer realm="busgate", error="insufficient_scope", scope="{" ".join(sorted(required))}"'
    for_scopes = (("WWW-Authenticate", challenge),)
    where = address_of if access.looks_at_addresses else _nowhere
    decide = access.decide

    def step(exchange: Exchange) -> None:
        assert exchange.caller is not None
        caller = exchange.caller.caller
        decision = decide(caller, where(exchange))
        if not decision.allowed:
            headers = () if required <= caller.scopes else for_scopes
            raise Refusal(FORBIDDEN, headers=headers) from AccessDenied(decision)
        exchange.rule = decision.rule

    def scopes_alone(exchange: Exchange) -> None:
        assert exchange.caller is not None
        if not required <= exchange.caller.scopes:
            raise Refusal(FORBIDDEN, headers=for_scopes) from AccessDenied(decide(exchange.caller.caller, ""))

    return step if access.rules or access.closed else scopes_alone


def address_of(exchange: Exchange) -> str:
    return exchange.address


def _nowhere(_: Exchange) -> str:
    return ""

"""That the body is the one that was signed, and so is every header that the contract reads."""

from collections.abc import Callable
from typing import Any

from busgate.contracts import Call
from busgate.contracts.fields import request_fields
from busgate.edge.exchange import Exchange, Step
from busgate.edge.refusal import Refusal
from busgate.edge.verified import CredentialRefused


def content_check(call: Call[Any, Any], refuse: Callable[[], Refusal]) -> Step:
    """The step that compares a body with what was signed, as soon as it is read.

    A header that the contract reads is part of the call as the body is: it must be covered where it is sent.

    Args:
        call: the contract.
        refuse: makes what the step raises.
    """
    names = sorted({marker.name.lower() for marker, _ in request_fields(call).header.values()})
    read = [(name.encode(), name) for name in names]

    def step(exchange: Exchange) -> None:
        signed = exchange.signed
        if signed is None:
            return
        if not signed.is_of(exchange.body):
            raise refuse() from CredentialRefused("the body is not the one that was signed")
        headers = exchange.head.headers
        if any(name in headers and covered not in signed.names for name, covered in read):
            raise refuse() from CredentialRefused("a header that the contract reads is not covered")

    return step

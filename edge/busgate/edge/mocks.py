"""Contracts that are answered by their examples, for clients that are written before the service is.

All else is as ever: the caller is authenticated, the request validated, the answer checked against the contract. Only
nobody is called. Each answer is marked, so that none is taken for the real thing.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from busgate.bus import Reply
from busgate.bus.tables import is_like
from busgate.bus.wire import TYPE_PROBLEM, TYPE_REPLY, Message
from busgate.contracts import Call, Catalog, ContractError
from busgate.contracts.openapi import examples_of
from busgate.contracts.shown import Shown

from .exchange import Exchange, Step
from .places import lonely
from .refusal import BAD_REQUEST, Refusal

MARK = (("Busgate-Mock", "true"),)
"""On every answer of such a contract, refusals too."""
SERVICE = "mock"
"""Who answered, in records."""

_EXAMPLE = re.compile(rb"(?:^|,)\s*example\s*=\s*\"?([A-Za-z0-9-]{1,200})\"?\s*(?=[;,]|$)", re.IGNORECASE)


def answer_by_example(call: Call[Any, Any]) -> Step:
    """The step in place of a call: `Prefer: example=KEY`, else the example of this request, else the first reply.

    Raises:
        ContractError: there is no example of a reply, and none can be made up.
    """
    shown = examples_of(call)
    replies = {example.key: _reply(example, call) for example in shown}
    first = next((example.key for example in shown if example.status == call.http.status), None)
    if first is None:
        raise ContractError(f"contract {call.topic}: no example of a reply, and none can be made up")
    known = ", ".join(replies)

    def step(exchange: Exchange) -> None:
        asked = _EXAMPLE.search(exchange.head.headers.get(b"prefer", b""))
        key = _key_of(exchange.message, shown) or first if asked is None else asked[1].decode().lower()
        if key not in replies:
            raise Refusal(BAD_REQUEST, f"Prefer names no example; there are: {known}")
        exchange.reply = replies[key]

    return step


def _reply(example: Shown, call: Call[Any, Any]) -> Reply:
    message = Message()
    message.type = TYPE_REPLY if example.status == call.http.status else TYPE_PROBLEM
    message.body = json.dumps(example.answer).encode()
    return Reply(message, SERVICE, 0, 0.0)


def _key_of(message: bytes, shown: Sequence[Shown]) -> str | None:
    """The example whose request is this one."""
    request = json.loads(message)
    return next((example.key for example in shown if example.request == request), None)


def mock_faults(patterns: Sequence[str], catalog: Catalog) -> Iterator[str]:
    """What is wrong with edge.mock for these contracts, in a line each."""
    for pattern in lonely(patterns, [call.topic for call in catalog]):
        yield f"edge.mock: about {pattern!r}, which no contract is like"
    for call in catalog:
        if is_like(call.topic, patterns):
            try:
                answer_by_example(call)
            except ContractError as error:
                yield f"edge.mock: {error}: add examples=[...] to it"

"""Calls that a handler makes: what they inherit, and how their replies are read."""

import asyncio
from typing import Any, Generic

from pydantic import ValidationError
from pydantic_core import from_json

from busgate.bus import Bus, CallContext, Delivery, Endpoint, Ids, Reply
from busgate.bus.wire import MARGIN_MS, TYPE_REPLY
from busgate.contracts import Call, CallFailed, Problem
from busgate.contracts.call import ReplyT, RequestT
from busgate.contracts.failure import BAD_REPLY, TOO_LATE, WORKER_KINDS

from .codec import explain, reader, writer

_MARGIN = MARGIN_MS / 1000
"""A nested call ends this much before its parent, so that the parent can still answer."""


class NestedCall(Exception):  # noqa: N818 - never raised itself
    """The cause of all that a nested call raises; so it is told apart from what a handler itself raises."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"in a call of {topic}")
        self.topic = topic


class Calls:
    """The nested calls of one worker process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._ids = Ids()
        self._outgoing: dict[Call[Any, Any], _Outgoing[Any, Any]] = {}
        self._loop = asyncio.get_running_loop()

    async def call(self, contract: Call[RequestT, ReplyT], request: RequestT, parent: Delivery) -> ReplyT:
        """Call a contract on behalf of a delivery; see Context.call."""
        outgoing: _Outgoing[RequestT, ReplyT] = self._to(contract)
        try:
            body = outgoing.write(request)
            reply = await outgoing.endpoint.call(body, self._inherit(parent), _budget(contract, parent))
            return outgoing.read(reply)
        except (CallFailed, Problem) as failure:
            raise failure from NestedCall(contract.topic)

    def call_blocking(self, contract: Call[RequestT, ReplyT], request: RequestT, parent: Delivery) -> ReplyT:
        """The same from a thread; see Context.call_blocking."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop without the exception
            raise RuntimeError("call_blocking would block the event loop; use `await context.call(...)` in async def")
        return asyncio.run_coroutine_threadsafe(self.call(contract, request, parent), self._loop).result()

    def _to(self, contract: Call[Any, Any]) -> "_Outgoing[Any, Any]":
        outgoing = self._outgoing.get(contract)
        if outgoing is None:
            outgoing = self._outgoing[contract] = _Outgoing(
                contract, self._bus.endpoint(contract.topic, timeout=contract.timeout)
            )
        return outgoing

    def _inherit(self, parent: Delivery) -> CallContext:
        """The same trace and caller, one hop deeper (the bus refuses too many); a new call id and span."""
        context = parent.context
        trace = context.traceparent
        traceparent = trace[:36] + self._ids.take(16) + trace[52:]
        return CallContext(self._ids.take(32), traceparent, context.caller, context.hops + 1)


class _Outgoing(Generic[RequestT, ReplyT]):
    """A contract prepared for calling it."""

    def __init__(self, contract: Call[RequestT, ReplyT], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.write = writer(contract.request, exclude_unset=True)
        self._read_reply = reader(contract.reply)
        self._problems = {problem.type: problem for problem in contract.errors}

    def read(self, reply: Reply) -> ReplyT:
        """The reply; or raises the declared problem, or CallFailed."""
        if reply.type == TYPE_REPLY:
            try:
                return self._read_reply(reply.body)
            except ValidationError as error:
                raise self._bad(reply, explain(error)) from None
        raise self._failure(reply)

    def _failure(self, reply: Reply) -> Problem | CallFailed:
        try:
            document = from_json(reply.body)
            kind, declared = document["type"], self._problems.get(document["type"])
            if declared is not None:
                return declared.from_document(document)
        except (ValueError, TypeError, KeyError):
            return self._bad(reply, "a problem that cannot be read")
        if kind not in WORKER_KINDS:
            return self._bad(reply, "a problem that the contract does not declare")
        detail, service = document.get("detail"), document.get("service")
        return CallFailed(
            WORKER_KINDS[kind],
            detail if isinstance(detail, str) else None,
            service=service if isinstance(service, str) else reply.service,
        )

    def _bad(self, reply: Reply, why: str) -> CallFailed:
        return CallFailed(BAD_REPLY, why, service=reply.service)


def _budget(contract: Call[Any, Any], parent: Delivery) -> float:
    left = parent.remaining() - _MARGIN
    if left <= 0:
        raise CallFailed(TOO_LATE, "no time was left for a nested call")
    return min(contract.timeout, left)

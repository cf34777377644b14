"""Calls that a handler makes, and what they inherit."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from busgate.bus import Bus, CallContext, Delivery, Ids
from busgate.bus.typed import TypedCalls
from busgate.bus.wire import MARGIN_MS
from busgate.contracts import Call, CallFailed, Problem
from busgate.contracts.call import ReplyT, RequestT
from busgate.contracts.failure import TOO_LATE

_MARGIN = MARGIN_MS / 1000
"""A nested call ends this much before its parent, so that the parent can still answer."""


class NestedCall(Exception):  # noqa: N818 - never raised itself
    """The cause of all that a nested call raises; so it is told apart from what a handler itself raises."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"in a call of {topic}")
        self.topic = topic


_NOTHING = nullcontext()


class Calls:
    """The nested calls of one worker process."""

    def __init__(self, bus: Bus) -> None:
        self._calls = TypedCalls(bus)
        self._ids = Ids()
        self._loop = asyncio.get_running_loop()

    async def call(
        self,
        contract: Call[RequestT, ReplyT],
        request: RequestT,
        parent: Delivery,
    ) -> ReplyT:
        """Call a contract on behalf of a delivery; see Context.call."""
        context = self._inherit(parent)
        try:
            with self._watched(contract.topic, parent, context):
                return await self._calls.to(contract).call(request, context, _budget(contract, parent))
        except (CallFailed, Problem) as failure:
            raise failure from NestedCall(contract.topic)

    def _watched(self, topic: str, parent: Delivery, context: CallContext) -> AbstractContextManager[None]:  # noqa: ARG002 - for those who extend it
        """What surrounds each call."""
        return _NOTHING

    def call_blocking(self, contract: Call[RequestT, ReplyT], request: RequestT, parent: Delivery) -> ReplyT:
        """The same from a thread; see Context.call_blocking."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop without the exception
            raise RuntimeError("call_blocking would block the event loop; use `await context.call(...)` in async def")
        return asyncio.run_coroutine_threadsafe(self.call(contract, request, parent), self._loop).result()

    def _inherit(self, parent: Delivery) -> CallContext:
        """The same trace and caller, one hop deeper (the bus refuses too many); a new call id and span.

        The caller as the edge signed it goes on with the name of the service it is handed on by.
        """
        context = parent.context
        trace = context.traceparent
        traceparent = trace[:36] + self._ids.take(16) + trace[52:]
        nested = CallContext(self._ids.take(32), traceparent, context.caller, context.hops + 1, context.jws)
        if context.jws:
            nested.via = parent.service.encode()
        return nested


def _budget(contract: Call[Any, Any], parent: Delivery) -> float:
    left = parent.remaining() - _MARGIN
    if left <= 0:
        raise CallFailed(TOO_LATE, "no time was left for a nested call")
    return min(contract.timeout, left)

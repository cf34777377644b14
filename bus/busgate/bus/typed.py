"""Typed calls: a request model goes out, the reply model comes back, or the declared problem is raised.

Whoever calls a contract over the bus from Python does it by these: handlers, scripts and notebooks.
"""

from typing import Any, Generic

from busgate.contracts import Call, CallFailed
from busgate.contracts.answer import AnswerReader
from busgate.contracts.call import ReplyT, RequestT
from busgate.contracts.codec import writer
from busgate.contracts.failure import BAD_REPLY

from .bus import Bus
from .wire import TYPE_REPLY, CallContext


class TypedEndpoint(Generic[RequestT, ReplyT]):
    """The calls of one contract, everything prepared once."""

    __slots__ = ("_answers", "_endpoint", "_write")

    def __init__(self, bus: Bus, contract: Call[RequestT, ReplyT]) -> None:
        self._endpoint = bus.endpoint(contract.topic, timeout=contract.timeout)
        self._write = writer(contract.request, exclude_unset=True)
        self._answers = AnswerReader(contract)

    async def call(self, request: RequestT, context: CallContext, budget: float) -> ReplyT:
        """Call and wait, at most `budget` seconds. What the request leaves unset stays unset on the wire.

        Raises:
            Problem: one that the contract declares, as its own class.
            CallFailed: there was no reply that can be believed; `kind.outcome` says whether the work was done.
        """
        reply = await self._endpoint.call(self._write(request), context, budget)
        try:
            if reply.type == TYPE_REPLY:
                return self._answers.reply(reply.body, service=reply.service)
            raise self._answers.problem(reply.body, service=reply.service)
        except CallFailed as failure:
            if failure.kind is BAD_REPLY:
                self._endpoint.refuse_reply(context.call_id, failure)
            raise


class TypedCalls:
    """Typed calls over one bus, of whatever contract comes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._endpoints: dict[Call[Any, Any], TypedEndpoint[Any, Any]] = {}

    def to(self, contract: Call[RequestT, ReplyT]) -> TypedEndpoint[RequestT, ReplyT]:
        endpoint = self._endpoints.get(contract)
        if endpoint is None:
            endpoint = self._endpoints[contract] = TypedEndpoint(self._bus, contract)
        return endpoint

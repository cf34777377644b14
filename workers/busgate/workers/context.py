"""What a handler is given beside the request: who calls, how long is left, and a way to call on."""

from typing import TYPE_CHECKING

from busgate.contracts import Call, Caller
from busgate.contracts.call import ReplyT, RequestT

if TYPE_CHECKING:
    from busgate.bus import Delivery

    from .nested import Calls


class Context:
    """One call, as its handler sees it. Safe to use from the thread of a plain handler."""

    __slots__ = ("_caller", "_calls", "_delivery")

    def __init__(self, delivery: "Delivery", calls: "Calls") -> None:
        self._delivery = delivery
        self._calls = calls
        self._caller: Caller | None = None

    @property
    def caller(self) -> Caller | None:
        """Who was authenticated at the edge; None for a public contract.

        Where the service says trust="verified" this is what the edge has signed, else what whoever sent the call says.

        Raises:
            ValueError: the header cannot be read; None would make an anonymous caller of it.
        """
        if self._caller is None and self._delivery.context.caller:
            self._caller = self._delivery.caller or Caller.from_json(self._delivery.context.caller)
        return self._caller

    @property
    def via(self) -> str:
        """The service that calls on behalf of a signed caller, as it calls itself; empty where the edge does.

        For logs. Nothing proves it: `delegates` of the contract go by whom the edge signed the caller for.
        """
        return self._delivery.context.via.decode()

    @property
    def call_id(self) -> str:
        """32 hex digits, the same over all attempts of this call and in every log."""
        return self._delivery.context.call_id.decode()

    @property
    def traceparent(self) -> str:
        """W3C Trace Context."""
        return self._delivery.context.traceparent.decode()

    @property
    def trace_id(self) -> str:
        """32 hex digits, the same for all calls that one request leads to: `trace` in every log."""
        return self._delivery.context.trace_id

    @property
    def deadline(self) -> float:
        """When nobody waits for the reply any more; seconds since the epoch."""
        return self._delivery.deadline

    def remaining(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._delivery.remaining()

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before, perhaps to a worker that died over it, and may have run."""
        return self._delivery.message.redelivered

    @property
    def hops(self) -> int:
        """How deep this call is nested; 0 when it comes from the edge."""
        return self._delivery.context.hops

    async def call(self, contract: Call[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """Call another contract; the call inherits deadline (bounded by its own timeout), trace and caller.

        Raises:
            Problem: one that the contract declares, as its own class. If you let it pass and your own
                contract does not declare it, your caller learns that a service behind you failed.
            CallFailed: there was no reply; `kind.outcome` says whether the work was done.
        """
        return await self._calls.call(contract, request, self._delivery)

    def call_blocking(self, contract: Call[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """Like `call`, for plain `def` handlers: waits in the handler's thread.

        Raises:
            Problem, CallFailed: like `call`.
            RuntimeError: called in the event loop, which it would block.
        """
        return self._calls.call_blocking(contract, request, self._delivery)

"""From a delivery to an answer: decode, run the handler, encode, and give every way to fail its name."""

import asyncio
import inspect
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError
from pydantic_core import to_json

from busgate.bus import Answer, Delivery, problem
from busgate.bus.exposition import Histogram
from busgate.bus.wire import MAX_MESSAGE, TYPE_PROBLEM, TYPE_REPLY
from busgate.contracts import CallFailed, FailureKind, Problem
from busgate.contracts.codec import explain, reader, writer
from busgate.contracts.failure import (
    HANDLER_CRASHED,
    HANDLER_TIMEOUT,
    NESTED_FAILURE,
    NESTED_TIMEOUT,
    TOO_LATE,
    UNREADABLE_REQUEST,
)

from .context import Context
from .nested import Calls, NestedCall
from .service import Handler
from .threads import Threads
from .watch import Watch

if TYPE_CHECKING:
    from .trust import Gate

log = structlog.stdlib.get_logger("busgate.workers")

CANCEL_GRACE = 1.0
"""Seconds past the deadline after which a handler is cancelled."""


class Execution:
    """One handler at work, everything prepared once. Call it with a delivery for an answer.

    `answers` counts what was answered: "" is a reply, a declared problem stands under its type, and each kind of
    failure under its name. `ran` is how long it took, from the delivery.
    """

    def __init__(self, handler: Handler, calls: Calls, *, cancel_grace: float = CANCEL_GRACE) -> None:
        contract = handler.contract
        self.handler = handler
        self.topic = contract.topic
        self.answers: Counter[str] = Counter()
        self.ran = Histogram()
        self.on_crash: Callable[[BaseException, Context], None] = lambda _error, _context: None
        """Called with what the handler raised that its contract does not declare. Tests show it."""
        self.watch = Watch(contract.topic, grace=cancel_grace if handler.cancel_at_deadline else math.inf)
        self.gate: Gate | None = None
        """What checks who calls, where the service wants that."""
        self._calls = calls
        self._read = reader(contract.request)
        self._write = writer(contract.reply)
        self._reply_model = contract.reply
        self._declared = frozenset(contract.errors)
        self._threads: Threads | None = None
        self._run: Callable[[Any, Context], Awaitable[Any]] = handler.function
        if not handler.is_async:
            self._threads = Threads(handler.prefetch, name=contract.topic)
            self._run = self._run_in_thread
        self._log = log.bind(service=handler.service, topic=contract.topic)

    def close(self) -> None:
        """Let go of the threads. Those that are stuck end with the process."""
        self.watch.close()
        if self._threads is not None:
            self._threads.close()

    async def __call__(self, delivery: Delivery) -> Answer:
        """Answer a delivery. Raises only the CancelledError of who cancels it from outside."""
        try:
            request = self._read(delivery.message.body)
        except Exception as error:  # noqa: BLE001 - validators are the author's code
            return self._unreadable(error, delivery)
        context = Context(delivery, self._calls)
        # The bus knows the task, but for one that it started eagerly; asyncio's own answer costs 1 us on 3.11.
        task: asyncio.Task[Any] = delivery.task or asyncio.current_task()  # type: ignore[assignment] # we are awaited
        self.watch.enter(context, task if self._threads is None else None)
        try:
            reply = await self._run(request, context)
            body = self._encode(reply)
            self.answers[""] += 1
            return TYPE_REPLY, body
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not end its neighbours
            return self._failure(error, context, task)
        finally:
            self.watch.leave(context)
            self.ran.observe((time.monotonic() - delivery.started) * 1000)

    def _encode(self, reply: Any) -> bytes:
        if not isinstance(reply, self._reply_model):
            raise TypeError(_wrong_type(reply, self.handler))
        body = self._write(reply)
        if len(body) > MAX_MESSAGE:
            raise ValueError(f"the reply takes {len(body)} bytes; {MAX_MESSAGE} travel")
        return body

    async def _run_in_thread(self, request: Any, context: Context) -> Any:
        assert self._threads is not None
        function = self.handler.function

        def run() -> Any:
            if context.remaining() <= 0:  # it waited for a thread
                raise _TooLate
            return function(request, context)

        return await self._threads.run(run)

    # -- all that is not a reply; off the hot path

    def _unreadable(self, error: Exception, delivery: Delivery) -> Answer:
        detail = "a validator of the request model crashed"
        if isinstance(error, ValidationError):
            detail = explain(error)
        context = delivery.context
        if UNREADABLE_REQUEST.name not in self.answers:  # once: where versions differ it is every call
            self._log.error(
                "cannot read a request", detail=detail, call=context.call_id.decode(), trace=context.trace_id
            )
        return self._problem(UNREADABLE_REQUEST, detail)

    def _failure(self, error: BaseException, context: Context, task: "asyncio.Task[Any]") -> Answer:
        ended = self.watch.ended(context)
        if isinstance(error, asyncio.CancelledError) and task.cancelling() and not ended:
            raise error  # from outside: the bus cuts it short
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a task group in the handler
        if isinstance(error, Problem) and type(error) in self._declared:
            self.answers[error.type] += 1
            return TYPE_PROBLEM, to_json(error.document())
        if ended:
            self._log.error(
                "a handler was cancelled past its deadline",
                call=context.call_id,
                trace=context.trace_id,
                exc_info=error,
            )
            return self._problem(HANDLER_TIMEOUT)
        if isinstance(error, _TooLate):
            return self._problem(TOO_LATE, "it waited for a thread")
        if isinstance(error.__cause__, NestedCall) or isinstance(error, CallFailed):
            return self._nested(error, context)
        return self._crashed(error, context)

    def _nested(self, error: BaseException, context: Context) -> Answer:
        """What a nested call raised and the handler did not catch: named, but not in its own words."""
        topic = error.__cause__.topic if isinstance(error.__cause__, NestedCall) else "a nested call"
        self._log.debug("a nested call failed", call=context.call_id, trace=context.trace_id, exc_info=error)
        if isinstance(error, CallFailed):
            kind = NESTED_TIMEOUT if error.kind.status == NESTED_TIMEOUT.status else NESTED_FAILURE
            return self._problem(kind, f"{topic}: {error.kind.name}", service=error.service)
        return self._problem(NESTED_FAILURE, f"{topic}: {getattr(error, 'type', '')}")

    def _crashed(self, error: BaseException, context: Context) -> Answer:
        event = "a handler crashed"
        if isinstance(error, Problem):
            event = f"a handler raised {type(error).__qualname__}, which is not in the errors of its contract"
        self._log.error(event, call=context.call_id, trace=context.trace_id, exc_info=error)
        self.on_crash(error, context)
        return self._problem(HANDLER_CRASHED)

    def _problem(self, kind: FailureKind, detail: str | None = None, *, service: str | None = None) -> Answer:
        self.answers[kind.name] += 1
        return problem(CallFailed(kind, detail, service=service))


def _wrong_type(reply: object, handler: Handler) -> str:
    name = getattr(handler.function, "__qualname__", repr(handler.function))
    returned = "nothing" if reply is None else f"a value of type {type(reply).__name__}"
    cure = ""
    if inspect.iscoroutine(reply):
        reply.close()
        returned, cure = "a coroutine", "; an `await` is missing"
    return (
        f"{name} returned {returned}, but {handler.contract.topic} replies with {handler.contract.reply.__name__}{cure}"
    )


class _TooLate(Exception):  # noqa: N818 - a way out of a thread
    pass

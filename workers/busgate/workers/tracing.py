"""Traces of a worker: a span for each call that runs, one for its wait in the queue, one for each nested call.

Only where tracing is on is this module imported; then these two classes stand in for those that they extend.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind
from pydantic_core import from_json

from busgate.bus import Answer, Bus, CallContext, Delivery
from busgate.bus.spans import (
    CALL,
    PROCESS,
    Attributes,
    Span,
    Spans,
    context_with,
    current_in,
    destination,
    is_sampled,
)
from busgate.bus.wire import TYPE_PROBLEM
from busgate.contracts import CallFailed, Problem
from busgate.contracts.failure import TYPE_PREFIX

from .execution import CANCEL_GRACE, Execution
from .nested import Calls
from .service import Handler
from .threads import Threads

CUT = "cut"
"""The error of a call that was ended from outside: by the end of a drain, or because nobody waits any more."""


class TracedExecution(Execution):
    """Runs a handler in a span of its own, which its nested calls and its own instruments find as their parent."""

    def __init__(self, handler: Handler, calls: Calls, *, cancel_grace: float = CANCEL_GRACE, spans: Spans) -> None:
        super().__init__(handler, calls, cancel_grace=cancel_grace)
        self._spans = spans
        if self._threads is not None:
            self._threads = _ContextThreads(handler.prefetch, name=handler.contract.topic)

    async def __call__(self, delivery: Delivery) -> Answer:
        came = delivery.context
        own = came.traceparent
        sampled = is_sampled(own)
        if sampled:
            own = self._spans.child(own)
            delivery.context = CallContext(came.call_id, own, came.caller, came.hops, came.jws, came.via)
        start = time.time_ns()
        token = attach(context_with(own))
        answer: Answer | None = None
        try:
            answer = await super().__call__(delivery)
            return answer
        finally:
            detach(token)
            if sampled:
                self._write_spans(delivery, came.traceparent, start, answer)

    def _write_spans(self, delivery: Delivery, parent: bytes, start: int, answer: Answer | None) -> None:
        service, topic = self.handler.service, self.handler.contract.topic
        own = delivery.context.traceparent
        where = destination(topic)
        sent = _sent(delivery)
        if sent is not None:
            waited = Span(
                name=f"queue {topic}",
                kind=SpanKind.INTERNAL,
                own=self._spans.child(own),
                parent=parent,
                start=sent,
                end=start,
                attributes=where,
            )
            self._spans.write(service, waited)
        became, error = _became(answer)
        known: Attributes = {
            "busgate.service": service,
            "busgate.call": delivery.context.call_id.decode(),
            "busgate.redelivered": delivery.message.redelivered,
        }
        ran = Span(
            name=f"process {topic}",
            kind=SpanKind.CONSUMER,
            own=own,
            parent=parent,
            start=start,
            end=time.time_ns(),
            attributes={**where, **PROCESS, **known, **became},
            error=error,
        )
        self._spans.write(service, ran)


class TracedCalls(Calls):
    """Sends each nested call in a span of its own."""

    def __init__(self, bus: Bus, spans: Spans) -> None:
        super().__init__(bus)
        self._spans = spans

    @contextmanager
    def _watched(self, topic: str, parent: Delivery, context: CallContext) -> Iterator[None]:
        if not is_sampled(context.traceparent):
            yield
            return
        start, above = time.time_ns(), current_in(parent.context.traceparent)
        became: dict[str, str] = {"busgate.outcome": "executed", "busgate.call": context.call_id.decode()}
        error = ""
        try:
            yield
        except Problem as problem:
            became["error.type"] = problem.type
            error = problem.type if problem.status >= 500 else ""
            raise
        except CallFailed as failed:
            error = failed.kind.name
            became |= {"error.type": error, "busgate.outcome": failed.kind.outcome}
            raise
        except BaseException as raised:
            error = CUT if isinstance(raised, asyncio.CancelledError) else type(raised).__name__
            became |= {"error.type": error, "busgate.outcome": "unknown"}
            raise
        finally:
            span = Span(
                name=f"call {topic}",
                kind=SpanKind.CLIENT,
                own=context.traceparent,
                parent=above,
                start=start,
                end=time.time_ns(),
                attributes={**destination(topic), **CALL, **became},
                error=error,
            )
            self._spans.write(parent.service, span)


class _ContextThreads(Threads):
    """Threads that see the context of who gives them work, the current span above all."""

    def run(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        return super().run(partial(copy_context().run, function))


def _sent(delivery: Delivery) -> int | None:
    """When the call was sent, by the clock of its caller, in epoch nanoseconds; None where its caller does not say."""
    expiration, deadline = delivery.message.expiration, delivery.message.headers["deadline"]
    if not isinstance(deadline, int) or not expiration.isdigit() or len(expiration) > 10:
        return None
    return (deadline - int(expiration)) * 1_000_000


def _became(answer: Answer | None) -> tuple[dict[str, str], str]:
    """Attributes of what a handler answered, and the error where it is one: a declared problem below 500 is not."""
    if answer is None:
        return {"busgate.outcome": "unknown", "error.type": CUT}, CUT
    kind, body = answer
    if kind != TYPE_PROBLEM:
        return {"busgate.outcome": "executed"}, ""
    document = from_json(body)
    name = document["type"].removeprefix(TYPE_PREFIX)
    became = {"busgate.outcome": document["outcome"], "error.type": name}
    return became, name if document["status"] >= 500 else ""

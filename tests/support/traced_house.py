"""Two services, one behind the other, and what they and an edge in front of them traced."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from busgate.contracts import Call, Problem, http
from busgate.workers import Context, Service


class Ask(BaseModel):
    key: str


class Told(BaseModel):
    value: str


class Missing(Problem):
    """There is no such key."""

    status = 404


outer = Call("t.outer.v1", http.get("/outer/{key}"), request=Ask, reply=Told, errors=[Missing], public=True)
plain = Call("t.plain.v1", http.get("/plain/{key}"), request=Ask, reply=Told, public=True)
inner = Call("t.inner.v1", http.get("/inner/{key}"), request=Ask, reply=Told, errors=[Missing], public=True)
nowhere = Call("t.nowhere.v1", http.get("/nowhere/{key}"), request=Ask, reply=Told, public=True)

front, back = Service("front"), Service("back")
HANDLERS_OWN = InMemorySpanExporter()
HANDLERS_TRACER = TracerProvider(shutdown_on_exit=False)
HANDLERS_TRACER.add_span_processor(SimpleSpanProcessor(HANDLERS_OWN))


@front.handles(outer)
async def relay(request: Ask, context: Context) -> Told:
    if request.key == "own":
        with HANDLERS_TRACER.get_tracer("shop").start_as_current_span("look it up"):
            return await context.call(inner, request)
    return await context.call(inner, request)


@front.handles(plain)
def relay_plainly(request: Ask, context: Context) -> Told:
    with HANDLERS_TRACER.get_tracer("shop").start_as_current_span("in a thread"):
        return context.call_blocking(inner, request)


@back.handles(inner)
async def tell(request: Ask, context: Context) -> Told:
    if request.key == "missing":
        raise Missing("no such key")
    if request.key == "crash":
        raise KeyError("secret-of-the-handler")
    if request.key == "slow":
        await asyncio.sleep(30)
    return Told(value=context.traceparent)


class House:
    """An edge and two workers that trace, and what they traced."""

    def __init__(self, base: str, session: aiohttp.ClientSession, exporter: InMemorySpanExporter) -> None:
        self._base = base
        self._session = session
        self._exporter = exporter

    async def ask(self, path: str, **headers: str) -> tuple[int, str]:
        """The status, and the id of the request."""
        async with asyncio.timeout(10), self._session.get(self._base + path, headers=headers) as response:
            await response.read()
            return response.status, response.headers["X-Request-Id"]

    async def spans(self, count: int) -> "Found":
        """All spans, once there are so many; the worker's last comes after the answer."""
        async with asyncio.timeout(10):
            while len(found := self._exporter.get_finished_spans()) < count:
                await asyncio.sleep(0.01)
        assert len(found) == count, [span.name for span in found]
        return Found(found)


class Found:
    def __init__(self, spans: tuple[ReadableSpan, ...]) -> None:
        self.all = spans
        self.names = Counter(span.name for span in spans)
        self.traces = {f"{context(span).trace_id:032x}" for span in spans}

    def __getitem__(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.all if span.name == name]
        return span

    def parent(self, name: str) -> str | None:
        """The name of the span above; None at the root."""
        above = self[name].parent
        if above is None:
            return None
        return next(span.name for span in self.all if context(span).span_id == above.span_id)


def context(span: ReadableSpan) -> trace.SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})

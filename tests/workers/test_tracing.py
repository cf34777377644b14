"""What a worker traces of calls that do not end as usual; the usual ones are traced in tests/system."""

import asyncio
from contextlib import AsyncExitStack, suppress

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from busgate.bus import Bus, CallContext, Delivery, Message
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.spans import Spans
from busgate.contracts import Call, CallFailed, Nothing, http
from busgate.workers import Context, Service, serve
from busgate.workers.tracing import _sent

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

outer = Call("test.outer.v1", http.post("/outer"), request=Nothing, reply=Nothing)
inner = Call("test.inner.v1", http.post("/inner"), request=Nothing, reply=Nothing)


async def test_a_call_that_the_end_of_a_drain_cuts_is_told_as_such() -> None:
    exporter = InMemorySpanExporter()
    running = asyncio.Event()
    service = Service("slow")

    @service.handles(outer)
    async def relay(_request: Nothing, context: Context) -> Nothing:
        return await context.call(inner, Nothing())

    @service.handles(inner)
    async def hang(_request: Nothing, _context: Context) -> Nothing:
        running.set()
        await asyncio.sleep(30)
        raise AssertionError

    async with asyncio.timeout(10), AsyncExitStack() as closing:
        broker = EmbeddedBroker()
        worker = Bus(broker, name="worker")
        for execution in serve([service], worker, spans=Spans(SimpleSpanProcessor(exporter))):
            closing.callback(execution.close)
        await worker.start()
        client = await closing.enter_async_context(Bus(broker, name="client"))
        call = client.endpoint(outer.topic).call(b"{}", CallContext(b"1" * 32, TRACEPARENT), 0.8)
        await running.wait()
        whole = await worker.drain(0.01)
        await worker.close()
        with suppress(CallFailed):
            await call

    spans = {span.name: span for span in exporter.get_finished_spans() if not span.name.startswith("queue")}
    assert not whole
    assert {name: (span.status.description, outcome(span)) for name, span in spans.items()} == {
        "process test.inner.v1": ("cut", "unknown"),
        "call test.inner.v1": ("cut", "unknown"),
        "process test.outer.v1": ("cut", "unknown"),
    }


def outcome(span: ReadableSpan) -> object:
    return (span.attributes or {}).get("busgate.outcome")


class Unused:
    """A link that nothing is sent by."""


@given(st.binary(max_size=20) | st.integers(0, 10**12).map(lambda number: b"%d" % number))
def test_a_caller_may_say_anything_of_when_it_sent(expiration: bytes) -> None:
    message = Message()
    message.headers = {"deadline": 1_900_000_000_000}
    message.expiration = expiration
    context = CallContext(b"1" * 32, TRACEPARENT)
    delivery = Delivery(Unused(), message, context, deadline=1.0, now=1.0, service="shop")  # type: ignore[arg-type] # no link is needed

    sent = _sent(delivery)

    if expiration.isdigit() and len(expiration) <= 10:
        assert sent == (1_900_000_000_000 - int(expiration)) * 1_000_000
    else:
        assert sent is None

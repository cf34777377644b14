"""Spans of OpenTelemetry. Only where tracing is on is this module imported, and with it OpenTelemetry.

A span is written when it is over, and known until then by its traceparent alone: the 55 bytes that travel. So
nothing has to be kept for a call that nobody records, and what is recorded costs its call nothing while it runs.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Thread

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from .wire import CALLS_EXCHANGE, Ids

log = structlog.stdlib.get_logger("busgate.bus")

Attributes = Mapping[str, str | int | float | bool]

CALL: Attributes = {"messaging.operation.name": "call", "messaging.operation.type": "send"}
PROCESS: Attributes = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
SAMPLED, NOT_SAMPLED = b"01", b"00"
EXPORT_TIMEOUT = 5.0
"""Seconds that the collector gets for a batch, retries included."""
COMPLAIN_EVERY = 60.0
"""Seconds between two lines in the log about a collector that takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What was, from its start to its end.

    Args:
        name: of few different texts.
        kind: its place between caller and called.
        own: its traceparent.
        parent: that of the span above; empty for none.
        link: that of a span that has to do with it but is not above; empty for none.
        start: epoch nanoseconds.
        end: the same.
        attributes: what is known of it.
        error: why it failed; empty where it did not.
    """

    name: str
    kind: SpanKind
    own: bytes
    parent: bytes = b""
    link: bytes = b""
    start: int
    end: int
    attributes: Attributes
    error: str = ""


class Spans:
    """Writes the spans of one process. A span belongs to a service, as which its process acted.

    Args:
        processor: where spans go. It must not block, as BatchSpanProcessor does not: a full queue drops spans.
        ratio: the share of new traces that are recorded, by their ids, so that all who look at one id agree.
    """

    def __init__(self, processor: SpanProcessor, *, ratio: float = 1.0) -> None:
        self._processor = processor
        self._bound = round(ratio * 2**64)
        self._chosen = _ChosenIds()
        self._ids = Ids()
        self._tracers: dict[str, Tracer] = {}
        self._failed = False

    def begin(self, trace_id: bytes) -> bytes:
        """The traceparent of the first span of a new trace, and with it whether the trace is recorded."""
        sampled = int(trace_id[16:], 16) < self._bound
        return b"00-%b-%b-%b" % (trace_id, self._ids.take(16), SAMPLED if sampled else NOT_SAMPLED)

    def child(self, parent: bytes) -> bytes:
        """The traceparent of a new span under another one; recorded if that is."""
        return parent[:36] + self._ids.take(16) + parent[52:]

    def write(self, service: str, span: Span) -> None:
        """Write a span of a service. Never fails: the first fault is logged, and the span is lost."""
        try:
            self._write(self._tracer(service), span)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("spans cannot be written")

    def _write(self, tracer: Tracer, span: Span) -> None:
        self._chosen.choose(span.own)
        written = tracer.start_span(
            span.name,
            # An empty one where there is no parent: whatever is current here is none of this span's.
            context_with(span.parent) if span.parent else Context(),
            span.kind,
            span.attributes,
            [Link(span_context(span.link))] if span.link else (),
            span.start,
        )
        if span.error:
            written.set_status(Status(StatusCode.ERROR, span.error))
        written.end(max(span.start, span.end))

    def close(self, wait: float = 2.0) -> None:
        """Give the collector `wait` seconds for what is left, and drop the rest. Blocks: do it last."""
        ending = Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(wait)

    def _tracer(self, service: str) -> Tracer:
        tracer = self._tracers.get(service)
        if tracer is None:
            provider = TracerProvider(
                sampler=ALWAYS_ON,  # whoever writes a span has decided
                resource=Resource.create({SERVICE_NAME: service}),
                shutdown_on_exit=False,
                id_generator=self._chosen,
            )
            provider.add_span_processor(self._processor)
            tracer = self._tracers[service] = provider.get_tracer("busgate")
        return tracer


def open_otlp(endpoint: str, *, ratio: float) -> Spans:
    """Spans that go to a collector by OTLP over HTTP, in batches, by a thread of their own."""
    complaints = logging.getLogger(OTLPSpanExporter.__module__)
    if not any(isinstance(each, _Seldom) for each in complaints.filters):
        complaints.addFilter(_Seldom())
    return Spans(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT)), ratio=ratio)


def is_sampled(traceparent: bytes) -> bool:
    """Whether the trace is recorded."""
    return bool(int(traceparent[53:55], 16) & TraceFlags.SAMPLED)


def context_with(traceparent: bytes) -> Context:
    """A context in which that span is current."""
    return trace.set_span_in_context(NonRecordingSpan(span_context(traceparent)), Context())


def current_in(traceparent: bytes) -> bytes:
    """The span that is current in this trace: one that a handler has opened itself, or else the one given."""
    here = trace.get_current_span().get_span_context()
    if here.trace_id != int(traceparent[3:35], 16):
        return traceparent
    return b"%b%016x%b" % (traceparent[:36], here.span_id, traceparent[52:])


def span_context(traceparent: bytes) -> SpanContext:
    """The same in OpenTelemetry's words; of a span elsewhere."""
    flags = TraceFlags(int(traceparent[53:55], 16))
    return SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True, trace_flags=flags)


def destination(topic: str) -> dict[str, str | int | float | bool]:
    """Where the messages of a topic go, in the words of the semantic conventions for RabbitMQ."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": f"{CALLS_EXCHANGE}:{topic}",
        "messaging.rabbitmq.destination.routing_key": topic,
    }


class _Seldom(logging.Filter):
    """Lets a line through every so often: a collector that is gone for a day is one fact, not thirty thousand."""

    def __init__(self) -> None:
        super().__init__()
        self._next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next:
            return False
        self._next = record.created + COMPLAIN_EVERY
        return True


class _ChosenIds(IdGenerator):
    """Gives the next span the ids that its traceparent promised."""

    def choose(self, traceparent: bytes) -> None:
        self._trace_id = int(traceparent[3:35], 16)
        self._span_id = int(traceparent[36:52], 16)

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id

    def is_trace_id_random(self) -> bool:
        return False  # it may be a client's

"""Spans: their ids, who records, and what a collector can do to a process."""

import asyncio
import itertools
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from structlog.testing import capture_logs
from support.collector import Collector

from busgate.bus.spans import (
    COMPLAIN_EVERY,
    Span,
    Spans,
    _Seldom,
    context_with,
    current_in,
    is_sampled,
    open_otlp,
    span_context,
)
from busgate.bus.wire import is_traceparent

digits = st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: int(text, 16)).map(str.encode)
ratios = st.floats(0, 1)


class Nowhere(SpanProcessor):
    """Takes spans and forgets them."""


def span(spans: Spans, **more: Any) -> Span:
    known: dict[str, Any] = {"name": "call", "kind": SpanKind.CLIENT, "own": spans.begin(b"1" * 32)}
    return Span(**known | {"start": 1, "end": 2, "attributes": {}} | more)


@given(digits, ratios)
def test_a_first_span_has_the_trace_that_it_was_given_and_its_children_too(trace_id: bytes, ratio: float) -> None:
    spans = Spans(Nowhere(), ratio=ratio)
    first = spans.begin(trace_id)
    child = spans.child(first)

    assert is_traceparent(first.decode())
    assert is_traceparent(child.decode())
    assert first[3:35] == child[3:35] == trace_id
    assert first[36:52] != child[36:52]
    assert is_sampled(first) == is_sampled(child)


@given(digits, ratios)
def test_who_records_is_decided_as_by_everyone_else_with_this_ratio(trace_id: bytes, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, int(trace_id, 16), "").decision.is_sampled()

    assert is_sampled(Spans(Nowhere(), ratio=ratio).begin(trace_id)) == theirs


@given(digits, digits, st.integers(0, 255))
def test_a_traceparent_is_the_same_in_their_words(trace_id: bytes, other: bytes, flags: int) -> None:
    own = b"00-%b-%b-%02x" % (trace_id, b"%016x" % (int(other[:16], 16) or 1), flags)
    context = span_context(own)

    assert b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags) == own
    assert context.is_valid
    assert context.is_remote
    assert context.trace_flags.sampled == is_sampled(own)


def test_a_span_is_written_with_the_ids_that_travelled() -> None:
    exporter = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(exporter))
    first = spans.begin(b"a" * 32)
    child = spans.child(first)
    spans.write("shop", span(spans, own=child, parent=first, start=5, end=3, error="timeout"))
    spans.write("shop", span(spans, own=first, link=b"00-" + b"b" * 32 + b"-" + b"c" * 16 + b"-00"))

    one, two = exporter.get_finished_spans()
    assert one.context == SpanContext(
        int(b"a" * 32, 16), int(child[36:52], 16), is_remote=False, trace_flags=TraceFlags(1)
    )
    assert one.parent == span_context(first)
    assert two.parent is None
    assert (one.start_time, one.end_time) == (5, 5)
    assert one.status.description == "timeout"
    assert two.links[0].context.trace_id == int(b"b" * 32, 16)


def test_what_is_current_elsewhere_is_no_parent_of_a_first_span() -> None:
    exporter = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(exporter))
    own = spans.begin(b"a" * 32)
    token = attach(context_with(spans.begin(b"b" * 32)))
    spans.write("shop", span(spans, own=own))
    here = current_in(own)
    detach(token)

    (written,) = exporter.get_finished_spans()
    assert written.parent is None
    assert here == own


class Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise OSError("the collector is gone")


def test_a_span_that_cannot_be_written_is_lost_and_said_once() -> None:
    spans = Spans(Broken())
    with capture_logs() as logged:
        for _ in range(3):
            spans.write("shop", span(spans))

    assert [line["event"] for line in logged] == ["spans cannot be written"]


async def test_a_collector_gets_all_spans_at_the_latest_at_the_end() -> None:
    async with Collector() as collector:
        spans = open_otlp(collector.endpoint, ratio=1.0)
        spans.write("shop", span(spans, name="one"))
        spans.write("bank", span(spans, name="two"))
        await asyncio.to_thread(spans.close, 10.0)

    assert sorted(collector.spans) == [("bank", "two"), ("shop", "one")]


async def test_what_is_not_sampled_is_not_sent() -> None:
    async with Collector() as collector:
        spans = open_otlp(collector.endpoint, ratio=0.0)
        assert not is_sampled(spans.begin(b"1" * 32))
        await asyncio.to_thread(spans.close, 10.0)

    assert not collector.asked.is_set()


async def test_a_collector_that_hangs_holds_up_neither_writing_nor_the_end() -> None:
    async with Collector() as collector:
        collector.hold.clear()
        spans = open_otlp(collector.endpoint, ratio=1.0)
        for _ in range(5000):  # more than its queue takes
            spans.write("shop", span(spans))
        async with asyncio.timeout(10):
            await collector.asked.wait()
            await asyncio.to_thread(spans.close, 0.2)

        assert collector.spans == []


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_a_collector_that_refuses_gets_the_spans_no_second_time(status: int) -> None:
    async with Collector() as collector:
        collector.status = status
        spans = open_otlp(collector.endpoint, ratio=1.0)
        spans.write("shop", span(spans))
        async with asyncio.timeout(10):
            await asyncio.to_thread(spans.close, 0.3)
            await collector.asked.wait()

    assert collector.spans == []


@given(st.lists(st.floats(0, 300), min_size=1))
def test_complaints_about_a_collector_are_a_minute_apart(pauses: list[float]) -> None:
    seldom = _Seldom()
    passed, now = [], 0.0
    for pause in pauses:
        now += pause
        record = logging.makeLogRecord({"created": now})
        if seldom.filter(record):
            passed.append(now)

    assert passed
    assert all(later >= earlier + COMPLAIN_EVERY for earlier, later in itertools.pairwise(passed))
    assert now < passed[-1] + COMPLAIN_EVERY


async def test_the_complaints_of_the_exporter_are_those_that_are_held_back() -> None:
    async with Collector() as collector:
        open_otlp(collector.endpoint, ratio=1.0).close()
        open_otlp(collector.endpoint, ratio=1.0).close()

    filters = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").filters
    assert [type(each) for each in filters].count(_Seldom) == 1

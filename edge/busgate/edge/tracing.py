"""Traces at the edge: a span for each request, and one for its call.

Only where tracing is on is this module imported. It adds two things to an edge: a step at the head of each path,
which gives a request its place in a trace, and the writing of its spans when it is over.
"""

import time

from opentelemetry.trace import SpanKind

from busgate.bus import Bus
from busgate.bus.spans import CALL, Span, Spans, destination, is_sampled
from busgate.bus.wire import is_traceparent
from busgate.contracts import Catalog

from .app import CLIENT_GONE, Edge
from .audit import Audit
from .exchange import Exchange
from .metrics import METHODS
from .records import Recorder
from .response import Failure
from .settings import EdgeSettings
from .trace import Trace

SERVICE = "busgate-edge"


class TracedEdge(Edge):
    """An edge that writes spans."""

    def __init__(
        self,
        catalog: Catalog,
        settings: EdgeSettings,
        bus: Bus,
        *,
        recorder: Recorder,
        spans: Spans,
        audit: Audit | None = None,
    ) -> None:
        self._spans = spans
        self._trust = settings.trust_traceparent
        self._routes = {call.topic: call.http.path for call in catalog}
        super().__init__(catalog, settings, bus, recorder=recorder, audit=audit, tracing=self)

    def begin(self, exchange: Exchange) -> None:
        """The first step of each path. The id of a trace is that of the request, unless the client's is trusted."""
        client = exchange.head.headers.get(b"traceparent", b"")
        if not is_traceparent(client.decode("latin-1")):
            exchange.trace = Trace(self._spans.begin(exchange.request.id))
        elif self._trust:
            exchange.trace = Trace(self._spans.child(client), parent=client)
        else:
            exchange.trace = Trace(self._spans.begin(exchange.request.id), link=client)

    def traceparent(self, exchange: Exchange) -> bytes:
        """The header of the call, which is sent now."""
        exchange.trace.sent = time.time_ns()
        exchange.trace.call = call = self._spans.child(exchange.trace.own)
        return call

    def _record(
        self, exchange: Exchange, status: int, outcome: str, failure: str, cause: Failure | None = None
    ) -> None:
        # What was refused before its path began was given no place yet.
        place: Trace = getattr(exchange, "trace", None) or Trace(self._spans.begin(exchange.request.id))
        exchange.traceparent = place.own  # the same trace as that of the call, if there was one
        super()._record(exchange, status, outcome, failure, cause)
        if not is_sampled(place.own):
            return
        became: dict[str, str | int] = {"busgate.outcome": outcome, "busgate.call": exchange.request.id.decode()}
        if failure:
            became["error.type"] = failure
        if exchange.reply is not None:
            became["busgate.service"] = exchange.reply.service
        error = failure if status >= 500 else ""
        if place.call:
            self._write_call(exchange, place, became, error)
        attributes = became | self._http(exchange, status)
        end = time.time_ns()
        span = Span(
            name=" ".join(str(attributes[key]) for key in ("http.request.method", "http.route") if key in attributes),
            kind=SpanKind.SERVER,
            own=place.own,
            parent=place.parent,
            link=place.link,
            start=end - round((time.monotonic() - exchange.started) * 1e9),
            end=end,
            attributes=attributes,
            error=error,
        )
        self._spans.write(SERVICE, span)

    def _write_call(self, exchange: Exchange, place: Trace, became: dict[str, str | int], error: str) -> None:
        end = time.time_ns()
        times: dict[str, int] = {}
        if (reply := exchange.reply) is not None:
            times = {"busgate.queued_ms": round(reply.queued_ms), "busgate.ran_ms": reply.ran_ms}
            end = place.sent + round(max(reply.queued_ms + reply.ran_ms, 0.0) * 1e6)
        span = Span(
            name=f"call {exchange.topic}",
            kind=SpanKind.CLIENT,
            own=place.call,
            parent=place.own,
            start=place.sent,
            end=end,
            attributes={**destination(exchange.topic), **CALL, **became, **times},
            error=error,
        )
        self._spans.write(SERVICE, span)

    def _http(self, exchange: Exchange, status: int) -> dict[str, str | int]:
        """The semantic conventions for HTTP servers. No query and no header: they may hold secrets."""
        message = exchange.request.message
        attributes: dict[str, str | int] = {
            "http.request.method": message.method if message.method in METHODS else "_OTHER",
            "url.path": self._shown.of(exchange),
            "url.scheme": "http",
            "network.protocol.version": "1.1",
        }
        if status != CLIENT_GONE:
            attributes["http.response.status_code"] = status
        if address := exchange.noted_address:
            attributes["client.address"] = address
        if exchange.topic:
            attributes |= {"busgate.topic": exchange.topic, "http.route": self._routes[exchange.topic]}
        return attributes

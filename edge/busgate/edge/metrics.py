"""Metrics of the edge, in the text format of Prometheus 0.0.4.

They cost nothing on the hot path: requests are counted from the batches of their records, all else is read
when somebody looks. Labels come from the contracts and from fixed lists: no client can make new series.
"""

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from busgate.bus import Bus

from .line_writer import LineWriter
from .records import Batch, Recorder
from .server import GateServer
from .tokens import TokenVerifier

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

_BOUNDS_MS = tuple(bound * 1000 for bound in BUCKETS)
_LE = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


class Histogram:
    """How often a duration fell between two bounds."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * len(_LE)
        self.sum_ms = 0.0

    def observe(self, millis: float) -> None:
        """Count one duration; the wait of a skewed clock may be below 0."""
        self.counts[bisect_left(_BOUNDS_MS, millis)] += 1
        self.sum_ms += max(millis, 0.0)


class CallMetrics:
    """What the records of all requests add up to. Topic "" is requests that no contract was found for."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int, str, str], int] = {}
        """By topic, method, status, outcome and failure."""
        self.total: dict[str, Histogram] = {}
        self.queue: dict[str, Histogram] = {}
        self.ran: dict[str, Histogram] = {}

    def take(self, batch: Batch) -> None:
        """Add these records."""
        requests = self.requests
        for _, total_ms, method, _, topic, _, status, outcome, failure, queue_ms, ran_ms, _, _ in batch:
            key = (topic, method if method in METHODS else "other", status, outcome, failure)
            requests[key] = requests.get(key, 0) + 1
            _histogram(self.total, topic).observe(total_ms)
            if queue_ms is not None:
                _histogram(self.queue, topic).observe(queue_ms)
            if ran_ms is not None:
                _histogram(self.ran, topic).observe(ran_ms)


def _histogram(histograms: dict[str, Histogram], topic: str) -> Histogram:
    found = histograms.get(topic)
    if found is None:
        found = histograms[topic] = Histogram()
    return found


class EdgeMetrics:
    """Everything that one edge process counts.

    Args:
        bus: its calls.
        server: its connections.
        verifier: its tokens.
        recorder: to have the last requests counted too.
        calls: a taker of that recorder.
        lines: where records are written; None where they are not.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        server: GateServer,
        verifier: TokenVerifier,
        recorder: Recorder,
        calls: CallMetrics,
        lines: LineWriter | None = None,
    ) -> None:
        self._bus = bus
        self._server = server
        self._verifier = verifier
        self._recorder = recorder
        self._calls = calls
        self._lines = lines

    def render(self) -> Iterator[str]:
        """All metrics now, in pieces: other work may be done in between, for ten thousand topics are 40 MB."""
        self._recorder.flush()
        yield from self._of_requests()
        yield from self._of_connections()
        yield from self._of_topics()
        yield from self._of_bus()

    def _of_requests(self) -> Iterator[str]:
        calls = self._calls
        names = ("topic", "method", "status", "outcome", "failure")
        requests = (
            (_labels(**dict(zip(names, key, strict=True))), count) for key, count in list(calls.requests.items())
        )
        yield from _family("requests_total", "Requests that were answered.", requests)
        yield from _histograms("request_duration_seconds", "From a request to its answer.", calls.total)
        yield from _histograms("queue_wait_seconds", "Waited in the queue of a topic.", calls.queue)
        yield from _histograms("handler_duration_seconds", "Ran in the handler of a service.", calls.ran)
        if self._lines is not None:
            dropped = self._lines.dropped
            yield from _one("records_dropped_total", "Lines of records that the stream did not take.", dropped)

    def _of_connections(self) -> Iterator[str]:
        server = self._server
        refused = ((_labels(failure=kind), count) for kind, count in list(server.refused.items()))
        yield from _one("connections", "Client connections that are open.", len(server))
        yield from _family(
            "refused_total", "Connections ended because of what was no whole request, or too many.", refused
        )
        yield from _one("connections_cut_total", "Connections cut without an answer.", server.dropped)
        yield from _one("draining", "1 while this process ends.", int(server.draining))
        yield from _one("tokens_remembered", "Verified tokens in memory.", len(self._verifier))

    def _of_topics(self) -> Iterator[str]:
        endpoints = {_labels(topic=topic): self._bus.endpoint(topic) for topic in self._calls.total if topic}
        gates = [(labels, endpoint.admission) for labels, endpoint in endpoints.items()]
        waiting = ((labels, gate.waiting) for labels, gate in gates)
        limits = ((labels, gate.limit) for labels, gate in gates)
        unserved = ((labels, int(endpoint.unserved)) for labels, endpoint in endpoints.items())
        yield from _family("waiting_calls", "Calls that wait for their reply.", waiting)
        yield from _family("admission_limit_calls", "Calls that may wait; +Inf while none queue up.", limits)
        yield from _family("unserved", "1 while a topic is known to have no worker.", unserved)

    def _of_bus(self) -> Iterator[str]:
        bus = self._bus
        yield from _one("bus_ready", "1 while calls can be sent.", int(bus.unready is None))
        yield from _one("bus_waiting_calls", "Calls of all topics that wait.", bus.requester.waiting)
        for field in dataclasses.fields(bus.counters):
            text = f"Counted by the bus: {field.name.replace('_', ' ')}."
            yield from _one(f"bus_{field.name}_total", text, getattr(bus.counters, field.name))


# -- the text format

Samples = Iterable[tuple[str, float]]
"""Labels as they are written, and a value."""

_SPECIAL = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _labels(**values: object) -> str:
    return ",".join(f'{name}="{str(value).translate(_SPECIAL)}"' for name, value in values.items())


def _one(name: str, text: str, value: float) -> Iterator[str]:
    return _family(name, text, [("", value)])


def _family(name: str, text: str, samples: Samples) -> Iterator[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP busgate_{name} {text}\n# TYPE busgate_{name} {kind}\n"
    for labels, value in samples:
        yield f"busgate_{name}{{{labels}}} {_number(value)}\n"


def _histograms(name: str, text: str, topics: Mapping[str, Histogram]) -> Iterator[str]:
    yield f"# HELP busgate_{name} {text}\n# TYPE busgate_{name} histogram\n"
    for topic, histogram in list(topics.items()):
        labels = _labels(topic=topic)
        totals = list(accumulate(histogram.counts))
        buckets = "".join(
            f'busgate_{name}_bucket{{{labels},le="{bound}"}} {total}\n'
            for bound, total in zip(_LE, totals, strict=True)
        )
        yield (
            f"{buckets}busgate_{name}_sum{{{labels}}} {histogram.sum_ms / 1000!r}\n"
            f"busgate_{name}_count{{{labels}}} {totals[-1]}\n"
        )


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)

import asyncio
import math
import os
import re
import socket
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.bus import Bus, CallContext, Counters
from busgate.bus.embedded import EmbeddedBroker
from busgate.edge.line_writer import LineWriter
from busgate.edge.metrics import BUCKETS, CallMetrics, EdgeMetrics, _family, _histograms, _labels
from busgate.edge.records import Recorder
from busgate.edge.response import Response
from busgate.edge.server import GateServer
from busgate.edge.tokens import TokenVerifier

TOPIC = "shop.orders.place.v1"
ORDER: dict[str, Any] = {
    "started": 100.25,
    "total_ms": 3.2,
    "method": "POST",
    "path": "/orders",
    "topic": TOPIC,
    "service": "orders",
    "status": 201,
    "outcome": "executed",
    "failure": "",
    "queue_ms": 0.8,
    "ran_ms": 1.9,
    "request_id": b"0123456789abcdef0123456789abcdef",
    "caller": "demo",
}
PLACED = {"topic": TOPIC, "method": "POST", "status": "201", "outcome": "executed", "failure": ""}

_SAMPLE = re.compile(r"([a-z_]+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
_ENDS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Scrape:
    """Metrics as a strict reader of the text format sees them."""

    def __init__(self, text: str) -> None:
        self.types: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        assert text.endswith("\n")
        lines = iter(text[:-1].split("\n"))
        for line in lines:
            if line.startswith("# HELP "):
                self._family(line, next(lines))
            else:
                self._sample(line)

    def _family(self, help_line: str, type_line: str) -> None:
        name, text = help_line.removeprefix("# HELP ").split(" ", 1)
        assert re.fullmatch(r"busgate_[a-z_]+", name)
        assert text.endswith(".")
        assert name not in self.types, "a family stands twice"
        kind = type_line.removeprefix(f"# TYPE {name} ")
        assert (kind == "counter") == name.endswith("_total")
        self.types[name] = kind
        self._names = {name + end for end in _ENDS[kind]}

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        assert found is not None, line
        name, labels, value = found.groups()
        assert name in self._names, "a sample outside its family"
        pairs = _LABEL.findall(labels)
        assert sum(len(label) + len(text) + 3 for label, text in pairs) + max(len(pairs) - 1, 0) == len(labels)
        key = name, frozenset((label, _unescape(text)) for label, text in pairs)
        assert key not in self.samples, "a sample stands twice"
        self.samples[key] = float(value)

    def value(self, name: str, **labels: str) -> float:
        return self.samples["busgate_" + name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


class Process:
    """The parts of an edge that are measured, at work."""

    def __init__(self) -> None:
        self.broker = EmbeddedBroker()
        self.bus = Bus(self.broker, name="edge")
        self.server = GateServer(self._answer)
        self.calls = CallMetrics()
        self.recorder = Recorder(self.calls.take)
        self.metrics = EdgeMetrics(
            bus=self.bus,
            server=self.server,
            verifier=TokenVerifier(()),
            recorder=self.recorder,
            calls=self.calls,
        )

    async def _answer(self, _: object) -> Response:
        return Response(200)

    def record(self, **changes: Any) -> None:
        assert changes.keys() <= ORDER.keys()
        self.recorder.record(**ORDER | changes)

    def scrape(self) -> Scrape:
        return Scrape("".join(self.metrics.render()))


@pytest.fixture
async def process() -> Process:
    return Process()


async def test_requests_are_counted_by_what_became_of_them(process: Process):
    process.record()
    process.record(status=409, failure="urn:shop:out-of-stock")
    process.record()

    scrape = process.scrape()

    assert scrape.value("requests_total", **PLACED) == 2
    assert scrape.value("requests_total", **PLACED | {"status": "409", "failure": "urn:shop:out-of-stock"}) == 1


async def test_a_scrape_has_the_requests_of_this_moment(process: Process):
    process.record()
    assert process.scrape().value("requests_total", **PLACED) == 1

    process.record()
    assert process.scrape().value("requests_total", **PLACED) == 2


@given(st.lists(st.floats(0, 60_000), min_size=1, max_size=30))
def test_a_histogram_counts_each_duration_in_every_bucket_that_it_fits(durations: list[float]):
    calls = CallMetrics()
    calls.take([tuple((ORDER | {"total_ms": millis}).values()) for millis in durations])

    scrape = Scrape("".join(_histograms("request_duration_seconds", "Test.", calls.total)))
    for bound in (*BUCKETS, math.inf):
        le = "+Inf" if bound == math.inf else f"{bound:g}"
        expected = sum(millis <= bound * 1000 for millis in durations)
        assert scrape.value("request_duration_seconds_bucket", topic=TOPIC, le=le) == expected
    assert scrape.value("request_duration_seconds_count", topic=TOPIC) == len(durations)
    assert scrape.value("request_duration_seconds_sum", topic=TOPIC) == pytest.approx(sum(durations) / 1000)


async def test_times_that_are_not_known_are_in_no_histogram(process: Process):
    process.record(queue_ms=None, ran_ms=None)
    process.record(queue_ms=-3.0, ran_ms=2.0)  # a clock that is behind ours

    scrape = process.scrape()

    counts = [
        scrape.value(f"{name}_seconds_count", topic=TOPIC)
        for name in ("request_duration", "queue_wait", "handler_duration")
    ]
    assert counts == [2, 1, 1]
    assert scrape.value("queue_wait_seconds_sum", topic=TOPIC) == 0


async def test_requests_may_come_while_metrics_are_read(process: Process):
    for topic in ("a.v1", "b.v1"):
        process.record(topic=topic)

    pieces = []
    for number, piece in enumerate(process.metrics.render()):
        pieces.append(piece)
        process.record(topic=f"new.v{number}", failure=f"urn:f:{number}")
        process.recorder.flush()

    assert Scrape("".join(pieces)).value("request_duration_seconds_count", topic="a.v1") == 1


async def test_no_client_can_make_new_series(process: Process):
    for number in range(100):
        process.record(
            path=f"/{number}",
            caller=str(number),
            service=str(number),
            method=f"X{number}",
            topic="",
            status=404,
        )

    requests = [labels for name, labels in process.scrape().samples if name == "busgate_requests_total"]

    assert [dict(labels)["method"] for labels in requests] == ["other"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_label(topic: str, failure: str):
    lines = "".join(_family("requests_total", "Test.", [(_labels(topic=topic, failure=failure), 1)]))

    assert Scrape(lines).value("requests_total", topic=topic, failure=failure) == 1


async def test_everything_that_the_bus_counts_is_there(process: Process):
    process.bus.counters.late_replies = 7

    scrape = process.scrape()

    expected = {f"busgate_bus_{field.name}_total" for field in fields(Counters)}
    assert expected <= scrape.names()
    assert scrape.value("bus_late_replies_total") == 7


async def test_the_state_of_the_bus_is_there(process: Process):
    before = process.scrape()
    async with process.bus:
        after = process.scrape()

    assert (before.value("bus_ready"), after.value("bus_ready")) == (0, 1)
    assert (before.value("bus_generations_total"), after.value("bus_generations_total")) == (0, 1)


async def test_calls_that_wait_and_how_many_may_are_there(process: Process):
    process.record()
    await process.broker.prepare([TOPIC])
    async with process.bus:
        endpoint = process.bus.endpoint(TOPIC)
        waiting = endpoint.call(b"{}", CallContext(b"1" * 32, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01", b""), 5.0)
        busy = process.scrape()
        waiting.cancel()
        endpoint.admission.limit = 300.0
        endpoint.unserved = True
        idle = process.scrape()

    assert (busy.value("waiting_calls", topic=TOPIC), busy.value("bus_waiting_calls")) == (1, 1)
    assert (idle.value("waiting_calls", topic=TOPIC), idle.value("bus_waiting_calls")) == (0, 0)
    assert busy.value("admission_limit_calls", topic=TOPIC) == math.inf
    assert idle.value("admission_limit_calls", topic=TOPIC) == 300
    assert (busy.value("unserved", topic=TOPIC), idle.value("unserved", topic=TOPIC)) == (0, 1)
    assert idle.value("bus_abandoned_total") == 1


async def test_connections_and_what_was_refused_on_them_are_there(process: Process):
    sock = socket.create_server(("127.0.0.1", 0))
    await process.server.listen(sock)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"nonsense\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        scrape = process.scrape()
        writer.close()
        await process.server.stop(grace=5)

    assert scrape.value("connections") == 1
    assert scrape.value("refused_total", failure="bad-request") == 1
    assert (scrape.value("draining"), process.scrape().value("draining")) == (0, 1)


async def test_lines_that_were_dropped_are_there_where_lines_are_written(process: Process):
    reading, writing = os.pipe()
    os.close(reading)
    lines = LineWriter(writing)
    lines.write(b"one\n")
    lines.close()
    os.close(writing)
    metrics = EdgeMetrics(
        bus=process.bus,
        server=process.server,
        verifier=TokenVerifier(()),
        recorder=process.recorder,
        calls=process.calls,
        lines=lines,
    )

    assert Scrape("".join(metrics.render())).value("records_dropped_total") == 1
    assert "busgate_records_dropped_total" not in process.scrape().names()

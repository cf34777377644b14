import asyncio
import math
import os
import socket
from dataclasses import fields
from typing import Any

import pytest
from support.issuer import Issuer
from support.scrape import Scrape

from busgate.bus import Bus, CallContext, Counters
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts.failure import NO_WORKERS
from busgate.edge.door import Door
from busgate.edge.issuers import IssuerSettings
from busgate.edge.line_writer import LineWriter
from busgate.edge.metrics import CallMetrics, EdgeMetrics
from busgate.edge.records import Recorder
from busgate.edge.refusal import Refusal
from busgate.edge.response import Response
from busgate.edge.server import GateServer
from busgate.edge.settings import EdgeSettings

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
            door=Door(EdgeSettings(), self.bus),
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
        endpoint.closed = NO_WORKERS
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


async def test_the_keys_of_issuers_are_there(process: Process):
    async with Issuer("one", "two") as issuer:
        table = IssuerSettings.model_validate(issuer.settings())
        door = process.metrics._door = Door(EdgeSettings(jwt=(table,)), process.bus)
        keys = door.issuer_keys
        before = process.scrape()
        await keys.start()
        after = process.scrape()
        await issuer.go_away()
        await keys.sources[0].look()
        gone = process.scrape()
        await keys.close()

    labels = {"issuer": issuer.name, "url": issuer.url}
    names = "jwks_fetches_total", "jwks_failures_total", "jwks_keys"
    counts = [[scrape.value(name, **labels) for name in names] for scrape in (before, after, gone)]
    assert counts == [[0, 0, 0], [1, 0, 2], [2, 1, 2]]
    assert before.value("jwks_age_seconds", **labels) == math.inf
    assert 0 <= after.value("jwks_age_seconds", **labels) <= gone.value("jwks_age_seconds", **labels) < 60


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
        door=Door(EdgeSettings(), process.bus),
        recorder=process.recorder,
        calls=process.calls,
        lines=lines,
    )

    assert Scrape("".join(metrics.render())).value("records_dropped_total") == 1
    assert "busgate_records_dropped_total" not in process.scrape().names()


async def test_questions_about_who_calls_are_there_where_any_are_asked(process: Process):
    table = {"issuer": "i", "url": "http://127.0.0.1:1/", "client_id": "a", "client_secret": "b", "audience": ["shop"]}
    pre_call = {"topic": "auth.decide.v1", "headers": ["x-session"]}
    settings = EdgeSettings.model_validate({"introspection": table, "pre_call": pre_call})
    door = process.metrics._door = Door(settings, process.bus)
    assert door.introspector is not None
    door.introspector.start()
    with pytest.raises(Refusal):
        await door.introspector.verify("opaque")  # type: ignore[misc] # nothing is remembered yet
    scrape = process.scrape()
    await door.close()

    names = "credential_questions_total", "credential_failures_total", "credential_refused_total"
    assert [scrape.value(name, scheme="introspection") for name in names] == [1, 1, 0]
    assert [scrape.value(name, scheme="pre-call") for name in names] == [0, 0, 0]


async def test_limits_count_what_they_refuse_and_their_store_how_it_is(process: Process):
    limits = process.metrics._door.limits.counts
    limits.note("each")
    limits.note("each")
    limits.note("daily")
    limits.unchecked += 1
    store = process.metrics._door.store
    scrape = process.scrape()
    store.health.failed("away")

    assert (scrape.value("limited_total", limit="each"), scrape.value("limited_total", limit="daily")) == (2, 1)
    assert (scrape.value("limits_unchecked_total"), scrape.value("store_up")) == (1, 1)
    assert (scrape.value("store_failures_total"), process.scrape().value("store_failures_total")) == (0, 1)

"""One trace over the hop and back: from HTTP over the bus to a service and the service behind it, on both buses."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.management import Vhost
from support.traced_house import HANDLERS_OWN, House, attributes, back, context, front, inner, nowhere, outer, plain

from busgate.bus import Bus, RabbitBroker
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.link import Broker
from busgate.bus.settings import BusSettings
from busgate.bus.spans import Spans
from busgate.contracts import Catalog
from busgate.edge.records import Recorder
from busgate.edge.settings import EdgeSettings
from busgate.edge.tracing import TracedEdge
from busgate.workers import serve

OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture(params=["embedded", "rabbitmq"])
def new_broker(request: pytest.FixtureRequest, vhost: Vhost) -> Callable[[], Broker]:
    if request.param == "embedded":
        broker = EmbeddedBroker()
        return lambda: broker
    settings = BusSettings.model_validate({"url": vhost.url})
    return lambda: RabbitBroker(settings.addresses())


@pytest.fixture
async def open_house(new_broker: Callable[[], Broker]) -> AsyncIterator[OpenHouse]:
    HANDLERS_OWN.clear()
    async with AsyncExitStack() as closing:

        async def open_one(*, ratio: float = 1.0, processor: SpanProcessor | None = None, **edge: Any) -> House:
            exporter = InMemorySpanExporter()
            spans = Spans(processor or SimpleSpanProcessor(exporter), ratio=ratio)
            for service in (back, front):
                bus = Bus(new_broker(), name=service.name)
                for execution in serve([service], bus, cancel_grace=0.05, spans=spans):
                    closing.callback(execution.close)
                await bus.start(10)
                closing.push_async_callback(bus.close)
            bus = Bus(new_broker(), name="edge")
            await bus.start(10)
            closing.push_async_callback(bus.close)
            settings = EdgeSettings.model_validate(edge)
            catalog = Catalog([outer, plain, inner, nowhere])
            traced = TracedEdge(catalog, settings, bus, recorder=Recorder(lambda _: None), spans=spans)
            closing.push_async_callback(traced.close)
            listener = socket.create_server(("127.0.0.1", 0))
            await traced.start(listener)
            session = await closing.enter_async_context(aiohttp.ClientSession())
            return House(f"http://127.0.0.1:{listener.getsockname()[1]}", session, exporter)

        yield open_one


NESTED = {
    "GET /outer/{key}": None,
    "call t.outer.v1": "GET /outer/{key}",
    "queue t.outer.v1": "call t.outer.v1",
    "process t.outer.v1": "call t.outer.v1",
    "call t.inner.v1": "process t.outer.v1",
    "queue t.inner.v1": "call t.inner.v1",
    "process t.inner.v1": "call t.inner.v1",
}


async def test_a_nested_call_is_one_trace_with_each_span_under_its_cause(open_house: OpenHouse) -> None:
    house = await open_house()

    status, request_id = await house.ask("/outer/a")
    found = await house.spans(7)

    assert status == 200
    assert {name: found.parent(name) for name in NESTED} == NESTED
    assert found.traces == {request_id}
    kinds = {name.partition(" ")[0]: found[name].kind for name in NESTED}
    assert kinds == {
        "GET": SpanKind.SERVER,
        "call": SpanKind.CLIENT,
        "queue": SpanKind.INTERNAL,
        "process": SpanKind.CONSUMER,
    }
    services = {name: found[name].resource.attributes["service.name"] for name in NESTED}
    assert services == {
        "GET /outer/{key}": "busgate-edge",
        "call t.outer.v1": "busgate-edge",
        "queue t.outer.v1": "front",
        "process t.outer.v1": "front",
        "call t.inner.v1": "front",
        "queue t.inner.v1": "back",
        "process t.inner.v1": "back",
    }
    assert {span.status.status_code for span in found.all} == {StatusCode.UNSET}


async def test_spans_say_what_the_conventions_want(open_house: OpenHouse) -> None:
    house = await open_house()

    _, request_id = await house.ask("/outer/a")
    found = await house.spans(7)

    server = attributes(found["GET /outer/{key}"])
    where = {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "busgate.calls:t.outer.v1",
        "messaging.rabbitmq.destination.routing_key": "t.outer.v1",
    }
    assert server == {
        "http.request.method": "GET",
        "http.route": "/outer/{key}",
        "http.response.status_code": 200,
        "url.path": "/outer/a",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "busgate.topic": "t.outer.v1",
        "busgate.service": "front",
        "busgate.outcome": "executed",
        "busgate.call": request_id,
    }
    call = attributes(found["call t.outer.v1"])
    assert call.pop("busgate.queued_ms") >= 0
    assert call.pop("busgate.ran_ms") >= 0
    assert call == {
        **where,
        "messaging.operation.name": "call",
        "messaging.operation.type": "send",
        "busgate.service": "front",
        "busgate.outcome": "executed",
        "busgate.call": request_id,
    }
    assert attributes(found["process t.outer.v1"]) == {
        **where,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "busgate.service": "front",
        "busgate.outcome": "executed",
        "busgate.call": request_id,
        "busgate.redelivered": False,
    }
    assert attributes(found["queue t.outer.v1"]) == where


async def test_spans_lie_within_each_other_in_time(open_house: OpenHouse) -> None:
    house = await open_house()

    await house.ask("/outer/a")
    found = await house.spans(7)

    slack = 20_000_000  # ns: replies and acks are told in whole milliseconds
    for span in found.all:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    for topic in ("t.outer.v1", "t.inner.v1"):
        call, queue, process = (found[f"{kind} {topic}"] for kind in ("call", "queue", "process"))
        assert call.start_time - slack <= queue.start_time  # type: ignore[operator] # looked at above
        assert queue.end_time == process.start_time
        assert process.end_time <= call.end_time + slack  # type: ignore[operator]


async def test_a_handler_finds_its_span_and_so_do_its_own_instruments(open_house: OpenHouse) -> None:
    house = await open_house()

    await house.ask("/outer/own")
    found = await house.spans(7)

    (own,) = HANDLERS_OWN.get_finished_spans()
    assert own.parent is not None
    assert own.parent.span_id == context(found["process t.outer.v1"]).span_id
    nested = found["call t.inner.v1"].parent
    assert nested is not None
    assert nested.span_id == context(own).span_id


async def test_a_plain_handler_has_its_span_in_its_thread(open_house: OpenHouse) -> None:
    house = await open_house()

    await house.ask("/plain/a")
    found = await house.spans(7)

    (own,) = HANDLERS_OWN.get_finished_spans()
    nested = found["call t.inner.v1"].parent
    assert own.parent is not None
    assert own.parent.span_id == context(found["process t.plain.v1"]).span_id
    assert nested is not None
    assert nested.span_id == context(own).span_id


async def test_a_declared_problem_is_told_and_is_no_error(open_house: OpenHouse) -> None:
    house = await open_house()

    status, _ = await house.ask("/outer/missing")
    found = await house.spans(7)

    assert status == 404
    for span in found.all:
        assert span.status.status_code is StatusCode.UNSET
        if not span.name.startswith("queue"):
            assert attributes(span)["error.type"] == "urn:problem:missing"
            assert attributes(span)["busgate.outcome"] == "executed"


async def test_a_crash_is_an_error_all_the_way_up_and_says_no_more_than_its_kind(open_house: OpenHouse) -> None:
    house = await open_house()

    status, _ = await house.ask("/outer/crash")
    found = await house.spans(7)

    told = {span.name: (span.status.description, attributes(span).get("busgate.outcome")) for span in found.all}
    assert status == 502
    assert told == {
        "GET /outer/{key}": ("nested-failure", "unknown"),
        "call t.outer.v1": ("nested-failure", "unknown"),
        "queue t.outer.v1": (None, None),
        "process t.outer.v1": ("nested-failure", "unknown"),
        "call t.inner.v1": ("handler-crashed", "unknown"),
        "queue t.inner.v1": (None, None),
        "process t.inner.v1": ("handler-crashed", "unknown"),
    }
    assert "secret-of-the-handler" not in "".join(span.to_json() for span in found.all)


async def test_a_call_that_finds_nobody_ends_where_it_began(open_house: OpenHouse) -> None:
    house = await open_house()

    status, _ = await house.ask("/nowhere/a")
    found = await house.spans(2)

    assert status == 503
    for name in ("GET /nowhere/{key}", "call t.nowhere.v1"):
        assert (found[name].status.status_code, found[name].status.description) == (StatusCode.ERROR, "no-route")
        assert attributes(found[name])["busgate.outcome"] == "not_executed"
    assert "busgate.service" not in attributes(found["GET /nowhere/{key}"])


async def test_a_call_that_takes_too_long_is_an_error_on_both_sides(open_house: OpenHouse) -> None:
    house = await open_house()

    status, _ = await house.ask("/inner/slow", Prefer="wait=1")
    found = await house.spans(4)

    assert status == 504
    assert found["call t.inner.v1"].status.description in ("timeout", "handler-timeout")
    assert found["process t.inner.v1"].status.description == "handler-timeout"


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [("/nothing", "GET", 404), ("/outer/%00", "GET", 400), ("/outer/a?x=secret", "GET /outer/{key}", 422)],
)
async def test_a_request_that_is_refused_is_one_span(open_house: OpenHouse, path: str, name: str, status: int) -> None:
    house = await open_house()

    answered, request_id = await house.ask(path)
    found = await house.spans(1)

    assert answered == status
    assert attributes(found[name])["http.response.status_code"] == status
    assert found[name].status.status_code is StatusCode.UNSET
    assert found.traces == {request_id}
    assert "secret" not in found[name].to_json()


CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{}"


async def test_the_trace_of_a_client_is_linked_and_not_continued(open_house: OpenHouse) -> None:
    house = await open_house()

    _, request_id = await house.ask("/inner/a", traceparent=CLIENT.format("01"))
    found = await house.spans(4)

    server = found["GET /inner/{key}"]
    assert found.traces == {request_id}
    assert server.parent is None
    (link,) = server.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (CLIENT[3:35], CLIENT[36:52])


async def test_the_trace_of_a_client_that_is_trusted_is_continued(open_house: OpenHouse) -> None:
    house = await open_house(trust_traceparent=True, ratio=0.0)

    await house.ask("/inner/a", traceparent=CLIENT.format("01"))
    found = await house.spans(4)

    server = found["GET /inner/{key}"]
    assert found.traces == {CLIENT[3:35]}
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == CLIENT[36:52]
    assert not server.links


@pytest.mark.parametrize(
    "header",
    [
        CLIENT.format("01").upper(),
        CLIENT.format("1"),
        "ff" + CLIENT[2:].format("01"),
        "00-" + "0" * 32 + CLIENT[35:].format("01"),
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "secret",
    ],
)
async def test_a_trace_that_is_not_well_formed_is_as_none(open_house: OpenHouse, header: str) -> None:
    house = await open_house(trust_traceparent=True)

    status, request_id = await house.ask("/inner/a", traceparent=header)
    found = await house.spans(4)

    assert status == 200
    assert found.traces == {request_id}
    assert found["GET /inner/{key}"].parent is None


@pytest.mark.parametrize(("trust", "flags"), [(True, "00"), (False, "01"), (False, "00")])
async def test_what_is_not_recorded_at_the_edge_is_recorded_nowhere(
    open_house: OpenHouse, trust: bool, flags: str
) -> None:
    """A client that is not trusted cannot make us record."""
    house = await open_house(trust_traceparent=trust, ratio=1.0 if trust else 0.0)

    statuses = [(await house.ask(path, traceparent=CLIENT.format(flags)))[0] for path in ("/outer/a", "/plain/a")]

    assert statuses == [200, 200]
    await house.spans(0)


class Broken(SpanProcessor):
    """What no exporter may be; the SDK's own never raises."""

    def on_end(self, span: ReadableSpan) -> None:
        raise OSError("the collector is gone")


async def test_an_exporter_that_fails_touches_no_call(open_house: OpenHouse) -> None:
    house = await open_house(processor=Broken())

    statuses = [(await house.ask(path))[0] for path in ("/outer/a", "/plain/a", "/inner/missing", "/nothing")]

    assert statuses == [200, 200, 404, 404]

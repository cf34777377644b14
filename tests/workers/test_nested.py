"""Calls that handlers make: what they inherit, and what comes back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from busgate.bus import Bus, Delivery
from busgate.contracts import Call, CallFailed, Nothing, Problem, http
from busgate.workers import Context, Service

if TYPE_CHECKING:
    from workers.conftest import House, Until


class Lookup(BaseModel):
    key: str = ""
    depth: int = 3


class Found(BaseModel):
    value: int


class Missing(Problem):
    """There is no such key."""

    status = 404
    key: str


class Shared(Problem):
    """Both contracts declare it."""

    status = 409


outer = Call("test.outer.v1", http.post("/outer"), request=Nothing, reply=Found, errors=[Shared])
inner = Call("test.inner.v1", http.post("/inner"), request=Lookup, reply=Found, errors=[Missing, Shared], timeout=0.5)

CALLER = b'{"sub":"alice"}'
OuterHandler = Callable[[Nothing, Context], Awaitable[Found]]


def service_of(contract: Call[Any, Any], function: Callable[[Any, Context], Any], name: str) -> Service:
    service = Service(name)
    service.handles(contract)(function)
    return service


async def call_inner(_request: Nothing, context: Context) -> Found:
    return await context.call(inner, Lookup(key="a"))


async def serve_raw(house: "House", kind: bytes, body: bytes) -> None:
    """Let something that is not one of our workers answer the inner call."""
    client = await house.client()
    foreign = Bus(house.broker, name="foreign")

    async def answer(_delivery: Delivery) -> tuple[bytes, bytes]:
        return kind, body

    foreign.serve(inner.topic, answer, prefetch=1, reruns=True, service="foreign")
    house.closing.push_async_callback(foreign.close)
    await foreign.start()
    assert client.unready is None


async def test_a_nested_call_inherits_trace_and_caller_one_hop_deeper(house: "House") -> None:
    contexts: list[Context] = []

    async def answer(_request: Lookup, context: Context) -> Found:
        contexts.append(context)
        return Found(value=1)

    async def relay(request: Nothing, context: Context) -> Found:
        contexts.append(context)
        return await call_inner(request, context)

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))
    await house.ask(outer, Nothing(), caller=CALLER, hops=1)

    front, back = contexts
    assert back.caller == front.caller
    assert back.caller is not None
    assert (front.hops, back.hops) == (1, 2)
    assert back.call_id != front.call_id
    assert back.traceparent[:36] == front.traceparent[:36]
    assert back.traceparent[36:52] != front.traceparent[36:52]
    assert back.traceparent[52:] == front.traceparent[52:]


async def test_the_crash_of_a_nested_call_is_found_in_the_log_by_the_trace_of_the_first(house: "House") -> None:
    firsts: list[Context] = []

    async def answer(_request: Lookup, _context: Context) -> Found:
        raise ValueError("deep inside")

    async def relay(request: Nothing, context: Context) -> Found:
        firsts.append(context)
        return await call_inner(request, context)

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))
    with capture_logs() as logs:
        await house.fail(outer, Nothing())

    (first,) = firsts
    crash = next(line for line in logs if line["event"] == "a handler crashed")
    assert (crash["topic"], crash["trace"]) == (inner.topic, first.trace_id)
    assert crash["call"] != first.call_id
    assert first.trace_id == first.traceparent.split("-")[1]


async def test_a_nested_call_ends_before_the_call_it_is_made_in(house: "House") -> None:
    deadlines: list[float] = []

    async def answer(_request: Lookup, context: Context) -> Found:
        deadlines.append(context.deadline)
        return Found(value=1)

    async def relay(request: Nothing, context: Context) -> Found:
        deadlines.append(context.deadline)
        return await call_inner(request, context)

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))
    await house.ask(outer, Nothing(), budget=0.4)
    await house.ask(outer, Nothing(), budget=60)

    short_outer, short_inner, long_outer, long_inner = deadlines
    assert short_inner < short_outer
    assert long_outer - long_inner > 59  # its own timeout of half a second still counts


async def test_a_nested_request_leaves_unset_what_was_left_unset(house: "House") -> None:
    seen: list[set[str]] = []

    async def answer(request: Lookup, _context: Context) -> Found:
        seen.append(request.model_fields_set)
        return Found(value=1)

    await house.work(service_of(outer, call_inner, "front"), service_of(inner, answer, "back"))
    await house.ask(outer, Nothing())

    assert seen == [{"key"}]


async def test_a_declared_problem_of_a_nested_call_is_raised_as_its_class(house: "House") -> None:
    async def answer(request: Lookup, _context: Context) -> Found:
        raise Missing("look elsewhere", key=request.key)

    async def relay(request: Nothing, context: Context) -> Found:
        with pytest.raises(Missing, match="look elsewhere") as caught:
            await call_inner(request, context)
        return Found(value=len(caught.value.key))

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))

    assert await house.ask(outer, Nothing()) == {"value": 1}


async def test_an_uncaught_problem_that_both_contracts_declare_passes_through(house: "House") -> None:
    async def answer(_request: Lookup, _context: Context) -> Found:
        raise Shared("too much")

    await house.work(service_of(outer, call_inner, "front"), service_of(inner, answer, "back"))

    assert (await house.fail(outer, Nothing()))["type"] == "urn:problem:shared"


async def test_an_uncaught_problem_of_a_nested_call_is_a_nested_failure_and_no_crash(house: "House") -> None:
    async def answer(request: Lookup, _context: Context) -> Found:
        raise Missing("look elsewhere", key=request.key)

    await house.work(service_of(outer, call_inner, "front"), service_of(inner, answer, "back"))

    assert await house.fail(outer, Nothing()) == {
        "type": "urn:busgate:nested-failure",
        "title": "A service behind this service failed",
        "status": 502,
        "outcome": "unknown",
        "by": "service",
        "detail": "test.inner.v1: urn:problem:missing",
    }


async def test_a_nested_crash_is_a_nested_failure_that_names_the_service(house: "House") -> None:
    async def answer(_request: Lookup, _context: Context) -> Found:
        raise RuntimeError("secret detail")

    await house.work(service_of(outer, call_inner, "front"), service_of(inner, answer, "back"))

    document = await house.fail(outer, Nothing())

    assert (document["type"], document["service"]) == ("urn:busgate:nested-failure", "back")
    assert document["detail"] == "test.inner.v1: handler-crashed"


async def test_the_deepest_service_that_failed_is_named(house: "House") -> None:
    top = Call("test.top.v1", http.post("/top"), request=Nothing, reply=Found)

    async def answer(_request: Lookup, _context: Context) -> Found:
        raise RuntimeError("secret detail")

    async def call_outer(request: Nothing, context: Context) -> Found:
        return await context.call(outer, request)

    await house.work(
        service_of(top, call_outer, "top"),
        service_of(outer, call_inner, "front"),
        service_of(inner, answer, "back"),
    )

    document = await house.fail(top, Nothing())

    assert (document["detail"], document["service"]) == ("test.outer.v1: nested-failure", "back")


async def test_a_nested_call_without_a_reply_is_a_nested_timeout(house: "House") -> None:
    async def answer(_request: Lookup, _context: Context) -> Found:
        await asyncio.Event().wait()
        raise NotImplementedError

    await house.work(service_of(outer, call_inner, "front"), service_of(inner, answer, "back"))

    document = await house.fail(outer, Nothing(), budget=0.3)

    assert (document["type"], document["detail"]) == ("urn:busgate:nested-timeout", "test.inner.v1: timeout")


async def test_a_nested_call_that_nobody_serves_is_a_nested_failure(house: "House") -> None:
    await house.work(service_of(outer, call_inner, "front"))

    document = await house.fail(outer, Nothing())

    assert (document["type"], document["detail"]) == ("urn:busgate:nested-failure", "test.inner.v1: no-route")


async def test_the_failure_of_a_nested_call_can_be_caught(house: "House") -> None:
    async def relay(request: Nothing, context: Context) -> Found:
        with pytest.raises(CallFailed) as caught:
            await call_inner(request, context)
        return Found(value=caught.value.kind.status)

    await house.work(service_of(outer, relay, "front"))

    assert await house.ask(outer, Nothing()) == {"value": 503}


async def test_a_problem_of_its_own_that_a_handler_makes_of_a_failure_is_its_own(house: "House") -> None:
    async def relay(request: Nothing, context: Context) -> Found:
        try:
            return await call_inner(request, context)
        except CallFailed as failed:
            raise Missing("undeclared here", key="a") from failed

    await house.work(service_of(outer, relay, "front"))

    assert (await house.fail(outer, Nothing()))["type"] == "urn:busgate:handler-crashed"


async def test_no_nested_call_is_sent_when_no_time_is_left(house: "House", until: "Until") -> None:
    failures: list[CallFailed] = []

    async def relay(request: Nothing, context: Context) -> Found:
        await until(lambda: context.remaining() < 0)
        try:
            return await call_inner(request, context)
        except CallFailed as failed:
            failures.append(failed)
            raise

    async def answer(_request: Lookup, _context: Context) -> Found:
        raise NotImplementedError

    executions = await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))
    with suppress(CallFailed):  # whether the answer or the end of the budget comes first
        await house.send(outer, b"{}", budget=0.1)
    await until(lambda: bool(executions[outer.topic].answers))

    assert [failed.kind.name for failed in failures] == ["too-late"]
    assert executions[outer.topic].answers == {"nested-timeout": 1}
    assert executions[inner.topic].answers == {}


async def test_calls_cannot_be_nested_without_end(house: "House") -> None:
    loop = Call("test.loop.v1", http.post("/loop"), request=Nothing, reply=Found)
    depths: list[int] = []

    async def call_itself(request: Nothing, context: Context) -> Found:
        depths.append(context.hops)
        return await context.call(loop, request)

    executions = await house.work(service_of(loop, call_itself, "loop"))
    document = await house.fail(loop, Nothing())

    assert document["type"] == "urn:busgate:nested-failure"
    assert depths == list(range(9))
    assert executions[loop.topic].answers == {"nested-failure": 9}


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        (b"reply", b'{"value":"x"}', "#/value (int_parsing)"),
        (b"reply", b"", "# (json_invalid)"),
        (b"problem", b"", "the problem cannot be read"),
        (b"problem", b"[]", "the problem cannot be read"),
        (b"problem", b'{"type":[]}', "the problem cannot be read"),
        (b"problem", b'{"type":"urn:problem:missing"}', "the problem cannot be read"),
        (b"problem", b'{"type":"urn:problem:other"}', "the problem is not one that the contract declares"),
        (b"problem", b'{"type":"urn:busgate:no-route"}', "the problem is not one that the contract declares"),
    ],
)
async def test_a_nested_reply_that_does_not_match_the_contract_is_a_bad_reply(
    house: "House", kind: bytes, body: bytes, detail: str
) -> None:
    failures: list[CallFailed] = []

    async def relay(request: Nothing, context: Context) -> Found:
        with pytest.raises(CallFailed) as caught:
            await call_inner(request, context)
        failures.append(caught.value)
        return Found(value=0)

    await serve_raw(house, kind, body)
    await house.work(service_of(outer, relay, "front"))
    await house.ask(outer, Nothing())

    (failed,) = failures
    assert (failed.kind.name, failed.detail, failed.service) == ("bad-reply", detail, "foreign")


async def test_fields_of_a_newer_service_are_ignored(house: "House") -> None:
    await serve_raw(house, b"reply", b'{"value":5,"new":1}')
    await house.work(service_of(outer, call_inner, "front"))

    assert await house.ask(outer, Nothing()) == {"value": 5}


async def test_a_plain_handler_calls_from_its_thread(house: "House") -> None:
    def relay(_request: Nothing, context: Context) -> Found:
        return context.call_blocking(inner, Lookup(key="a"))

    def answer(request: Lookup, _context: Context) -> Found:
        return Found(value=len(request.key))

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))

    assert await house.ask(outer, Nothing()) == {"value": 1}


async def test_a_plain_handler_gets_problems_as_their_class(house: "House") -> None:
    def relay(_request: Nothing, context: Context) -> Found:
        with pytest.raises(Missing):
            context.call_blocking(inner, Lookup(key="a"))
        return Found(value=1)

    def answer(request: Lookup, _context: Context) -> Found:
        raise Missing("look elsewhere", key=request.key)

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))

    assert await house.ask(outer, Nothing()) == {"value": 1}


async def test_a_blocking_call_in_the_event_loop_is_refused(house: "House") -> None:
    async def relay(_request: Nothing, context: Context) -> Found:
        with pytest.raises(RuntimeError, match=r"await context\.call"):
            context.call_blocking(inner, Lookup())
        return Found(value=1)

    await house.work(service_of(outer, relay, "front"))

    assert await house.ask(outer, Nothing()) == {"value": 1}


async def test_many_nested_calls_run_at_a_time(house: "House") -> None:
    async def relay(_request: Nothing, context: Context) -> Found:
        found = await asyncio.gather(*(context.call(inner, Lookup(key="x" * n)) for n in range(5)))
        return Found(value=sum(each.value for each in found))

    async def answer(request: Lookup, _context: Context) -> Found:
        return Found(value=len(request.key))

    await house.work(service_of(outer, relay, "front"), service_of(inner, answer, "back"))
    answers = await asyncio.gather(*(house.ask(outer, Nothing()) for _ in range(20)))

    assert answers == [{"value": 10}] * 20

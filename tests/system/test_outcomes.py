"""The truth table, row by row, as an HTTP client sees it. `blocked` is with the faults of the broker."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from support.faults.callers import Callers, token
from support.faults.contracts import Ask, Told, nowhere, obey, read, send, skewed, write
from support.faults.history import Answer
from support.faults.services import SECRET
from support.faults.world import World
from support.waiting import until

from busgate.bus.signed import SigningKey, jwk_set, new_pem
from busgate.contracts import Call
from busgate.workers import Context, Service
from busgate.workers.trust import Trust
from busgate.workers.trust_settings import TrustSettings


def seen(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.name, answer.outcome


async def callers_of(world: World) -> Callers:
    """Callers of an edge with a worker, both in this process."""
    await world.local_worker()
    return await world.callers(await world.edge())


async def in_time(callers: Callers, call: Call[Any, Any], **fields: Any) -> Answer:
    """Ask what is answered some 30 ms before the edge's own deadline; a busy machine can miss that moment."""
    for _ in range(5):
        answer = await callers.ask(call, **fields)
        if answer.name != "timeout":
            break
    return answer


# -- not executed, and said at once


async def test_a_topic_without_a_queue(world: World) -> None:
    callers = await world.callers(await world.edge())

    assert seen(await callers.ask(nowhere)) == (503, "no-route", "not_executed")


@pytest.mark.slow
async def test_a_queue_without_a_worker_is_unknown_first_and_then_known(world: World) -> None:
    edge = await world.edge()
    callers = await world.callers(edge)
    worker = await world.local_worker()
    await worker.close()
    world.buses -= 1

    first = await callers.ask(read, wait=1)
    await until(lambda: edge.bus.endpoint(read.topic).unserved)

    assert seen(first) == (504, "timeout", "unknown")
    assert seen(await callers.ask(read)) == (503, "no-workers", "not_executed")


@pytest.mark.slow
async def test_no_connection_to_the_broker(world: World) -> None:
    proxy = await world.proxy()
    edge = await world.edge(proxy.url(world.vhost.url))
    callers = await world.callers(edge)
    proxy.refuse()
    proxy.reset_all()
    await until(lambda: edge.bus.unready)

    answer = await callers.ask(read)
    await proxy.heal()
    await until(lambda: not edge.bus.unready)

    assert seen(answer) == (503, "bus-unavailable", "not_executed")


async def test_an_edge_that_is_full(world: World) -> None:
    await world.local_worker()
    edge = await world.edge(bus={"max_waiting": 2})
    callers = await world.callers(edge)

    waiting = [asyncio.create_task(callers.ask(read, ms=500)) for _ in range(2)]
    await until(lambda: edge.bus.requester.waiting == 2)
    refused = await callers.ask(read)
    served = await asyncio.gather(*waiting)

    assert seen(refused) == (503, "overloaded", "not_executed")
    assert [each.status for each in served] == [200, 200]


async def test_an_edge_that_drains(world: World) -> None:
    """A body that comes in when half of the grace is over; what was called before is answered."""
    await world.local_worker()
    edge = await world.edge()
    callers = await world.callers(edge)
    body = json.dumps({"nonce": "late", "ms": 0}).encode()
    host, port = edge.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = ["POST /write HTTP/1.1", "Host: x", f"Authorization: Bearer {token('ann')}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]

    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body[:-1])
    waiting = asyncio.create_task(callers.ask(write, ms=1500))
    await until(lambda: edge.bus.requester.waiting and len(edge.edge.server) == 2)
    draining = asyncio.create_task(edge.edge.drain(2.0))
    await until(lambda: edge.bus.requester.draining)
    writer.write(body[-1:])
    refused = (await reader.read()).decode()
    writer.close()

    assert refused.startswith("HTTP/1.1 503 ")
    assert "Retry-After: " in refused
    assert json.loads(refused.partition("\r\n\r\n")[2])["type"] == "urn:busgate:draining"
    assert (await waiting).status == 201
    assert await draining


@pytest.mark.slow
async def test_a_queue_that_is_full(world: World) -> None:
    """F24. What the queue holds is answered when the worker takes it."""
    await world.vhost.set_policy("short", "^probe", **{"max-length": 1, "overflow": "reject-publish"})
    await world.local_worker()  # takes 32 at a time
    edge = await world.edge()
    callers = await world.callers(edge)

    taken = [asyncio.create_task(callers.ask(read, ms=1500)) for _ in range(32)]
    await until(lambda: len(world.history.executions()) == 32)
    more = await asyncio.gather(*(callers.ask(read) for _ in range(10)))
    refused = [each for each in more if not each.good]

    assert {seen(each) for each in refused} == {(503, "queue-full", "not_executed")}
    assert len(refused) == 9
    assert all(each.good for each in await asyncio.gather(*taken))


@pytest.mark.slow
async def test_a_call_that_reaches_its_worker_too_late(world: World) -> None:
    """Between the deadline of workers and that of the edge there is a moment, so that the refusal still counts."""
    proxy = await world.proxy()
    await world.local_worker(url=proxy.url(world.vhost.url))
    callers = await world.callers(await world.edge())
    await callers.ask(read)
    proxy.down.delay = 0.975

    answer = await in_time(callers, read, wait=1)
    proxy.down.delay = 0

    assert seen(answer) == (504, "too-late", "not_executed")


async def test_a_worker_that_verifies_who_calls_and_cannot(world: World) -> None:
    """The edge has no key: all its calls are unsigned."""
    verifying = Service("verifying", trust="verified")

    @verifying.handles(read)
    async def never(request: Ask, _context: Context) -> Told:
        raise AssertionError(f"{request} was run")

    await world.local_worker(
        service=verifying, trust=Trust(TrustSettings(jwks=jwk_set([SigningKey(new_pem())]).decode()))
    )
    callers = await world.callers(await world.edge())

    assert seen(await callers.ask(read)) == (502, "caller-unverified", "not_executed")


async def test_a_request_that_its_worker_cannot_read(world: World) -> None:
    callers = await callers_of(world)

    assert seen(await callers.ask(skewed)) == (502, "unreadable-request", "not_executed")


@pytest.mark.parametrize(
    ("status", "name", "content", "errors"),
    [
        (400, "bad-request", {"data": b'{"nonce":'}, None),
        (422, "invalid-request", {"json": {"nonce": 1, "ms": -1}}, {"#/nonce", "#/ms"}),
        (422, "invalid-request", {"json": {"nonce": "x", "colour": 1}}, {"#/colour"}),
    ],
)
async def test_a_request_that_is_invalid(world: World, status, name, content, errors) -> None:
    callers = await world.callers(await world.edge())
    headers = {"Content-Type": "application/json"}

    answer = await callers.send("POST", "/write", nonce=uuid.uuid4().hex, headers=headers, **content)

    assert seen(answer) == (status, name, "not_executed")
    assert errors is None or {each["pointer"] for each in answer.body["errors"]} == errors


# -- unknown


async def test_a_call_without_a_reply_in_time(world: World) -> None:
    callers = await callers_of(world)

    assert seen(await callers.ask(write, wait=1, ms=1500)) == (504, "timeout", "unknown")


async def test_a_connection_that_falls_while_a_call_waits(world: World) -> None:
    proxy = await world.proxy()
    await world.local_worker()
    edge = await world.edge(proxy.url(world.vhost.url))
    callers = await world.callers(edge)

    asked = asyncio.create_task(callers.ask(write, ms=300))
    await until(world.history.executions)
    proxy.reset_all()
    answer = await asked
    await until(lambda: edge.bus.generation == 2)

    assert seen(answer) == (504, "connection-lost", "unknown")
    assert answer.took < 5


@pytest.mark.parametrize(("call", "runs"), [(read, 2), (write, 1)], ids=["run", "refuse"])
async def test_a_call_whose_worker_fell_is_run_again_only_where_the_contract_says_so(
    world: World, call, runs: int
) -> None:
    callers = await world.callers(await world.edge())
    first = await world.local_worker(name="first")

    asked = asyncio.create_task(callers.ask(call, ms=4000))  # longer than a busy machine takes to start a worker
    await until(world.history.executions)
    await world.local_worker(name="second")
    await first.close()
    world.buses -= 1
    answer = await asked

    assert seen(answer) == ((200, "", "executed") if runs == 2 else (504, "redelivered", "unknown"))
    assert len(world.history.executions(answer.nonce)) == runs


@pytest.mark.slow
async def test_a_handler_that_crashes_tells_why_only_in_the_log_of_its_worker(world: World) -> None:
    worker = await world.worker()
    callers = await world.callers(await world.edge())

    answer = await callers.ask(obey, how="crash")
    await worker.until(SECRET)

    assert seen(answer) == (500, "handler-crashed", "unknown")
    assert answer.body.keys() <= {"type", "title", "status", "outcome", "instance", "by", "stages"}
    assert "Traceback" in worker.output
    assert "RuntimeError" in worker.output


@pytest.mark.parametrize("how", ["improvise", "lie", "swell"])
async def test_a_handler_that_breaks_its_contract(world: World, how: str) -> None:
    """A problem that is not declared, a reply of another type, one that is larger than travels."""
    callers = await callers_of(world)

    answer = await callers.ask(obey, how=how)

    assert seen(answer) == (500, "handler-crashed", "unknown")


async def test_a_handler_that_hangs(world: World) -> None:
    """It is ended soon after: nothing of it is left (I8)."""
    callers = await callers_of(world)

    assert seen(await callers.ask(obey, how="hang")) == (504, "timeout", "unknown")


@pytest.mark.parametrize(
    ("to", "status", "name", "detail"),
    [
        ("order", 502, "nested-failure", "probe.obey.v1: handler-crashed"),
        ("nowhere", 502, "nested-failure", "probe.nowhere.v1: no-route"),
        ("late", 504, "nested-timeout", "probe.read.v1: timeout"),
        ("itself", 502, "nested-failure", "probe.send.v1: nested-failure"),
    ],
)
async def test_a_nested_call_that_fails_is_named(world: World, to: str, status: int, name: str, detail: str) -> None:
    callers = await callers_of(world)

    answer = await in_time(callers, send, to=to)

    assert seen(answer) == (status, name, "unknown")
    assert answer.body["detail"] == detail


# -- executed


async def test_a_problem_that_the_contract_declares(world: World) -> None:
    callers = await callers_of(world)

    answer = await callers.ask(obey, how="decline")

    assert seen(answer) == (409, "urn:problem:declined", "executed")
    assert (answer.body["detail"], answer.body["left"]) == ("not today", 3)


async def test_a_reply(world: World) -> None:
    callers = await callers_of(world)

    answers = [await callers.ask(call) for call in (read, write)]

    assert [each.status for each in answers] == [200, 201]

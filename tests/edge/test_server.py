import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from busgate.contracts import CallFailed
from busgate.contracts.failure import OVERLOADED
from busgate.edge.front_door import check
from busgate.edge.refusal import FORBIDDEN, Refusal
from busgate.edge.request import Request
from busgate.edge.response import Response

if TYPE_CHECKING:
    from edge.conftest import OpenGate

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
PATIENCE = 10


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /a HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def echo(request: Request) -> Response:
    return Response(200, await request.read(1024 * 1024))


async def where(request: Request) -> Response:
    return Response(200, check(request.message).path.encode())


async def test_a_request_is_answered_and_the_connection_kept(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo)).connect()

    first = await client.ask(post(b'{"a":1}'))
    second = await client.ask(post(b"{}"))

    assert (first.status, first.body, second.body) == (200, b'{"a":1}', b"{}")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert not first.closes


async def test_a_body_may_come_in_pieces_and_in_chunks(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo)).connect()

    for piece in (
        b"POST / HTTP/1.1\r\nHo",
        b"st: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r",
        b"\nabc\r\n2\r\nde\r\n0\r\n",
    ):
        client.send(piece)
        await asyncio.sleep(0)
    answer = await client.ask(b"Trailer: x\r\n\r\n")

    assert answer.body == b"abcde"


async def test_many_small_requests_behind_each_other_are_answered_in_order(open_gate: "OpenGate") -> None:
    client = await (await open_gate(where)).connect()

    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(500)))

    assert [(await client.answer()).body for _ in range(500)] == [b"/%d" % n for n in range(500)]


async def test_requests_behind_a_slow_one_wait_and_are_bounded(open_gate: "OpenGate") -> None:
    let_go = asyncio.Event()
    seen = []

    async def slow(request: Request) -> Response:
        seen.append(request)
        await let_go.wait()
        return Response(200, request.message.path.encode())

    gate = await open_gate(slow)
    client = await gate.connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(2000)))
    await gate.until(lambda: seen)
    waiting = max(len(connection._queue) for connection in gate.server._connections)
    let_go.set()

    assert waiting <= 32
    assert [(await client.answer()).body for _ in range(2000)] == [b"/%d" % n for n in range(2000)]


async def test_bodies_that_come_late_do_not_use_up_the_room_for_pipelining(open_gate: "OpenGate") -> None:
    """aiohttp's parser counts a request when its body is complete, which is after it was taken up."""
    gate = await open_gate(echo)
    client = await gate.connect()

    for _ in range(100):
        client.send(post(b"abc")[:-3])
        await gate.until(lambda: any(connection._task for connection in gate.server._connections))
        assert (await client.ask(b"abc")).body == b"abc"
    client.send(GET * 100)

    assert [(await client.answer()).status for _ in range(100)] == [200] * 100


async def test_head_gets_no_body(open_gate: "OpenGate") -> None:
    client = await (await open_gate(where)).connect()

    head = await client.ask(GET.replace(b"GET", b"HEAD"), bodyless=True)
    after = await client.ask(GET)

    assert (head.headers["content-length"], after.body) == ("2", b"/a")


async def test_a_client_that_asks_for_it_gets_its_connection_closed(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo)).connect()

    answer = await client.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    assert answer.closes
    assert await client.rest() == b""


async def test_a_body_that_was_announced_is_asked_for_when_it_is_read(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo)).connect()

    ask = await client.ask(post(b"abc", b"Expect: 100-continue")[:-3])
    answer = await client.ask(b"abc")

    assert (ask.status, answer.status, answer.body) == (100, 200, b"abc")


async def test_a_body_that_was_announced_is_not_asked_for_by_a_refusal(open_gate: "OpenGate") -> None:
    async def refuse(request: Request) -> Response:
        raise Refusal(FORBIDDEN)

    client = await (await open_gate(refuse)).connect()

    answer = await client.ask(post(b"abc", b"Expect: 100-continue")[:-3])

    assert (answer.status, answer.closes) == (403, True)
    assert await client.rest() == b""


async def test_a_small_body_that_nobody_read_does_not_cost_the_connection(open_gate: "OpenGate") -> None:
    async def refuse(request: Request) -> Response:
        raise Refusal(FORBIDDEN)

    client = await (await open_gate(refuse)).connect()

    first = await client.ask(post(b"abc")[:-3])
    second = await client.ask(b"abc" + GET)

    assert (first.status, first.closes, second.status) == (403, False, 403)


async def test_a_large_body_that_nobody_read_ends_the_connection_but_not_before_the_answer_is_seen(
    open_gate: "OpenGate",
) -> None:
    async def refuse(request: Request) -> Response:
        raise Refusal(FORBIDDEN)

    client = await (await open_gate(refuse)).connect()
    body = b"x" * 8_000_000
    client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
    client.send(body)

    answer = await client.answer()

    assert (answer.status, answer.closes) == (403, True)


@pytest.mark.parametrize("framing", [b"Content-Length: 2000000", b"Transfer-Encoding: chunked"])
async def test_a_body_over_the_limit_is_refused(open_gate: "OpenGate", framing: bytes) -> None:
    client = await (await open_gate(echo)).connect()
    client.send(b"POST /a HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n")
    if framing.startswith(b"T"):
        client.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        for _ in range(11):
            client.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")

    answer = await client.answer()

    assert (answer.status, answer.closes) == (413, True)
    answer.problem()


async def test_a_failed_call_and_a_crash_become_problems(
    open_gate: "OpenGate", caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: Request) -> Response:
        if request.message.path == "/crash":
            raise KeyError(request.message.headers["Authorization"])
        raise CallFailed(OVERLOADED, retry_after=3)

    client = await (await open_gate(fail)).connect()

    busy = await client.ask(GET)
    crash = await client.ask(b"GET /crash HTTP/1.1\r\nHost: h\r\nAuthorization: hush\r\n\r\n")

    assert (busy.status, busy.problem()["outcome"], busy.headers["retry-after"]) == (503, "not_executed", "3")
    assert (crash.status, crash.problem()["outcome"]) == (500, "unknown")
    assert "KeyError" in caplog.text
    assert "hush" not in caplog.text + crash.body.decode()
    caplog.clear()


async def test_a_request_that_is_cancelled_from_within_is_answered(
    open_gate: "OpenGate", caplog: pytest.LogCaptureFixture
) -> None:
    async def cancelled(request: Request) -> Response:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
        raise AssertionError

    client = await (await open_gate(cancelled)).connect()

    assert (await client.ask(GET)).status == 500
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    caplog.clear()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_goes_away_frees_what_its_request_held(open_gate: "OpenGate", how: str) -> None:
    held, freed = asyncio.Event(), asyncio.Event()

    async def hold(request: Request) -> Response:
        held.set()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError
        finally:
            freed.set()

    gate = await open_gate(hold)
    client = await gate.connect()
    client.send(GET)
    await gate.until(held.is_set)

    client.close() if how == "close" else client.writer.transport.abort()

    await gate.until(freed.is_set)
    await gate.until_connections(0)


async def test_a_client_that_goes_away_within_its_body_frees_the_request(open_gate: "OpenGate") -> None:
    ended = asyncio.Event()

    async def read(request: Request) -> Response:
        try:
            return await echo(request)
        finally:
            ended.set()

    gate = await open_gate(read)
    client = await gate.connect()
    client.send(post(b"abc")[:-1])
    await gate.until_connections(1)

    client.close()

    await gate.until(ended.is_set)


@pytest.mark.parametrize(
    "upgrade",
    [b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", b"Connection: Upgrade\r\nUpgrade: websocket"],
)
async def test_an_upgrade_is_ignored(open_gate: "OpenGate", upgrade: bytes) -> None:
    client = await (await open_gate(where)).connect()

    first = await client.ask(b"GET /a HTTP/1.1\r\nHost: h\r\n" + upgrade + b"\r\n\r\n")
    second = await client.ask(b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")

    assert (first.body, second.body) == (b"/a", b"/b")


async def test_what_stands_behind_an_upgrade_in_one_read_is_never_taken_for_something_else(
    open_gate: "OpenGate",
) -> None:
    client = await (await open_gate(where)).connect()

    answer = await client.ask(
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /lost HTTP/1.1\r\nHost: h\r\n\r\n"
    )

    assert (answer.body, answer.closes) == (b"/a", True)
    assert await client.rest() == b""


async def test_stopping_waits_for_what_is_in_flight_and_ends_what_is_idle(open_gate: "OpenGate") -> None:
    let_go, held = asyncio.Event(), asyncio.Event()

    async def hold(request: Request) -> Response:
        if request.message.path == "/hold":
            held.set()
            await let_go.wait()
        return Response(200, b"{}")

    gate = await open_gate(hold)
    idle, busy = await gate.connect(), await gate.connect()
    await idle.ask(GET)
    busy.send(GET.replace(b"/a", b"/hold"))
    await gate.until(held.is_set)

    stopping = asyncio.create_task(gate.server.stop(grace=PATIENCE))

    assert await idle.rest() == b""
    assert not stopping.done()
    let_go.set()
    answer = await busy.answer()
    assert (answer.status, answer.closes) == (200, True)
    assert await stopping
    with pytest.raises(ConnectionRefusedError):
        await gate.connect()


async def test_stopping_answers_a_client_that_connected_a_moment_ago(open_gate: "OpenGate") -> None:
    gate = await open_gate(where)
    client = await gate.connect()
    await gate.until_connections(1)

    stopping = asyncio.create_task(gate.server.stop(grace=PATIENCE))
    await asyncio.sleep(0)
    answer = await client.ask(GET)

    assert (answer.status, answer.closes) == (200, True)
    assert await stopping


async def test_stopping_cuts_what_does_not_end_in_time(open_gate: "OpenGate") -> None:
    held = asyncio.Event()

    async def hold(request: Request) -> Response:
        held.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    gate = await open_gate(hold)
    client = await gate.connect()
    client.send(GET)
    await gate.until(held.is_set)

    assert not await gate.server.stop(grace=0.05)
    assert await client.rest() == b""


async def test_it_refuses_to_run_on_the_parser_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp.http_parser import HttpRequestParserPy

    from busgate.edge import parsing
    from busgate.edge.server import GateServer

    monkeypatch.setattr(parsing, "HttpRequestParser", HttpRequestParserPy)

    with pytest.raises(RuntimeError, match="C parser"):
        GateServer(echo)

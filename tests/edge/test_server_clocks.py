"""Clients that are slow: at sending, at reading, or at saying anything at all."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from busgate.edge.request import Request
from busgate.edge.response import Response

if TYPE_CHECKING:
    from edge.conftest import Client, OpenGate

GOOD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


async def echo(request: Request) -> Response:
    return Response(200, await request.read(1_000_000))


async def drip(client: "Client", data: bytes, seconds: float) -> None:
    """Send a byte at a time until the other side has had enough."""
    for byte in data:
        if client.writer.is_closing():
            return
        client.send(bytes([byte]))
        await asyncio.sleep(seconds)


async def test_a_connection_that_says_nothing_is_closed(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo, first_byte=0.1)).connect()

    assert await client.rest() == b""


async def test_a_connection_that_is_idle_for_long_is_closed(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo, keep_alive=0.1)).connect()
    await client.ask(GOOD)

    assert await client.rest() == b""


@pytest.mark.parametrize("before", [b"", GOOD])
async def test_headers_that_come_too_slowly_are_refused(open_gate: "OpenGate", before: bytes) -> None:
    """Bytes that come now and then do not buy more time."""
    client = await (await open_gate(echo, head=0.2)).connect()
    if before:
        await client.ask(before)

    dripping = asyncio.create_task(drip(client, b"GET /a HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 1000, 0.01))
    answer = await client.answer()

    assert (answer.status, answer.closes) == (408, True)
    assert answer.problem()["type"] == "urn:busgate:request-timeout"
    assert await client.rest() == b""
    dripping.cancel()


async def test_headers_that_begin_behind_a_request_that_is_served_have_their_time_too(
    open_gate: "OpenGate",
) -> None:
    let_go = asyncio.Event()

    async def hold(request: Request) -> Response:
        await let_go.wait()
        return Response(200)

    gate = await open_gate(hold, head=0.1)
    client = await gate.connect()
    client.send(GOOD)
    await gate.until(lambda: any(connection._task for connection in gate.server._connections))
    client.send(b"GET /a HT")
    await gate.until(lambda: any(connection._head_bytes for connection in gate.server._connections))
    let_go.set()

    assert [(await client.answer()).status for _ in range(2)] == [200, 408]


async def test_empty_lines_between_requests_are_not_a_head(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo, head=0.1, keep_alive=0.3)).connect()
    await client.ask(GOOD + b"\r\n")
    client.send(b"\r\n")

    assert await client.rest() == b""


@pytest.mark.parametrize("limits", [{"min_rate": 1000, "body": 60}, {"min_rate": 0, "body": 0.3}])
async def test_a_body_that_comes_too_slowly_is_refused(open_gate: "OpenGate", limits: dict[str, float]) -> None:
    client = await (await open_gate(echo, grace=0.1, **limits)).connect()
    client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")

    dripping = asyncio.create_task(drip(client, b"x" * 1000, 0.01))
    answer = await client.answer()

    assert (answer.status, answer.closes) == (408, True)
    answer.problem()
    dripping.cancel()


async def test_a_body_that_comes_slowly_but_fast_enough_is_read(open_gate: "OpenGate") -> None:
    client = await (await open_gate(echo, grace=0.1, min_rate=10)).connect()
    client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n")

    await drip(client, b"x" * 30, 0.01)

    assert (await client.answer()).status == 200


async def test_time_in_the_handler_is_not_the_clients(open_gate: "OpenGate") -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.3)
        return Response(200)

    client = await (await open_gate(slow, first_byte=0.1, head=0.1, grace=0.1, body=0.1, keep_alive=0.1)).connect()

    assert (await client.ask(GOOD)).status == 200


async def test_a_client_that_does_not_read_is_cut_and_holds_one_answer_at_most(open_gate: "OpenGate") -> None:
    served = []

    async def large(request: Request) -> Response:
        served.append(request)
        return Response(200, b"x" * 8_000_000)

    gate = await open_gate(large, write=0.2)
    client = await gate.connect()
    client.stop_reading()
    client.send(GOOD * 20)

    await gate.until_connections(1)
    await gate.until_connections(0)

    assert len(served) == 1


async def test_a_client_that_reads_slowly_but_does_read_gets_its_answer(open_gate: "OpenGate") -> None:
    async def large(request: Request) -> Response:
        return Response(200, b"x" * 8_000_000)

    client = await (await open_gate(large)).connect()
    client.send(GOOD + GOOD)

    assert [len((await client.answer()).body) for _ in range(2)] == [8_000_000] * 2


async def test_a_client_that_sends_on_after_a_refusal_is_cut(open_gate: "OpenGate") -> None:
    gate = await open_gate(echo, linger=0.1)
    client = await gate.connect()
    client.send(b"nonsense\r\n\r\n")
    assert (await client.answer()).status == 400

    await gate.until_connections(0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"", b"GET /a HTTP/1.1\r\nHost: h\r\nX: ", GOOD[:-1]])
async def test_two_thousand_slow_clients_do_not_hurt_a_good_one(open_gate: "OpenGate", kind: bytes) -> None:
    gate = await open_gate(echo, first_byte=5.0 if kind else 1.0, head=1.0, grace=0.5, body=1.0)
    slow = []
    for _ in range(2000):
        slow.append(await gate.connect())
        slow[-1].send(kind)

    statuses = []
    good = await gate.connect()
    while len(gate.server) > 1:
        statuses.append((await good.ask(GOOD)).status)

    assert set(statuses) == {200}
    rests = {(await client.rest())[:12] for client in slow}
    assert rests == ({b""} if not kind else {b"HTTP/1.1 408"})

"""Requests that are refused, each next to good ones on other connections, which must not notice."""

import asyncio
import random
import re
from typing import TYPE_CHECKING

import pytest

from busgate.contracts.http import get, post
from busgate.edge.front_door import check
from busgate.edge.request import Request
from busgate.edge.response import Response
from busgate.edge.router import Router

if TYPE_CHECKING:
    from edge.conftest import Gate, OpenGate

ROUTER = Router([(get("/a"), "a"), (post("/a"), "a"), (get("/a/{id}"), "id")])
GOOD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def edge(request: Request) -> Response:
    """The beginning of the real path: front door, route, body."""
    head = check(request.message)
    ROUTER.find(head.method, head.path)
    return Response(200, await request.read(1000))


def head(*headers: bytes, line: bytes = b"POST /a HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: h", *headers, b"", b""])


def line(text: bytes) -> bytes:
    return head(line=text)


# id: (what is sent, status, whether the connection ends)
TABLE = {
    # request line
    "garbage": (b"\x00\xff\x00\r\n\r\n", 400, True),
    "tls on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, True),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\4\0\0\0\0\0", 505, True),
    "broken http/2 preface": (line(b"PRI * HTTP/2.0"), 505, True),
    "no version": (line(b"GET /a"), 505, True),
    "http/0.9": (line(b"GET /a HTTP/0.9"), 505, True),
    "http/1.0": (line(b"GET /a HTTP/1.0"), 505, True),
    "http/1.2": (line(b"GET /a HTTP/1.2"), 505, True),
    "http/2.0": (line(b"GET /a HTTP/2.0"), 505, True),
    "http/3.0": (line(b"GET /a HTTP/3.0"), 505, True),
    "rtsp": (line(b"DESCRIBE /a RTSP/1.0"), 505, True),
    "lower-case protocol": (line(b"GET /a http/1.1"), 400, True),
    "space behind the version": (line(b"GET /a HTTP/1.1 "), 400, True),
    "tab in the line": (line(b"GET\t/a HTTP/1.1"), 400, True),
    "bare line feeds": (b"GET /a HTTP/1.1\nHost: h\n\n", 400, True),
    "unknown method": (line(b"FOO /a HTTP/1.1"), 400, True),
    "lower-case method": (line(b"get /a HTTP/1.1"), 400, True),
    "connect": (line(b"CONNECT h:80 HTTP/1.1"), 400, True),
    "asterisk": (line(b"OPTIONS * HTTP/1.1"), 400, True),
    "trace": (line(b"TRACE /a HTTP/1.1"), 405, False),
    "options": (line(b"OPTIONS /a HTTP/1.1"), 405, False),
    "method of another route": (line(b"DELETE /a HTTP/1.1"), 405, False),
    "no such path": (line(b"GET /b HTTP/1.1"), 404, False),
    "target too long": (line(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414, True),
    "query too long": (line(b"GET /a?" + b"a" * 9000 + b" HTTP/1.1"), 414, True),
    # path
    "encoded NUL": (line(b"GET /a%00 HTTP/1.1"), 400, False),
    "encoded CRLF": (line(b"GET /a%0d%0aX:y HTTP/1.1"), 400, False),
    "not an escape": (line(b"GET /a%zz HTTP/1.1"), 400, False),
    "not utf-8": (line(b"GET /a%ff HTTP/1.1"), 400, False),
    "raw not utf-8": (line(b"GET /a\xff HTTP/1.1"), 400, True),
    "double slash": (line(b"GET //a HTTP/1.1"), 400, False),
    "dot segment": (line(b"GET /./a HTTP/1.1"), 400, False),
    "parent segment": (line(b"GET /b/../a HTTP/1.1"), 400, False),
    "encoded parent segment": (line(b"GET /b/%2e%2e/a HTTP/1.1"), 400, False),
    "encoded slash in a variable": (line(b"GET /a/1%2f2 HTTP/1.1"), 400, False),
    "fragment": (line(b"GET /a#b HTTP/1.1"), 400, False),
    "absolute form of another host": (line(b"GET http://other/a HTTP/1.1"), 400, True),
    "bad escape in the query": (line(b"GET /a?b=%g1 HTTP/1.1"), 400, False),
    # host
    "no host": (b"GET /a HTTP/1.1\r\n\r\n", 400, True),
    "empty host": (b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400, True),
    "two hosts": (head(b"Host: h"), 400, True),
    "host with a path": (b"GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n", 400, True),
    "host with a user": (b"GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, True),
    # headers
    "two authorizations": (head(b"Authorization: a", b"authorization: b"), 400, True),
    "two api keys": (head(b"X-Api-Key: a", b"X-Api-Key: a"), 400, True),
    "two content types": (head(b"Content-Type: a/b", b"Content-Type: a/b"), 400, True),
    "two idempotency keys": (head(b"Idempotency-Key: a", b"Idempotency-Key: b"), 400, True),
    "underscore": (head(b"Content_Length: 1"), 400, False),
    "connection lists authorization": (
        head(b"Authorization: a", b"Connection: close, authorization"),
        400,
        True,
    ),
    "folded header": (head(b"X: a", b" b"), 400, True),
    "space before the colon": (head(b"X : a"), 400, True),
    "no name": (head(b": a"), 400, True),
    "no colon": (head(b"X"), 400, True),
    "NUL in a value": (head(b"X: a\0b"), 400, True),
    "control in a value": (head(b"X: a\x01b"), 400, True),
    "carriage return in a value": (head(b"X: a\rb"), 400, True),
    "name not ascii": (head(b"X\xe9: a"), 400, True),
    "one header too long": (head(b"X: " + b"a" * 9000), 431, True),
    "too many headers": (head(*[b"X%d: a" % n for n in range(70)]), 431, True),
    "headers too large together": (head(*[b"X%d: " % n + b"a" * 1000 for n in range(40)]), 431, True),
    "headers too large and not complete": (
        head(*[b"X%d: " % n + b"a" * 1500 for n in range(40)])[:-2],
        431,
        True,
    ),
    "unknown expectation": (head(b"Expect: tea"), 417, False),
    # framing
    "both framings": (head(b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, True),
    "both framings, other order": (
        head(b"Transfer-Encoding: chunked", b"Content-Length: 2") + b"{}",
        400,
        True,
    ),
    "two lengths": (head(b"Content-Length: 2", b"Content-Length: 2") + b"{}", 400, True),
    "list of lengths": (head(b"Content-Length: 2, 2") + b"{}", 400, True),
    "signed length": (head(b"Content-Length: +2") + b"{}", 400, True),
    "negative length": (head(b"Content-Length: -1"), 400, True),
    "hexadecimal length": (head(b"Content-Length: 0x2") + b"{}", 400, True),
    "empty length": (head(b"Content-Length: "), 400, True),
    "enormous length": (head(b"Content-Length: " + b"9" * 30), 400, True),
    "length over the limit": (head(b"Content-Length: 10000000000"), 413, True),
    "gzip transfer coding": (head(b"Transfer-Encoding: gzip"), 501, True),
    "gzip, chunked transfer coding": (head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501, True),
    "identity transfer coding": (head(b"Transfer-Encoding: identity"), 501, True),
    "chunked twice": (head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n", 400, True),
    "chunked with a vertical tab": (head(b"Transfer-Encoding: \x0bchunked"), 400, True),
    "chunk size not hexadecimal": (head(b"Transfer-Encoding: chunked") + b"zz\r\n", 400, True),
    "chunk size negative": (head(b"Transfer-Encoding: chunked") + b"-1\r\n", 400, True),
    "chunk size enormous": (head(b"Transfer-Encoding: chunked") + b"f" * 20 + b"\r\n", 400, True),
    "chunk longer than it says": (head(b"Transfer-Encoding: chunked") + b"1\r\nabc\r\n0\r\n\r\n", 400, True),
    "chunks over the limit": (head(b"Transfer-Encoding: chunked") + b"7d0\r\n" + b"x" * 2000, 413, True),
    "endless trailers": (head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"X: y\r\n" * 70, 431, True),
    "gzip content coding": (head(b"Content-Encoding: gzip", b"Content-Length: 2") + b"{}", 415, False),
    "unknown content coding": (head(b"Content-Encoding: x", b"Content-Length: 2") + b"{}", 415, False),
}


async def keep_asking(gate: "Gate", until: asyncio.Event) -> list[int]:
    """A good client; the statuses it got."""
    client = await gate.connect()
    statuses: list[int] = []
    while not until.is_set() or not statuses:
        statuses.append((await client.ask(GOOD)).status)
    return statuses


async def test_each_bad_request_gets_its_problem_and_hurts_no_other(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge)
    over = asyncio.Event()
    neighbours = [asyncio.create_task(keep_asking(gate, over)) for _ in range(5)]
    seen = {}

    for name, (data, _, _) in TABLE.items():
        client = await gate.connect()
        answer = await client.ask(data)
        answer.problem()
        seen[name] = (answer.status, answer.closes)
        if answer.closes:
            assert await client.rest() == b"", name
        else:
            assert (await client.ask(GOOD)).status == 200, name
    over.set()

    assert seen == {name: (status, closes) for name, (_, status, closes) in TABLE.items()}
    assert {status for statuses in await asyncio.gather(*neighbours) for status in statuses} == {200}


async def test_a_bad_chunk_in_a_later_read_ends_the_body_that_is_being_read(open_gate: "OpenGate") -> None:
    client = await (await open_gate(edge)).connect()
    client.send(head(b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n")
    await asyncio.sleep(0)

    answer = await client.ask(b"zz\r\n")

    assert (answer.status, answer.closes) == (400, True)
    assert await client.rest() == b""


async def test_nothing_that_was_sent_comes_back(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge)

    for data in (
        b"SECRETS / HTTP/1.1\r\n\r\n",
        line(b"GET /SECRETS\x01 HTTP/1.1"),
        head(b"SECRETS\x01: SECRETS"),
    ):
        client = await gate.connect()
        answer = await client.ask(data)
        assert b"SECRETS" not in answer.raw_head + answer.body


async def test_nonsense_behind_a_good_request_is_answered_after_it(open_gate: "OpenGate") -> None:
    let_go = asyncio.Event()

    async def hold(request: Request) -> Response:
        await let_go.wait()
        return Response(200, b"{}")

    gate = await open_gate(hold)
    client = await gate.connect()
    client.send(GOOD)
    await gate.until(lambda: any(connection._task for connection in gate.server._connections))
    client.send(b"nonsense\r\n\r\n")
    await gate.until(lambda: any(connection._queue for connection in gate.server._connections))
    let_go.set()

    first, second = await client.answer(), await client.answer()

    assert [(first.status, first.closes), (second.status, second.closes)] == [(200, False), (400, True)]
    assert await client.rest() == b""


async def test_what_was_refused_without_the_handler_is_counted(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge)

    await (await gate.connect()).ask(b"nonsense\r\n\r\n")

    assert gate.server.refused == {"bad-request": 1}


async def test_a_connection_too_many_is_told_so(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge, connections=2)
    kept = [await gate.connect() for _ in range(2)]
    for client in kept:
        await client.ask(GOOD)

    over = await gate.connect()
    answer = await over.answer()

    assert (answer.status, answer.closes, answer.headers["retry-after"]) == (503, True, "1")
    assert answer.problem()["type"] == "urn:busgate:too-many-connections"
    assert await over.rest() == b""
    assert [(await client.ask(GOOD)).status for client in kept] == [200, 200]


async def test_one_address_cannot_take_all_connections(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge, connections_per_address=1, linger=0.05)
    first = await gate.connect()
    await first.ask(GOOD)

    second = await gate.connect()
    assert (await second.answer()).status == 503
    second.close()
    first.close()
    await gate.until_connections(0)

    assert (await (await gate.connect()).ask(GOOD)).status == 200


async def test_far_too_many_connections_are_cut_without_an_answer(open_gate: "OpenGate") -> None:
    gate = await open_gate(edge, connections=1, refused_at_once=1)
    clients = [await gate.connect() for _ in range(3)]
    await gate.until(lambda: gate.server.dropped == 1)

    assert await clients[2].rest() == b""


STATUSES = {200, 400, 404, 405, 408, 413, 414, 415, 417, 421, 431, 501, 505}
PIECES = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"/",
    b"%",
    b"%2f",
    b"..",
    b"_",
    b"\xff",
    b"HTTP/1.1",
    b"chunked",
]
PIECES += [
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: x\r\n",
    b"0\r\n\r\n",
    b"a" * 9000,
]


def mutate(chance: random.Random, request: bytes) -> bytes:
    data = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.choice(PIECES)
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 40)]
    return bytes(data)


async def send_mutated(gate: "Gate", chance: random.Random) -> list[int]:
    client = await gate.connect()
    chosen = chance.choice(list(TABLE.values()))[0] if chance.random() < 0.3 else GOOD
    data = mutate(chance, chosen)
    cut = chance.randrange(len(data) + 1)
    client.send(data[:cut])
    await asyncio.sleep(0)
    client.send(data[cut:])
    received = await client.rest()
    statuses = [int(status) for status in re.findall(rb"(?m)^HTTP/1\.1 (\d{3}) ", received)]
    assert set(statuses) <= STATUSES, (data, received)
    return statuses


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_requests_are_answered_or_closed_and_hurt_no_other(open_gate: "OpenGate", seed: int) -> None:
    """Every connection ends by itself: nothing hangs, nothing fails inside, and good clients do not notice."""
    chance = random.Random(seed)
    gate = await open_gate(edge, first_byte=0.5, head=0.5, keep_alive=0.5, grace=0.2, body=0.5)
    over = asyncio.Event()
    neighbours = [asyncio.create_task(keep_asking(gate, over)) for _ in range(2)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send_mutated(gate, chance)) for _ in range(250)]
    over.set()

    assert {status for statuses in await asyncio.gather(*neighbours) for status in statuses} == {200}
    assert sum(bool(task.result()) for task in tasks) > 100

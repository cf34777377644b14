"""The same over TLS, whose transports differ in flow control and cannot be half-closed."""

import ssl
from typing import TYPE_CHECKING

import pytest
from support.certificates import self_signed, server_context

from busgate.edge.request import Request
from busgate.edge.response import Response

if TYPE_CHECKING:
    from edge.conftest import OpenGate

GOOD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's, around a certificate made for the occasion."""
    file = self_signed(tmp_path_factory.mktemp("tls"))
    return server_context(file), ssl.create_default_context(cafile=str(file))


async def echo(request: Request) -> Response:
    return Response(200, await request.read(1_000_000))


async def large(request: Request) -> Response:
    return Response(200, b"x" * 8_000_000)


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


async def test_requests_are_answered(open_gate: "OpenGate", contexts: Contexts) -> None:
    client = await (await open_gate(echo, tls=contexts[0])).connect(tls=contexts[1])

    assert [(await client.ask(GOOD)).status for _ in range(3)] == [200] * 3


async def test_large_answers_are_sent_whole(open_gate: "OpenGate", contexts: Contexts) -> None:
    client = await (await open_gate(large, tls=contexts[0])).connect(tls=contexts[1])
    client.send(GOOD + GOOD)

    assert [len((await client.answer()).body) for _ in range(2)] == [8_000_000] * 2


async def test_a_refusal_is_seen_and_ends_the_connection(open_gate: "OpenGate", contexts: Contexts) -> None:
    gate = await open_gate(echo, tls=contexts[0], linger=0.1)
    client = await gate.connect(tls=contexts[1])

    answer = await client.ask(b"nonsense\r\n\r\n")

    assert (answer.status, answer.closes) == (400, True)
    assert await client.rest() == b""
    await gate.until_connections(0)


async def test_a_client_that_does_not_read_is_cut(open_gate: "OpenGate", contexts: Contexts) -> None:
    """A TLS transport takes one answer without a word, so it may be the idle time that ends this."""
    gate = await open_gate(large, tls=contexts[0], write=0.2, keep_alive=0.2, linger=0.1)
    client = await gate.connect(tls=contexts[1])
    client.stop_reading()
    client.send(GOOD)

    await gate.until_connections(1)
    await gate.until_connections(0)


async def test_a_client_that_speaks_no_tls_is_dropped(open_gate: "OpenGate", contexts: Contexts) -> None:
    gate = await open_gate(echo, tls=contexts[0], first_byte=0.2)
    plain, silent = await gate.connect(), await gate.connect()
    plain.send(GOOD)

    await plain.rest()
    assert await silent.rest() == b""
    assert len(gate.server) == 0

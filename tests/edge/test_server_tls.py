"""The same over TLS, whose transports differ in flow control and cannot be half-closed."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from busgate.edge.request import Request
from busgate.edge.response import Response

if TYPE_CHECKING:
    from edge.conftest import OpenGate

GOOD = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's, around a certificate made for the occasion."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


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

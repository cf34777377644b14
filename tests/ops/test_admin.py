import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from busgate.bus.admin_table import AdminTable
from busgate.ops.admin import CONNECTIONS, AdminServer

PATIENCE = 10.0


class Admin:
    """A running admin listener, with what it is to say."""

    def __init__(self, **how: Any) -> None:
        self.reasons: list[str] = []
        sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = sock.getsockname()[1]
        self.server = AdminServer(sock, readiness=lambda: self.reasons, metrics=self._metrics, **how)
        self.broken = False
        self.pieces = 1000

    def _metrics(self) -> Iterator[str]:
        for number in range(self.pieces):
            yield f"busgate_up{{n={number}}} 1\n"
        if self.broken:
            raise RuntimeError("secret")

    async def ask(self, target: str, *, method: str = "GET", host: str = "127.0.0.1:8081") -> "Answer":
        async with asyncio.timeout(PATIENCE):
            return Answer(await self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))

    async def send(self, request: bytes) -> bytes:
        """All that comes back until the connection is closed."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            data = await reader.read()
            writer.close()
        return data


class Answer:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"].startswith("application/problem+json")
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    admin = Admin(hosts=["edge", "gate.example:8081"])
    await admin.server.start()
    yield admin
    async with asyncio.timeout(PATIENCE):
        await admin.server.close()


async def test_a_process_that_runs_is_alive_even_when_it_is_not_ready(admin: Admin):
    admin.reasons = ["draining"]

    answer = await admin.ask("/livez")

    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


async def test_a_process_without_reasons_against_it_is_ready(admin: Admin):
    answer = await admin.ask("/readyz")

    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


async def test_a_process_that_is_ready_may_have_something_to_say():
    admin = Admin(remarks=lambda: ["store: away"])
    await admin.server.start()
    ready, alive = await admin.ask("/readyz"), await admin.ask("/livez")
    await admin.server.close()

    assert (ready.status, json.loads(ready.body)) == (200, {"status": "ok", "remarks": ["store: away"]})
    assert json.loads(alive.body) == {"status": "ok"}


async def test_a_process_that_is_not_ready_says_why(admin: Admin):
    admin.reasons = ["draining", "no connection to the broker: refused"]

    answer = await admin.ask("/readyz")

    assert answer.status == 503
    assert answer.problem["type"] == "urn:busgate:unready"
    assert answer.problem["reasons"] == admin.reasons


async def test_metrics_are_in_the_format_that_they_claim(admin: Admin):
    answer = await admin.ask("/metrics")

    assert (answer.status, answer.body) == (200, "".join(admin._metrics()).encode())
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


async def test_the_root_lists_what_there_is(admin: Admin):
    answer = await admin.ask("/")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert [line.split()[0] for line in answer.body.decode().splitlines()] == ["/livez", "/readyz", "/metrics"]
    assert (await admin.ask("/", method="HEAD")).body == b""


@pytest.mark.parametrize("target", ["/index.html", "/metrics/", "/metrics2", "/livez/../metrics2", "//livez", "/%00"])
async def test_nothing_else_is_there(admin: Admin, target: str):
    answer = await admin.ask(target)

    assert (answer.status, answer.problem["type"]) == (404, "urn:busgate:not-found")


async def test_nothing_can_be_changed(admin: Admin):
    answer = await admin.ask("/livez", method="DELETE")

    assert (answer.status, answer.problem["type"]) == (405, "urn:busgate:method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3:9",
        "localhost",
        "LocalHost:8081",
        "[::1]",
        "[::1]:8081",
        "edge",
        "edge:1",
        "gate.example:8081",
    ],
)
async def test_addresses_localhost_and_configured_names_are_served(admin: Admin, host: str):
    assert (await admin.ask("/livez", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8081",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "gate.example",
        "gate.example:1",
        "",
        "[]",
        "[::1",
        "::1]:x",
        "edge.evil:8081",
    ],
)
async def test_a_page_of_the_web_that_was_rebound_to_our_address_gets_nothing(admin: Admin, host: str):
    answer = await admin.ask("/metrics", host=host)

    assert (answer.status, answer.problem["type"]) == (421, "urn:busgate:misdirected-request")


async def test_a_failure_is_told_without_its_text(admin: Admin):
    admin.broken = True

    with capture_logs() as logs:
        answer = await admin.ask("/metrics")

    assert (answer.status, answer.problem["type"]) == (500, "urn:busgate:internal-error")
    assert b"secret" not in answer.body
    assert [line["event"] for line in logs] == ["the admin listener failed"]


async def test_head_is_answered_like_get_without_the_body(admin: Admin):
    get, head = await admin.ask("/metrics"), await admin.ask("/metrics", method="HEAD")

    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


async def test_what_stands_behind_a_question_mark_is_ignored(admin: Admin):
    assert (await admin.ask("/livez?verbose=1")).status == 200


@pytest.mark.parametrize(
    "request_head",
    [
        "nonsense",
        "GET  /livez HTTP/1.1\r\nHost: localhost",
        "GET /livez HTTP/2.0\r\nHost: localhost",
        "GET /livez\r\nHost: localhost",
        "GET http://localhost/livez HTTP/1.1\r\nHost: localhost",
        "GET /li\x00vez HTTP/1.1\r\nHost: localhost",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
        "GET /livez HTTP/1.1\r\nHost : localhost",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n folded: yes",
        "GET /livez HTTP/1.1\r\nHost: localhost\nX: y",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 10_000,
    ],
)
async def test_what_is_no_plain_request_is_refused(admin: Admin, request_head: str):
    answer = Answer(await admin.send(f"{request_head}\r\n\r\n".encode()))

    assert (answer.status, answer.problem["type"]) == (400, "urn:busgate:bad-request")
    assert (await admin.ask("/livez")).status == 200


async def test_a_connection_that_says_nothing_is_hung_up_on(admin: Admin, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("busgate.ops.admin.HEAD_WAIT", 0.01)

    assert await admin.send(b"GET /livez HTTP/1.1\r\n") == b""


async def test_more_connections_than_an_operator_has_are_hung_up_on(admin: Admin):
    idle = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(PATIENCE):
        while len(admin.server._connections) < CONNECTIONS:
            await asyncio.sleep(0.001)

        refused = await admin.send(b"")
        for _, writer in idle:
            writer.close()
        while admin.server._connections:
            await asyncio.sleep(0.001)

    assert refused == b""
    assert (await admin.ask("/livez")).status == 200


class Ticks:
    """A stream without end."""

    def __init__(self) -> None:
        self.full = False
        self.query: dict[str, str] = {}
        self.closed = asyncio.Event()

    async def events(self, query: Mapping[str, str]) -> AsyncGenerator[str, None]:
        self.query = dict(query)
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.001)
        finally:
            self.closed.set()


@pytest.fixture
def ticks(admin: Admin) -> Ticks:
    admin.server._tap = ticks = Ticks()
    return ticks


async def test_a_tap_is_sent_for_as_long_as_somebody_reads(admin: Admin, ticks: Ticks):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
        writer.write(b"GET /tap?topics=shop.*&bodies=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        events = await reader.readexactly(len(b"data: tick\n\n") * 5)
        writer.close()
        await ticks.closed.wait()

    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    assert b"content-length" not in head.lower()
    assert events == b"data: tick\n\n" * 5
    assert ticks.query == {"topics": "shop.*", "bodies": "1"}


async def test_a_tap_ends_with_the_process(admin: Admin, ticks: Ticks):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
        writer.write(b"GET /tap HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"data: tick")
        await admin.server.close()
        await reader.read()
        writer.close()

    assert ticks.closed.is_set()


async def test_more_taps_than_may_be_open_are_told_so(admin: Admin, ticks: Ticks):
    ticks.full = True

    answer = await admin.ask("/tap")

    assert (answer.status, answer.problem["type"]) == (429, "urn:busgate:too-many-taps")


async def test_there_is_no_tap_where_there_is_a_broker(admin: Admin):
    assert (await admin.ask("/tap")).status == 404


async def test_closing_ends_connections_that_are_open(admin: Admin):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
        writer.write(b"GET /livez HTTP/1.1\r\n")
        while not admin.server._connections:
            await asyncio.sleep(0.001)

        await admin.server.close()

        with suppress(ConnectionResetError):  # what it sent was not read
            assert await reader.read() == b""
        writer.close()


async def test_an_answer_in_flight_is_finished_when_it_closes(admin: Admin):
    asked = asyncio.create_task(admin.ask("/metrics"))
    async with asyncio.timeout(PATIENCE):
        while not admin.server._answering:
            await asyncio.sleep(0)
        await admin.server.close()

    assert (await asked).body == "".join(admin._metrics()).encode()


def test_each_process_has_its_own_port():
    assert [AdminTable(port=9000).port_of(process) for process in range(3)] == [9000, 9001, 9002]
    assert AdminTable(port=0).port_of(2) == 0
    assert AdminTable().port_of(2) is None


async def test_the_keys_of_an_edge_that_signs_are_shown_and_of_no_other(admin: Admin):
    signing = Admin(jwks=lambda: b'{"keys": []}')
    async with signing.server:
        answer = await signing.ask("/jwks")
        head = await signing.ask("/jwks", method="HEAD")

    assert (answer.status, answer.body) == (200, b'{"keys": []}')
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert (head.status, head.body) == (200, b"")
    assert (await admin.ask("/jwks")).status == 404

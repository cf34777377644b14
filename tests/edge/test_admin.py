import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from busgate.edge.admin import AdminServer
from busgate.edge.settings import AdminSettings

PATIENCE = 10.0


class Admin:
    """A running admin listener, with what it is to say."""

    def __init__(self, **how: Any) -> None:
        self.reasons: list[str] = []
        self.server = AdminServer("127.0.0.1", 0, readiness=lambda: self.reasons, metrics=self._metrics, **how)
        self.broken = False
        self.pieces = 1000

    def _metrics(self) -> Iterator[str]:
        for number in range(self.pieces):
            yield f"busgate_up{{n={number}}} 1\n"
        if self.broken:
            raise RuntimeError("secret")

    async def ask(self, target: str, *, method: str = "GET", host: str = "127.0.0.1:8081") -> "Answer":
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            data = await reader.read()
            writer.close()
        return Answer(data)


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


@pytest.mark.parametrize("target", ["/", "/metrics/", "/metrics2", "/livez/../metrics2", "//livez", "/%00"])
async def test_nothing_else_is_there(admin: Admin, target: str):
    answer = await admin.ask(target)

    assert (answer.status, answer.problem["type"]) == (404, "urn:busgate:not-found")


async def test_nothing_can_be_changed(admin: Admin):
    answer = await admin.ask("/livez", method="DELETE")

    assert (answer.status, answer.problem["type"]) == (405, "urn:busgate:method-not-allowed")
    assert answer.headers["allow"] == "GET,HEAD"


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


async def test_a_failure_is_told_without_its_text(admin: Admin, caplog: pytest.LogCaptureFixture):
    admin.broken = True

    answer = await admin.ask("/metrics")

    assert (answer.status, answer.problem["type"]) == (500, "urn:busgate:internal-error")
    assert b"secret" not in answer.body
    assert caplog.messages == ["the admin listener failed"]


async def test_a_taken_port_is_an_os_error_and_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = AdminServer("127.0.0.1", taken.getsockname()[1], readiness=list, metrics=list)

        with pytest.raises(OSError, match="in use"):
            await server.start()


async def test_closing_ends_connections_that_are_open(admin: Admin):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}")

        await admin.server.close()

        assert await reader.read() == b""
        writer.close()


def test_each_process_of_an_edge_has_its_own_port():
    assert [AdminSettings(port=9000).port_of(process) for process in range(3)] == [9000, 9001, 9002]
    assert AdminSettings(port=0).port_of(2) == 0

"""I10: a signed request is taken once by all processes of an edge together, and never again after a restart."""

import asyncio
import http.client
import json
import secrets
from pathlib import Path

import pytest
from support.command import Start
from support.faults.processes import Process
from support.management import Vhost
from support.redis_node import RedisNode

from busgate.contracts import Call, Catalog, Nothing
from busgate.contracts import http as routes
from busgate.contracts.signing import Signer
from busgate.edge.settings import EdgeSettings, faults_with

SECRET = secrets.token_urlsafe(32)
PROCESSES, TIMES = 3, 24


def send(port: int, headers: dict[str, str]) -> int:
    """On a connection of its own, so that any process may get it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/greetings/you", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_signed_request_is_taken_once_by_all_processes_and_restarts(
    kind: str, folder: Path, start: Start, vhost: Vhost, free_ports: list[int], redis_node: RedisNode
) -> None:
    contracts = (folder / "hello" / "contracts.py").read_text().replace("public=True", "scopes={'greet'}")
    (folder / "hello" / "contracts.py").write_text(contracts)
    store = f"sqlite://{folder}/store.db" if kind == "sqlite" else redis_node.url
    key = {"keyid": "k", "subject": "shop", "secret": SECRET, "scopes": ["greet"]}
    environ = {
        "BUSGATE_EDGE__STORE__URL": store,
        "BUSGATE_EDGE__STORE__PREFIX": f"{secrets.token_hex(8)}:",
        "BUSGATE_EDGE__SIGNATURE__KEYS": json.dumps([key]),
    }
    port = free_ports[0]

    async def edge() -> Process:
        arguments = ("--bus", vhost.url, f"--port={port}", "--admin-port=0", f"--processes={PROCESSES}")
        started = await start("edge", "hello.contracts", *arguments, **environ)
        await started.until("edge ready", number=PROCESSES)
        return started

    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
    await worker.until("worker ready")
    first = await edge()
    signer = Signer("k", SECRET)
    url = f"http://127.0.0.1:{port}/greetings/you"
    signed = [signer.headers("GET", url) for _ in range(3)]
    answers = [
        await asyncio.gather(*(asyncio.to_thread(send, port, headers) for _ in range(TIMES))) for headers in signed
    ]
    await first.stop()
    await edge()
    again = [await asyncio.to_thread(send, port, headers) for headers in signed * 2]
    anew = await asyncio.to_thread(send, port, signer.headers("GET", url))

    assert [sorted(statuses) for statuses in answers] == [[200] + [401] * (TIMES - 1)] * 3
    assert again == [401] * 6
    assert anew == 200


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({}, "edge.signature: with memory:// a restart forgets the nonces"),
        ({"processes": 2}, "edge.store.url: 2 processes would each count the nonces of signatures on their own"),
        ({"store": {"url": "sqlite:///tmp/store.db"}}, None),
    ],
)
def test_an_edge_that_would_forget_nonces_says_so_and_does_not_start(
    more: dict[str, object], fault: str | None
) -> None:
    keys = [{"keyid": "k", "subject": "shop", "secret": SECRET}]
    ping = Call("test.ping.v1", routes.get("/ping", status=204), request=Nothing, reply=Nothing)
    settings = EdgeSettings.model_validate({"signature": {"keys": keys}} | more)
    allowed = settings.model_copy(
        update={"processes": 1, "signature": settings.signature.model_copy(update={"forget_nonces": True})}
    )

    faults = faults_with(settings, Catalog([ping]))

    assert [each[: len(fault or "")] for each in faults] == ([] if fault is None else [fault])
    assert faults_with(allowed, Catalog([ping])) == []

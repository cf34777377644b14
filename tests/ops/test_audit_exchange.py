"""The audit of an edge over a real RabbitMQ, read by the command as it comes."""

import asyncio
import json
import signal
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from support.command import Run, Start
from support.management import Vhost

SERVICE = "hello.services:greeter"


def get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        body: bytes = answer.read()
    return body


async def test_records_of_an_edge_are_heard_and_its_exchange_is_in_the_topology(
    start: Start, run: Run, folder: Path, vhost: Vhost, free_ports: list[int]
) -> None:
    environ = {"BUSGATE_BUS__URL": vhost.url, "BUSGATE_EDGE__AUDIT__TO": "exchange"}
    port, admin = free_ports
    worker = await start("worker", SERVICE, **environ)
    edge = await start("edge", "hello.contracts", f"--port={port}", f"--admin-port={admin}", **environ)
    await worker.until("worker ready")
    await edge.until("edge ready")
    listener = await start("audit", "--json", "--bus", vhost.url)

    asking = asyncio.create_task(_ask_until(listener.until("audit"), f"http://127.0.0.1:{port}/greetings/ann"))
    told = json.loads(await asking)
    listener.signal(signal.SIGINT)
    code = await listener.ended()
    topology = await asyncio.to_thread(run, "topology", "hello.contracts", "--json", **environ)

    assert (told["topic"], told["variables"], told["decision"]) == ("hello.greet.v1", {"name": "ann"}, "allowed")
    assert code == 130
    assert {"busgate.audit": "present"}.items() <= {
        part["name"]: part["state"] for part in json.loads(topology.stdout)
    }.items()


async def _ask_until(heard: Coroutine[Any, Any, str], url: str) -> str:
    """Call until somebody who listens has heard of it: when that begins, nobody outside can tell."""
    waiting = asyncio.ensure_future(heard)
    while not waiting.done():
        await asyncio.to_thread(get, url)
        await asyncio.wait({waiting}, timeout=0.2)
    return waiting.result()


def test_on_the_embedded_bus_there_is_no_exchange(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        '[bus]\nurl = "memory://"\n[edge]\ncontracts = "hello.contracts"\n[edge.audit]\nto = "exchange"\n'
    )

    told = run("dev")

    assert told.returncode != 0
    assert "the embedded bus has no exchange for audit records; choose a file" in told.stderr


def test_a_vhost_without_the_exchange_is_told_in_one_line(run: Run, vhost: Vhost) -> None:
    told = run("audit", "--bus", vhost.url)

    assert told.returncode == 2
    assert "no exchange 'busgate.audit'" in told.stderr
    assert told.stderr.count("\n") == 1


async def test_two_processes_share_a_file_that_is_rotated_and_lose_no_record(
    start: Start, folder: Path, vhost: Vhost, free_ports: list[int]
) -> None:
    file, old = folder / "audit.jsonl", folder / "audit.1"
    audit = {"to": "file", "file": str(file), "loss": "never"}
    environ = {"BUSGATE_BUS__URL": vhost.url, "BUSGATE_EDGE__AUDIT": json.dumps(audit)}
    port, admin = free_ports
    worker = await start("worker", SERVICE, **environ)
    edge = await start(
        *("edge", "hello.contracts", "--processes=2", f"--port={port}", f"--admin-port={admin}"), **environ
    )
    await worker.until("worker ready")
    await edge.until("edge ready", number=2)

    first = await asyncio.gather(
        *(asyncio.to_thread(get, f"http://127.0.0.1:{port}/greetings/a{n}") for n in range(60))
    )
    await asyncio.to_thread(file.rename, old)
    more = await asyncio.gather(*(asyncio.to_thread(get, f"http://127.0.0.1:{port}/greetings/b{n}") for n in range(60)))
    code = await edge.stop()
    told = [json.loads(line) for path in (old, file) for line in path.read_bytes().splitlines()]

    assert code == 0
    assert len(first) == len(more) == 60
    names = sorted(record["variables"]["name"] for record in told)
    assert names == sorted(f"{letter}{n}" for letter in "ab" for n in range(60))
    assert len({record["edge"] for record in told}) == 2

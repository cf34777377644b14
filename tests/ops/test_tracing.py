"""Tracing as an operator turns it on: by one setting, and at no cost where it is not there."""

import asyncio
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.collector import Collector
from support.command import Run, Start
from support.management import Vhost

from busgate.ops.faults import CommandError
from busgate.ops.settings import TracingSettings
from busgate.ops.tracing import tracing

SERVE = """\
import asyncio, socket, sys
from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Catalog
from busgate.ops.edge_process import Place, serve_edge
from busgate.ops.edge_settings import Settings
from busgate.ops.tracing import tracing
from busgate.workers import load_services, run_worker

async def main():
    settings = Settings.model_validate({{"tracing": {table}, "log": {{"calls": False}}, "edge": {{"admin": {{"port": 0}}}}}})
    broker, stop, ready = EmbeddedBroker(), asyncio.Event(), asyncio.Event()
    with tracing(settings.tracing) as spans:
        services = load_services(["hello.services:greeter"])
        work = asyncio.create_task(
            run_worker(services, Bus(broker, name="worker"), stop=stop, ready=ready.set, spans=spans)
        )
        await ready.wait()
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.Event()
        edge = asyncio.create_task(serve_edge(
            settings, Catalog.load(["hello.contracts"]), Bus(broker, name="edge"),
            place=Place(listener), stop=stop, ready=serving.set, spans=spans,
        ))
        await serving.wait()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /greetings/you HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        stop.set()
        await asyncio.gather(work, edge)
    print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {{"opentelemetry", "requests"}}), file=sys.stderr)
asyncio.run(main())
"""


def imported(folder: Path, table: str) -> set[str]:
    """What of tracing is there after an edge and a worker served a call."""
    script = SERVE.format(table=table)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_off_nothing_of_it_is_imported(folder: Path) -> None:
    assert imported(folder, "{}") == set()


@pytest.mark.slow
def test_on_it_is(folder: Path) -> None:
    assert "opentelemetry" in imported(folder, '{"endpoint": "http://127.0.0.1:1/v1/traces"}')


async def greet(port: int) -> str:
    def ask() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/greetings/you", timeout=10) as response:
            return str(response.headers["X-Request-Id"])

    return await asyncio.to_thread(ask)


async def test_one_setting_turns_it_on_for_edge_and_worker(start: Start, vhost: Vhost, free_port: int) -> None:
    async with Collector() as collector:
        environ = {"BUSGATE_TRACING__ENDPOINT": collector.endpoint}
        worker = await start("worker", "hello.services:greeter", "--bus", vhost.url, **environ)
        await worker.until("worker ready")
        arguments = ("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0")
        edge = await start(*arguments, **environ)
        await edge.until("edge ready")
        request_id = await greet(free_port)
        for process in (edge, worker):
            process.signal(signal.SIGTERM)
        codes = [await edge.ended(), await worker.ended()]
        await collector.until(4)

    assert codes == [0, 0]
    assert collector.traces == {request_id}
    assert sorted(collector.spans) == [
        ("busgate-edge", "GET /greetings/{name}"),
        ("busgate-edge", "call hello.greet.v1"),
        ("greeter", "process hello.greet.v1"),
        ("greeter", "queue hello.greet.v1"),
    ]


@pytest.mark.slow
async def test_a_collector_that_is_gone_costs_log_lines_and_no_call(start: Start, vhost: Vhost, free_port: int) -> None:
    environ = {"BUSGATE_TRACING__ENDPOINT": "http://127.0.0.1:1/v1/traces"}
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url, **environ)
    await worker.until("worker ready")
    arguments = ("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0")
    edge = await start(*arguments, **environ)
    await edge.until("edge ready")
    for _ in range(20):
        await greet(free_port)
    edge.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)

    assert [await edge.ended(), await worker.ended()] == [0, 0]
    assert sum('"status":200' in line for line in edge.lines) == 20
    assert "Traceback" not in edge.output


def test_check_finds_what_is_wrong_with_it(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text('[tracing]\nendpoint = "localhost:4318"\nratio = 2\n')

    done = run("check", "hello.contracts")

    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            "busgate: busgate.toml:2: tracing.endpoint: must be an address like https://host/path",
            "busgate: busgate.toml:3: tracing.ratio: must be 0 to 1 (is 2)",
        ],
    )


def test_who_has_not_installed_it_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busgate.ops.tracing.find_spec", lambda _name: None)

    with pytest.raises(CommandError) as caught, tracing(TracingSettings(endpoint="http://localhost:4318/v1/traces")):
        raise AssertionError

    assert caught.value.faults == ["tracing.endpoint: OpenTelemetry is not installed: pip install 'busgate[tracing]'"]

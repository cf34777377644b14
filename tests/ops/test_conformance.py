"""`busgate conformance` as people run it: on good workers in two languages, on one that hangs, and on nothing at all."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.command import Run, Start
from support.faults.processes import Process
from support.management import Vhost
from support.node_service import start_node_service
from support.plain_worker import PlainWorker
from support.proxy import FaultProxy

from busgate.bus import Topology
from busgate.bus.settings import BusSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
TOPIC = "shop.stock.check.v1"
REQUEST = '{"sku":"A-1"}'

Started = Callable[..., Awaitable[Process]]


async def prepare(vhost: Vhost) -> None:
    [address] = BusSettings(url=vhost.url).addresses()
    async with Topology(address) as topology:
        await topology.make([TOPIC])


async def drained(conformance: Process, worker: Process) -> int:
    """Stop the worker when the command asks for it; the exit code of the command."""
    await conformance.until("stop the worker now")
    worker.signal(signal.SIGTERM)
    return await conformance.ended(limit=60)


@pytest.mark.slow
async def test_the_python_worker_conforms(start: Start, vhost: Vhost, folder: Path) -> None:
    environ = {"PYTHONPATH": str(EXAMPLES), "SHOP_DB": str(folder / "shop.db")}
    worker = await start("worker", "shop.services:inventory", "--bus", vhost.url, "--log-format", "text", **environ)
    await worker.until("worker ready")

    conformance = await start(
        "conformance", vhost.url, TOPIC, "--contracts", "shop.contracts", "--drain", PYTHONPATH=str(EXAMPLES)
    )
    code = await drained(conformance, worker)

    assert "FAIL" not in conformance.output
    assert conformance.lines[-1] == f"service inventory on {TOPIC}: 42 passed, 0 failed, 0 not tested"
    assert code == 0
    assert await worker.ended() == 0


@pytest.mark.slow
async def test_the_worker_in_node_conforms(start: Start, vhost: Vhost, node_service: None) -> None:
    worker = await start_node_service(vhost.url, name="inventory-node")
    try:
        conformance = await start(
            "conformance", vhost.url, TOPIC, "--request", REQUEST, "--redelivery", "run", "--drain"
        )
        code = await drained(conformance, worker)
        stopped = await worker.ended()
    finally:
        await worker.kill()

    assert "FAIL" not in conformance.output
    assert conformance.lines[-1] == f"service inventory-node on {TOPIC}: 42 passed, 0 failed, 0 not tested"
    assert (code, stopped) == (0, 0)


async def test_a_worker_that_hangs_ends_in_bounded_time_and_with_code_1(start: Start, vhost: Vhost) -> None:
    await prepare(vhost)
    async with PlainWorker(vhost.url, TOPIC, "silent"):
        conformance = await start("conformance", vhost.url, TOPIC, "--request", REQUEST, "--timeout", "0.3", "--json")
        code = await conformance.ended(limit=20)

    report = json.loads(conformance.output)
    states = [check["state"] for check in report["checks"]]
    assert (code, report["conforms"], report["topic"]) == (1, False, TOPIC)
    assert (states[0], set(states[1:])) == ("failed", {"skipped"})


@pytest.mark.slow
async def test_a_fault_is_shown_with_its_reason(start: Start, vhost: Vhost, folder: Path) -> None:
    await prepare(vhost)
    (folder / "request.json").write_text(REQUEST)
    async with PlainWorker(vhost.url, TOPIC, "crashes"):
        conformance = await start(
            "conformance", vhost.url, TOPIC, "--request", str(folder / "request.json"), "--timeout", "0.3"
        )
        await conformance.until("good calls are answered")
        conformance.signal(signal.SIGKILL)
        await conformance.ended()

    assert conformance.lines[0].split() == [
        "FAIL",
        *["good", "calls", "are", "answered", "answered", "urn:busgate:handler-crashed"],
    ]


@pytest.mark.slow
async def test_what_cannot_be_tested_is_one_line_and_code_2(run: Run, vhost: Vhost) -> None:
    await prepare(vhost)

    def said(*arguments: str) -> str:
        done = run("conformance", *arguments, PYTHONPATH=str(EXAMPLES))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        return done.stderr

    contracts = "--contracts", "shop.contracts"
    assert "no request to try it with" in said(vhost.url, TOPIC)
    assert "nobody consumes it" in said(vhost.url, TOPIC, "--request", REQUEST)
    assert "there is no such queue" in said(vhost.url, "shop.nothing.v1", "--request", "{}")
    assert "did you mean shop.stock.check.v1?" in said(vhost.url, "shop.stock.chek.v1", *contracts)
    assert "#/sku: String should match" in said(vhost.url, TOPIC, *contracts, "--request", '{"sku":"a"}')
    assert "not JSON" in said(vhost.url, TOPIC, "--request", "{")
    assert "nope: cannot be read" in said(vhost.url, TOPIC, "--request", "nope")
    assert "refuses this vhost" in said(vhost.url + "x", TOPIC, "--request", REQUEST)
    assert "needs a RabbitMQ" in said("memory://", TOPIC, "--request", REQUEST)
    assert "broker amqp://guest@localhost:1/" in said("amqp://localhost:1/", TOPIC, "--request", REQUEST)


async def test_two_workers_on_the_topic_are_refused(run: Run, vhost: Vhost) -> None:
    await prepare(vhost)
    async with PlainWorker(vhost.url, TOPIC), PlainWorker(vhost.url, TOPIC):
        done = await asyncio.to_thread(run, "conformance", vhost.url, TOPIC, "--request", REQUEST)

    assert done.returncode == 2
    assert "it has 2 consumers; test one alone" in done.stderr


async def test_a_broker_that_goes_in_the_middle_is_one_line_and_code_2(start: Start, vhost: Vhost) -> None:
    await prepare(vhost)
    url = urlsplit(vhost.url)
    async with (
        FaultProxy(url.hostname or "", url.port or 0) as proxy,
        PlainWorker(vhost.url, TOPIC, "silent"),
    ):
        conformance = await start(
            "conformance", proxy.url(vhost.url), TOPIC, "--request", REQUEST, "--timeout", "5", PYTHONUNBUFFERED="1"
        )
        async with asyncio.timeout(20):
            while len(await vhost.queues()) < 3:  # its two reply queues beside the topic's
                await asyncio.sleep(0.05)
        proxy.refuse()
        proxy.reset_all()
        code = await conformance.ended(limit=30)

    assert (code, len(conformance.lines)) == (2, 1), conformance.output
    assert conformance.lines[0].startswith("busgate: broker amqp://")


async def test_ctrl_c_in_the_middle_leaves_nothing_behind(start: Start, vhost: Vhost) -> None:
    await prepare(vhost)
    async with PlainWorker(vhost.url, TOPIC, "silent"):
        conformance = await start("conformance", vhost.url, TOPIC, "--request", REQUEST, "--timeout", "60")
        async with asyncio.timeout(20):
            while len(await vhost.queues()) < 3:  # its two reply queues beside the topic's
                await asyncio.sleep(0.05)
        conformance.signal(signal.SIGINT)
        code = await conformance.ended(limit=15)

    assert (code, conformance.output) == (130, "")
    assert list(await vhost.queues()) == [TOPIC]

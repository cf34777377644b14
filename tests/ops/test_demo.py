"""`busgate demo`: the printed lines work when pasted, in their order, and Ctrl-C leaves nothing behind."""

import asyncio
import http.client
import json
import shlex
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.command import Run, Start
from support.faults.processes import Process
from support.management import Vhost

from busgate.ops.demo_shop import shop_folder

Answer = tuple[int, dict[str, Any]]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


async def printed(demo: Process) -> list[str]:
    """The command lines of a demo that is ready."""
    await demo.until("Ctrl-C ends the demo")
    return [line for line in demo.lines if line.startswith("curl ")]


async def paste(line: str) -> Answer:
    """Do what curl would do; the status and the document."""
    _, flag, url, *pairs = shlex.split(line)
    options = list(zip(pairs[::2], pairs[1::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    body = next((value for name, value in options if name == "-d"), None)
    assert flag == "-i"

    def ask() -> Answer:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        connection.request("POST" if body else "GET", urlsplit(url).path, body, headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        connection.close()
        return answer.status, document

    return await asyncio.to_thread(ask)


async def shop(demo: Process) -> list[Answer]:
    """Paste all lines; the statuses and documents."""
    return [await paste(line) for line in await printed(demo)]


def assert_shop_works(answers: list[Answer]) -> None:
    assert [status for status, _ in answers] == [201, 200, 409]
    assert answers[0][1] == answers[1][1] == {"id": 1, "sku": "A-1", "quantity": 2}
    assert (answers[2][1]["sku"], answers[2][1]["available"], answers[2][1]["outcome"]) == ("B-2", 0, "executed")


async def test_the_shop_on_the_embedded_bus(start: Start) -> None:
    demo = await start("demo")

    answers = await shop(demo)

    assert_shop_works(answers)
    await demo.until("out-of-stock (executed)")
    calls = [line.split()[1:6] for line in demo.lines if " total " in line]
    assert calls == [
        ["POST", "/orders", "201", "shop.orders.place.v1", "orders"],
        ["GET", "/orders/1", "200", "shop.orders.read.v1", "orders"],
        ["POST", "/orders", "409", "shop.orders.place.v1", "orders"],
    ]
    demo.signal(signal.SIGINT)
    assert await demo.ended() == 0
    assert "Traceback" not in demo.output


@pytest.mark.slow
async def test_the_shop_on_a_rabbitmq(start: Start, vhost: Vhost) -> None:
    demo = await start("demo", "--bus", vhost.url)

    answers = await shop(demo)
    demo.signal(signal.SIGINT)
    code = await demo.ended()

    assert_shop_works(answers)
    assert code == 0
    assert "Traceback" not in demo.output
    assert await vhost.connections() == []
    queues = await vhost.queues()
    assert set(queues) == {"shop.orders.place.v1", "shop.orders.read.v1", "shop.stock.check.v1"}
    assert all(queue["arguments"]["x-expires"] for queue in queues.values())


async def test_a_second_demo_takes_other_ports(start: Start) -> None:
    first = await start("demo")
    await first.until("address: ")
    second = await start("demo")

    answers = await shop(second)

    assert_shop_works(answers)
    addresses = {await each.until("address: ") for each in (first, second)}
    assert len(addresses) == 2


async def test_a_port_that_was_asked_for_is_not_replaced(run: Run, taken: int) -> None:
    done = await asyncio.to_thread(run, "demo", "--port", str(taken))

    assert done.stderr == f"busgate: port: 127.0.0.1:{taken} is taken by another program\n"
    assert done.returncode == 2


async def test_a_broker_that_cannot_be_reached_is_told_once(run: Run, free_port: int) -> None:
    done = await asyncio.to_thread(run, "demo", "--bus", f"amqp://127.0.0.1:{free_port}")

    (line,) = done.stderr.splitlines()
    assert line.startswith(f"busgate: broker amqp://guest@127.0.0.1:{free_port}/: ")
    assert (done.returncode, done.stdout) == (2, "")


async def test_the_file_of_somebodys_own_gateway_is_left_alone(start: Start, folder: Path) -> None:
    (folder / "busgate.toml").write_text("this is not TOML")

    demo = await start("demo")

    assert await demo.until("address: ")


async def test_a_shop_of_ones_own_does_not_stand_in_for_that_of_the_demo(start: Start, folder: Path) -> None:
    write(folder / "shop" / "contracts.py", "raise SystemExit('another shop')")

    demo = await start("demo")

    assert await demo.until("address: ")


def test_the_shop_is_found() -> None:
    assert (shop_folder() / "shop" / "services.py").is_file()

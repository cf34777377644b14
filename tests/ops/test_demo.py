"""`busgate demo`: the printed lines work when pasted, in their order, and Ctrl-C leaves nothing behind."""

import asyncio
import http.client
import json
import shlex
import signal
import urllib.request
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


async def look(line: str) -> str:
    """What stands at the address that a line ends with."""
    address = line.rpartition(" ")[2]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # none finds this machine's loopback
    return await asyncio.to_thread(lambda: str(opener.open(address, timeout=20).read().decode()))


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


async def test_the_embedded_bus_is_tapped_from_another_terminal(start: Start) -> None:
    demo = await start("demo")
    lines = await printed(demo)
    command = shlex.split(await demo.until("tap --bodies --admin"))
    tap = await start(*command[1:], "--json", "--count", "2")
    await tap.until("tapping shop.orders.place.v1, shop.orders.read.v1, shop.stock.check.v1")

    answer = await paste(lines[0])

    assert answer[0] == 201
    assert await tap.ended() == 0
    inner, outer = (json.loads(line) for line in tap.lines if line.startswith("{"))
    assert (inner["topic"], outer["topic"]) == ("shop.stock.check.v1", "shop.orders.place.v1")
    assert (outer["request"], outer["reply"]) == ({"sku": "A-1", "quantity": 2}, answer[1])
    assert inner["call"] != outer["call"]
    assert inner["trace"] == outer["trace"] == outer["call"]  # what --call finds both by
    assert await demo.until(f"ms  {outer['call']}")


async def test_a_tap_of_the_embedded_bus_says_what_there_is_when_nothing_is_like_it(start: Start) -> None:
    demo = await start("demo")
    await printed(demo)
    command = shlex.split(await demo.until("tap --bodies --admin"))

    tap = await start(*command[1:], "shop.order.*")
    await tap.until("no topic is like")
    tap.signal(signal.SIGINT)

    assert await tap.ended() == 130
    (line,) = tap.lines
    assert line.startswith("no topic is like 'shop.order.*' and has a worker; there are: shop.orders.place.v1, ")


async def test_a_tap_at_the_public_port_asks_for_the_admin_listener(start: Start) -> None:
    demo = await start("demo")
    lines = await printed(demo)
    public = urlsplit(shlex.split(lines[0])[2]).netloc

    tap = await start("tap", "--admin", f"http://{public}")

    assert await tap.ended() == 2
    (line,) = tap.lines
    assert "404: is that the admin listener? By default it is http://127.0.0.1:8081" in line


async def test_a_tap_ends_when_the_demo_does(start: Start) -> None:
    demo = await start("demo")
    await printed(demo)
    tap = await start(*shlex.split(await demo.until("tap --bodies --admin"))[1:])
    await tap.until("tapping")

    demo.signal(signal.SIGINT)

    assert await tap.ended() == 2
    assert tap.lines[-1].startswith("busgate: ")
    assert "Traceback" not in tap.output


async def test_the_demo_says_where_its_documentation_is(start: Start) -> None:
    demo = await start("demo")
    line = await demo.until("documentation")

    page = await look(line)

    assert "<title>Example shop</title>" in page
    assert "Two of what is in stock" in page


@pytest.mark.slow
async def test_the_shop_on_a_rabbitmq(start: Start, vhost: Vhost) -> None:
    demo = await start("demo", "--bus", vhost.url)

    answers = await shop(demo)
    listed = await look(await demo.until("for the operator"))
    demo.signal(signal.SIGINT)
    code = await demo.ended()

    assert_shop_works(answers)
    assert "/readyz" in listed
    assert code == 0
    assert "Traceback" not in demo.output
    await vhost.until_nobody()
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

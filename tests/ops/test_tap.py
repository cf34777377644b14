"""`busgate tap`, as an operator types it, on edges and workers of their own processes."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from support.command import COMMAND, Run
from support.house import House


@pytest.mark.slow
async def test_tap_shows_calls_as_they_happen_and_ends_by_count(house: House) -> None:
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "hello.*", "--bus", house.vhost.url, "--json", "--bodies", "--count", "2")
    await tap.until("tapping hello.greet.v1")

    await house.keep_calling(while_true=tap)

    seen = [json.loads(line) for line in tap.lines if line.startswith("{")]
    assert await tap.ended() == 0
    assert [(each["topic"], each["result"], each["service"]) for each in seen] == [
        ("hello.greet.v1", "reply", "greeter")
    ] * 2
    assert seen[0]["request"] == {"name": "ann"}
    assert seen[0]["queue_ms"] >= 0
    assert seen[0]["total_ms"] >= seen[0]["ran_ms"] >= 0


@pytest.mark.slow
async def test_tap_ends_on_its_own_and_filters_what_is_not_asked_for(house: House) -> None:
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "--bus", house.vhost.url, "--json", "--status", "5xx", "--for", "4s")

    await house.keep_calling(while_true=tap)

    assert await tap.ended() == 0
    assert [line for line in tap.lines if line.startswith("{")] == []


@pytest.mark.slow
async def test_a_secret_is_masked_in_a_tap(house: House, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    text = module.read_text().replace("name: str", "name: Annotated[str, Secret()]")
    text = text.replace(
        "from busgate.contracts import Call, http",
        "from typing import Annotated\n\nfrom busgate.contracts import Call, Secret, http",
    )
    module.write_text(text)
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "--bus", house.vhost.url, "--bodies", "--count", "1")
    await tap.until("tapping")

    await house.keep_calling(while_true=tap)

    assert '-> {"name": "***"}' in tap.output
    assert "ann" not in tap.output


@pytest.mark.slow
async def test_a_tap_that_nobody_reads_on_ends_like_all_output(house: House, folder: Path) -> None:
    """`busgate tap | head -1`"""
    await house.edge()
    await house.worker()
    reading, writing = os.pipe()
    tap = await asyncio.create_subprocess_exec(
        *COMMAND, "tap", "--bus", house.vhost.url, "--json", stdout=writing, stderr=asyncio.subprocess.PIPE, cwd=folder
    )
    os.close(writing)
    assert tap.stderr is not None
    said = await tap.stderr.readline()

    os.close(reading)
    async with asyncio.timeout(20):
        while tap.returncode is None:
            await house.call()

    assert said == b"tapping hello.greet.v1\n"
    assert (tap.returncode, await tap.stderr.read()) == (141, b"")


@pytest.mark.slow
async def test_a_tap_of_what_is_not_there_says_what_there_is(house: House) -> None:
    await house.worker()

    tap = await house.start("tap", "helo.*", "--bus", house.vhost.url)
    await tap.until("no topic is like")
    tap.signal(signal.SIGINT)

    assert await tap.ended() == 130
    (line,) = tap.lines
    assert line.startswith("no topic is like 'helo.*' and has a worker; there are: hello.greet.v1. Waiting")


@pytest.mark.slow
async def test_a_tap_of_a_contract_without_a_worker_says_so_and_sees_it_come(house: House) -> None:
    await house.edge()
    tap = await house.start("tap", "hello.*", "--bus", house.vhost.url)

    line = await tap.until("Waiting")
    await house.worker()

    assert line == "hello.greet.v1: no worker and no queue is there. Waiting; Ctrl-C ends it"
    assert await tap.until("tapping hello.greet.v1")


@pytest.mark.slow
async def test_a_call_is_followed_by_the_id_that_a_tap_shows(house: House) -> None:
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "--bus", house.vhost.url, "--count", "1")
    await tap.until("tapping")
    await house.keep_calling(while_true=tap)
    head = next(line for line in tap.lines if line.startswith("TIME"))
    line = next(line for line in tap.lines if "  hello.greet.v1  " in line)
    short = line[head.index("CALL") :].split()[0]

    other = await house.start("tap", "--bus", house.vhost.url, "--json", "--call", short, "--for", "8s")
    await house.keep_calling(while_true=other)

    assert len(short) == 12
    assert [line for line in other.lines if line.startswith("{")] == []
    assert re.search(r"^[1-9]\d* calls seen, 0 shown; unpaired \d+, dropped 0, ", other.output, re.MULTILINE)


@pytest.mark.slow
async def test_the_recipe_of_the_page_follows_one_call(house: House, folder: Path) -> None:
    await house.edge()
    await house.worker()
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```sh\n(busgate tap .*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown_port = "127.0.0.1:8080"
    assert shown_port in recipe
    environ = os.environ | {
        "BUSGATE_BUS__URL": house.vhost.url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "no_proxy": "*",
    }

    done = await asyncio.create_subprocess_exec(
        "bash", "-c", recipe.replace(shown_port, f"127.0.0.1:{house.port}"),
        cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await done.communicate()

    (line,) = out.decode().splitlines()
    assert (done.returncode, json.loads(line)["topic"]) == (0, "hello.greet.v1"), err.decode()


@pytest.mark.slow
async def test_a_tap_whose_broker_goes_says_so_in_one_line(house: House) -> None:
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "--bus", house.vhost.url)
    await tap.until("tapping")

    while tap.alive:  # the management API tells of a connection a moment after it was opened
        await house.vhost.management.close_connections(house.vhost.name)

    assert await tap.ended() == 2
    said = [line for line in tap.lines if not line.startswith(("TIME", "tapping"))]
    assert len(said) == 2
    assert said[0].startswith("0 calls seen, 0 shown;")
    assert said[1].startswith("busgate: ")


@pytest.mark.slow
async def test_ctrl_c_ends_a_tap_and_leaves_nothing_behind(house: House) -> None:
    await house.edge()
    await house.worker()
    tap = await house.start("tap", "--bus", house.vhost.url)
    await tap.until("tapping")

    tap.signal(signal.SIGINT)

    assert await tap.ended() == 130
    async with asyncio.timeout(10):
        while any(".tap-" in name for name in await house.vhost.queues()):
            await asyncio.sleep(0.1)
    assert not any("Traceback" in line for line in tap.lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--status", "fine"],
            "--status 'fine': say reply, problem, none, unseen, refused, 4xx, 5xx, or a status like 409",
        ),
        (["--slower-than", "long"], "--slower-than 'long': a length of time is needed"),
        (["--call", "7"], "--call '7': 8 to 32 hex digits are needed"),
        (["--for", "-1"], "--for"),
        (["--count", "many"], "--count"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_filter_that_makes_no_sense_is_one_line(run: Run, arguments: list[str], says: str) -> None:
    done = run("tap", "--bus", "amqp://127.0.0.1:9", *arguments)

    assert done.returncode == 2
    assert says in done.stderr

"""`busgate call`: the reply on stdout, all about it on stderr, and an exit code for each way a call can end."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from support.command import COMMAND, Run, Start
from support.management import Vhost

from busgate.bus import Bus, Delivery, RabbitBroker
from busgate.bus.settings import BusSettings

TOPIC = "hello.greet.v1"


class Call(Protocol):
    async def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]: ...


class Desk:
    """A worker that answers by what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Delivery] = []
        self.hangs = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> tuple[bytes, bytes]:
        self.asked.append(delivery)
        document = json.loads(delivery.message.body)
        match document.get("name"):
            case "problem":
                problem = {
                    "type": "urn:problem:closed",
                    "title": "Closed\x1b[31m",
                    "status": 409,
                    "outcome": "executed",
                }
                return b"problem", json.dumps(problem | {"detail": "come back later", "until": "noon"}).encode()
            case "crash":
                return b"problem", b'{"type":"urn:busgate:handler-crashed","status":200,"outcome":"executed"}'
            case "foreign":
                return b"problem", b'{"type":"urn:busgate:no-route"}'
            case "wrong":
                return b"reply", b'{"nome":"x"}'
            case "hang":
                self.hangs.set()
                await asyncio.sleep(60)
        return b"reply", delivery.message.body


@pytest.fixture
async def desk(vhost: Vhost) -> AsyncIterator[Desk]:
    desk = Desk()
    worker = Bus(RabbitBroker(BusSettings(url=vhost.url).addresses()), name="desk")
    worker.serve(TOPIC, desk, prefetch=4, reruns=True, service="desk")
    async with worker:
        yield desk


@pytest.fixture
def call(folder: Path, vhost: Vhost) -> Call:
    """Run `busgate call TOPIC ...` while the worker of this process goes on."""

    async def call(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run, [*COMMAND, "call", *arguments, "--bus", vhost.url],
            cwd=folder, input=stdin or "", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return call


async def test_the_reply_goes_to_stdout_and_its_times_to_stderr(call: Call, desk: Desk) -> None:
    done = await call(TOPIC, '{"name": "Ada"}')

    assert (done.returncode, json.loads(done.stdout)) == (0, {"name": "Ada"})
    assert done.stderr.startswith("busgate: desk answered in ")
    assert done.stderr.count("\n") == 1


async def test_without_contracts_it_sends_what_it_is_given(call: Call, desk: Desk) -> None:
    await call(TOPIC, '{ "whatever":1 }')

    assert desk.asked[0].message.body == b'{ "whatever":1 }'


@pytest.mark.parametrize("way", ["file", "stdin", "dash"])
async def test_a_request_may_come_from_a_file_or_a_pipe(call: Call, desk: Desk, folder: Path, way: str) -> None:
    (folder / "request.json").write_text('{"name":"Ada"}')
    arguments = {"file": ["--file", "request.json"], "stdin": [], "dash": ["-"]}[way]

    done = await call(TOPIC, *arguments, stdin='{"name":"Ada"}')

    assert json.loads(done.stdout) == {"name": "Ada"}


async def test_json_has_the_whole_of_a_reply(call: Call, desk: Desk) -> None:
    done = await call(TOPIC, '{"name":"Ada"}', "--json")

    document = json.loads(done.stdout)
    assert (document["type"], document["service"], document["body"]) == ("reply", "desk", {"name": "Ada"})
    assert document["call"] == desk.asked[0].context.call_id.decode()
    assert 0 <= document["ran_ms"] <= document["took_ms"]
    assert document["queued_ms"] <= document["took_ms"]
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_problem_is_readable_and_cannot_reach_the_terminal(call: Call, desk: Desk) -> None:
    done = await call(TOPIC, '{"name":"problem"}')

    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert lines[0] == r"busgate: 409 Closed\x1b[31m: come back later"
    assert [line.split() for line in lines[1:4]] == [
        ["type", "urn:problem:closed"],
        ["outcome", "executed"],
        ["until", "noon"],
    ]


@pytest.mark.parametrize(
    ("name", "kind", "outcome"),
    [("crash", "handler-crashed", "unknown"), ("foreign", "bad-reply", "unknown")],
)
async def test_failures_of_a_worker_have_our_outcome_and_not_its_own(
    call: Call, desk: Desk, name: str, kind: str, outcome: str
) -> None:
    done = await call(TOPIC, json.dumps({"name": name}), "--json")

    document = json.loads(done.stdout)
    assert (done.returncode, document["type"], document["service"]) == (1, "problem", "desk")
    assert (document["body"]["type"], document["body"]["outcome"]) == (f"urn:busgate:{kind}", outcome)


async def test_no_reply_in_time_and_no_queue_are_problems_with_their_outcome(call: Call, desk: Desk) -> None:
    silent, nowhere = await asyncio.gather(
        call(TOPIC, '{"name":"hang"}', "--timeout", "0.3"), call("hello.nobody.v1", "{}")
    )

    assert (silent.returncode, nowhere.returncode) == (1, 1)
    assert "No reply in time" in silent.stderr
    assert "unknown" in silent.stderr
    assert "not_executed" in nowhere.stderr
    assert "no reply, after" in nowhere.stderr


async def test_the_caller_travels_by_name_or_as_json(call: Call, desk: Desk) -> None:
    await call(TOPIC, "{}", "--caller", "alice")
    await call(TOPIC, "{}", "--caller", '{"sub":"bob","scope":"a b"}')
    await call(TOPIC, "{}")

    callers = [delivery.context.caller for delivery in desk.asked]
    assert [json.loads(caller)["sub"] for caller in callers[:2]] == ["alice", "bob"]
    assert callers[2] == b""


async def test_with_contracts_a_wrong_call_is_caught_before_it_is_sent(call: Call, desk: Desk) -> None:
    contracts = "--contracts", "hello.contracts"
    unknown = await call("hello.great.v1", '{"name":"Ada"}', *contracts)
    invalid = await call(TOPIC, '{"name":5,"age":1}', *contracts)

    assert unknown.stderr == "busgate: no contract has the topic 'hello.great.v1'; did you mean hello.greet.v1?\n"
    assert invalid.stderr.splitlines() == [
        "busgate: request: #/name: Input should be a valid string",
        "busgate: request: #/age: Extra inputs are not permitted",
    ]
    assert (unknown.returncode, invalid.returncode, desk.asked) == (2, 2, [])


async def test_with_contracts_a_reply_that_does_not_match_is_a_bad_reply(call: Call, desk: Desk) -> None:
    done = await call(TOPIC, '{"name":"wrong"}', "--contracts", "hello.contracts")

    assert (done.returncode, done.stdout) == (1, "")
    assert "#/name (missing)" in done.stderr


async def test_the_contracts_of_the_configuration_are_used(call: Call, desk: Desk, folder: Path) -> None:
    (folder / "busgate.toml").write_text('[edge]\ncontracts = ["hello.contracts"]\n')

    done = await call("hello.great.v1", "{}")

    assert "did you mean hello.greet.v1?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([TOPIC, "{"], "the request: not JSON:"),
        ([TOPIC, '{"a":NaN}'], "the request: not JSON:"),
        ([TOPIC, ""], "the request: not JSON:"),
        ([TOPIC, "{}", "--file", "x"], "as an argument or by --file, not both"),
        ([TOPIC, "--file", "x"], "x: cannot be read: No such file"),
        ([TOPIC, "--file", "."], ".: cannot be read: Is a directory"),
        ([TOPIC, "{}", "--caller", '{"sub":5}'], "--caller: not a caller"),
        ([TOPIC, "{}", "--contracts", "nope"], "cannot import nope"),
        ([TOPIC, "{}", "--bus", "memory://"], "needs a RabbitMQ"),
        ([TOPIC, "{}", "--bus", "amqp://localhost:1/"], "broker amqp://guest@localhost:1/"),
    ],
)
def test_what_cannot_be_sent_is_one_line_and_code_2(run: Run, arguments: list[str], said: str) -> None:
    done = run("call", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_time_that_is_none_is_refused_by_the_command_line(run: Run) -> None:
    for text in ("soon", "0", "nan", "1e9"):
        done = run("call", TOPIC, "{}", "--timeout", text)

        assert done.returncode == 2
        assert text in done.stderr


def test_on_a_terminal_it_does_not_wait_for_a_request_that_nobody_types(folder: Path) -> None:
    outer, inner = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "call", TOPIC], cwd=folder, stdin=inner, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        os.close(outer)
        os.close(inner)

    assert (done.returncode, done.stdout) == (2, "")
    assert "no request: give JSON as an argument" in done.stderr


def test_a_wrong_password_and_an_empty_vhost_are_one_line(run: Run, vhost: Vhost) -> None:
    wrong = vhost.url.replace("@", "x@", 1)

    refused, empty = (run("call", TOPIC, "{}", "--bus", url) for url in (wrong, vhost.url))

    assert (refused.returncode, empty.returncode) == (2, 2)
    assert "ACCESS_REFUSED" in refused.stderr
    assert "nobody serves on this vhost yet" in empty.stderr
    assert refused.stderr.count("\n") == empty.stderr.count("\n") == 1


async def test_ctrl_c_in_the_middle_leaves_nothing_behind(start: Start, desk: Desk, vhost: Vhost) -> None:
    process = await start("call", TOPIC, '{"name":"hang"}', "--timeout", "30", "--bus", vhost.url)
    async with asyncio.timeout(20):
        await desk.hangs.wait()
    process.signal(signal.SIGINT)

    code = await process.ended()
    replies: list[Any] = [name for name in await vhost.queues() if name.startswith("busgate.reply.")]
    assert code == 130
    assert process.output == ""
    assert len(replies) == 1  # the worker's own

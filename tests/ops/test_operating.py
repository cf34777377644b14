"""ps, queues, tap and drain, as an operator types them, on edges and workers of their own processes."""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.broker import RabbitNode
from support.command import Run, Start
from support.house import House
from support.management import Vhost

from busgate.bus import BusError
from busgate.ops.faults import lines_of


def hang(folder: Path, *, ending: str = "finally:\n            pass") -> None:
    """Let the handler take longer than anybody waits, and end as it is told."""
    module = folder / "hello" / "services.py"
    slow = f"    if request:\n        try:\n            await asyncio.sleep(60)\n        {ending}\n"
    text = module.read_text().replace("    return Greeting", f"{slow}    return Greeting")
    module.write_text(text.replace("import os\n", "import asyncio\nimport os\n"))


@pytest.mark.slow
async def test_ps_shows_who_is_there_and_what_they_serve(house: House) -> None:
    await house.edge()
    await house.worker()

    done = await house.busgate("ps")

    assert (done.returncode, done.stderr) == (0, "")
    processes, contracts = done.stdout.split("\n\n")
    head, *rows = processes.splitlines()
    assert head.split() == (
        ["ID", "KIND", "SERVICE", "STATE", "UP", "WAITING", "RUNNING", "CALLS", "HOST", "PID", "ADMIN", "VERSION"]
    )
    assert [row.split()[1:4] for row in rows] == [["edge", "-", "serving"], ["worker", "greeter", "serving"]]
    edge, worker = (row.split()[-2] for row in rows)
    assert edge.startswith("127.0.0.1:")
    assert worker == "-"
    assert contracts.splitlines()[1].split()[:4] == ["hello.greet.v1", "greeter", "1", "1"]
    assert "\x1b" not in done.stdout


@pytest.mark.slow
async def test_lines_of_the_log_name_a_process_as_ps_does(house: House) -> None:
    edge = await house.edge()
    several = await house.worker("--processes", "2", children=2)

    shown = {each["pid"]: each["id"] for each in (await house.ps())["processes"]}

    alone = json.loads(await edge.until("edge ready"))
    assert alone["process"] == shown[edge.pid]
    assert "child" not in alone
    lines = [json.loads(line) for line in several.lines if "worker ready" in line]
    assert sorted(line["child"] for line in lines) == [0, 1]
    assert {line["process"] for line in lines} == {shown[pid] for pid in several.children()}


@pytest.mark.slow
async def test_ps_says_what_stands_out(house: House, folder: Path) -> None:
    """Another version of the contract at the edge than at the worker; then no worker at all."""
    worker = await house.worker()
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("name: str", "name: str\n    loud: bool = False"))
    await house.edge()

    mixed = await house.busgate("ps")
    await worker.stop()
    alone = await house.busgate("ps", "--json")

    assert mixed.returncode == alone.returncode == 1
    assert "! hello.greet.v1 is served in 2 versions" in mixed.stdout
    assert json.loads(alone.stdout)["stands_out"] == ["hello.greet.v1 has no worker: its callers get 503"]


@pytest.mark.slow
async def test_a_contract_whose_only_worker_drains_or_was_killed_stands_out(house: House, folder: Path) -> None:
    hang(folder)
    edge, worker = await house.edge(), await house.worker()
    waiting = asyncio.create_task(house.call())
    await house.one_that_runs()

    worker.signal(signal.SIGTERM)
    await worker.until("worker drains")
    drains = await house.busgate("ps", "--json")
    for process in (worker, edge):
        process.signal(signal.SIGKILL)
        await process.ended()
    await asyncio.gather(waiting, return_exceptions=True)
    all_gone = await house.busgate("ps", "--management", house.vhost.management.url)

    assert drains.returncode == all_gone.returncode == 1
    assert json.loads(drains.stdout)["stands_out"] == [
        "hello.greet.v1 has no worker that takes calls: its callers get 503"
    ]
    assert all_gone.stdout.startswith("no edge and no worker answered on the control bus of amqp://test@")
    assert all_gone.stdout.endswith("\n\n! hello.greet.v1 has no worker: its callers get 503\n")


async def test_a_contract_that_examples_answer_needs_no_worker(house: House) -> None:
    mock = {"BUSGATE_EDGE__MOCK": "hello.*"}
    await house.edge(**mock)

    url = house.vhost.management.url
    ps = await house.busgate("ps", "--json")
    queues = await house.busgate("queues", "--management", url, BUSGATE_EDGE__CONTRACTS="hello.contracts", **mock)

    assert (ps.returncode, json.loads(ps.stdout)["stands_out"]) == (0, [])
    assert "callers get 503" not in queues.stdout
    assert queues.returncode == 0


async def test_to_look_at_a_queue_that_nobody_uses_does_not_keep_it(house: House) -> None:
    """RabbitMQ counts a queue as used that is declared again, also passively."""
    await house.vhost.management.put(
        f"queues/{house.vhost.name}/old.topic.v1", durable=True, arguments={"x-expires": 3000}
    )
    url = house.vhost.management.url

    async with asyncio.timeout(30):
        while "old.topic.v1" in (await house.vhost.queues()):
            await house.busgate("ps", "--management", url)
            await house.busgate("queues", "--management", url)


@pytest.mark.slow
async def test_ps_of_an_empty_house_says_so(house: House) -> None:
    made = await house.busgate("topology", "hello.contracts", "--apply")
    done = await house.busgate("ps")

    assert made.returncode == 0
    assert done.stdout.startswith("no edge and no worker answered on the control bus of amqp://test@")
    assert done.stdout.endswith(f"/{house.vhost.name}\n")
    assert done.returncode == 1


@pytest.mark.slow
async def test_queues_shows_depth_and_consumers_with_and_without_the_management_api(house: House) -> None:
    await house.worker()
    url = house.vhost.management.url

    # No proxy gets the password, not even one that the environment names.
    with_api = await house.busgate(
        "queues", "--json", "--management", url, http_proxy="http://127.0.0.1:9", no_proxy=""
    )
    without = await house.busgate("queues", "--json", "--management", "http://127.0.0.1:9")

    (one,), (other,) = (json.loads(done.stdout)["queues"] for done in (with_api, without))
    assert (one["topic"], one["ready"], one["running"], one["consumers"]) == ("hello.greet.v1", 0, 0, 1)
    assert (other["topic"], other["ready"], other["running"], other["consumers"]) == ("hello.greet.v1", 0, None, 1)
    assert json.loads(with_api.stdout)["note"] is None
    assert (
        "no rates and ages, and a consumer that hangs cannot be named: http://127.0.0.1:9"
        in json.loads(without.stdout)["note"]
    )


@pytest.mark.slow
async def test_queues_tells_of_contracts_whose_queue_is_not_there_or_not_known(house: House, folder: Path) -> None:
    (folder / "other.toml").write_text('[edge]\ncontracts = ["hello.contracts"]\n')
    makes_the_bus = await house.worker()
    await makes_the_bus.stop()
    await house.vhost.delete_queue("hello.greet.v1")
    places = (house.vhost.management.url, "http://127.0.0.1:9")

    nothing = [await house.busgate("queues", "--management", url) for url in places]
    of_catalog = [await house.busgate("queues", "--management", url, "--config", "other.toml") for url in places]
    await house.edge()
    of_edge = [await house.busgate("queues", "--management", url) for url in places]

    assert [done.returncode for done in nothing] == [0, 0]
    assert nothing[0].stdout.startswith("no queues of calls on amqp://")
    assert nothing[1].stdout.startswith("nobody answers and names a contract, so no queue is known on amqp://")
    for done in (*of_catalog, *of_edge):
        assert done.returncode == 1
        assert "! hello.greet.v1: nobody takes its calls, callers get 503; start a worker" in done.stdout


@pytest.mark.slow
async def test_queues_shows_how_long_the_oldest_call_waits_for_nobody(house: House) -> None:
    edge, worker = await house.edge(), await house.worker()
    await worker.stop()
    waiting = asyncio.create_task(house.call())

    async with asyncio.timeout(15):
        while True:  # the statistics lag by half a second
            done = await house.busgate("queues", "--json", "--management", house.vhost.management.url)
            (row,) = json.loads(done.stdout)["queues"]
            if row["ready"] and row["oldest"] is not None:
                break

    assert done.returncode == 1
    assert (row["ready"], row["consumers"]) == (1, 0)
    edge.signal(signal.SIGKILL)
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.slow
async def test_drain_ends_one_process_and_says_when_it_is_gone(house: House) -> None:
    edge, worker, other = await house.edge(), await house.worker(), await house.worker()
    ids = {each["pid"]: each["id"] for each in (await house.ps())["processes"]}

    done = await house.busgate("drain", ids[worker.pid])

    assert (done.returncode, done.stdout) == (0, f"{ids[worker.pid]} drains\n{ids[worker.pid]} is gone\n")
    assert await worker.ended() == 0
    assert edge.alive
    assert other.alive
    assert await house.call() == 200


@pytest.mark.slow
async def test_a_drained_process_of_several_is_not_started_again(house: House) -> None:
    worker = await house.start("worker", "hello.services:greeter", "--bus", house.vhost.url, "--processes", "2")
    await worker.until("worker ready", number=2)
    first, second = (each["id"] for each in (await house.ps())["processes"])

    one = await house.busgate("drain", first)
    await worker.until("it is not started again")
    left = [each["id"] for each in (await house.ps())["processes"]]
    other = await house.busgate("drain", second)

    assert (one.returncode, other.returncode, left) == (0, 0, [second])
    assert await worker.ended() == 0


@pytest.mark.slow
async def test_a_drained_process_that_cuts_a_call_is_not_started_again_either(house: House, folder: Path) -> None:
    hang(folder)
    edge = await house.edge()
    worker = await house.start(
        "worker", "hello.services:greeter", "--bus", house.vhost.url, "--processes", "2", BUSGATE_WORKER__GRACE="0.1"
    )
    await worker.until("worker ready", number=2)
    waiting = asyncio.create_task(house.call())
    busy = await house.one_that_runs()

    done = await house.busgate("drain", busy)
    line = await worker.until("it is not started again")
    left = [each["id"] for each in (await house.ps())["processes"] if each["kind"] == "worker"]

    assert (done.returncode, json.loads(line)["exit"], len(left)) == (0, 1, 1)
    assert busy not in left
    edge.signal(signal.SIGKILL)
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.slow
async def test_no_connection_hangs_on_an_edge_that_was_drained_from_several(house: House) -> None:
    """The kernel shares connections among all who listen; the listener of the drained one must be gone."""
    await house.worker()
    edge = await house.start(
        "edge", "hello.contracts", "--bus", house.vhost.url, "--port", str(house.port), "--processes", "2",
        BUSGATE_EDGE__ADMIN__PORT="0",
    )  # fmt: skip
    await edge.until("edge ready", number=2)
    first = next(each["id"] for each in (await house.ps())["processes"] if each["kind"] == "edge")

    done = await house.busgate("drain", first)
    await edge.until("it is not started again")
    async with asyncio.timeout(20):
        answers = [await house.call() for _ in range(40)]

    assert done.returncode == 0
    assert answers == [200] * 40


@pytest.mark.slow
async def test_draining_who_is_not_there_names_who_is(house: House) -> None:
    await house.worker()
    (process,) = (await house.ps())["processes"]

    near = await house.busgate("drain", process["id"][:-1] + "x")
    nobody = await house.busgate("drain", "zzz")

    assert near.returncode == nobody.returncode == 2
    assert near.stderr.endswith(f"did you mean {process['id']}?\n")
    assert nobody.stderr.endswith(f"there are: {process['id']}\n")


# -- a worker that hangs

LONG_HELD: dict[str, Any] = {"BUSGATE_BUS__HEARTBEAT": "60"}
"""The broker gives up its connection later than a busy machine takes for a command."""


async def until(said: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await said():
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_worker_that_hangs_is_named_at_once_where_the_management_api_can_be_asked(house: House) -> None:
    await house.edge()
    worker = await house.worker(**LONG_HELD)
    url = house.vhost.management.url
    await house.until_named()
    worker.signal(signal.SIGSTOP)

    ps = await house.busgate("ps", "--management", url)
    queues = await house.busgate("queues", "--management", url)

    assert ps.returncode == queues.returncode == 1
    row = next(line for line in ps.stdout.splitlines() if "silent" in line)
    assert str(worker.pid) in row.split()
    assert f"or it hangs: kill -9 {worker.pid} there, start it again" in ps.stdout
    assert "its callers get 503, or 504 while the broker still holds the connection" in ps.stdout
    assert f"pid {worker.pid} on " in queues.stdout


@pytest.mark.slow
async def test_a_worker_that_hangs_is_named_by_another_that_remembers_it(house: House) -> None:
    await house.edge()
    worker, _ = await house.worker(), await house.worker()
    (hung,) = [each for each in (await house.ps())["processes"] if each["pid"] == worker.pid]
    worker.signal(signal.SIGSTOP)

    async def remembered() -> bool:
        return bool((await house.ps())["silent"])

    await until(remembered)
    told = (await house.ps())["silent"]
    drained = await house.busgate("drain", hung["id"])

    assert [(each["id"], each["host"], each["pid"], each["services"]) for each in told] == [
        (hung["id"], hung["host"], worker.pid, ["greeter"])
    ]
    assert told[0]["seconds"] >= 7
    assert drained.returncode == 2
    assert f"{hung['id']} is silent, so it cannot be told; if it still runs, kill -9 {worker.pid} on" in drained.stderr


@pytest.mark.slow
async def test_without_the_management_api_consumers_without_an_answer_are_told(house: House) -> None:
    await house.edge()
    worker = await house.worker(**LONG_HELD)
    worker.signal(signal.SIGSTOP)

    ps = await house.busgate("ps")
    queues = await house.busgate("queues", "--json", "--management", "http://127.0.0.1:9")

    assert "no worker of hello.greet.v1 answers, though its queue has a consumer" in ps.stdout
    (row,) = json.loads(queues.stdout)["queues"]
    assert (row["consumers"], row["answering"], row["timeout"]) == (1, 0, 20)


@pytest.mark.slow
async def test_a_call_that_is_older_than_its_contract_allows_stands_out_in_queues(house: House, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("timeout=20", "timeout=1"))
    hang(folder, ending="except asyncio.CancelledError:\n            await asyncio.sleep(60)")
    edge = await house.edge()
    await house.worker()
    assert await house.call() == 504

    async def stands_out() -> bool:
        done = await house.busgate("queues", "--management", house.vhost.management.url)
        return done.returncode == 1 and "its contract gives it 1 s: a worker that took it hangs" in done.stdout

    await until(stands_out)
    ps = await house.busgate("ps")

    assert edge.alive
    assert ps.returncode == 1
    assert " has a handler that nothing can end, `a handler is stuck` in its log says which calls" in ps.stdout


# -- watching


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ps", "queues"])
async def test_ctrl_c_is_how_a_watch_ends_and_nothing_is_left_behind(house: House, command: str) -> None:
    await house.worker()
    watch = await house.start(command, "--watch", "--bus", house.vhost.url)
    await watch.until("hello.greet.v1", number=2)

    watch.signal(signal.SIGINT)

    assert await watch.ended() == 0
    assert "Traceback" not in watch.output

    async def left() -> bool:
        return not any(f".{command}." in name for name in await house.vhost.queues())

    await until(left)


@pytest.mark.slow
async def test_a_watch_names_the_only_worker_when_it_died(house: House) -> None:
    worker = await house.worker()
    watch = await house.start("ps", "--watch", "--bus", house.vhost.url, "--management", house.vhost.management.url)
    await watch.until("serving")

    await worker.kill()
    line = await watch.until("it hangs, or died without a word")

    assert f"(pid {worker.pid} on " in line
    assert "though there are consumers" not in watch.output


@pytest.mark.slow
async def test_a_watch_goes_on_when_its_broker_was_away(start: Start, run: Run, faulty_node: RabbitNode) -> None:
    async with faulty_node.broker.fresh_vhost("watch") as vhost:
        worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
        await worker.until("worker ready")
        watch = await start("ps", "--watch", "--bus", vhost.url)
        await watch.until("serving")

        await faulty_node.kill()
        await watch.until("no broker since ")
        seen = len([line for line in watch.lines if "serving" in line])
        await faulty_node.restart()
        await watch.until("serving", number=seen + 1, limit=60)
        watch.signal(signal.SIGINT)

        assert await watch.ended() == 0
        assert re.search(r"^busgate: no broker since \d\d:\d\d:\d\d, trying again: amqp://", watch.output, re.MULTILINE)
        assert "Traceback" not in watch.output
        assert "Warning" not in watch.output


# -- what is wrong


def test_a_user_in_the_address_of_the_management_api_is_told_in_plain_words(run: Run) -> None:
    done = run("queues", "--bus", "amqp://127.0.0.1:9", "--management", "http://ann:hunter2@127.0.0.1:9")

    assert done.returncode == 2
    assert "no user or path in it; the user of --bus (bus.url) is taken" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.slow
async def test_another_vhost_is_told_by_its_name(house: House) -> None:
    await house.worker()

    there = await house.busgate("drain", "zzz")
    elsewhere = await asyncio.to_thread(house._run, "ps", "--bus", house.vhost.url.rpartition("/")[0] + "/")

    assert f"on the control bus of amqp://test@{house.vhost.url.rpartition('@')[2]}; there are: " in there.stderr
    assert elsewhere.returncode == 2
    assert "in vhost '/'; another vhost is meant, or `busgate topology --apply` is to make it" in elsewhere.stderr


@pytest.mark.parametrize("command", [["ps"], ["queues"], ["tap"], ["drain", "x"]], ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("bus", "says"),
    [
        ("amqp://127.0.0.1:9", "broker amqp://guest@127.0.0.1:9"),
        ("memory://", "memory:// lives inside one process"),
        ("http://x", "must start with amqp://"),
    ],
    ids=["nobody there", "embedded", "not a broker"],
)
def test_a_bus_that_cannot_be_used_is_one_line(run: Run, command: list[str], bus: str, says: str) -> None:
    if command == ["tap"] and bus == "memory://":
        says = "no tap at http://127.0.0.1:1/tap"
        command = ["tap", "--admin", "http://127.0.0.1:1"]

    done = run(*command, "--bus", bus)

    assert done.returncode == 2
    assert done.stderr.startswith("busgate: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", [["ps"], ["queues"], ["tap"], ["drain", "x"]], ids=lambda command: command[0])
def test_a_wrong_password_is_one_line(run: Run, vhost: Vhost, command: list[str]) -> None:
    url = vhost.url.replace(vhost.management.password, "hunter2")

    done = run(*command, "--bus", url)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_a_fault_of_a_table_that_the_command_line_changes_points_there(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text('[bus]\nurl = "amqp://127.0.0.1"\n')

    done = run("ps", "--bus", "http://x")

    assert done.stderr.startswith("busgate: command line: bus: a url must start with amqp://")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_tap_of_no_calls_is_refused(run: Run, count: str) -> None:
    done = run("tap", f"--count={count}", "--bus", "amqp://127.0.0.1:9")

    assert done.returncode == 2
    assert f"argument --count: '{count}' is not a number of at least 1" in done.stderr


def test_a_broker_that_nobody_runs_is_told_in_plain_words_once(run: Run) -> None:
    done = run("ps", "--bus", "amqp://127.0.0.1:9")

    assert done.stderr == "busgate: broker amqp://guest@127.0.0.1:9/: Connection refused\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [("the broker closed the channel: 404", "the broker closed the channel: 404"), ("no answer", "broker no answer")],
)
def test_a_fault_of_the_broker_names_it_once(said: str, shown: str) -> None:
    assert lines_of(BusError(said)) == [shown]

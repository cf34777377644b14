"""Several processes: shared work, a dead one comes back, all end together and none outlives the supervisor."""

import asyncio
import contextlib
import json
import os
import select
import signal
import urllib.request
from pathlib import Path

import pytest
from support.command import Start
from support.faults.processes import Process
from support.management import Vhost


async def greet(port: int) -> int:
    """Ask over a new connection, so that the kernel chooses a process each time."""

    def ask() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/greetings/you", timeout=20) as answer:
            return int(json.load(answer)["name"].rpartition(" ")[2])

    return await asyncio.to_thread(ask)


def children_of(pid: int) -> list[int]:
    """The living children of a process, in the order of their start."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            status = Path(entry, "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == pid and status[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)


async def gone(pids: list[int]) -> None:
    """Wait until none of the processes is left."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ended, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], 20)
            os.close(descriptor)
            assert ended


async def times(process: Process, text: str, count: int) -> None:
    """Wait until a text was said so often."""
    async with asyncio.timeout(30), process._changed:
        await process._changed.wait_for(lambda: process.output.count(text) >= count)


@pytest.fixture
async def two_workers(start: Start, vhost: Vhost) -> Process:
    workers = await start("worker", "hello.services:greeter", "--bus", vhost.url, "--processes", "2")
    await times(workers, "worker ready", 2)
    return workers


@pytest.fixture
async def two_edges(start: Start, vhost: Vhost, free_port: int) -> Process:
    edges = await start(
        *("edge", "hello.contracts", "--bus", vhost.url, "--processes", "2"),
        *("--port", str(free_port), "--admin-port", "0"),
    )
    await times(edges, "edge ready", 2)
    return edges


@pytest.mark.slow
async def test_calls_are_shared_between_edges_and_between_workers(
    two_edges: Process, two_workers: Process, free_port: int
) -> None:
    answers = [await greet(free_port) for _ in range(40)]

    assert set(answers) == set(children_of(two_workers.pid))
    two_edges.signal(signal.SIGTERM)
    two_workers.signal(signal.SIGTERM)
    assert [await two_edges.ended(), await two_workers.ended()] == [0, 0]
    assert "Traceback" not in two_edges.output + two_workers.output


@pytest.mark.slow
async def test_a_killed_worker_is_started_again(two_workers: Process) -> None:
    before = children_of(two_workers.pid)

    os.kill(before[0], signal.SIGKILL)
    line = await two_workers.until("a process ended; it is started again")
    await times(two_workers, "worker ready", 3)

    assert json.loads(line)["exit"] == -signal.SIGKILL
    after = children_of(two_workers.pid)
    assert len(after) == 2
    assert before[1] in after


@pytest.mark.slow
async def test_a_worker_that_ends_well_without_being_drained_is_started_again(two_workers: Process) -> None:
    before = children_of(two_workers.pid)

    os.kill(before[0], signal.SIGTERM)
    line = await two_workers.until("a process ended; it is started again")
    await times(two_workers, "worker ready", 3)

    assert json.loads(line)["exit"] == 0
    after = children_of(two_workers.pid)
    assert len(after) == 2
    assert before[1] in after


@pytest.mark.slow
async def test_a_killed_edge_finds_its_socket_again_and_no_new_connection_is_refused(
    two_edges: Process, two_workers: Process, free_port: int
) -> None:
    os.kill(children_of(two_edges.pid)[0], signal.SIGKILL)
    answers = await asyncio.gather(*(greet(free_port) for _ in range(20)))

    assert len(answers) == 20
    await times(two_edges, "edge ready", 3)
    assert await two_edges.stop() == 0


@pytest.mark.slow
async def test_processes_end_when_their_supervisor_is_killed(two_workers: Process, vhost: Vhost) -> None:
    children = children_of(two_workers.pid)

    two_workers.signal(signal.SIGKILL)
    await gone(children)

    await times(two_workers, "worker stopped", 2)
    await vhost.until_nobody()


@pytest.mark.slow
async def test_a_process_that_hangs_is_killed_after_the_grace(start: Start, vhost: Vhost, folder: Path) -> None:
    (folder / "hello" / "stuck.py").write_text(
        "import signal\nsignal.signal = lambda *_: None\nfrom hello.services import greeter\n"
        "import _signal\n_signal.signal(_signal.SIGTERM, _signal.SIG_IGN)\n"
    )
    workers = await start(
        *("worker", "hello.stuck:greeter", "--bus", vhost.url, "--processes", "2"), BUSGATE_WORKER__GRACE="0.1"
    )
    await times(workers, "worker ready", 2)
    children = children_of(workers.pid)

    workers.signal(signal.SIGTERM)

    assert await workers.ended() == 1
    await gone(children)


@pytest.mark.slow
async def test_the_second_signal_leaves_nothing_behind(two_edges: Process) -> None:
    children = children_of(two_edges.pid)

    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    two_edges.signal(signal.SIGINT)
    await two_edges.until("processes drain")
    two_edges.signal(signal.SIGINT)
    code = await two_edges.ended(limit=5)

    assert code == 1
    await gone(children)

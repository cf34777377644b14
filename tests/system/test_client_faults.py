"""Clients that hang up at every stage, that are too slow, or that send nonsense beside good ones (F37, F39, I12)."""

import asyncio
import contextlib
import json
import resource
import socket
import statistics
import struct
import time
from collections.abc import Iterator

import pytest
from support.faults.callers import token
from support.faults.contracts import read
from support.faults.figures import observe, slowest, tally
from support.faults.history import Answer
from support.faults.world import World
from support.waiting import until

RESET = struct.pack("ii", 1, 0)
BODY = json.dumps({"nonce": "gone", "ms": 1500}).encode()
CROWD = 2000


def head() -> bytes:
    lines = ["POST /write HTTP/1.1", "Host: x", f"Authorization: Bearer {token('ann')}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def say(base: str, data: bytes) -> asyncio.StreamWriter:
    host, port = base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    return writer


def hang_up(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("part", [0, 20, -len(BODY), -5], ids=["connected", "in head", "before body", "in body"])
async def test_a_client_that_hangs_up_before_its_request_is_whole_causes_no_call(
    world: World, part: int, reset: bool
) -> None:
    """F37."""
    edge = await world.edge()
    await world.local_worker()
    whole = head() + BODY

    writers = [await say(edge.base, whole[:part] if part else b"") for _ in range(20)]
    await until(lambda: len(edge.edge.server) == 20)
    for writer in writers:
        hang_up(writer, reset=reset)
    await until(lambda: len(edge.edge.server) == 0)

    assert edge.bus.counters.replies == edge.bus.counters.abandoned == 0
    assert world.history.executions() == []


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_client_that_hangs_up_while_it_waits_frees_its_place_at_once(world: World, reset: bool) -> None:
    """F37. The handler goes on, and its reply is dropped."""
    edge = await world.edge()
    await world.local_worker()
    callers = await world.callers(edge)

    writers = [await say(edge.base, head() + BODY) for _ in range(20)]
    await until(lambda: len(world.history.executions()) == 20)
    for writer in writers:
        hang_up(writer, reset=reset)
    await until(lambda: edge.bus.counters.abandoned == 20)
    left = edge.left()
    dropped_before = edge.bus.counters.late_replies
    neighbour = await callers.ask(read)
    await until(lambda: edge.bus.counters.late_replies == 20)

    world.history.log.unlink()  # all of them had one nonce
    world.history.answers.remove(neighbour)
    world.history.asked.clear()
    assert not any(left.values())
    assert dropped_before == 0
    assert neighbour.good
    observe("F37", stage="waiting", reset=reset, freed_before_the_replies=20, neighbour_ms=slowest([neighbour]))


@pytest.mark.slow
async def test_bad_requests_hurt_no_good_one(world: World) -> None:
    """I12. One tenth of all requests is refused with the status that it deserves, all others succeed."""
    edge = await world.edge()
    await world.worker()
    callers = await world.callers(edge)

    async with callers.load(50) as load:
        await load.until(lambda: len(world.history.answers) > 2000, limit=30)

    good = world.history.since(0)
    bad = [each for each in world.history.answers if each.refused is not None]
    assert all(each.good for each in good)
    assert all(each.status == each.refused for each in bad)
    assert len(bad) > 100
    observe("I12", good=tally(good), bad=tally(bad))


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many open files as may be; how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(CROWD, hard - 300)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
async def test_a_crowd_of_slow_clients_is_shown_out_while_good_ones_are_served(world: World, many_files: int) -> None:
    """F39: some say nothing, some never end their head, some never end their body."""
    await world.worker()
    limits = {"first_byte": 2, "header": 2, "body": 6, "body_rate": 1000}
    _, base = await world.edge_process(BUSGATE_EDGE__LIMITS=json.dumps(limits))
    callers = await world.callers(base)

    async with callers.load(8) as load:
        await load.flow(200)
        calm = world.history.since(0)
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            stays = [tasks.create_task(dawdle(base, number)) for number in range(many_files)]
        besieged = world.history.since(start)
        await load.flow()
    gone = [task.result() for task in stays]

    assert max(stay for _, stay in gone) < 15
    assert {status for status, _ in gone} <= {b"", b"HTTP/1.1 408"}
    assert all(each.good for each in besieged)
    observe(
        "F39", clients=many_files, shown_out_after_s=round(max(stay for _, stay in gone), 1),
        calm_p99_ms=p99(calm), besieged_p99_ms=p99(besieged), answers=tally(besieged),
    )  # fmt: skip


async def dawdle(base: str, number: int) -> tuple[bytes, float]:
    """Be one of the crowd until shown out: the first words of the answer, and how long it took."""
    start = time.monotonic()
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    drip = asyncio.create_task(_drip(writer, (b"", b"GET /read/x HTTP/1.1\r\nHost: x\r\n", head())[number % 3]))
    try:
        async with asyncio.timeout(30):
            answer = await reader.read()
    except ConnectionError:
        answer = b""
    finally:
        drip.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await drip
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer[:12], time.monotonic() - start


async def _drip(writer: asyncio.StreamWriter, start: bytes) -> None:
    writer.write(start)
    while start:
        await asyncio.sleep(1)
        writer.write(b"x" if start.startswith(b"POST") else b"X-Slow: 1\r\n")


def p99(answers: list[Answer]) -> float:
    return round(statistics.quantiles((each.took * 1000 for each in answers), n=100)[-1], 1)

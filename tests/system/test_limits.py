"""Several processes of an edge hold one limit (I11), also when one of them is killed."""

import asyncio
import json
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest
from support.faults.callers import NAMES
from support.faults.contracts import read
from support.faults.figures import observe
from support.faults.history import CLOSED
from support.faults.world import World
from support.redis_node import RedisNode
from support.waiting import until

from busgate.edge.stores.leases import LEASE

PROCESSES, CONNECTIONS = 4, 64
COUNT = 60


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, redis_node: RedisNode) -> dict[str, str]:
    """The environment of processes that share a store."""
    url = f"sqlite://{tmp_path}/store.db" if request.param == "sqlite" else redis_node.url
    return {"BUSGATE_EDGE__STORE__URL": url, "BUSGATE_EDGE__STORE__PREFIX": f"{secrets.token_hex(8)}:"}


async def flood(world: World, base: str, store: str, *, until: float) -> list[tuple[float, str, int]]:
    """Requests of all callers over many connections: when each was answered, whose it was, and its status."""
    callers = [await world.callers(base) for _ in range(CONNECTIONS)]
    answers = []

    async def one(caller: object) -> None:
        while time.monotonic() < until:
            answer = await caller.ask(read)  # type: ignore[attr-defined]
            answers.append((time.monotonic(), answer.caller, answer.status))

    await asyncio.gather(*map(one, callers))
    observe("I11", store=store, answers=dict(Counter(status for _, _, status in answers)))
    return answers


@pytest.mark.slow
async def test_processes_let_exactly_so_many_of_each_caller_through_as_one_limit_says(
    world: World, store: dict[str, str], request: pytest.FixtureRequest
) -> None:
    rate = [{"name": "each", "count": COUNT, "window": 36_000, "burst": COUNT}]
    await world.worker()
    edge, base = await world.edge_process(processes=PROCESSES, BUSGATE_EDGE__RATE=json.dumps(rate), **store)
    answers = await flood(world, base, request.node.callspec.id, until=time.monotonic() + 4)

    let_through = Counter(caller for _, caller, status in answers if status == 200)
    assert len(edge.children()) == PROCESSES
    assert {status for _, _, status in answers} == {200, 429}
    assert let_through == dict.fromkeys(NAMES, COUNT)


@pytest.mark.slow
async def test_processes_let_a_steady_flow_through_as_one_limit_says(
    world: World, store: dict[str, str], request: pytest.FixtureRequest
) -> None:
    rate = [{"name": "all", "by": [], "count": 100, "window": 2, "burst": 20}]  # 20, then one each 24.7 ms
    await world.worker()
    _, base = await world.edge_process(processes=PROCESSES, BUSGATE_EDGE__RATE=json.dumps(rate), **store)
    first = time.monotonic()
    answers = await flood(world, base, request.node.callspec.id, until=first + 4)
    took = time.monotonic() - first
    let_through = sum(status == 200 for _, _, status in answers)

    assert let_through <= 20 + took / (2 / 81) + 1
    assert let_through >= 0.8 * 4 / (2 / 81)


@pytest.mark.slow
async def test_the_places_of_a_killed_process_come_back(
    world: World, store: dict[str, str], request: pytest.FixtureRequest
) -> None:
    places = [{"name": "all", "by": [], "count": 2}]
    environ = {"BUSGATE_EDGE__CONCURRENT": json.dumps(places), **store}
    world.history.may_be_closed = True
    await world.worker()
    doomed, doomed_base = await world.edge_process(processes=1, **environ)
    _, base = await world.edge_process(processes=1, **environ)
    there, here = await world.callers(doomed_base), await world.callers(base)
    cut = [asyncio.create_task(there.ask(read, ms=8_000)) for _ in range(2)]
    await until(lambda: len(world.history.executions()) == 2)
    full = await here.ask(read)
    await doomed.kill()
    killed = time.monotonic()
    at_once = await here.ask(read)
    while (await here.ask(read)).status == 429 and time.monotonic() - killed < 2 * LEASE:
        await asyncio.sleep(0.1)
    took = time.monotonic() - killed
    after = await here.ask(read)

    assert [each.status for each in await asyncio.gather(*cut)] == [CLOSED] * 2
    assert (full.status, at_once.status, after.status) == (429, 429, 200)
    assert full.body["type"] == "urn:busgate:too-many-at-once"
    observe("I11", store=request.node.callspec.id, places_back_s=round(took, 1))

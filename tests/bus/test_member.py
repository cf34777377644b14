"""A process on the control bus of a real RabbitMQ: seen, told to drain, deaf to garbage; and what clocks do to it."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from support.town import TOPIC, Town, context, eventually

from busgate.bus import Bus, Presence, RollCall, joined, requester
from busgate.bus.clocks import JOURNEYS
from busgate.bus.presence import TapLease, drain_key, presence_key, tap_key
from busgate.contracts import CallFailed


def states(roll: RollCall) -> dict[str, str]:
    return {each.id: each.state for each in roll.present}


async def test_who_is_there_answers_with_what_it_serves(town: Town) -> None:
    await town.edge()
    await town.worker()
    roll = await town.operator()

    await eventually(lambda: states(roll) == {"web": "serving", "shop": "serving"})

    edge, worker = roll.present
    assert (edge.kind, worker.kind) == ("edge", "worker")
    assert [(one.topic, one.service) for one in worker.contracts] == [(TOPIC, "echo")]
    assert edge.contracts[0].hash == worker.contracts[0].hash
    assert edge.reply_queue.startswith("busgate.reply.web.1.")


async def test_who_leaves_is_gone_at_once(town: Town) -> None:
    bus = Bus(town.broker, name="brief")
    async with bus, joined(bus, kind="edge", contracts=[], on_drain=lambda: None):
        roll = await town.operator()
        await eventually(lambda: states(roll) == {"brief": "serving"})

    await eventually(lambda: states(roll) == {})


async def test_a_process_is_told_to_drain_and_no_other(town: Town) -> None:
    told: list[str] = []
    await town.worker("one", lambda: told.append("one"))
    await town.worker("two", lambda: told.append("two"))
    roll = await town.operator()
    await eventually(lambda: len(roll.present) == 2)

    await roll.tell(drain_key("one"))

    await eventually(lambda: told)
    assert told == ["one"]


async def test_garbage_on_the_control_bus_is_counted_and_nothing_else(town: Town) -> None:
    worker = await town.worker()
    edge = await town.edge()
    roll = await town.operator()
    await eventually(lambda: len(roll.present) == 2)
    forged = roll.present[0].model_dump_json().encode()

    for key, body in [
        ("presence.edge.web", b"\xff"),
        ("presence.edge.somebody-else", forged),
        (presence_key("edge", "x"), b"{}"),
        (tap_key("x"), b'{"topics": 7, "seconds": 1}'),
        (tap_key("y"), TapLease(topics=["a"], seconds=5).model_dump_json().replace("5", "5000").encode()),
    ]:
        await town.publish(key, body)

    await eventually(lambda: worker.counters.ignored_control == 5)
    await eventually(lambda: edge.counters.ignored_control == 2)
    assert roll.ignored == 3
    assert states(roll) == {"web": "serving", "shop": "serving"}
    assert (await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)).type == b"reply"


async def test_a_presence_outlives_the_connection_that_carried_it(town: Town) -> None:
    """The control connection comes back by itself, and the process is seen again."""
    await town.worker()
    roll = await town.operator()
    await eventually(lambda: len(roll.present) == 1)

    await town.vhost.close_connection("shop control")

    roll = await town.operator()
    await eventually(lambda: states(roll) == {"shop": "serving"})


# -- clocks


async def test_a_worker_whose_clock_is_far_ahead_runs_calls_once_it_heard_the_edge(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the edge's clock is an hour behind, which is the same: each deadline was over before the call was sent."""
    worker = await town.worker()
    edge = await town.lone_edge()
    behind = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
    monkeypatch.setattr(requester, "time", behind)
    said = _presence(id=edge.name, now=int((time.time() - 3600) * 1000))

    before = await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)
    for _ in range(JOURNEYS):
        await town.publish(presence_key("edge", edge.name), said.model_dump_json().encode())
    await eventually(lambda: worker.clocks.ahead)
    after = await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)

    assert (before.type, b"too-late" in before.body) == (b"problem", True)
    assert after.type == b"reply"
    assert edge.counters.skewed == 2


async def test_a_worker_whose_clock_is_behind_still_starts_nothing_late(town: Town) -> None:
    """The deadline of a call is by the clock of who sent it, which is an hour ahead and says so."""
    worker = await town.worker()
    edge = await town.lone_edge()
    said = _presence(id=edge.name, now=int((time.time() + 3600) * 1000))

    for _ in range(JOURNEYS):
        await town.publish(presence_key("edge", edge.name), said.model_dump_json().encode())
    await eventually(lambda: worker.clocks.ahead)
    answer = await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)

    assert (answer.type, b"too-late" in answer.body) == (b"problem", True)


def _presence(**values: Any) -> Presence:
    return Presence(kind="edge", version="1", host="far", pid=1, started=0, expires=15, state="serving", **values)


async def test_a_process_that_may_not_use_the_control_bus_serves_all_the_same(town: Town) -> None:
    edge, _ = await town.edge(), await town.worker()
    await town.vhost.delete_exchange("busgate.control")

    reply = await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)

    assert reply.type == b"reply"
    with pytest.raises(CallFailed, match="no-route"):
        await edge.endpoint("not.there.v1").call(b"{}", context(), 5.0)

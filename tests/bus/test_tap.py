"""Taps: they see each call with its reply, hide nothing from callers, and leave nothing behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from support.town import TOPIC, Town, context, eventually

from busgate.bus import Address, Bus, BusError, Delivery, Pairing, Tap, TappedCall, cadence
from busgate.bus import tap as tap_module
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.wire import TAPPED_SUFFIX
from busgate.contracts import CallFailed
from busgate.contracts.failure import BAD_REPLY

OTHER = "shop.other.v1"


class Watched:
    """A tap at work and what it saw."""

    def __init__(self, find: Callable[[], Address | None], pattern: str) -> None:
        self.calls: list[TappedCall] = []
        self.tap = Tap(find, pattern, lambda message: self.pairing.see(message, time.monotonic()))
        self.pairing = Pairing(self.calls.append, self.tap.hears, self.tap.since)


@asynccontextmanager
async def tapping(town: Town, pattern: str = "*", *, until: str = TOPIC) -> AsyncIterator[Watched]:
    watched = Watched(town.broker.control_address, pattern)
    running = asyncio.create_task(watched.tap.run())
    try:
        await eventually(lambda: until in watched.tap.topics or running.done())
        yield watched
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_tap_sees_calls_with_their_replies(town: Town) -> None:
    edge, _ = await town.edge(), await town.worker()

    async with tapping(town) as watched:
        for number in range(20):
            await edge.endpoint(TOPIC).call(b'{"a":%d}' % number, context(), 5.0)
        await eventually(lambda: len(watched.calls) >= 20)

    assert [one.request for one in watched.calls] == [b'{"a":%d}' % number for number in range(20)]
    assert {(one.topic, one.source, one.service, one.result) for one in watched.calls} == {
        (TOPIC, "web", "echo", "reply")
    }


async def test_a_tap_of_some_topics_leaves_the_replies_of_others_alone(town: Town) -> None:
    edge, _ = await town.edge(), await town.worker()

    async with tapping(town, "shop.echo.*"):
        assert edge._tapped == {TOPIC.encode()}


async def test_the_second_reply_key_is_used_only_while_a_tap_looks(town: Town) -> None:
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> tuple[bytes, bytes]:
        seen.append(delivery.message.reply_to)
        return b"reply", b"{}"

    edge, _ = await town.edge(), await town.worker(handle=handle)

    await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)
    async with tapping(town):
        await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)
    await eventually(lambda: not edge._tapped)
    await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)

    tapped = [reply_to.endswith(TAPPED_SUFFIX.encode()) for reply_to in seen]
    assert (tapped[0], tapped[-2], tapped[-1]) == (False, True, False)


async def test_no_call_is_said_to_be_unanswered_that_was_sent_while_the_tap_began(town: Town) -> None:
    edge, _ = await town.edge(), await town.worker()

    async def call() -> None:
        while True:
            await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)

    calling = [asyncio.create_task(call()) for _ in range(8)]
    async with tapping(town) as watched:
        await eventually(lambda: len(watched.calls) >= 100)
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
        watched.pairing.give_up(time.monotonic() + 60)

    abandoned = [one for one in watched.calls if one.result == "none"]
    assert len(abandoned) <= len(calling)  # those whose caller went
    assert {one.result for one in watched.calls} - {"none", "unseen"} == {"reply"}


async def test_a_reply_that_who_called_does_not_take_is_shown_again_and_no_call_is_disturbed(town: Town) -> None:
    edge, _ = await town.edge(), await town.worker()
    refusal = CallFailed(BAD_REPLY, "not of the contract")
    endpoint = edge.endpoint(TOPIC)

    async with tapping(town) as watched:
        asked = context()
        await endpoint.call(b"{}", asked, 5.0)
        endpoint.refuse_reply(asked.call_id, refusal)
        await endpoint.call(b"{}", context(), 5.0)
        await eventually(lambda: len(watched.calls) >= 3)
    await eventually(lambda: not edge._tapped)
    endpoint.refuse_reply(asked.call_id, refusal)  # nobody looks: nothing is said
    await endpoint.call(b"{}", context(), 5.0)

    assert [(one.result, one.problem) for one in watched.calls] == [
        ("reply", ""),
        ("refused", "urn:busgate:bad-reply"),
        ("reply", ""),
    ]
    assert watched.calls[0].call == watched.calls[1].call == asked.call_id.decode()
    assert (edge.counters.late_replies, edge.counters.bad_replies) == (0, 0)


async def test_a_call_of_who_knows_no_taps_is_shown_without_its_reply(town: Town) -> None:
    await town.worker()
    lone = await town.lone_edge()

    async with tapping(town) as watched:
        await lone.endpoint(TOPIC).call(b'{"a":7}', context(), 5.0)
        await eventually(lambda: watched.calls)

    assert [(one.source, one.request, one.result) for one in watched.calls] == [("lone", b'{"a":7}', "unseen")]


async def test_replies_are_heard_of_a_process_that_nobody_announced(town: Town) -> None:
    """Its connection is new, and its presence on the way."""
    await town.worker()
    lone = await town.lone_edge()

    async with tapping(town) as watched:
        lone.tap_replies(frozenset({TOPIC.encode()}))
        await lone.endpoint(TOPIC).call(b"{}", context(), 5.0)
        await eventually(lambda: lone.reply_queue in watched.tap._replies)
        await lone.endpoint(TOPIC).call(b'{"a":2}', context(), 5.0)
        await eventually(lambda: any(one.request == b'{"a":2}' for one in watched.calls))
        watched.pairing.give_up(time.monotonic() + 60)

    results = {one.request: one.result for one in watched.calls}
    assert results[b'{"a":2}'] == "reply"
    assert results[b"{}"] in ("reply", "unseen")


async def test_a_reply_queue_of_the_past_is_not_listened_to_for_ever(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap_module, "FORGOTTEN_AFTER", 0.5)
    monkeypatch.setattr(tap_module, "LOOK_EVERY", 0.1)
    edge, _ = await town.edge(), await town.worker()

    async with tapping(town) as watched:
        before = edge.reply_queue
        await eventually(lambda: before in watched.tap._replies)
        await town.vhost.close_connection("web")
        await eventually(lambda: edge.reply_queue not in (None, before) and edge.reply_queue in watched.tap._replies)
        await eventually(lambda: before not in watched.tap._replies)
        bound = {each["routing_key"] for each in await town.vhost.objects("bindings")}

    assert f"{before}.tapped" not in bound


async def test_a_new_generation_is_announced_at_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cadence, "PRESENCE_EVERY", 3600.0)
    edge = await town.edge()
    roll = await town.operator()
    await eventually(lambda: roll.present)
    before = edge.reply_queue

    await town.vhost.close_connection("web")

    await eventually(lambda: edge.reply_queue not in (None, before))
    await eventually(lambda: roll.present[0].reply_queue == edge.reply_queue)


async def test_a_tap_does_not_hide_that_nobody_serves_a_topic(town: Town) -> None:
    edge, worker = await town.edge(), await town.worker()

    async with tapping(town) as watched:
        await worker.close()
        await town.vhost.delete_queue(TOPIC)
        await eventually(lambda: not watched.tap.topics)

        with pytest.raises(CallFailed, match="no-route"):
            await edge.endpoint(TOPIC).call(b"{}", context(), 5.0)


async def remains(town: Town) -> list[str]:
    """Queues and bindings of taps."""
    bindings = [each["destination"] for each in await town.vhost.objects("bindings")]
    return [name for name in [*await town.vhost.queues(), *bindings] if ".tap-" in name]


async def test_a_tap_leaves_nothing_behind(town: Town) -> None:
    await town.edge()
    await town.worker()

    async with tapping(town):
        during = await remains(town)

    assert during
    async with asyncio.timeout(10):
        while await remains(town):
            await asyncio.sleep(0.05)


async def test_a_tap_that_loses_its_broker_says_so(town: Town) -> None:
    await town.worker()
    tap = Tap(town.broker.control_address, "*", lambda _: None)
    running = asyncio.create_task(tap.run())
    await eventually(lambda: tap.topics)

    await town.vhost.close_connection(tap.name)

    with pytest.raises(BusError, match=r"fell|closed"):
        await running


async def test_the_embedded_bus_is_tapped_in_its_own_process() -> None:
    broker = EmbeddedBroker()
    calls: list[TappedCall] = []
    pairing = Pairing(calls.append)
    worker = Bus(broker, name="shop")

    async def echo(delivery: object) -> tuple[bytes, bytes]:
        return b"reply", b"{}"

    worker.serve(TOPIC, echo, prefetch=8, reruns=True, service="echo")
    async with worker, Bus(broker, name="web") as edge:
        with broker.tapped(lambda message: pairing.see(message, time.monotonic())):
            await edge.endpoint(TOPIC).call(b'{"a":1}', context(), 5.0)
            with pytest.raises(CallFailed, match="no-route"):
                await edge.endpoint(OTHER).call(b"{}", context(), 5.0)
        await edge.endpoint(TOPIC).call(b'{"a":2}', context(), 5.0)
        await asyncio.sleep(0)

    assert [(one.topic, one.request, one.result, one.source) for one in calls] == [(TOPIC, b'{"a":1}', "reply", "web")]

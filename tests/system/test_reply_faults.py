"""Replies that are wrong, too many, too late or of somebody else (F33, F34). The neighbours notice nothing."""

import asyncio
import json
import time
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from support.faults.contracts import Declined, lied, read
from support.faults.figures import observe, slowest, tally
from support.faults.liar import Answering, Liar, lying
from support.faults.world import World
from support.waiting import until

from busgate.bus.wire import MAX_MESSAGE

HEADERS = {"wire": 1, "service": "liar", "received": 1, "ran": 1}
GOOD = {"nonce": "x", "caller": "x", "pid": 1}
PROBLEM = {"type": Declined.type, "title": "", "status": 409, "left": 1}


def wrong(body: object, **properties: Any) -> Answering:
    async def answer(liar: Liar, call: AbstractIncomingMessage) -> None:
        await liar.reply(call, body if isinstance(body, bytes) else json.dumps(body).encode(), **properties)

    return answer


LIES = {
    "not JSON": wrong(b"{"),
    "empty": wrong(b""),
    "not UTF-8": wrong(b'"\xff"'),
    "not a number": wrong(b'{"nonce": "x", "caller": "x", "pid": NaN}'),
    "not of the contract": wrong({"nonce": 7}),
    "a list": wrong([GOOD]),
    "of another content type": wrong(GOOD, content_type="text/xml"),
    "of no content type": wrong(GOOD, content_type=None),
    "of no type": wrong(GOOD, type=None),
    "of an unknown type": wrong(GOOD, type="item"),
    "of another wire version": wrong(GOOD, headers={**HEADERS, "wire": 2}),
    "without headers": wrong(GOOD, headers={}),
    "with headers of wrong types": wrong(GOOD, headers={**HEADERS, "ran": "long", "service": 7}),
    "with a negative time": wrong(GOOD, headers={**HEADERS, "ran": -1}),
    "a problem that is none": wrong([], type="problem"),
    "a problem that nobody declared": wrong({"type": "urn:problem:unheard-of", "status": 200}, type="problem"),
    "a problem of the edge": wrong({"type": "urn:busgate:no-route", "status": 503}, type="problem"),
    "a problem without its field": wrong({**PROBLEM, "left": "none"}, type="problem"),
}


@pytest.mark.slow
async def test_a_reply_that_cannot_be_believed_is_502_and_hurts_nobody_else(world: World) -> None:
    """F33."""
    edge = await world.edge()
    await world.worker()
    callers = await world.callers(edge)

    observed = {}
    async with callers.load() as load:
        await load.flow()
        start = time.monotonic()
        for name, lie in LIES.items():
            async with lying(world.vhost.url, lie):
                observed[name] = await callers.ask(lied)
        await load.flow()

    others = [each for each in world.history.since(start) if each.topic != lied.topic]
    assert {name: (each.status, each.name) for name, each in observed.items()} == dict.fromkeys(
        LIES, (502, "bad-reply")
    )
    assert all(each.good for each in others)
    assert edge.bus.generation == 1
    observe("F33", lies=len(LIES), answers=tally(observed.values()), others=tally(others), slowest_ms=slowest(others))


@pytest.mark.slow
async def test_an_oversized_reply_is_502(faulty_world: World) -> None:
    """F33. RabbitMQ 4 lets none pass unless it is told to, as the node of the tests is; older ones carry 128 MiB."""
    edge = await faulty_world.edge()
    callers = await faulty_world.callers(edge)
    async with lying(faulty_world.vhost.url, wrong(b'"' + b"x" * MAX_MESSAGE + b'"')):
        answer = await callers.ask(lied)

    assert (answer.status, answer.name) == (502, "bad-reply")
    assert edge.bus.generation == 1
    observe("F33", lies=1, what="oversized", answers=tally([answer]))


async def test_a_second_reply_is_dropped_and_counted(world: World) -> None:
    """F34."""
    edge = await world.edge()
    callers = await world.callers(edge)

    async def answer(liar: Liar, call: AbstractIncomingMessage) -> None:
        for _ in range(2):
            await liar.reply(call, json.dumps(PROBLEM).encode(), type="problem")

    async with lying(world.vhost.url, answer):
        answers = [await callers.ask(lied) for _ in range(5)]
        await until(lambda: edge.bus.counters.late_replies == 5)

    observe("F34", what="duplicate", answers=tally(answers), dropped=edge.bus.counters.late_replies)
    world.history.answers.clear()  # the liar executes nothing and says so of nobody: the invariants are not for it
    world.history.asked.clear()
    assert tally(answers) == {f"409 {Declined.type}": 5}


@pytest.mark.slow
async def test_a_late_reply_is_dropped_and_counted(world: World) -> None:
    """F34."""
    edge = await world.edge()
    callers = await world.callers(edge)
    release = asyncio.Event()

    async def answer(liar: Liar, call: AbstractIncomingMessage) -> None:
        await release.wait()
        await liar.reply(call, json.dumps(PROBLEM).encode(), type="problem")

    async with lying(world.vhost.url, answer):
        late = await callers.ask(lied, wait=1)
        release.set()
        await until(lambda: edge.bus.counters.late_replies == 1)

    assert (late.status, late.name, late.outcome) == (504, "timeout", "unknown")
    observe("F34", what="late", answers=tally([late]), dropped=edge.bus.counters.late_replies)


@pytest.mark.slow
async def test_a_reply_with_a_foreign_correlation_id_reaches_nobody(world: World) -> None:
    """F34. A worker that guesses gets nowhere, and the calls of others keep their own answers (I3)."""
    edge = await world.edge()
    await world.worker()
    callers = await world.callers(edge)

    async def answer(liar: Liar, call: AbstractIncomingMessage) -> None:
        for guess in ("0" * 32, "x", "", "f" * 255):
            await liar.reply(call, json.dumps(GOOD).encode(), correlation_id=guess)

    async with lying(world.vhost.url, answer), callers.load() as load:
        before = time.monotonic()
        lost = await asyncio.gather(*(callers.ask(lied, wait=1) for _ in range(10)))
        await load.flow()
        await until(lambda: edge.bus.counters.late_replies >= 40)
    others = [each for each in world.history.since(before) if each.topic == read.topic]

    assert tally(lost) == {"504 timeout": 10}
    assert all(each.good for each in others)
    assert edge.bus.counters.late_replies == 40
    observe("F34", what="foreign", answers=tally(lost), dropped=edge.bus.counters.late_replies)

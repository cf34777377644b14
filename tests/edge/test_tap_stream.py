import asyncio
import json
import socket
from contextlib import aclosing

import aiohttp
import pytest
from pydantic import BaseModel

from busgate.bus import Bus, CallContext, Pairing, TappedCall
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.typed import TypedCalls
from busgate.contracts import Call, CallFailed, Catalog, Nothing, http
from busgate.edge import Edge, EdgeSettings, Recorder, tap_stream
from busgate.edge.tap_stream import MOST, TapStream

CONTEXT = CallContext(b"0" * 31 + b"1", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
hello = Call("test.hello.v1", http.get("/hello"), request=Nothing, reply=Nothing, public=True)


async def test_a_tap_shows_the_calls_that_it_asks_for() -> None:
    broker = EmbeddedBroker()
    worker = Bus(broker, name="worker")

    async def echo(delivery: object) -> tuple[bytes, bytes]:
        return b"reply", b"{}"

    for topic in (hello.topic, "other.hello.v1"):
        worker.serve(topic, echo, prefetch=1, reruns=True, service="svc")
    stream = TapStream(broker, Catalog([hello]))

    async with (
        asyncio.timeout(10),
        worker,
        Bus(broker, name="edge") as edge,
        aclosing(stream.events({"topics": "test.*", "bodies": "1"})) as events,
    ):
        first = await anext(events)  # it looks from now on
        for topic in ("other.hello.v1", hello.topic):
            await edge.endpoint(topic).call(b"{}", CONTEXT, 5)
        event = await anext(events)

    assert first == 'event: topics\ndata: ["other.hello.v1", "test.hello.v1"]\n\n'
    (line,) = event.strip().split("\n\n")
    document = json.loads(line.removeprefix("data: "))
    assert (document["topic"], document["service"]) == (hello.topic, "svc")
    assert (document["request"], document["reply"]) == ({}, {})


async def test_bodies_of_a_topic_that_the_edge_does_not_know_are_masked_unless_asked_for() -> None:
    broker = EmbeddedBroker()
    worker = Bus(broker, name="worker")

    async def echo(delivery: object) -> tuple[bytes, bytes]:
        return b"reply", b'{"card":"4711"}'

    worker.serve("other.v1", echo, prefetch=1, reruns=True, service="svc")
    stream = TapStream(broker, Catalog([hello]))
    shown = []
    async with asyncio.timeout(10), worker, Bus(broker, name="edge") as edge:
        for query in ({"bodies": "1"}, {"bodies": "1", "unknown": "1"}):
            async with aclosing(stream.events(query)) as events:
                await anext(events)
                await edge.endpoint("other.v1").call(b"{}", CONTEXT, 5)
                shown.append(json.loads((await anext(events)).removeprefix("data: "))["reply"])

    assert shown == [{"card": "***"}, {"card": "4711"}]


async def test_a_reader_who_is_too_slow_is_told_how_much_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_stream, "WAITING", 1)
    broker = EmbeddedBroker()
    worker = Bus(broker, name="worker")

    async def echo(delivery: object) -> tuple[bytes, bytes]:
        return b"reply", b"{}"

    worker.serve(hello.topic, echo, prefetch=1, reruns=True, service="svc")
    stream = TapStream(broker, Catalog([hello]))
    async with (
        asyncio.timeout(10),
        worker,
        Bus(broker, name="edge") as edge,
        aclosing(stream.events({})) as events,
    ):
        await anext(events)
        for _ in range(3):
            await edge.endpoint(hello.topic).call(b"{}", CONTEXT, 5)
        await asyncio.sleep(0)  # the last copy
        call, told = (await anext(events)).strip().split("\n\n")

    assert call.startswith("data: {")
    assert told == "event: dropped\ndata: 2"


async def test_so_many_taps_may_be_open_and_no_more_until_one_ends() -> None:
    stream = TapStream(EmbeddedBroker(), Catalog([hello]))
    taps = [stream.events({}) for _ in range(MOST)]
    async with asyncio.timeout(10):
        await asyncio.gather(*(anext(tap) for tap in taps))
        full = stream.full
        await taps[0].aclose()
        again = stream.full
        for tap in taps[1:]:
            await tap.aclose()

    assert (full, again) == (True, False)


class Said(BaseModel):
    word: str


told = Call("test.told.v1", http.get("/told"), request=Nothing, reply=Said, public=True)


async def test_a_reply_that_does_not_match_its_contract_is_bad_for_the_edge_for_a_script_and_for_the_tap() -> None:
    broker = EmbeddedBroker()
    worker = Bus(broker, name="worker")

    async def wrong(delivery: object) -> tuple[bytes, bytes]:
        return b"reply", b'{"word":7}'

    worker.serve(told.topic, wrong, prefetch=1, reruns=True, service="svc")
    seen: list[TappedCall] = []
    pairing = Pairing(seen.append)
    async with asyncio.timeout(10), worker, Bus(broker, name="edge") as bus:
        edge = Edge(Catalog([told]), EdgeSettings(), bus, recorder=Recorder())
        listener = socket.create_server(("127.0.0.1", 0))
        await edge.start(listener)
        with broker.tapped(lambda message: pairing.see(message, 0.0)):
            async with aiohttp.ClientSession() as client:
                answer = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/told")
            with pytest.raises(CallFailed) as caught:
                await TypedCalls(bus).to(told).call(Nothing(), CONTEXT, 5)
            while len(seen) < 4:
                await asyncio.sleep(0)
        await edge.close()

    assert (answer.status, caught.value.kind.name) == (502, "bad-reply")
    assert [(one.result, one.status, one.problem) for one in seen] == [
        ("reply", None, ""),
        ("refused", 502, "urn:busgate:bad-reply"),
    ] * 2
    assert (seen[1].call, seen[3].call) == (answer.headers["X-Request-Id"], CONTEXT.call_id.decode())

"""Moments at which a link may fall or be blocked while a generation opens; the embedded broker makes them happen."""

import asyncio
import contextlib
from typing import Any

import pytest

from busgate.bus import Bus, BusError, CallContext, Delivery
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.link import LinkEvents
from busgate.contracts import CallFailed

TOPIC = "shop.orders.place.v1"
CONTEXT = CallContext(b"0" * 31 + b"1", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


async def echo(delivery: Delivery) -> tuple[bytes, bytes]:
    return b"reply", delivery.message.body


class Treacherous(EmbeddedBroker):
    """Lets something happen on the first link, right after it did what `after` names."""

    def __init__(self, after: str, happens: Any) -> None:
        super().__init__()
        self.after, self.happens = after, happens

    async def connect(self, events: LinkEvents, *, name: str, generation: int) -> Any:
        link: Any = await super().connect(events, name=name, generation=generation)
        if generation > 1 or self.happens is None:
            return link
        happens, self.happens = self.happens, None
        original = getattr(link, self.after)

        def now(*args: Any) -> Any:
            answer = original(*args)
            happens(link)
            return answer

        async def then(*args: Any) -> None:
            await original(*args)
            happens(link)

        setattr(link, self.after, then if asyncio.iscoroutinefunction(original) else now)
        return link


@pytest.mark.parametrize("after", ["ping", "consume"])
async def test_a_link_that_falls_while_it_opens_is_not_taken_for_ready(after: str) -> None:
    bus = Bus(Treacherous(after, lambda link: link.abort()), name="both")
    bus.serve(TOPIC, echo, prefetch=1, reruns=True, service="svc")

    async with bus:
        reply = await bus.endpoint(TOPIC).call(b"1", CONTEXT, 2.0)

    assert reply.body == b"1"
    assert bus.generation == 1


async def test_an_alarm_in_the_moment_of_readiness_is_not_forgotten() -> None:
    broker = Treacherous("ping", lambda link: link._broker.set_alarm("memory"))
    async with Bus(broker, name="edge") as edge:
        assert edge.unready == "the broker is blocked: memory"
        with pytest.raises(CallFailed, match="bus-blocked"):
            edge.endpoint(TOPIC).call(b"1", CONTEXT, 2.0)

        broker.set_alarm(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert edge.unready is None


async def test_a_bug_of_ours_while_a_link_opens_costs_the_try_and_not_the_bus() -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError

    async with Bus(Treacherous("ping", fail), name="edge") as edge:
        assert edge.unready is None


async def test_a_broker_that_delivers_nothing_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busgate.bus.bus.PING_EVERY", 0.01)

    class Deaf(EmbeddedBroker):
        async def connect(self, events: LinkEvents, *, name: str, generation: int) -> Any:
            link: Any = await super().connect(events, name=name, generation=generation)
            link.ping = lambda: None
            return link

    bus = Bus(Deaf(), name="edge")

    with pytest.raises(BusError, match="delivers nothing"):
        await bus.start(0.3)


async def test_a_link_that_goes_deaf_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busgate.bus.bus.PING_EVERY", 0.01)
    async with Bus(EmbeddedBroker(), name="edge") as edge:
        link: Any = edge._link
        link.ping = lambda: None

        async with asyncio.timeout(20):
            while edge.generation < 2:
                await asyncio.sleep(0.002)

    assert edge.counters.generations == 2


async def test_a_bus_closes_although_a_look_at_a_queue_lost_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio.wait_for does on Python 3.11, when what it waits for is done in the same moment."""
    looked = asyncio.Event()

    async def consumers(_broker: EmbeddedBroker, _topic: str) -> int:
        looked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return 0

    monkeypatch.setattr(EmbeddedBroker, "consumers", consumers)
    bus = Bus(EmbeddedBroker(), name="edge")
    await bus.start()
    bus.requester.on_silent_topic(bus.endpoint(TOPIC))
    async with asyncio.timeout(20):
        await looked.wait()
        await bus.close()

    assert bus._tasks == set()

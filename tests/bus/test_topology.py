"""Exchanges and queues on a real RabbitMQ: found, made, compared; and what is said when the broker says no."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aio_pika
import pytest
from support.broker import Broker
from support.management import Vhost
from support.ports import free_port

from busgate.bus import Address, Bus, BusError, CallContext, Delivery, Depth, RabbitBroker, Topology
from busgate.bus.aio import connect, one_line
from busgate.bus.settings import BusSettings

TOPIC = "shop.orders.place.v1"
EXCHANGES = ["busgate.calls", "busgate.replies", "busgate.control"]
CONTEXT = CallContext(b"0" * 31 + b"1", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


async def echo(delivery: Delivery) -> tuple[bytes, bytes]:
    return b"reply", delivery.message.body


@pytest.fixture
def address(vhost: Vhost) -> Address:
    return BusSettings(url=vhost.url).addresses()[0]


async def test_what_is_missing_is_made_and_found_the_second_time(vhost: Vhost, address: Address) -> None:
    async with Topology(address) as topology:
        first = await topology.make([TOPIC])
        second = await topology.make([TOPIC])

    assert [(part.name, part.state) for part in first] == [(name, "made") for name in [*EXCHANGES, TOPIC]]
    assert [part.state for part in second] == ["present"] * 4


async def test_what_is_made_has_exactly_the_documented_shape(vhost: Vhost, address: Address) -> None:
    async with Topology(address) as topology:
        await topology.make([TOPIC])

    exchanges, queues = await vhost.exchanges(), await vhost.queues()
    assert {name: exchanges[name]["type"] for name in EXCHANGES} == {
        "busgate.calls": "direct",
        "busgate.replies": "direct",
        "busgate.control": "topic",
    }
    assert all(exchanges[name]["durable"] for name in EXCHANGES)
    queue = queues[TOPIC]
    assert (queue["durable"], queue["auto_delete"], queue["exclusive"]) == (True, False, False)
    assert queue["arguments"] == {"x-queue-type": "classic", "x-expires": 120_000}


async def test_to_compare_changes_nothing(vhost: Vhost, address: Address) -> None:
    async with Topology(address) as topology:
        before = await topology.compare([TOPIC])
        after = await topology.compare([TOPIC])

    assert before == after
    assert {part.state for part in before} == {"missing"}
    assert TOPIC not in await vhost.queues()


async def test_a_queue_that_was_declared_otherwise_is_named_with_its_argument(vhost: Vhost, address: Address) -> None:
    async with Topology(address) as topology:
        await topology.make([])
        async with await aio_pika.connect(vhost.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(TOPIC, durable=True, arguments={"x-queue-type": "classic", "x-expires": 60_000})

        parts = await topology.compare([TOPIC])

    assert (parts[-1].name, parts[-1].state) == (TOPIC, "differs")
    assert "x-expires" in parts[-1].detail
    assert "\n" not in parts[-1].detail


async def test_an_exchange_of_another_kind_is_named(address: Address) -> None:
    async with Topology(address, kind="topic") as topology:
        await topology.make([])
    async with Topology(address, kind="direct") as topology:
        parts = await topology.compare([])

    assert [part.state for part in parts] == ["differs", "present", "present"]
    assert "type" in parts[0].detail


async def test_calls_work_over_an_exchange_of_kind_topic(vhost: Vhost, address: Address) -> None:
    broker = RabbitBroker([address], kind="topic")
    worker, edge = Bus(broker, name="worker"), Bus(broker, name="edge")
    worker.serve(TOPIC, echo, prefetch=1, reruns=True, service="svc")

    async with worker, edge:
        reply = await edge.endpoint(TOPIC).call(b"1", CONTEXT, 5)

    assert reply.body == b"1"
    assert (await vhost.exchanges())["busgate.calls"]["type"] == "topic"


async def test_the_count_of_consumers_tells_no_queue_from_no_worker(address: Address) -> None:
    broker = RabbitBroker([address])
    assert await broker.consumers(TOPIC) is None

    await broker.prepare([TOPIC])
    assert await broker.consumers(TOPIC) == 0

    worker = Bus(broker, name="worker")
    worker.serve(TOPIC, echo, prefetch=1, reruns=True, service="svc")
    async with worker:
        assert await broker.consumers(TOPIC) == 1


# -- users with few rights


@dataclass
class User:
    vhost: Vhost
    address: Address

    async def may(self, **rights: str) -> None:
        await self.vhost.management.allow(self.address.user, self.vhost.name, **rights)


@pytest.fixture
async def user(vhost: Vhost, address: Address) -> AsyncIterator[User]:
    name = f"user-{vhost.name[-20:]}"
    await vhost.management.create_user(name, "secret")
    try:
        yield User(vhost, replace(address, user=name, password="secret"))
    finally:
        await vhost.management.delete_user(name)


async def test_a_user_who_may_make_nothing_runs_on_what_an_operator_made(address: Address, user: User) -> None:
    """The rights of a worker that docs/wire.md names."""
    async with Topology(address) as topology:
        await topology.make([TOPIC])
    await user.may(
        configure=r"^busgate\.reply\..*",
        write=r"^busgate\.(replies|reply\..*)$",
        read=rf"^({TOPIC}|busgate\.replies|busgate\.reply\..*)$".replace(".v1", r"\.v1"),
    )
    worker = Bus(RabbitBroker([user.address]), name="worker")
    worker.serve(TOPIC, echo, prefetch=1, reruns=True, service="svc")

    async with worker, Bus(RabbitBroker([address]), name="edge") as edge:
        reply = await edge.endpoint(TOPIC).call(b"1", CONTEXT, 5)

    assert reply.body == b"1"


async def test_an_edge_needs_to_write_calls_and_to_have_its_reply_queue(address: Address, user: User) -> None:
    """The rights of an edge that docs/wire.md names."""
    worker = Bus(RabbitBroker([address]), name="worker")
    worker.serve(TOPIC, echo, prefetch=1, reruns=True, service="svc")
    async with worker:
        await user.may(
            configure=r"^busgate\.reply\..*",
            write=r"^busgate\.(calls|replies|reply\..*)$",
            read=r"^busgate\.(replies|reply\..*)$",
        )
        async with Bus(RabbitBroker([user.address]), name="edge") as edge:
            reply = await edge.endpoint(TOPIC).call(b"1", CONTEXT, 5)

    assert reply.body == b"1"


async def test_a_user_who_may_not_make_what_is_missing_is_told_what_to_do(user: User) -> None:
    await user.may(configure="^$")

    error = await refusal(RabbitBroker([user.address]))

    assert error.permanent
    assert "busgate topology --apply" in str(error)
    assert "busgate.calls" in str(error)


async def test_a_user_without_any_right_in_the_vhost_is_refused_for_good(vhost: Vhost, user: User) -> None:
    error = await refusal(RabbitBroker([user.address]))

    assert error.permanent
    assert vhost.name in str(error)


# -- what is said when the broker says no


async def refusal(broker: RabbitBroker, *, wait: float = 5.0) -> BusError:
    bus = Bus(broker, name="refused")
    async with asyncio.timeout(wait + 3):
        with pytest.raises(BusError) as caught:
            await bus.start(wait)
    text = str(caught.value)
    assert "\n" not in text
    assert "secret" not in text
    assert len(text) < 500
    return caught.value


async def test_a_wrong_password_is_permanent_and_is_not_shown(address: Address) -> None:
    error = await refusal(RabbitBroker([replace(address, password="secret-and-wrong")]))

    assert error.permanent
    assert "refused" in str(error).lower()


async def test_a_wrong_vhost_is_permanent(address: Address) -> None:
    error = await refusal(RabbitBroker([replace(address, vhost="no-such-vhost")]))

    assert error.permanent
    assert "no-such-vhost" in str(error)


async def test_a_port_where_nobody_listens_is_tried_again(address: Address) -> None:
    error = await refusal(RabbitBroker([replace(address, port=free_port())]), wait=0.3)

    assert not error.permanent
    assert "Connection refused" in str(error)


# aiormq forgets a coroutine when it is cancelled while a name is looked up.
@pytest.mark.filterwarnings("ignore:coroutine 'Connection.close' was never awaited")
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
async def test_a_host_that_does_not_exist_is_one_line(address: Address) -> None:
    error = await refusal(RabbitBroker([replace(address, host="no-such-host.invalid")]), wait=2)

    assert not error.permanent


async def test_the_second_address_is_used_when_the_first_is_dead(address: Address) -> None:
    broker = RabbitBroker([replace(address, port=free_port()), address])

    async with Bus(broker, name="edge") as edge:
        assert edge.unready is None


async def test_an_address_never_shows_its_password(address: Address) -> None:
    shown = replace(address, password="secret")

    assert "secret" not in f"{shown} {shown!r} {RabbitBroker([shown]).address}"


async def test_a_vhost_with_odd_characters_is_found(rabbit: Broker) -> None:
    async with (
        rabbit.fresh_vhost("odd/ %ü") as vhost,
        Bus(RabbitBroker(BusSettings(url=vhost.url).addresses()), name="edge") as edge,
    ):
        assert edge.unready is None


async def test_a_rabbitmq_that_closes_the_connection_is_connected_to_again(vhost: Vhost, address: Address) -> None:
    async with Bus(RabbitBroker([address]), name="edge") as edge:

        async def closed() -> bool:
            return await vhost.management.close_connections(vhost.name) > 0

        async with asyncio.timeout(15):
            while not await closed():  # the list of connections lags
                await asyncio.sleep(0.1)
            while edge.generation < 2 or edge.unready is not None:
                await asyncio.sleep(0.01)

        assert edge.counters.generations >= 2


async def test_a_channel_on_a_connection_that_just_fell_is_one_line(address: Address) -> None:
    """aiormq says so with an error of none of its own kinds."""
    connection = await connect(address, name="falls")
    assert connection.transport is not None
    below = connection.transport.connection
    await below.close()

    with pytest.raises(BusError, match="the connection fell"), one_line(address):
        await below.channel()


async def test_depths_of_queues_are_told_whether_or_not_they_are_there(vhost: Vhost, address: Address) -> None:
    async with Topology(address) as topology:
        await topology.make(["shop.a.v1", "shop.b.v1"])
        depths = await topology.depths(["shop.none.v1", "shop.a.v1", "shop.nor.v1", "shop.b.v1"])

    empty = Depth(ready=0, consumers=0)
    assert depths == {"shop.none.v1": None, "shop.a.v1": empty, "shop.nor.v1": None, "shop.b.v1": empty}

"""Each RabbitMQ user of the deployment can do its whole job, and is refused what it does not need."""

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused
from support.acts import LONGEST, Act, attempt, consume, delete, listen, publish
from support.definitions import DEFINITIONS, ROOT, rights_of

from busgate.bus import Address, Bus, CallContext, Delivery, RabbitBroker, Tap, Topology, joined, roll_call
from busgate.bus.topology import ExchangeKind
from busgate.contracts import Call, CallFailed, Nothing, http

if TYPE_CHECKING:
    from deploy.conftest import Users

ORDER, STOCK, FOREIGN = "shop.orders.place.v1", "shop.stock.check.v1", "bank.accounts.close.v1"
CONTEXT = CallContext(b"0" * 31 + b"1", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def bus_of(address: Address, name: str, *, kind: ExchangeKind) -> Bus:
    return Bus(RabbitBroker([address], kind=kind), name=name)


def shop(bus: Bus) -> None:
    """Serve orders, which ask the stock before they answer, and the stock."""

    async def place(delivery: Delivery) -> tuple[bytes, bytes]:
        context = CallContext(b"0" * 31 + b"2", delivery.context.traceparent, hops=1)
        reply = await bus.endpoint(STOCK).call(delivery.message.body, context, 5)
        return b"reply", b"ordered " + reply.body

    async def check(delivery: Delivery) -> tuple[bytes, bytes]:
        return b"reply", delivery.message.body

    for topic, handle in ((ORDER, place), (STOCK, check)):
        bus.serve(topic, handle, prefetch=8, reruns=True, service="shop")


def contracts() -> list[tuple[Call[Any, Any], str]]:
    return [(Call(topic, http.post("/" + topic), request=Nothing, reply=Nothing), "shop") for topic in (ORDER, STOCK)]


async def prepare(users: "Users", kind: ExchangeKind) -> list[str]:
    """What an operator does first; what it made."""
    async with Topology(users.addresses["operator"], kind=kind) as topology:
        return [part.name for part in await topology.make([ORDER, STOCK]) if part.state == "made"]


@pytest.mark.parametrize("kind", ["direct", "topic"])
async def test_operator_worker_and_edge_do_their_work_with_the_rights_of_the_file(
    users: "Users", kind: ExchangeKind
) -> None:
    made = await prepare(users, kind)
    worker = bus_of(users.addresses["worker"], "worker", kind=kind)
    shop(worker)

    async with asyncio.timeout(LONGEST), worker, bus_of(users.addresses["edge"], "edge", kind=kind) as edge:
        reply = await edge.endpoint(ORDER).call(b"A-1", CONTEXT, 5)

    assert made == ["busgate.calls", "busgate.replies", "busgate.control", ORDER, STOCK]
    assert reply.body == b"ordered A-1"


async def test_an_edge_learns_with_its_rights_that_a_topic_has_no_worker(users: "Users") -> None:
    await prepare(users, "topic")

    async with asyncio.timeout(LONGEST), bus_of(users.addresses["edge"], "edge", kind="topic") as edge:
        endpoint = edge.endpoint(ORDER)
        with pytest.raises(CallFailed) as first:
            await endpoint.call(b"A-1", CONTEXT, 0.2)
        while not endpoint.unserved:
            await asyncio.sleep(0.01)
        with pytest.raises(CallFailed) as second:
            await endpoint.call(b"A-1", CONTEXT, 5)

    assert (first.value.kind.name, second.value.kind.name) == ("timeout", "no-workers")


async def test_a_topic_that_an_edge_may_not_call_costs_one_connection_and_no_more(users: "Users") -> None:
    """The broker closes the channel of a publish that it forbids, and with it goes the link."""
    await prepare(users, "topic")
    worker = bus_of(users.addresses["worker"], "worker", kind="topic")
    shop(worker)

    async with asyncio.timeout(LONGEST), worker, bus_of(users.addresses["edge"], "edge", kind="topic") as edge:
        failures = []
        for _ in range(5):
            with pytest.raises(CallFailed) as failed:
                await edge.endpoint("elsewhere.secret.read.v1").call(b"{}", CONTEXT, 5)
            failures.append((failed.value.kind.name, failed.value.kind.outcome))
            while edge.unready:
                await asyncio.sleep(0.01)
        reply = await edge.endpoint(ORDER).call(b"A-1", CONTEXT, 5)

    assert failures == [("connection-lost", "unknown")] + [("topic-forbidden", "not_executed")] * 4
    assert reply.body == b"ordered A-1"
    assert edge.generation == 2


async def test_all_of_them_come_back_with_their_rights_when_their_connections_fall(users: "Users") -> None:
    await prepare(users, "topic")
    worker = bus_of(users.addresses["worker"], "worker", kind="topic")
    shop(worker)

    async with asyncio.timeout(LONGEST), worker, bus_of(users.addresses["edge"], "edge", kind="topic") as edge:
        for bus in (worker, edge):
            assert bus._link is not None
            bus._link.abort()
        while any(bus.generation < 2 or bus.unready for bus in (worker, edge)):
            await asyncio.sleep(0.01)
        reply = await edge.endpoint(ORDER).call(b"A-1", CONTEXT, 5)

    assert reply.body == b"ordered A-1"


@pytest.mark.parametrize("kind", ["direct", "topic"])
async def test_the_control_bus_works_with_the_rights_of_the_file(users: "Users", kind: ExchangeKind) -> None:
    """Presence, a tap of call and reply, a drain: by those who may."""
    await prepare(users, kind)
    worker = bus_of(users.addresses["worker"], "worker", kind=kind)
    shop(worker)
    told = asyncio.Event()
    seen: list[tuple[bytes, bytes]] = []
    tap = Tap(lambda: users.addresses["operator"], "shop.*", lambda copy: seen.append((copy.type, copy.body)))

    async with (
        asyncio.timeout(LONGEST),
        worker,
        bus_of(users.addresses["edge"], "edge", kind=kind) as edge,
        joined(worker, kind="worker", contracts=contracts(), on_drain=told.set),
        joined(edge, kind="edge", contracts=contracts(), on_drain=lambda: None),
        roll_call(lambda: users.addresses["operator"], name="operator") as roll,
    ):
        ready = asyncio.Event()
        tapping = asyncio.create_task(tap.run(ready.set))
        await ready.wait()
        while {kind for kind, _ in seen} < {b"call", b"reply"}:
            await edge.endpoint(ORDER).call(b"A-1", CONTEXT, 5)
        present = {each.id for each in roll.present}
        await roll.tell("drain.worker")
        await told.wait()
        tapping.cancel()
        await asyncio.gather(tapping, return_exceptions=True)

    assert present == {"edge", "worker"}
    assert {(b"call", b"A-1"), (b"reply", b"ordered A-1")} <= set(seen)


async def test_an_operator_sees_queues_and_alarms(users: "Users") -> None:
    await prepare(users, "topic")
    management = users.management("operator")

    queues = await management.get(f"queues/{users.vhost.name}")

    assert {queue["name"] for queue in queues} >= {ORDER, STOCK}
    assert not await management.has_alarm()


# -- what each is refused


def declare(queue: str) -> Act:
    return lambda channel: channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "classic"})


def purge(queue: str) -> Act:
    async def act(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).purge()

    return act


def declare_exchange(name: str) -> Act:
    return lambda channel: channel.declare_exchange(name, durable=True)


def listen_in(exchange: str, key: str) -> Act:
    return listen(exchange, key, "busgate.reply.curious.1.x")


def hear(key: str) -> Act:
    return listen("busgate.control", key, "busgate.control.curious")


EVERYONE = {
    "hear all of the control bus": hear("#"),
    "publish by the default exchange": publish("", ORDER),
    "publish by another exchange": publish("amq.topic", ORDER),
    "declare a queue of another name": declare("mine"),
    "declare an exchange of another name": declare_exchange("mine"),
    "consume a queue of another service": consume(FOREIGN),
    "delete a queue of another service": delete(FOREIGN),
}
REFUSED: dict[str, dict[str, Act]] = {
    "edge": EVERYONE
    | {
        "consume calls": consume(ORDER),
        "purge calls": purge(ORDER),
        "declare a queue of calls": declare("shop.new.v1"),
        "delete a queue of calls": delete(ORDER),
        "listen to calls": listen_in("busgate.calls", ORDER),
        "declare an exchange of ours": declare_exchange("busgate.more"),
        "tell others to drain": publish("busgate.control", "drain.worker"),
        "have calls tapped": publish("busgate.control", "tap.mine"),
        "pass as a worker": publish("busgate.control", "presence.worker.mine"),
        "hear who is there": hear("presence.#"),
        "call what it does not serve": publish("busgate.calls", FOREIGN),
    },
    "worker": EVERYONE
    | {
        "declare a queue of calls": declare("shop.new.v1"),
        "delete a queue of calls": delete(ORDER),
        "listen to calls": listen_in("busgate.calls", ORDER),
        "declare an exchange of ours": declare_exchange("busgate.more"),
        "tell others to drain": publish("busgate.control", "drain.worker"),
        "have calls tapped": publish("busgate.control", "tap.mine"),
        "pass as an edge": publish("busgate.control", "presence.edge.mine"),
        "call what its handlers do not call": publish("busgate.calls", ORDER),
    },
    "operator": EVERYONE
    | {
        "consume calls": consume(ORDER),
        "purge calls": purge(ORDER),
        "pass as a worker": publish("busgate.control", "presence.worker.mine"),
    },
}
ROWS = [(role, what) for role, acts in REFUSED.items() for what in acts]


@pytest.mark.parametrize(("role", "what"), ROWS, ids=[f"{role}: {what}" for role, what in ROWS])
async def test_nobody_may_do_what_is_not_its_work(users: "Users", role: str, what: str) -> None:
    await prepare(users, "topic")
    async with Topology(users.root, kind="topic") as everything:
        await everything.make([FOREIGN])

    with pytest.raises(ChannelAccessRefused):
        await attempt(users.addresses[role], REFUSED[role][what])


@pytest.mark.parametrize("what", sorted({what for acts in REFUSED.values() for what in acts}))
async def test_who_has_all_rights_may_do_it(users: "Users", what: str) -> None:
    """So that the others are refused for their rights and nothing else."""
    await prepare(users, "topic")
    async with Topology(users.root, kind="topic") as everything:
        await everything.make([FOREIGN])

    await attempt(users.root, next(acts[what] for acts in REFUSED.values() if what in acts))


@pytest.mark.parametrize("role", ["edge", "worker", "operator"])
async def test_nobody_may_change_users(users: "Users", role: str) -> None:
    with pytest.raises(HTTPError) as refused:
        await users.management(role).put("users/mine", password="secret", tags="administrator")

    refused.value.close()
    assert refused.value.code in (401, 403)


async def test_on_the_direct_kind_whoever_may_call_reaches_every_topic(users: "Users") -> None:
    """RabbitMQ looks at topic permissions on topic exchanges only; docs/permissions.md says so."""
    await prepare(users, "direct")

    await attempt(users.addresses["worker"], publish("busgate.calls", ORDER))


# -- the other sets of rights that docs/permissions.md names


async def test_a_worker_that_calls_nobody_needs_no_right_to_call(users: "Users") -> None:
    await prepare(users, "topic")
    await users.allow("worker", write=rights_of("worker")["write"].replace("calls|", ""))
    worker = bus_of(users.addresses["worker"], "worker", kind="topic")
    shop(worker)

    async with asyncio.timeout(LONGEST), worker, bus_of(users.addresses["edge"], "edge", kind="topic") as edge:
        reply = await edge.endpoint(STOCK).call(b"A-1", CONTEXT, 5)

    assert reply.body == b"A-1"
    with pytest.raises(ChannelAccessRefused):
        await attempt(users.addresses["worker"], publish("busgate.calls", STOCK))


async def test_a_worker_in_another_language_needs_least_of_all(users: "Users") -> None:
    await prepare(users, "topic")
    await users.allow("worker", configure="^$", write=r"^busgate\.replies$", read=r"^shop\..*$")

    await attempt(users.addresses["worker"], consume(ORDER))
    await attempt(users.addresses["worker"], publish("busgate.replies", "busgate.reply.edge.1.x"))
    for act in (declare("shop.new.v1"), publish("busgate.calls", STOCK), listen_in("busgate.replies", "x")):
        with pytest.raises(ChannelAccessRefused):
            await attempt(users.addresses["worker"], act)


async def make_own_queues(users: "Users") -> None:
    """The rights of a worker that makes its queues."""
    await users.allow(
        "worker",
        configure=r"^(busgate\.(reply|control)|shop)\..*$",
        write=r"^(busgate\.(calls|replies|control|reply\..*|control\..*)|shop\..*)$",
        read=r"^(busgate\.(calls|replies|control|reply\..*|control\..*)|shop\..*)$",
    )
    await users.allow_topics("worker", write=r"^shop\.stock\.check\.v1$", read=r"^shop\.")


async def test_a_worker_that_makes_its_own_queues_needs_more_rights_and_no_operator(users: "Users") -> None:
    async with Topology(users.addresses["operator"], kind="topic") as topology:
        await topology.make([])
    await make_own_queues(users)
    worker = bus_of(users.addresses["worker"], "worker", kind="topic")
    shop(worker)

    async with asyncio.timeout(LONGEST), worker, bus_of(users.addresses["edge"], "edge", kind="topic") as edge:
        reply = await edge.endpoint(ORDER).call(b"A-1", CONTEXT, 5)

    assert reply.body == b"ordered A-1"


@pytest.mark.parametrize(("kind", "refused"), [("topic", True), ("direct", False)])
async def test_only_on_the_topic_kind_such_a_worker_cannot_listen_to_others(
    users: "Users", kind: ExchangeKind, *, refused: bool
) -> None:
    await prepare(users, kind)
    await make_own_queues(users)

    async def may_listen() -> bool:
        try:
            await attempt(users.addresses["worker"], listen_in("busgate.calls", FOREIGN))
        except ChannelAccessRefused:
            return False
        return True

    assert await may_listen() is not refused


# -- the document


def table(document: str, name: str) -> set[tuple[str, ...]]:
    """The rows of a table between `<!-- name -->` and `<!-- end -->`, without its head."""
    text = document.partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
    rows = (re.split(r"(?<!\\)\|", row)[1:-1] for row in text.strip().splitlines()[2:])
    return {tuple(cell.strip().strip("`").replace(r"\|", "|") for cell in row) for row in rows}


def test_the_rights_that_are_documented_are_those_of_the_file() -> None:
    document = (ROOT / "docs" / "permissions.md").read_text()

    users = [user["name"] for user in DEFINITIONS["users"]]
    assert table(document, "permissions") == {(user, *rights_of(user).values()) for user in users}
    assert table(document, "topic permissions") == {
        (each["user"], each["exchange"], each["write"], each["read"]) for each in DEFINITIONS["topic_permissions"]
    }


def test_the_file_holds_no_password() -> None:
    assert "password" not in json.dumps(DEFINITIONS)

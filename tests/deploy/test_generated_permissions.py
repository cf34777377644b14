"""What `busgate permissions` prints, applied to a real RabbitMQ: each user does its whole work and nothing else."""

import asyncio
import base64
import hashlib
import json
import secrets
import shlex
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiormq.exceptions import ChannelAccessRefused
from support.acts import LONGEST, Act, attempt, consume, delete, listen, publish
from support.broker import RabbitNode
from support.command import COMMAND
from support.definitions import DEFINITIONS, ROOT
from support.management import Vhost, quoted

from busgate.bus import Address, Bus, CallContext, Delivery, RabbitBroker, Tap, Topology, joined, roll_call
from busgate.bus.settings import BusSettings
from busgate.bus.wire import Ids, new_context
from busgate.contracts import Call, Nothing, http

DECIDE = "auth.decide.v1"
ORDER, READ, STOCK = "shop.orders.place.v1", "shop.orders.read.v1", "shop.stock.check.v1"
SERVICES = ("--service", "shop.services:orders", "--service", "shop.services:inventory")
USERS = ("edge", "worker-orders", "worker-inventory", "operator")


def permissions(*arguments: str, folder: Path = ROOT / "examples") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "permissions", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def printed(*arguments: str) -> str:
    done = permissions("shop.contracts", *SERVICES, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_users_of_the_deployment_are_what_the_command_prints_for_the_shop() -> None:
    """`make docs` writes the file."""
    made = printed("--one-worker", "--kind", "topic", "--vhost", "busgate", "--format", "definitions")

    assert json.loads(made) == DEFINITIONS


def test_it_says_what_these_rights_cannot_do_and_who_may_call_nobody() -> None:
    done = permissions("shop.contracts", *SERVICES)

    assert "of kind direct: whoever may write to it reaches every topic" in done.stderr
    assert "may call nobody, since Service(..., calls=[...]) names none: inventory" in done.stderr
    assert "busgate.calls" not in done.stdout.replace(
        "busgate\\.", ""
    )  # no topic permissions: nobody would look at them


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "nothing to permit"),
        (("shop.nothing",), "cannot import shop.nothing"),
        (("shop.contracts", "--kind", "fanout"), "bus.exchange_kind"),
        (("shop.contracts", "--format", "xml"), "--format"),
    ],
    ids=["nothing", "no module", "no kind", "no format"],
)
def test_bad_input_is_one_line_and_exit_code_2(given: tuple[str, ...], told: str, tmp_path: Path) -> None:
    (tmp_path / "shop").symlink_to(ROOT / "examples" / "shop")

    done = permissions(*given, folder=tmp_path)

    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_vhost_is_that_of_the_bus_and_its_secrets_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "shop").symlink_to(ROOT / "examples" / "shop")
    (tmp_path / "busgate.toml").write_text(
        '[bus]\nurl = "amqps://edge@broker.example/my%2Fshop"\npassword = { file = "/nowhere" }\nexchange_kind = "topic"\n'
        '[edge]\ncontracts = ["shop.contracts"]\n[[edge.jwt]]\nissuer = "x"\nkeys = [{ secret = { file = "/nowhere" } }]\n'
    )

    done = permissions("--format", "definitions", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vhosts"] == [{"name": "my/shop"}]


# -- applied


@dataclass(frozen=True, slots=True)
class Deployment:
    vhost: Vhost
    root: Address
    addresses: Mapping[str, Address]

    def bus(self, user: str, *, named: str | None = None) -> Bus:
        """A process of a user, named as a process of its own is."""
        broker = RabbitBroker([self.addresses[user]], kind="topic", makes=False)
        return Bus(broker, name=f"{named or user}-{secrets.token_hex(3)}")


def hashed(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


async def end_users(vhost: Vhost) -> None:
    known = {user["name"] for user in await vhost.management.get("users")}
    for user in known & set(USERS):
        await vhost.management.delete_user(user)


@pytest.fixture
async def own_vhost(broker_node: RabbitNode, request: pytest.FixtureRequest) -> AsyncIterator[Vhost]:
    """On the suite's own node: the names of users are those that the command prints, and belong to the whole node."""
    async with broker_node.broker.fresh_vhost(request.node.name) as vhost:
        yield vhost
        await end_users(vhost)


async def imported(vhost: Vhost, text: str) -> tuple[Address, dict[str, Address]]:
    """Import definitions as an administrator does; who may do all, and each user, at its address."""
    document = json.loads(text)
    root = BusSettings(url=vhost.url).addresses()[0]
    addresses = {}
    for user in document["users"]:
        password = secrets.token_hex(8)
        user |= {"password_hash": hashed(password), "hashing_algorithm": "rabbit_password_hashing_sha256"}
        addresses[user["name"]] = replace(root, user=user["name"], password=password)
    await asyncio.to_thread(vhost.management.request, "POST", "definitions", document)
    return root, addresses


@pytest.fixture(params=["plain", "named"])
async def deployment(request: pytest.FixtureRequest, own_vhost: Vhost) -> Deployment:
    """The definitions, imported as an administrator does, and the topology, made as an operator does."""
    options = ["--named"] if request.param == "named" else []
    text = printed("--kind", "topic", "--vhost", own_vhost.name, "--format", "definitions", *options)
    root, addresses = await imported(own_vhost, text)
    async with Topology(addresses["operator"], kind="topic") as topology:
        await topology.make([ORDER, READ, STOCK])
    return Deployment(own_vhost, root, addresses)


def context() -> CallContext:
    return new_context(Ids())


def contracts() -> list[tuple[Call[Any, Any], str]]:
    return [(Call(topic, http.post("/" + topic), request=Nothing, reply=Nothing), "shop") for topic in (ORDER, STOCK)]


def serve_orders(bus: Bus) -> None:
    async def place(delivery: Delivery) -> tuple[bytes, bytes]:
        reply = await bus.endpoint(STOCK).call(delivery.message.body, context(), 5)
        return b"reply", b"ordered " + reply.body

    bus.serve(ORDER, place, prefetch=8, reruns=True, service="orders")


def serve_stock(bus: Bus) -> None:
    async def check(delivery: Delivery) -> tuple[bytes, bytes]:
        return b"reply", delivery.message.body

    bus.serve(STOCK, check, prefetch=8, reruns=True, service="inventory")


async def test_all_of_them_do_their_whole_work(deployment: Deployment) -> None:
    """Calls, a nested call, presences, a tap, a drain from afar."""
    orders, stock = deployment.bus("worker-orders"), deployment.bus("worker-inventory")
    serve_orders(orders)
    serve_stock(stock)
    told = asyncio.Event()
    operator = deployment.addresses["operator"]
    seen: list[bytes] = []
    tap = Tap(lambda: operator, "shop.*", lambda copy: seen.append(copy.type))

    async with asyncio.timeout(LONGEST), AsyncExitStack() as closing:
        edge = deployment.bus("edge")
        for bus in (stock, orders, edge):
            await closing.enter_async_context(bus)
        for bus, kind, on_drain in (
            (stock, "worker", lambda: None),
            (orders, "worker", told.set),
            (edge, "edge", lambda: None),
        ):
            await closing.enter_async_context(joined(bus, kind=kind, contracts=contracts(), on_drain=on_drain))  # type: ignore[arg-type]
        roll = await closing.enter_async_context(roll_call(lambda: operator, name="operator"))
        ready = asyncio.Event()
        tapping = asyncio.create_task(tap.run(ready.set))
        await ready.wait()
        while not {b"call", b"reply"} <= set(seen):
            reply = await edge.endpoint(ORDER).call(b"A-1", context(), 5)
        while len(roll.present) < 3:
            await asyncio.sleep(0.01)
        await roll.tell(f"drain.{orders.name}")
        await told.wait()
        tapping.cancel()
        await asyncio.gather(tapping, return_exceptions=True)

    assert reply.body == b"ordered A-1"
    assert {each.id for each in roll.present} == {stock.name, orders.name, edge.name}


async def test_an_edge_may_audit_to_the_exchange_and_ask_who_calls_where_it_is_configured_to(
    own_vhost: Vhost, tmp_path: Path
) -> None:
    (tmp_path / "shop").symlink_to(ROOT / "examples" / "shop")
    (tmp_path / "busgate.toml").write_text(
        '[bus]\nexchange_kind = "topic"\n[edge]\ncontracts = ["shop.contracts"]\n[edge.audit]\nto = "exchange"\n'
        f'[edge.pre_call]\ntopic = "{DECIDE}"\nheaders = ["X-Session"]\n'
    )
    text = permissions("--vhost", own_vhost.name, "--format", "definitions", folder=tmp_path).stdout
    root, addresses = await imported(own_vhost, text)
    async with Topology(root, kind="topic") as topology:
        await topology.make([DECIDE])
        await topology.make_audit()

    tried = {
        "audit": publish("busgate.audit", "call.allowed"),
        "ask who calls": publish("busgate.calls", DECIDE),
        "audit with another key": publish("busgate.audit", "call.forged"),
        "read the audit": listen("busgate.audit", "#", own("edge")),
        "call what is not its work": publish("busgate.calls", "auth.other.v1"),
    }

    assert {what for what, act in tried.items() if await may(addresses["edge"], act)} == {"audit", "ask who calls"}


# -- what each is refused


def declare(queue: str) -> Act:
    return lambda channel: channel.declare_queue(queue, exclusive=True)


def own(user: str, what: str = "reply") -> str:
    return f"busgate.{what}.{user}-abc123.1.x"


def refused_to_processes(user: str) -> dict[str, Act]:
    return {
        "listen to calls": listen("busgate.calls", STOCK, own(user)),
        "hear all of the control bus": listen("busgate.control", "#", own(user, "control")),
        "tell others to drain": publish("busgate.control", "drain.worker-orders"),
        "have calls tapped": publish("busgate.control", "tap.mine"),
        "declare a queue of calls": declare("shop.new.v1"),
        "delete a queue of calls": delete(STOCK),
        "use the default exchange": publish("", STOCK),
        "call what nobody serves": publish("busgate.calls", "bank.accounts.close.v1"),
    }


REFUSED: dict[str, dict[str, Act]] = {
    "edge": refused_to_processes("edge")
    | {"consume calls": consume(ORDER), "pass as a worker": publish("busgate.control", "presence.worker.x")},
    "worker-orders": refused_to_processes("worker-orders")
    | {
        "consume another service's topic": consume(STOCK),
        "call its own topic": publish("busgate.calls", ORDER),
        "pass as an edge": publish("busgate.control", "presence.edge.x"),
    },
    "worker-inventory": refused_to_processes("worker-inventory")
    | {
        "consume another service's topic": consume(ORDER),
        "call anybody": publish("busgate.calls", STOCK),
        "pass as an edge": publish("busgate.control", "presence.edge.x"),
    },
    "operator": {
        "consume calls": consume(ORDER),
        "declare a queue of another name": declare("mine"),
        "pass as a worker": publish("busgate.control", "presence.worker.x"),
        "use the default exchange": publish("", STOCK),
    },
}
ONLY_NAMED: dict[str, dict[str, Act]] = {
    "edge": {
        "have a reply queue that looks like a worker's": declare(own("worker-orders")),
        "pass as an edge of another name": publish("busgate.control", "presence.edge.other-abc123"),
    },
    "worker-inventory": {
        "have a reply queue that looks like the edge's": declare(own("edge")),
        "have one that looks like that of a user whose name begins alike": declare(own("worker-inventory-2")),
        "have a control queue that looks like the edge's": declare(own("edge", "control")),
        "pass as a worker of another name": publish("busgate.control", "presence.worker.worker-orders-abc123"),
    },
}


async def may(address: Address, act: Act) -> bool:
    """Whether the broker lets somebody do it."""
    try:
        await attempt(address, act)
    except ChannelAccessRefused:
        return False
    return True


async def allowed(deployment: Deployment, acts: Mapping[str, Mapping[str, Act]]) -> set[str]:
    """What of all this somebody may do after all."""
    return {
        f"{user}: {what}"
        for user, of_user in acts.items()
        for what, act in of_user.items()
        if await may(deployment.addresses[user], act)
    }


async def test_nobody_may_do_what_is_not_its_work(deployment: Deployment) -> None:
    assert await allowed(deployment, REFUSED) == set()


@pytest.mark.parametrize("deployment", ["named"], indirect=True)
async def test_who_is_named_cannot_have_the_queues_and_presences_of_others(deployment: Deployment) -> None:
    assert await allowed(deployment, ONLY_NAMED) == set()


@pytest.mark.parametrize("deployment", ["plain"], indirect=True)
async def test_without_names_these_are_let_through_and_so_are_they_to_who_may_do_all(deployment: Deployment) -> None:
    """So that the others are refused for their rights and nothing else."""
    everything = [act for of_user in (*REFUSED.values(), *ONLY_NAMED.values()) for act in of_user.values()]

    assert await allowed(deployment, ONLY_NAMED) == {
        f"{user}: {what}" for user, acts in ONLY_NAMED.items() for what in acts
    }
    for act in everything:
        async with Topology(deployment.root, kind="topic") as topology:
            await topology.make([ORDER, READ, STOCK])  # some of them delete queues
        assert await may(deployment.root, act)


@pytest.mark.slow
async def test_the_printed_lines_give_the_same_rights_as_the_definitions(
    broker_node: RabbitNode, own_vhost: Vhost
) -> None:
    options = ("--kind", "topic", "--vhost", own_vhost.name)
    wanted = json.loads(printed(*options, "--format", "definitions"))
    lines = [line.removeprefix("#").strip() for line in printed(*options).splitlines()]

    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:2] == ["rabbitmqctl", "add_user"]:
            await own_vhost.management.create_user(words[2], secrets.token_hex(8))  # the command asks a person
        elif words[:1] == ["rabbitmqctl"] and words[1] != "add_vhost":
            await broker_node.ctl(*words[1:])

    name = quoted(own_vhost.name)
    found = await own_vhost.management.get(f"vhosts/{name}/permissions")
    topics = await own_vhost.management.get(f"vhosts/{name}/topic-permissions")
    users = {user["name"]: user["tags"] for user in await own_vhost.management.get("users")}
    assert sorted((each for each in found if each["user"] in USERS), key=str) == sorted(wanted["permissions"], key=str)
    assert sorted(topics, key=str) == sorted(wanted["topic_permissions"], key=str)
    assert {user["name"]: user["tags"] for user in wanted["users"]} == {user: users[user] for user in USERS}

"""Calls from a script: typed, without HTTP and without a service around them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from pydantic import BaseModel
from support.management import Vhost

from busgate.bus import Bus, BusError, Client, Delivery, RabbitBroker, connect
from busgate.bus.settings import BusSettings
from busgate.contracts import Call, Caller, CallFailed, Problem, http
from busgate.contracts.failure import BAD_REPLY, HANDLER_CRASHED, NO_ROUTE, TIMEOUT


class Ask(BaseModel):
    what: str
    often: int = 1


class Said(BaseModel):
    body: str
    caller: str


class Closed(Problem):
    """The desk is closed."""

    status = 409
    until: str


ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Said, errors=[Closed])
nobody = Call("test.nobody.v1", http.post("/nobody"), request=Ask, reply=Said)


async def answer(delivery: Delivery) -> tuple[bytes, bytes]:
    what = json.loads(delivery.message.body)["what"]
    match what:
        case "closed":
            return b"problem", json.dumps(Closed("come back later", until="noon").document()).encode()
        case "crash":
            return b"problem", b'{"type":"urn:busgate:handler-crashed","status":200}'
        case "garbage":
            return b"reply", b"{}"
        case "hang":
            await asyncio.sleep(60)
    said = {"body": delivery.message.body.decode(), "caller": delivery.context.caller.decode()}
    return b"reply", json.dumps(said).encode()


@pytest.fixture(autouse=True)
def unconfigured_logs() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
async def url(vhost: Vhost) -> AsyncIterator[str]:
    """Of a broker with a worker on one topic."""
    worker = Bus(RabbitBroker(BusSettings(url=vhost.url).addresses()), name="worker")
    worker.serve(ask.topic, answer, prefetch=4, reruns=True, service="desk")
    async with worker:
        yield vhost.url


async def test_a_request_goes_out_and_a_reply_comes_back(url: str) -> None:
    async with connect(url, caller=Caller("alice")) as bus:
        said = await bus.call(ask, Ask(what="time"))

    assert type(said) is Said
    assert said.body == '{"what":"time"}'
    assert json.loads(said.caller)["sub"] == "alice"


async def test_many_calls_share_one_connection(url: str) -> None:
    async with connect(url) as bus:
        said = await asyncio.gather(*(bus.call(ask, Ask(what=str(number))) for number in range(50)))

    assert [json.loads(each.body)["what"] for each in said] == [str(number) for number in range(50)]


async def test_a_declared_problem_is_raised_as_its_class(url: str) -> None:
    async with connect(url) as bus:
        with pytest.raises(Closed, match="come back later") as caught:
            await bus.call(ask, Ask(what="closed"))

    assert caught.value.until == "noon"


@pytest.mark.parametrize(("what", "kind"), [("crash", HANDLER_CRASHED), ("garbage", BAD_REPLY)])
async def test_any_other_answer_is_a_failure_that_names_the_service(url: str, what: str, kind: object) -> None:
    async with connect(url) as bus:
        with pytest.raises(CallFailed) as caught:
            await bus.call(ask, Ask(what=what))

    assert (caught.value.kind, caught.value.service) == (kind, "desk")


async def test_no_reply_and_no_queue_are_failures_with_their_outcome(url: str) -> None:
    async with connect(url) as bus:
        with pytest.raises(CallFailed) as silent:
            await bus.call(ask, Ask(what="hang"), timeout=0.2)
        with pytest.raises(CallFailed) as returned:
            await bus.call(nobody, Ask(what=""))

    assert (silent.value.kind, returned.value.kind) == (TIMEOUT, NO_ROUTE)
    assert returned.value.kind.outcome == "not_executed"


async def test_a_client_makes_nothing_on_a_broker_without_topology(vhost: Vhost) -> None:
    with pytest.raises(BusError, match=r"no exchange 'busgate.replies'"):
        async with connect(vhost.url):
            pass

    assert not any(name.startswith("busgate") for name in await vhost.exchanges())
    assert await vhost.queues() == {}


async def test_nothing_is_left_of_a_client(url: str, vhost: Vhost) -> None:
    async with connect(url) as bus:
        await bus.call(ask, Ask(what="time"))
        during = [name for name in await vhost.queues() if name.startswith("busgate.reply.script.")]

    left = [name for name in await vhost.queues() if name.startswith("busgate.reply.script.")]
    assert (len(during), left) == (1, [])


async def test_a_client_that_is_not_connected_says_how_to(url: str) -> None:
    bus = connect(url)
    with pytest.raises(RuntimeError, match="async with connect"):
        await bus.call(ask, Ask(what="time"))
    await bus.start()
    await bus.call(ask, Ask(what="time"))
    await bus.close()

    with pytest.raises(RuntimeError, match="not connected"):
        await bus.call(ask, Ask(what="time"))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://localhost", "a url must start with amqp://"),
        ("amqp://user:secret@broker.example/", "use amqps://"),
        ("memory://", "a client needs a RabbitMQ"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        connect(url)

    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_stand_in_for_a_url() -> None:
    assert isinstance(connect(BusSettings(url="amqp://localhost", name="report")), Client)


SCRIPT = """
import asyncio, sys
from pydantic import BaseModel
from busgate.bus import connect
from busgate.contracts import Call, http

class Ask(BaseModel):
    what: str

class Said(BaseModel):
    body: str

ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Said)

async def main() -> None:
    async with connect(sys.argv[1]) as bus:
        print((await bus.call(ask, Ask(what="time"))).body)

asyncio.run(main())
"""


async def test_a_script_writes_what_it_prints_and_nothing_else(url: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", SCRIPT, url], capture_output=True, text=True, timeout=60, check=True
    )

    assert (done.stdout, done.stderr) == ('{"what":"time"}\n', "")

"""Edges that sign and services that verify, as processes on a real RabbitMQ: at work, under forgery, and while keys change."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.faults.callers import ISSUER, SECRET, token
from support.faults.processes import Process
from support.management import Vhost
from support.ports import free_ports

from busgate.bus import Bus, CallContext, Ids, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.bus.signed import SigningKey, new_pem
from busgate.contracts import Caller

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CONTRACTS = """\
from pydantic import BaseModel
from busgate.contracts import Call, http

class Nothing(BaseModel):
    pass

class Said(BaseModel):
    caller: str
    via: str

stock = Call("house.stock.check.v1", http.get("/stock"), request=Nothing, reply=Said, delegates={"house.orders"})
order = Call("house.orders.place.v1", http.get("/order"), request=Nothing, reply=Said)
pay = Call("house.payments.pay.v1", http.post("/pay"), request=Nothing, reply=Said, bound=True)
"""
SERVICES = """\
from busgate.workers import Context, Service
from .contracts import Nothing, Said, order, pay, stock

orders = Service("orders", trust="verified", calls=[stock])
inventory = Service("inventory", trust="verified")

@orders.handles(order)
async def place(request: Nothing, context: Context) -> Said:
    return await context.call(stock, request)

async def say(_: Nothing, context: Context) -> Said:
    return Said(caller=context.caller.subject, via=context.via)

inventory.handles(stock)(say)
inventory.handles(pay)(say)
"""


class House:
    """An edge that signs, a worker for each of two services that verify, and clients."""

    def __init__(self, vhost: Vhost, folder: Path, closing: AsyncExitStack) -> None:
        self._vhost = vhost
        self._folder = folder
        self._closing = closing
        self._admin, self._metrics = free_ports(2)
        self._client: aiohttp.ClientSession
        self._base = ""
        self.keys = folder / "keys"
        self.edge: Process
        self.inventory: Process

    async def open(self) -> None:
        package = self._folder / "house"
        package.mkdir()
        (package / "contracts.py").write_text(CONTRACTS)
        (package / "services.py").write_text(SERVICES)
        self.keys.mkdir()
        self.put("1.pem")
        common = {"PYTHONPATH": str(self._folder), "BUSGATE_BUS__URL": self._vhost.url, "BUSGATE_LOG__FORMAT": "text"}
        trust = {"BUSGATE_WORKER__TRUST__JWKS_URL": self.jwks_url, "BUSGATE_WORKER__TRUST__REFRESH": "1"}
        issuers = [{"issuer": ISSUER, "audience": ["probe"], "keys": [{"secret": SECRET}]}]
        signing = {"folder": str(self.keys), "publish_first": 6, "publish_after": 6}
        self.edge = await self._start(
            "edge", "house.contracts", "--port", "0", "--admin-port", str(self._admin),
            BUSGATE_EDGE__JWT=json.dumps(issuers), BUSGATE_EDGE__SIGNING=json.dumps(signing), **common,
        )  # fmt: skip
        ready = await self.edge.until("edge ready")
        self._base = ready.partition("address=")[2].split()[0]
        orders = await self._start("worker", "house.services:orders", **common, **trust)
        self.inventory = await self._start(
            "worker", "house.services:inventory", "--admin-port", str(self._metrics), **common, **trust
        )
        for worker in (orders, self.inventory):
            await worker.until("worker ready")
        session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {token('ann')}"}, trust_env=False)
        self._client = await self._closing.enter_async_context(session)

    async def _start(self, *arguments: str, **environ: str) -> Process:
        process = await Process.start(*arguments, environ=environ)
        self._closing.push_async_callback(process.stop)
        return process

    def put(self, name: str) -> None:
        """A new key in the folder, whole at once."""
        draft = self.keys / f"{name}.new"
        draft.write_bytes(new_pem())
        draft.chmod(0o600)
        draft.rename(self.keys / name)

    def key(self, name: str) -> SigningKey:
        return SigningKey((self.keys / name).read_bytes())

    @property
    def jwks_url(self) -> str:
        return f"http://127.0.0.1:{self._admin}/jwks"

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        body: Any = {} if method == "POST" else None
        async with asyncio.timeout(10), self._client.request(method, self._base + path, json=body) as response:
            return response.status, await response.json()

    async def published(self) -> set[str]:
        async with self._client.get(self.jwks_url) as response:
            assert response.headers["Content-Type"] == "application/jwk-set+json"
            return {key["kid"] for key in json.loads(await response.text())["keys"]}

    async def metrics(self, port: int) -> str:
        async with self._client.get(f"http://127.0.0.1:{port}/metrics") as response:
            return await response.text()

    async def worker_metrics(self) -> str:
        return await self.metrics(self._metrics)

    async def edge_metrics(self) -> str:
        return await self.metrics(self._admin)

    async def send(self, topic: str, caller: bytes, jws: bytes = b"") -> tuple[str, Any]:
        """What somebody is answered who may write to the bus."""
        broker = RabbitBroker(BusSettings(url=self._vhost.url).addresses())
        async with Bus(broker, name="forger") as bus:
            context = CallContext(Ids().take(32), TRACEPARENT, caller, 0, jws)
            reply = await bus.endpoint(topic).call(b"{}", context, 5)
        return reply.type.decode(), json.loads(reply.body)


@pytest.fixture
async def house(vhost: Vhost, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as closing:
        house = House(vhost, tmp_path, closing)
        await house.open()
        yield house


async def test_callers_travel_signed_to_services_and_the_services_behind_them(house: House) -> None:
    assert await house.get("/stock") == (200, {"caller": "ann", "via": ""})
    assert await house.get("/order") == (200, {"caller": "ann", "via": "orders"})
    assert await house.get("/pay", "POST") == (200, {"caller": "ann", "via": ""})
    assert await house.published() == {house.key("1.pem").kid}
    assert "busgate_signatures_total{} 3\n" in await house.edge_metrics()


async def test_who_may_write_to_the_bus_is_nobody_to_a_service_that_verifies(house: House) -> None:
    ann, root = Caller("ann", ISSUER).to_json(), Caller("root").to_json()
    stock, order, pay = "house.stock.check.v1", "house.orders.place.v1", "house.payments.pay.v1"
    stolen = house.key("1.pem").sign(ann, "house.orders", now=int(time.time()))  # as the service orders was given it
    tries = {
        "unsigned": (stock, root, b""),
        "another caller beside it": (stock, root, stolen),
        "a key of one's own": (stock, root, SigningKey(new_pem()).sign(root, "house.stock", now=int(time.time()))),
        "stolen, at a service that orders may not call": (pay, ann, stolen),
        "bound, another message": (pay, ann, house.key("1.pem").sign(ann, "house.payments", now=int(time.time()))),
    }

    answers = {what: await house.send(*each) for what, each in tries.items()}

    assert {what: (kind, body["type"], body["outcome"]) for what, (kind, body) in answers.items()} == dict.fromkeys(
        tries, ("problem", "urn:busgate:caller-unverified", "not_executed")
    )
    # What it does not stop, for a minute: who has the signature may use it where its service may.
    assert (await house.send(order, ann, stolen))[0] == "reply"
    assert (await house.send(stock, ann, stolen))[0] == "reply"
    metrics = await house.worker_metrics()
    assert 'busgate_worker_unverified_total{topic="house.stock.check.v1",reason="unsigned"} 1' in metrics
    assert 'busgate_worker_unverified_total{topic="house.payments.pay.v1",reason="audience"} 1' in metrics
    await house.inventory.until("who calls cannot be verified")


@pytest.mark.slow
@pytest.mark.parametrize("in_order", [True, False], ids=["the old file goes later", "the old file goes at once"])
async def test_keys_change_under_load_and_no_call_fails(house: House, in_order: bool) -> None:
    old = house.key("1.pem")
    answers: list[tuple[int, Any]] = []
    stopped = asyncio.Event()

    async def ask(path: str) -> None:
        while not stopped.is_set():
            answers.append(await house.get(path))

    callers = [asyncio.create_task(ask(path)) for path in ("/stock", "/order")]
    house.put("2.pem")
    new = house.key("2.pem")
    if not in_order:
        (house.keys / "1.pem").unlink()
    await house.edge.until("another key signs callers")
    both = await house.published()
    made = len(answers)
    while len(answers) < made + 50:
        await asyncio.sleep(0.01)
    (house.keys / "1.pem").unlink(missing_ok=True)
    async with asyncio.timeout(30):
        while len(await house.published()) > 1 or "busgate_worker_trusted_keys{} 1" not in await house.worker_metrics():
            await asyncio.sleep(0.05)
    made = len(answers)
    while len(answers) < made + 50:
        await asyncio.sleep(0.01)
    stopped.set()
    await asyncio.gather(*callers)

    assert both == {old.kid, new.kid}
    assert await house.published() == {new.kid}
    assert {status for status, _ in answers} == {200}
    ann = Caller("ann", ISSUER).to_json()
    stale = old.sign(ann, "house.stock", now=int(time.time()))
    assert (await house.send("house.stock.check.v1", ann, stale))[1]["type"] == "urn:busgate:caller-unverified"


async def test_a_worker_without_keys_ends_with_one_line(vhost: Vhost, tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    (package / "contracts.py").write_text(CONTRACTS)
    (package / "services.py").write_text(SERVICES)

    process = await Process.start(
        "worker", "house.services:orders", "--bus", vhost.url, environ={"PYTHONPATH": str(tmp_path)}
    )

    assert await process.ended() == 2
    assert process.lines == [
        'busgate: service orders has trust="verified" and needs the public keys of the edge: name them in [worker.trust]'
    ]

"""The service in Node behind a real edge, alone and beside a worker in Python, and through the faults it must bear."""

import asyncio
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.faults.callers import ISSUER, SECRET, token
from support.faults.processes import Process
from support.management import Vhost
from support.node_service import start_node_service
from support.proxy import FaultProxy
from support.waiting import until

from busgate.bus import Bus, CallContext, Ids, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.bus.signed import SigningKey, jwk_set, new_pem
from busgate.contracts import Caller, Catalog
from busgate.edge import Edge, EdgeSettings, Recorder
from busgate.edge.records import Record
from busgate.workers import load_services, serve

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE, PYTHON = "inventory-node", "inventory"
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Shop:
    """An edge with the contracts of the shop, clients of it, and workers for its stock."""

    def __init__(self, vhost: Vhost, closing: AsyncExitStack) -> None:
        self._vhost = vhost
        self._closing = closing
        self._broker = RabbitBroker(BusSettings(url=vhost.url).addresses())
        self._records: list[Record] = []
        self._recorder: Recorder
        self._client: aiohttp.ClientSession
        self._base = ""

    async def open(self, *, signing: str | None = None) -> None:
        """`signing` is the key that the edge signs callers with, if it does."""
        bus = await self._closing.enter_async_context(Bus(self._broker, name="edge"))
        issuers = [{"issuer": ISSUER, "audience": ["probe"], "keys": [{"secret": SECRET}]}]
        settings = EdgeSettings.model_validate({"jwt": issuers, "signing": {"key": signing} if signing else {}})
        self._recorder = Recorder(self._records.extend)
        edge = Edge(Catalog.load(["shop.contracts"]), settings, bus, recorder=self._recorder)
        self._closing.push_async_callback(edge.close)
        listener = socket.create_server(("127.0.0.1", 0))
        await edge.start(listener)
        self._base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._client = await self._closing.enter_async_context(
            aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {token('ann', 'orders:write')}"},
                connector=aiohttp.TCPConnector(limit=16),  # so few that no worker is too slow for them
            )
        )

    async def node(self, url: str | None = None, *, jwks: Path | None = None) -> Process:
        process = await start_node_service(url or self._vhost.url, name=NODE, jwks=str(jwks) if jwks else None)
        self._closing.push_async_callback(process.kill)
        return process

    async def python(self, service: str = "shop.services:inventory") -> None:
        bus = Bus(self._broker, name="python")
        executions = serve(load_services([service]), bus)
        await self._closing.enter_async_context(bus)
        for execution in executions:
            self._closing.callback(execution.close)

    async def stock(self, sku: str) -> tuple[int, Any]:
        async with asyncio.timeout(10), self._client.get(f"{self._base}/stock/{sku}") as response:
            document = await response.json()
        for own in ("instance", "stages"):  # of this one request: its name and its times
            document.pop(own, None)
        return response.status, document

    async def order(self, sku: str) -> int:
        body = {"sku": sku, "quantity": 1}
        async with asyncio.timeout(10), self._client.post(f"{self._base}/orders", json=body) as response:
            return response.status

    async def send(self, caller: bytes, jws: bytes, body: bytes = b'{"sku":"A-1"}') -> str:
        """What somebody is answered who writes to the bus: the type of the problem, or `reply`."""
        async with Bus(self._broker, name="forger") as bus:
            context = CallContext(Ids().take(32), TRACEPARENT, caller, 0, jws)
            reply = await bus.endpoint("shop.stock.check.v1").call(body, context, 5)
        return str(json.loads(reply.body).get("type", "reply"))

    def answered(self) -> Counter[str]:
        """How many requests each service answered."""
        self._recorder.flush()
        return Counter(record[5] for record in self._records)

    async def proxy(self) -> FaultProxy:
        url = urlsplit(self._vhost.url)
        return await self._closing.enter_async_context(FaultProxy(url.hostname or "", url.port or 0))

    @property
    def vhost(self) -> Vhost:
        return self._vhost


@pytest.fixture
def empty_shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package `shop` and an empty database."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))


@pytest.fixture
async def shop(vhost: Vhost, node_service: None, empty_shop: None) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as closing:
        shop = Shop(vhost, closing)
        await shop.open()
        yield shop


IN_STOCK = (200, {"sku": "A-1", "available": 5})


async def test_a_service_in_node_answers_behind_the_edge(shop: Shop) -> None:
    await shop.node()

    found, unknown = await shop.stock("A-1"), await shop.stock("C-3")

    assert found == IN_STOCK
    assert unknown[0] == 404
    assert (unknown[1]["type"], unknown[1]["outcome"]) == ("urn:problem:unknown-sku", "executed")
    assert shop.answered() == {NODE: 2}


async def test_node_and_python_share_the_calls_of_a_topic_and_answer_the_same(shop: Shop) -> None:
    await shop.node()
    await shop.python()

    answers = await asyncio.gather(*(shop.stock(sku) for sku in ("A-1", "B-2", "C-3") * 60))

    assert set(shop.answered()) == {NODE, PYTHON}
    assert shop.answered()[NODE] + shop.answered()[PYTHON] == 180
    for alike, status in ((answers[0::3], 200), (answers[1::3], 200), (answers[2::3], 404)):
        assert [answer for answer in alike if answer != alike[0]] == []
        assert alike[0][0] == status


async def test_it_is_stopped_under_load_and_no_call_fails(shop: Shop) -> None:
    node = await shop.node()
    await shop.python()
    answers = []
    stopped = asyncio.Event()

    async def ask() -> None:
        while not stopped.is_set():
            answers.append(await shop.stock("A-1"))

    callers = [asyncio.create_task(ask()) for _ in range(8)]
    await until(lambda: shop.answered()[NODE] >= 20)
    code = await node.stop()
    before = shop.answered()[PYTHON]
    await until(lambda: shop.answered()[PYTHON] > before + 20)
    stopped.set()
    await asyncio.gather(*callers)

    assert code == 0
    assert all(answer == IN_STOCK for answer in answers)


async def test_it_is_killed_under_load_and_its_calls_go_to_the_other_worker(shop: Shop) -> None:
    node = await shop.node()
    await shop.python()
    asking = [asyncio.create_task(shop.stock("A-1")) for _ in range(100)]
    node.signal(signal.SIGKILL)
    await node.ended()

    assert all(answer == IN_STOCK for answer in await asyncio.gather(*asking))


async def test_it_connects_again_when_its_connection_fell(shop: Shop) -> None:
    proxy = await shop.proxy()
    node = await shop.node(proxy.url(shop.vhost.url))
    assert await shop.stock("A-1") == IN_STOCK

    proxy.reset_all()
    await node.until("serves", number=2)

    assert await shop.stock("A-1") == IN_STOCK


async def test_it_makes_its_queue_again_that_was_deleted(shop: Shop) -> None:
    node = await shop.node()

    await shop.vhost.delete_queue("shop.stock.check.v1")
    await node.until("serves", number=2)

    assert await shop.stock("A-1") == IN_STOCK


# -- it verifies who calls


@pytest.fixture
async def signed_shop(
    vhost: Vhost, node_service: None, empty_shop: None, tmp_path: Path
) -> AsyncIterator[tuple[Shop, Any]]:
    """An edge that signs, and a service in Node that believes it alone; and its key."""
    pem = new_pem()
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(jwk_set([SigningKey(pem)]))
    async with AsyncExitStack() as closing:
        shop = Shop(vhost, closing)
        await shop.open(signing=pem.decode())
        process = await shop.node(jwks=jwks)
        yield shop, SignedNode(process, SigningKey(pem))


class SignedNode:
    def __init__(self, process: Process, key: SigningKey) -> None:
        self.process = process
        self._key = key

    def sign(
        self, caller: bytes, audience: str = "shop.stock", *, ago: int = 0, key: SigningKey | None = None
    ) -> bytes:
        return (key or self._key).sign(caller, audience, now=int(time.time()) - ago)


async def test_node_verifies_who_calls_by_what_the_edge_signed(signed_shop: tuple[Shop, Any]) -> None:
    shop, node = signed_shop

    assert await shop.stock("A-1") == IN_STOCK
    assert await shop.stock("A-1") == IN_STOCK
    await node.process.until('"ann" asks', number=2)


async def test_a_service_in_python_hands_the_caller_on_to_node(signed_shop: tuple[Shop, Any]) -> None:
    """The nested call carries the signature that was made for shop.orders, which the contract lets call on."""
    shop, node = signed_shop
    await shop.python("shop.services:orders")

    assert await shop.order("A-1") == 201
    await node.process.until('"ann" asks')


async def test_node_refuses_whatever_does_not_prove_who_calls(signed_shop: tuple[Shop, Any]) -> None:
    shop, node = signed_shop
    ann, root = Caller("ann").to_json(), Caller("root").to_json()
    good = node.sign(ann)
    head, body, signature = good.split(b".")
    last = signature[:-1] + bytes([signature[-1] + 1])
    refused = {
        "unsigned": (ann, b""),
        "nobody": (b"", b""),
        "another caller": (root, good),
        "other claims": (root, b".".join([head, node.sign(root).split(b".")[1], signature])),
        "another spelling": (ann, b".".join([head, body, last])),
        "over": (ann, node.sign(ann, ago=66)),
        "from the future": (ann, node.sign(ann, ago=-20)),
        "another audience": (ann, node.sign(ann, "shop.prices")),
        "another key": (ann, node.sign(ann, key=SigningKey(new_pem()))),
        "no JWS": (ann, b"ann"),
    }

    answers = {what: await shop.send(*headers) for what, headers in refused.items()}

    assert answers == dict.fromkeys(refused, "urn:busgate:caller-unverified")
    assert await shop.send(ann, good) == "reply"
    assert await shop.send(ann, node.sign(ann, "shop.orders")) == "reply"

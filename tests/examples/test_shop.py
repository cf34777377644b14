"""The example shop on the embedded bus, with several workers as it is meant to run."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from busgate.bus import Bus, CallContext, Ids
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Catalog
from busgate.workers import load_services, serve

EXAMPLES = Path(__file__).parents[2] / "examples"

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The contracts, with a database of this test's own."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))
    return importlib.import_module("shop.contracts")


@pytest.fixture
async def ask(shop: SimpleNamespace) -> AsyncIterator[Ask]:
    """A client of a shop with two workers for orders and one for the inventory."""
    broker, ids = EmbeddedBroker(), Ids()
    async with AsyncExitStack() as closing:
        for references in (["shop.services:orders"], ["shop.services:orders"], ["shop.services:inventory"]):
            bus = Bus(broker, name="worker")
            executions = serve(load_services(references), bus)
            await closing.enter_async_context(bus)
            for execution in executions:
                closing.callback(execution.close)
        client = await closing.enter_async_context(Bus(broker, name="client"))

        async def ask(contract: Any, request: BaseModel, *, customer: str = "alice") -> dict[str, Any]:
            trace = b"00-%b-%b-01" % (ids.take(32), ids.take(16))
            context = CallContext(ids.take(32), trace, json.dumps({"sub": customer}).encode())
            message = await client.endpoint(contract.topic).call(request.model_dump_json().encode(), context, 5.0)
            document: dict[str, Any] = json.loads(message.body)
            return document

        yield ask


def test_the_contracts_make_a_catalog(shop: Any) -> None:
    catalog = Catalog.load(["shop.contracts"])

    assert [call.topic for call in catalog] == [
        "shop.orders.place.v1",
        "shop.orders.read.v1",
        "shop.stock.check.v1",
    ]


async def test_an_order_is_placed_and_read(shop: Any, ask: Ask) -> None:
    placed = await ask(shop.place_order, shop.PlaceOrder(sku="A-1", quantity=2))
    order = await ask(shop.read_order, shop.ReadOrder(id=placed["id"]))
    stock = await ask(shop.check_stock, shop.CheckStock(sku="A-1"))

    assert placed == order == {"id": 1, "sku": "A-1", "quantity": 2}
    assert stock == {"sku": "A-1", "available": 3}


async def test_what_is_not_in_stock_cannot_be_ordered(shop: Any, ask: Ask) -> None:
    problem = await ask(shop.place_order, shop.PlaceOrder(sku="B-2", quantity=1))

    assert (problem["type"], problem["status"]) == ("urn:problem:out-of-stock", 409)
    assert (problem["sku"], problem["available"]) == ("B-2", 0)


async def test_what_is_not_sold_cannot_be_ordered(shop: Any, ask: Ask) -> None:
    problem = await ask(shop.place_order, shop.PlaceOrder(sku="Z-9"))

    assert problem["type"] == "urn:problem:unknown-sku"


async def test_orders_of_others_are_not_found(shop: Any, ask: Ask) -> None:
    placed = await ask(shop.place_order, shop.PlaceOrder(sku="A-1"))

    problem = await ask(shop.read_order, shop.ReadOrder(id=placed["id"]), customer="mallory")

    assert (problem["type"], problem["status"]) == ("urn:problem:order-not-found", 404)


async def test_no_more_is_sold_than_there_is_however_many_ask_at_once(shop: Any, ask: Ask) -> None:
    answers = await asyncio.gather(*(ask(shop.place_order, shop.PlaceOrder(sku="A-1")) for _ in range(20)))

    assert sum("id" in answer for answer in answers) == 5
    assert (await ask(shop.check_stock, shop.CheckStock(sku="A-1")))["available"] == 0

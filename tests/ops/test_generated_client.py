"""A client that a common generator makes from the API document calls a running edge."""

import asyncio
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import Run, Start

from busgate.ops.demo_shop import CONTRACTS, shop_folder

PACKAGE = "generated_shop"


@pytest.fixture
def package(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a client package, generated from what `busgate openapi` prints."""
    document = folder / "openapi.json"
    document.write_text(run("openapi", CONTRACTS, PYTHONPATH=str(shop_folder())).stdout)
    (folder / "generator.json").write_text(json.dumps({"post_hooks": []}))  # as generated, not formatted
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    made = subprocess.run(
        [*command, "--path", document, "--config", folder / "generator.json", "--output-path", folder / PACKAGE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(folder))
    return PACKAGE


@pytest.mark.slow
async def test_a_generated_client_gets_replies_and_problems_as_typed_values(package: str, start: Start) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"{package}.{name}")

    def talk(address: str, token: str) -> list[Any]:
        place = part("api.shop_orders.shop_orders_place_v1").sync
        read = part("api.shop_orders.shop_orders_read_v1").sync
        check = part("api.shop_stock.shop_stock_check_v1").sync
        options = {"timeout": 30.0, "httpx_args": {"trust_env": False}}
        with (
            part("client").AuthenticatedClient(address, token, **options) as client,
            part("client").Client(address, **options) as stranger,
        ):
            placed = place(client=client, body=models.PlaceOrder(sku="A-1", quantity=2))
            return [
                placed,
                read(placed.id, client=client, prefer="wait=20"),
                check("A-1", client=client),
                place(client=client, body=models.PlaceOrder(sku="B-2")),
                place(client=client, body=models.PlaceOrder(sku="not a sku")),
                read(placed.id, client=stranger),
            ]

    models = part("models")
    demo = await start("demo")
    await demo.until("Ctrl-C ends the demo")
    found = re.search(r"^address: (\S+)$.*?^token, .*: (\S+)$", demo.output, re.MULTILINE | re.DOTALL)
    assert found

    placed, again, stock, sold_out, invalid, refused = await asyncio.to_thread(talk, *found.groups())

    assert placed == again == models.Order(id=1, sku="A-1", quantity=2)
    assert stock == models.Stock(sku="A-1", available=3)
    assert (type(sold_out), sold_out.sku, sold_out.available) == (models.OutOfStock, "B-2", 0)
    assert [(type(one), one.type_, one.outcome) for one in (invalid, refused)] == [
        (models.BusgateProblem, "urn:busgate:invalid-request", "not_executed"),
        (models.BusgateProblem, "urn:busgate:unauthenticated", "not_executed"),
    ]

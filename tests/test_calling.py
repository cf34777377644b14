"""docs/calling.md, followed step by step against a shop on a RabbitMQ."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from support.command import COMMAND
from support.management import Vhost

from busgate.bus import Bus, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.workers import load_services, serve

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs/calling.md").read_text(encoding="utf-8")
ADDRESS = "amqp://user:password@localhost/"


@pytest.fixture
async def shop(vhost: Vhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The address of a broker with the services of the shop, which are as new."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))
    async with AsyncExitStack() as closing:
        bus = Bus(RabbitBroker(BusSettings(url=vhost.url).addresses()), name="shop")
        executions = serve(load_services(["shop.services:orders", "shop.services:inventory"]), bus)
        await closing.enter_async_context(bus)
        for execution in executions:
            closing.callback(execution.close)
        yield vhost.url


async def run(*command: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(EXAMPLES), "MYPYPATH": str(EXAMPLES), "BUSGATE_BUS__URL": url}
    return await asyncio.to_thread(
        subprocess.run, command,
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def timeless(text: str) -> str:
    """A line with its times left out: they are others each time."""
    return re.sub(r"[\d.]+ ms", "N ms", text)


@pytest.mark.slow
async def test_the_commands_of_the_page_print_what_it_shows(shop: str, tmp_path: Path) -> None:
    shown = re.findall(r"```console\n\$ busgate (.*?)\n(.*?)```", PAGE, re.DOTALL)
    for line, output in shown:
        command = line.replace(f"--bus {ADDRESS}", "")
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
        done = await run(*COMMAND, *words, url=shop, folder=tmp_path)
        assert timeless(done.stdout + done.stderr) == timeless(output)

    assert len(shown) == 3


async def test_the_script_of_the_page_prints_what_is_in_stock(shop: str, tmp_path: Path) -> None:
    script = re.search(r"```python\n# report.py\n(.*?)```", PAGE, re.DOTALL)
    assert script is not None
    (tmp_path / "report.py").write_text(script[1])

    done = await run(sys.executable, "report.py", shop, url=shop, folder=tmp_path)

    assert (done.stdout, done.stderr) == ("A-1: 5\nC-3: the shop does not sell this\n", "")


@pytest.mark.slow
async def test_the_script_of_the_page_passes_a_strict_type_check(tmp_path: Path) -> None:
    script = re.search(r"```python\n# report.py\n(.*?)```", PAGE, re.DOTALL)
    assert script is not None
    (tmp_path / "report.py").write_text(script[1])

    done = await run(sys.executable, "-m", "mypy", "--strict", "--no-incremental", "report.py", url="", folder=tmp_path)

    assert done.returncode == 0, done.stdout


async def test_the_cells_of_the_page_run_one_after_the_other(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = re.findall(r"```python\n(?!#)(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec("from busgate.bus import connect\nfrom shop.contracts import CheckStock, check_stock", names)

    values = [await cell(text.replace(ADDRESS, shop), names) for text in cells]

    assert len(values) == 3
    assert values[1].available == 5


async def cell(text: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does, with `await` at the top; the value of its last expression."""
    tree = ast.parse(text)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], last.value), last)
    code = compile(ast.fix_missing_locations(tree), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names["_"]

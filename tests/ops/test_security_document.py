"""What docs/security.md tells callers who sign or have a key is done as it stands there, against an edge that runs."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Start

ROOT = Path(__file__).parents[2]
FILES = re.compile(r"^```(\w+)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Sh = Callable[[str], str]


def section(title: str) -> str:
    page = (ROOT / "docs" / "security.md").read_text()
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """The lines behind each prompt, with those that they go on in."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)]


@pytest.fixture
def shop(folder: Path) -> Path:
    """The shop of README.md."""
    (folder / "shop").mkdir()
    for _, name, text in FILES.findall((ROOT / "README.md").read_text()):
        if name.startswith("shop/"):
            (folder / name).write_text(text)
    return folder


@pytest.fixture
def sh(shop: Path) -> Sh:
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def sh(line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line], cwd=shop, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return sh


async def served(start: Start, shop: Path) -> Callable[[str], str]:
    """Start the shop; what puts its address into a line of the page."""
    ports = ("--port", "0", "--admin-port", "0")
    dev = await start("dev", "--config", str(shop / "busgate.toml"), "--service", "shop.services:orders", *ports)
    await dev.until("TOKEN=")
    found = re.search(r"^http://127\.0\.0\.1:(\d+) on", dev.output, re.MULTILINE)
    assert found is not None, dev.output
    return lambda text: text.replace("localhost:8080", f"127.0.0.1:{found[1]}")


async def test_the_steps_of_signing(shop: Path, sh: Sh, start: Start) -> None:
    text = section("Callers who sign their requests")
    files = {name: body for _, name, body in FILES.findall(text)}
    make, sign = commands(text)
    sh(make)
    (shop / "busgate.toml").write_text(files["signing/busgate.toml"].replace("/var/lib/busgate", str(shop)))
    checked = sh("busgate check")
    here = await served(start, shop)

    by_shell = await asyncio.to_thread(sh, here(sign).replace("| sh", "| sed 's/^curl/curl --silent/' | sh"))
    (shop / "client.py").write_text(here(files["signing/client.py"]))
    by_python = await asyncio.to_thread(sh, f"{sys.executable} client.py")

    assert "shop.orders.place.v1" in checked
    assert by_shell == '{"id":1,"sku":"A-1","quantity":2}'
    assert by_python == "201 {'id': 1, 'sku': 'A-1', 'quantity': 2}\n"


async def test_the_steps_of_api_keys(shop: Path, sh: Sh, start: Start) -> None:
    text = section("API keys")
    files = {name: body for _, name, body in FILES.findall(text)}
    create, ask, show, rotate, revoke_old, revoke = commands(text)
    (shop / "busgate.toml").write_text(files["keys/busgate.toml"])
    sh(create)
    here = await served(start, shop)

    answered = await asyncio.to_thread(sh, here(ask))
    listed = await asyncio.to_thread(sh, show)
    for line in (rotate, revoke_old, revoke):
        await asyncio.to_thread(sh, line)
    left = await asyncio.to_thread(sh, show)

    assert answered == '{"id":1,"sku":"A-1","quantity":2}'
    assert re.search(r"^\w{10}  mill   orders:write .* live$", listed, re.MULTILINE)
    assert left == ""
    assert re.search(r"`(bgk_.*)`\.", text)[1] in (ROOT / "edge/busgate/edge/api_keys/text.py").read_text()  # type: ignore[index] # or it fails

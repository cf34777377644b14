"""What docs/security.md shows of TLS is pasted as it stands, against a real edge, worker and RabbitMQ."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.definitions import ROOT
from support.faults.processes import Process
from support.management import Vhost
from support.ports import free_ports

pytestmark = pytest.mark.slow

SECTION = (ROOT / "docs" / "security.md").read_text().partition("\n## Over what: TLS\n")[2].partition("\n## ")[0]
BLOCK = re.compile(r"^```(sh|toml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = "# busgate.toml, beside these files\n"
DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
LONGEST = 120.0


class House:
    """A folder in which the page is followed, with the shop's worker, and an edge for the last configuration."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.port, self.admin = free_ports(2)
        self.environ = environ | {"BUSGATE_EDGE__ADMIN__PORT": str(self.admin)}
        self.processes: list[Process] = []

    async def run(self, text: str) -> str:
        """Paste something into a shell; what it printed."""
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euo", "pipefail", "-c", text.replace("8443", str(self.port))],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def start(self, *arguments: str) -> Process:
        process = await Process.start(*arguments, environ=self.environ)
        self.processes.append(process)
        return process

    async def serve(self, table: str) -> None:
        """Start an edge with this configuration in the place of the last."""
        if len(self.processes) > 1:
            assert await self.processes.pop().stop() == 0
        (self.folder / "busgate.toml").write_text(table.replace("8443", str(self.port)))
        edge = await self.start("edge", "--config", str(self.folder / "busgate.toml"))
        await edge.until("edge ready")


@pytest.fixture
async def house(vhost: Vhost, tmp_path: Path) -> AsyncIterator[House]:
    unproxied = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    examples = str(ROOT / "examples")
    environ = unproxied | {
        "BUSGATE_BUS__URL": vhost.url,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([examples, str(ROOT / "tests")]),
        "SHOP_DB": str(tmp_path / "shop.db"),
    }
    house = House(tmp_path, environ)
    try:
        worker = await house.start("worker", "shop.services:orders", "shop.services:inventory")
        await worker.until("worker ready")
        yield house
    finally:
        for process in house.processes:
            await process.kill()


async def check_console(house: House, text: str) -> None:
    """Each line behind a `$`, and that it prints what stands below it."""
    for step in text.split("$ ")[1:]:
        command, _, expected = step.partition("\n")
        printed = await house.run(command)
        assert without_padding(printed) == without_padding(expected), command


def without_padding(text: str) -> list[list[str]]:
    return [DATE.sub("A DATE", line).split() for line in text.splitlines()]


async def until_renewed(house: House) -> None:
    """Wait until the edge serves the certificate of thirty days; until then the command ends with code 1."""
    while True:
        document: dict[str, Any] = json.loads(await house.run("busgate certs --json || true"))
        first = document["certificates"][0]
        if first["state"] == "same":
            assert first["days_left"] == 30.0
            return
        await asyncio.sleep(0.2)


async def test_the_steps_for_tls_work_as_they_stand(house: House) -> None:
    missing = [name for name in ("bash", "curl", "openssl", "basenc") if shutil.which(name) is None]
    assert not missing, f"this test runs what the page shows: install {', '.join(missing)}"
    done: list[str] = []
    do: dict[str, Callable[[House, str], Coroutine[Any, Any, object]]] = {
        "sh": House.run,
        "toml": House.serve,
        "console": check_console,
    }

    async with asyncio.timeout(LONGEST):
        for kind, text in BLOCK.findall(SECTION):
            if kind == "toml" and not text.startswith(FILE):
                continue  # for other houses: test_docs.py has them checked
            await do[kind](house, text)
            done.append(kind)
            if "mv new.key server.key" in text:
                await until_renewed(house)

    assert done == ["sh", "toml", "console", "sh", "sh", "toml", "console", "console"]

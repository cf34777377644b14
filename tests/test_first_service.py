"""docs/first-service.md and docs/testing.md, followed to the letter: files laid out, commands run, answers compared."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from support.command import COMMAND
from support.faults.processes import Process
from support.management import Vhost
from support.ports import free_port

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
READY = {"dev": "http://127.0.0.1:", "edge": "edge ready", "worker": "worker ready"}

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Reader:
    """Does what a document says. What it installs is there already; its broker and its port are those of the test."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.broker = broker
        self.installed: list[str] = []
        self.answers = 0
        self._servers: dict[str, Process] = {}
        self.port = free_port()

    async def follow(self, document: str) -> None:
        for kind, text in BLOCK.findall(document):
            if kind == "python":
                self._write(text)
            else:
                for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    command, _, shown = part.partition("\n")
                    await self._do(command, shown.strip())

    async def close(self) -> None:
        for name in list(self._servers):
            await self._end(name)

    def _write(self, text: str) -> None:
        name, _, rest = text.removeprefix("# ").partition("\n")
        assert re.fullmatch(r"[a-z_/]+\.py", name), name
        (self.folder / name).write_text(rest)

    async def _do(self, command: str, shown: str) -> None:
        match shlex.split(command):
            case ["pip" | "." | "python3", *_]:
                self.installed.append(command)
            case ["cd", name]:
                self.folder /= name
            case ["curl", url]:
                await self._compare(url, shown)
            case ["busgate", "dev" | "edge" | "worker" as name]:
                await self._serve(name)
            case [program, *arguments]:
                await self._run(program, [argument.replace("amqp://localhost", self.broker) for argument in arguments])

    async def _run(self, program: str, arguments: list[str]) -> None:
        command = COMMAND if program == "busgate" else (sys.executable, "-m", program)
        plain = ["-p", "no:asyncio", "-p", "no:cacheprovider"] if program == "pytest" else []
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, *plain, *arguments],
            cwd=self.folder,
            env=self._environ(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (program, arguments, done.stdout, done.stderr)

    async def _serve(self, name: str) -> None:
        if name == "worker" and "dev" in self._servers:
            await self._end("dev")
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            name,
            cwd=self.folder,
            env=self._environ(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._servers[name] = Process(process)
        await self._servers[name].until(READY[name])

    async def _end(self, name: str) -> None:
        server = self._servers.pop(name)
        server.signal(signal.SIGINT)
        assert await server.ended() == 0, server.output

    async def _compare(self, url: str, shown: str) -> None:
        def ask() -> str:
            try:
                with _open(url.replace(":8080", f":{self.port}"), timeout=20) as answer:
                    return str(answer.read().decode())
            except HTTPError as refused:
                with refused:
                    return refused.read().decode()

        answer = await asyncio.to_thread(ask)
        start, more, _ = shown.partition(" ...")
        assert answer.startswith(start) if more else answer == shown
        self.answers += 1

    def _environ(self) -> dict[str, str]:
        return os.environ | {
            "BUSGATE_BUS__URL": self.broker,
            "BUSGATE_EDGE__PORT": str(self.port),
            "BUSGATE_EDGE__ADMIN__PORT": "0",
            "BUSGATE_WORKER__ADMIN__PORT": "0",
            "BUSGATE_LOG__LEVEL": "info",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@pytest.fixture
async def reader(tmp_path: Path, vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    for name in [name for name in os.environ if name.startswith("BUSGATE_") and "__" in name]:
        monkeypatch.delenv(name)
    reader = Reader(tmp_path, vhost.url)
    yield reader
    await reader.close()


@pytest.mark.slow
async def test_the_first_service_from_nothing_to_an_answered_call(reader: Reader) -> None:
    await reader.follow((ROOT / "docs" / "first-service.md").read_text())

    assert reader.installed == [
        "python3 -m venv .venv",
        ". .venv/bin/activate",
        "pip install 'busgate[edge]' mypy pytest",
    ]
    assert reader.answers == 4
    assert reader.folder.name == "hello"


@pytest.fixture
def shop_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests that docs/testing.md shows, beside the example shop."""
    (tmp_path / "tests").mkdir()
    for kind, text in BLOCK.findall((ROOT / "docs" / "testing.md").read_text()):
        if kind == "python":
            name, _, rest = text.removeprefix("# ").partition("\n")
            (tmp_path / name).write_text(rest)
    # Each test gets a shop of its own, as an author would see to.
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture(autouse=True)\n"
        "def _shop(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:\n"
        '    monkeypatch.setenv("SHOP_DB", str(tmp_path_factory.mktemp("shop") / "shop.db"))\n'
    )
    (tmp_path / "shop").symlink_to(ROOT / "examples" / "shop")
    return tmp_path


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
async def test_the_tests_of_the_manual_pass_on_either_bus(shop_tests: Path, vhost: Vhost) -> None:
    plain = "pytest", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider"

    memory = await asyncio.to_thread(run_in, shop_tests, *plain)
    rabbit = await asyncio.to_thread(run_in, shop_tests, *plain, "--busgate-bus", vhost.url)

    for done in (memory, rabbit):
        assert done.returncode == 0, done.stdout + done.stderr
        assert "9 passed" in done.stdout
    assert "busgate.calls" in await vhost.exchanges()


@pytest.mark.slow
def test_the_tests_of_the_manual_pass_a_strict_type_check(shop_tests: Path) -> None:
    (shop_tests / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")

    done = run_in(shop_tests, "mypy", "--no-incremental", "tests")

    assert done.returncode == 0, done.stdout

"""The command as people run it: in a process of its own, in a folder of its own."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from support import ports
from support.command import COMMAND, Run, Start
from support.faults.processes import Process
from support.house import House
from support.management import Vhost

CONTRACTS = """\
from pydantic import BaseModel

from busgate.contracts import Call, http


class Greeting(BaseModel):
    name: str


greet = Call(
    "hello.greet.v1", http.get("/greetings/{name}"), request=Greeting, reply=Greeting, public=True, timeout=20
)
"""
SERVICES = """\
import os

from busgate.workers import Context, Service

from .contracts import Greeting, greet

greeter = Service("greeter")
empty = Service("empty")


@greeter.handles(greet)
async def answer(request: Greeting, context: Context) -> Greeting:
    return Greeting(name=f"{request.name} from {os.getpid()}")
"""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What touches sockets in the test's own process runs on both loops."""
    if Path(item.nodeid.split("::")[0]).name == "test_admin.py":
        return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package `hello` of one contract and its service, and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("BUSGATE_") and "__" in name]:
        monkeypatch.delenv(name)
    package = tmp_path / "hello"
    package.mkdir()
    (package / "contracts.py").write_text(CONTRACTS)
    (package / "services.py").write_text(SERVICES)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Run the command to its end."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
async def start(folder: Path) -> AsyncIterator[Start]:
    """Start the command; what still runs at the end is killed."""
    started: list[Process] = []

    async def start(*arguments: str, **environ: str) -> Process:
        settings = {"PYTHONPATH": str(folder), "TMPDIR": str(folder), **environ}
        process = await Process.start(*arguments, environ=settings)
        started.append(process)
        return process

    yield start
    for process in started:
        process.signal(signal.SIGKILL)
    for process in started:
        await process.ended()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of the loopback interface that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.fixture
def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    return ports.free_port()


@pytest.fixture
def free_ports() -> list[int]:
    """Two of them, neighbours."""
    return ports.free_ports(2)


@pytest.fixture
def house(start: Start, run: Run, vhost: Vhost, free_port: int) -> House:
    return House(start, run, vhost, free_port)

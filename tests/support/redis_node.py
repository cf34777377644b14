"""A Redis (or Valkey) of the suite's own, that tests may stop, kill and restart: the machine's, else a container's."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from support.container_node import REMOVE, have_image
from support.ports import free_port
from support.provider import can_install, install
from support.reaper import Reaper

START_LIMIT = 30.0
SERVERS = ("redis-server", "valkey-server")
DEFAULT_IMAGE = "redis:7-alpine"
NOTHING = "no Redis for the tests: install redis-server, or start Docker"
CLEAN_UP = 'kill -s KILL -- "-$(cat "$1/group")"; rm -rf "$1"'


class RedisError(Exception):
    """A Redis that the tests need cannot be had; the text is one line for the person who runs them."""


class RedisNode(ABC):
    """It keeps its port and its password over `kill` and `start`; its data, as Redis does without a file, not."""

    host: str
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/0"

    @abstractmethod
    def launch(self) -> None:
        """Begin to start it."""

    @abstractmethod
    def kill(self) -> None:
        """As `kill -9`."""

    @abstractmethod
    def pause(self) -> None:
        """As SIGSTOP: its connections stay open and nothing is answered."""

    @abstractmethod
    def resume(self) -> None:
        """As SIGCONT."""

    @abstractmethod
    def dispose(self) -> None:
        """End it for good and leave nothing behind."""

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        try:
            async with asyncio.timeout(START_LIMIT):
                while not await self.answers():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise RedisError(f"the Redis of the tests was not up after {START_LIMIT:.0f} s") from None

    async def answers(self) -> bool:
        try:
            return await self.ask("PING") == "+PONG"
        except OSError:
            return False

    async def ask(self, command: str) -> str:
        """The first line of the answer to a command without blanks in its words."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(f"AUTH {self.password}\r\n{command}\r\n".encode())
                if not (await reader.readline()).startswith(b"+OK"):
                    return ""
                return (await reader.readline()).decode().strip()
            finally:
                writer.close()

    async def scripts_run(self) -> int:
        """How many scripts it has run since its start."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(f"AUTH {self.password}\r\nINFO commandstats\r\nQUIT\r\n".encode())
        async with asyncio.timeout(5):
            text = (await reader.read()).decode()
        writer.close()
        return int(text.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])

    @contextlib.asynccontextmanager
    async def heard(self) -> AsyncIterator[list[str]]:
        """The commands that clients send it meanwhile, as MONITOR tells them; they are there when the block ends."""
        lines: list[str] = []
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(f"AUTH {self.password}\r\nMONITOR\r\n".encode())
        async with asyncio.timeout(5):
            assert [await reader.readline() for _ in range(2)] == 2 * [b"+OK\r\n"]
        yield lines
        last = secrets.token_hex(8)
        await self.ask(f"PING {last}")
        async with asyncio.timeout(5):
            while last not in (line := (await reader.readline()).decode()):
                if " lua] " not in line and '"AUTH"' not in line:  # what a script does is no command of a client
                    lines.append(line.strip())
        writer.close()

    async def heal(self) -> None:
        """Undo what a test did to it."""
        self.resume()
        if not await self.answers():
            await self.start()
        await self.ask("CONFIG SET maxmemory 0")
        await self.ask("CONFIG SET maxmemory-policy noeviction")
        await self.ask("FLUSHALL")


class PrivateRedis(RedisNode):
    """A server of the machine's package, beside any that the system runs."""

    host = "127.0.0.1"

    def __init__(self, command: str) -> None:
        self._command = command
        self._home = Path(tempfile.mkdtemp(prefix="busgate-redis-"))
        self.port = free_port()
        self.password = secrets.token_hex(8)
        lines = ["bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}", 'save ""', "appendonly no"]
        config = self._home / "redis.conf"
        config.write_text("\n".join([*lines, f"dir {self._home}", ""]))
        config.chmod(0o600)
        (self._home / "group").write_text("0")
        self._server: subprocess.Popen[bytes] | None = None
        self._reaper = Reaper(["sh", "-c", CLEAN_UP, "sh", str(self._home)])

    def launch(self) -> None:
        with (self._home / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [self._command, str(self._home / "redis.conf")],
                stdout=output,
                stderr=output,
                cwd=self._home,
                start_new_session=True,
            )
        (self._home / "group").write_text(str(self._server.pid))

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._server is not None:
            self._server.wait(timeout=10)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None and self._server.poll() is None:
            os.killpg(self._server.pid, number)

    def dispose(self) -> None:
        self._reaper.run()
        if self._server is not None:
            self._server.wait(timeout=10)


class ContainerRedis(RedisNode):
    def __init__(self, image: str) -> None:
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        testcontainers_config.ryuk_disabled = True  # our own reaper does its work without a second image
        self.port = free_port()
        self.password = secrets.token_hex(8)
        command = f"--requirepass {self.password} --save '' --appendonly no"
        self._container = DockerContainer(image).with_bind_ports(6379, self.port).with_command(command)
        self.host = self._container.get_docker_client().host().replace("localhost", "127.0.0.1")
        self._reaper: Reaper | None = None

    def launch(self) -> None:
        if self._reaper is not None:
            self._container.get_wrapped_container().start()
            return
        self._container.start()
        self._reaper = Reaper([sys.executable, "-c", REMOVE, self._container.get_container_id()])

    def kill(self) -> None:
        container = self._container.get_wrapped_container()
        container.kill()
        container.wait(timeout=30)

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "paused":
            container.unpause()

    def dispose(self) -> None:
        self._container.get_docker_client().client.close()
        if self._reaper is not None:
            self._reaper.run()


def find_redis(say: Callable[[str], None]) -> Callable[[], RedisNode]:
    """What makes a Redis of the suite's own: REDIS_IMAGE if set, else the machine's, a container's, a new one.

    Raises:
        RedisError: there can be none.
    """
    image = os.environ.get("REDIS_IMAGE")
    if image and have_image(image, say):
        return partial(ContainerRedis, image)
    if command := _installed():
        return partial(PrivateRedis, command)
    if image != "" and have_image(DEFAULT_IMAGE, say):
        return partial(ContainerRedis, DEFAULT_IMAGE)
    if can_install():
        say("installing redis-server for the tests (apt-get)")
        if why := install("redis-server"):
            raise RedisError(f"{NOTHING} ({why})")
    if command := _installed():
        return partial(PrivateRedis, command)
    raise RedisError(NOTHING)


def _installed() -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    return next((found for name in SERVERS if (found := shutil.which(name, path=path))), None)

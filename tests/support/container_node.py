"""A RabbitMQ container, where a Docker engine answers and has or gets the image."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable

import docker  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException, ImageNotFound  # type: ignore[import-untyped]
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from support.broker import MAX_MESSAGE_SIZE, Broker, BrokerError, RabbitNode
from support.management import Management
from support.ports import free_ports
from support.reaper import Reaper

DEFAULT_IMAGE = "rabbitmq:4-management"
PULL_LIMIT = 120.0
ENGINE_LIMIT = 5

REMOVE = "import sys, docker; docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)"

SETTINGS = f"-rabbit collect_statistics_interval 500 -rabbit max_message_size {MAX_MESSAGE_SIZE}"


def wanted_image() -> str:
    """The image of the environment's RABBITMQ_IMAGE, empty for no container at all."""
    return os.environ.get("RABBITMQ_IMAGE", DEFAULT_IMAGE)


def _engine_listens() -> bool:
    """Asked first because docker's own client leaks a socket where none listens."""
    kind, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if kind != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def have_image(image: str, say: Callable[[str], None]) -> bool:
    """Whether an engine answers and has the image, after at most two minutes of pulling it."""
    if not _engine_listens():
        return False
    try:
        with contextlib.closing(docker.from_env(timeout=ENGINE_LIMIT)) as engine:
            engine.images.get(image)
    except ImageNotFound:
        say(f"pulling {image} for the tests")
        return _pull(image)
    except (DockerException, OSError):
        return False
    return True


def _pull(image: str) -> bool:
    pulled = threading.Event()

    def pull() -> None:
        with (
            contextlib.suppress(DockerException, OSError),
            contextlib.closing(docker.from_env(timeout=int(PULL_LIMIT))) as engine,
        ):
            engine.images.pull(image)
            pulled.set()

    # A daemon thread: an engine that never answers must not hold the tests up.
    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(PULL_LIMIT)
    return pulled.is_set()


class ContainerNode(RabbitNode):
    def __init__(self, image: str) -> None:
        # Our own reaper does its work without a second image.
        testcontainers_config.ryuk_disabled = True
        password = secrets.token_hex(8)
        # Fixed ports: an engine hands out others whenever a container starts again.
        amqp, management, prometheus = free_ports(3)
        self._container = (
            DockerContainer(image)
            .with_bind_ports(5672, amqp)
            .with_bind_ports(15672, management)
            .with_bind_ports(15692, prometheus)
            .with_env("RABBITMQ_DEFAULT_USER", "test")
            .with_env("RABBITMQ_DEFAULT_PASS", password)
            .with_env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", SETTINGS)
        )
        self._reaper: Reaper | None = None
        host = self._container.get_docker_client().host().replace("localhost", "127.0.0.1")
        self.broker = Broker(
            f"test:{password}@{host}:{amqp}", Management(f"http://{host}:{management}", "test", password)
        )
        self.prometheus = f"http://{host}:{prometheus}"

    async def launch(self) -> None:
        await asyncio.to_thread(self._launch)

    def _launch(self) -> None:
        if self._reaper is not None:
            self._container.get_wrapped_container().start()
            return
        try:
            self._container.start()
        except DockerException as error:
            raise BrokerError(f"the RabbitMQ container did not start: {error}") from None
        self._reaper = Reaper([sys.executable, "-c", REMOVE, self._container.get_container_id()])

    async def last_words(self) -> str | None:
        return await asyncio.to_thread(self._last_words)

    def _last_words(self) -> str | None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status != "exited":
            return None
        return " ".join(container.logs(tail=8).decode(errors="replace").split())

    async def kill(self) -> None:
        await asyncio.to_thread(self._kill)

    def _kill(self) -> None:
        container = self._container.get_wrapped_container()
        with contextlib.suppress(APIError):  # it may be dead already
            container.kill()
        container.wait(timeout=30)

    async def pause(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().pause)

    async def resume(self) -> None:
        await asyncio.to_thread(self._resume)

    def _resume(self) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "paused":
            container.unpause()

    async def ctl(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self._container.exec, ["rabbitmqctl", "--quiet", *arguments])
        output = done.output.decode(errors="replace")
        if done.exit_code:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {' '.join(output.split())}")
        return output

    def dispose(self) -> None:
        self._container.get_docker_client().client.close()
        if self._reaper is not None:
            self._reaper.run()

"""Brokers: the address of one, and the interface of a node that the suite owns and may break."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPException
from itertools import count
from urllib.parse import quote, unquote, urlsplit

from support.management import Management, Vhost

START_LIMIT = 90.0
# What RabbitMQ 3 allows by default; 4 allows 16 MiB, and tests send more than busgate takes.
MAX_MESSAGE_SIZE = 128 * 1024 * 1024
_numbers = count(1)


class BrokerError(Exception):
    """A broker that the tests need cannot be had; the text is one line for the person who runs them."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a running RabbitMQ is found."""

    authority: str
    """`user:password@host:port` as it stands in an AMQP URL."""
    management: Management
    scheme: str = "amqp"

    @classmethod
    def at(cls, amqp_url: str, management_url: str | None = None) -> "Broker":
        """The broker of an AMQP URL; its management API is on port 15672 of the same host if not named."""
        url = urlsplit(amqp_url)
        if url.scheme not in {"amqp", "amqps"} or not url.hostname:
            raise BrokerError("AMQP_URL must look like amqp://user:password@host:port/vhost")
        user, password = unquote(url.username or "guest"), unquote(url.password or "guest")
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        port = url.port or (5671 if url.scheme == "amqps" else 5672)
        authority = f"{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
        management = Management((management_url or f"http://{host}:15672").rstrip("/"), user, password)
        return cls(authority, management, url.scheme)

    def url(self, vhost: str = "/") -> str:
        return f"{self.scheme}://{self.authority}/{quote(vhost, safe='')}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and AMQP port."""
        host, _, port = self.authority.rpartition("@")[2].rpartition(":")
        return host.strip("[]"), int(port)

    @asynccontextmanager
    async def fresh_vhost(self, label: str) -> AsyncIterator[Vhost]:
        """A new vhost, deleted at the end with all that is in it."""
        name = f"{label[:100]}.{time.time_ns():x}.{next(_numbers)}"
        await self.management.create_vhost(name)
        try:
            yield Vhost(name, self.url(name), self.management)
        finally:
            await self.management.delete_vhost(name)


class RabbitNode(ABC):
    """A RabbitMQ node of the suite's own. It keeps its ports and its data over `kill` and `start`."""

    broker: Broker
    prometheus: str
    """Where its metrics are."""

    @abstractmethod
    async def launch(self) -> None:
        """Begin to start it, with the data that it had."""

    @abstractmethod
    async def last_words(self) -> str | None:
        """The end of its output if it has ended, None while it runs."""

    @abstractmethod
    async def kill(self) -> None:
        """As `kill -9`: gone at once, nothing said to anybody."""

    @abstractmethod
    async def pause(self) -> None:
        """As SIGSTOP: its connections stay open and nothing is answered."""

    @abstractmethod
    async def resume(self) -> None:
        """As SIGCONT."""

    @abstractmethod
    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl for this node and return what it printed; takes a second or two."""

    @abstractmethod
    def dispose(self) -> None:
        """End it for good and leave nothing behind; the second time does nothing."""

    async def start(self) -> None:
        """Start it and wait until it answers; at most 90 s."""
        await self.launch()
        try:
            async with asyncio.timeout(START_LIMIT):
                while not await self.answers():
                    if words := await self.last_words():
                        raise BrokerError(f"the RabbitMQ of the tests did not start: {words}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BrokerError(f"the RabbitMQ of the tests was not up after {START_LIMIT:.0f} s") from None

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def raise_memory_alarm(self) -> None:
        """Block every connection that publishes, until `clear_memory_alarm`."""
        await self.ctl("set_vm_memory_high_watermark", "0.0000001")

    async def clear_memory_alarm(self) -> None:
        await self.ctl("set_vm_memory_high_watermark", "0.6")

    async def close_all_connections(self, reason: str = "closed by a test") -> None:
        await self.ctl("close_all_connections", "--global", reason)

    async def heal(self) -> None:
        """Undo what a test did to the node."""
        await self.resume()
        if not await self.answers():
            await self.restart()
        if await self.broker.management.has_alarm():
            await self.clear_memory_alarm()

    async def answers(self) -> bool:
        """Whether both the management API and the AMQP port answer; the latter opens last."""
        try:
            await self.broker.management.get("whoami")
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_connection(*self.broker.address)
        except (OSError, HTTPException):
            return False
        writer.close()
        await writer.wait_closed()
        return True

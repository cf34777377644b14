"""RabbitMQ's management HTTP API, as far as the tests need it."""

import asyncio
import json
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import quote

# Loopback must not go through the HTTP proxy of the user's environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

EVERYTHING = ".*"


def quoted(name: str) -> str:
    return quote(name, safe="")


@dataclass(frozen=True, slots=True)
class Management:
    """One broker's management API; every call runs in a thread so that the event loop goes on."""

    url: str
    user: str
    password: str = field(repr=False)

    async def get(self, path: str) -> Any:
        """The decoded answer; `urllib.error.HTTPError`, closed, where the broker refuses."""
        return await asyncio.to_thread(self.request, "GET", path)

    async def put(self, path: str, **body: Any) -> None:
        await asyncio.to_thread(self.request, "PUT", path, body)

    async def delete(self, path: str) -> None:
        await asyncio.to_thread(self.request, "DELETE", path)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        credentials = b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Basic {credentials}", "content-type": "application/json"},
        )
        try:
            with _open(request, timeout=20) as answer:
                text = answer.read()
        except HTTPError as refused:
            refused.close()
            raise
        return json.loads(text) if text else None

    async def create_vhost(self, name: str) -> None:
        await self.put(f"vhosts/{quoted(name)}")
        await self.allow(self.user, name)

    async def delete_vhost(self, name: str) -> None:
        await self.delete(f"vhosts/{quoted(name)}")

    async def create_user(self, name: str, password: str, *, tags: str = "") -> None:
        await self.put(f"users/{quoted(name)}", password=password, tags=tags)

    async def delete_user(self, name: str) -> None:
        await self.delete(f"users/{quoted(name)}")

    async def allow(
        self,
        user: str,
        vhost: str,
        *,
        configure: str = EVERYTHING,
        write: str = EVERYTHING,
        read: str = EVERYTHING,
    ) -> None:
        """Set a user's permissions in a vhost: regular expressions on names, `^$` for none."""
        path = f"permissions/{quoted(vhost)}/{quoted(user)}"
        await self.put(path, configure=configure, write=write, read=read)

    async def has_alarm(self) -> bool:
        """Whether a memory or disk alarm is in effect, asked now and not from statistics."""
        try:
            await self.get("health/checks/alarms")
        except HTTPError as refused:
            if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
                return True
            raise
        return False

    async def close_connections(self, vhost: str, reason: str = "closed by a test") -> int:
        """Close all connections of a vhost as an operator would; how many there were."""
        names = [each["name"] for each in await self.get(f"vhosts/{quoted(vhost)}/connections")]
        closed = [await self.close_connection(name) for name in names]
        return sum(closed)

    async def close_connection(self, name: str) -> bool:
        """Close a connection; false where it is gone already, which the statistics tell of a moment late."""
        try:
            await self.delete(f"connections/{quoted(name)}")
        except HTTPError as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True


@dataclass(frozen=True, slots=True)
class Vhost:
    """A fresh vhost: where one test works."""

    name: str
    url: str
    management: Management = field(repr=False)

    async def objects(self, kind: Literal["queues", "exchanges", "bindings"]) -> list[dict[str, Any]]:
        """The management API's objects of one kind; message counts in them lag by half a second or more."""
        found: list[dict[str, Any]] = await self.management.get(f"{kind}/{quoted(self.name)}")
        return found

    async def queues(self) -> dict[str, dict[str, Any]]:
        return {queue["name"]: queue for queue in await self.objects("queues")}

    async def exchanges(self) -> dict[str, dict[str, Any]]:
        return {exchange["name"]: exchange for exchange in await self.objects("exchanges")}

    async def connections(self) -> list[dict[str, Any]]:
        path = f"vhosts/{quoted(self.name)}/connections"
        connections: list[dict[str, Any]] = await self.management.get(path)
        return connections

    async def until_nobody(self) -> None:
        """Until nobody is connected, which the API tells a moment after the last goodbye."""
        async with asyncio.timeout(20):
            while await self.connections():
                await asyncio.sleep(0.05)

    async def consumers(self) -> list[dict[str, Any]]:
        consumers: list[dict[str, Any]] = await self.management.get(f"consumers/{quoted(self.name)}")
        return consumers

    async def close_connection(self, name: str) -> None:
        """Close the connection that called itself so, once it is there."""
        async with asyncio.timeout(20):
            while not await self.management.close_connection(await self.connection(name)):
                pass

    async def connection(self, name: str) -> str:
        """What the broker calls the connection that called itself so, once the statistics tell of it."""
        async with asyncio.timeout(20):
            while True:
                for each in await self.connections():
                    if each.get("user_provided_name") == name:
                        return str(each["name"])
                await asyncio.sleep(0.1)

    async def delete_queue(self, name: str) -> None:
        await self.management.delete(f"queues/{quoted(self.name)}/{quoted(name)}")

    async def delete_exchange(self, name: str) -> None:
        await self.management.delete(f"exchanges/{quoted(self.name)}/{quoted(name)}")

    async def set_policy(self, name: str, pattern: str, **definition: Any) -> None:
        """Set a policy for queues, for example `{"max-length": 1}`."""
        path = f"policies/{quoted(self.name)}/{quoted(name)}"
        await self.management.put(path, **{"pattern": pattern, "definition": definition, "apply-to": "queues"})

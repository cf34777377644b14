"""RabbitMQ's management API, as far as a look at queues, and at who holds them, needs it."""

import asyncio
import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from busgate.bus import Address

PATIENCE = 5.0
LARGEST = 32 * 1024 * 1024


class NoManagementError(Exception):
    """The management API cannot be used, and why, in a few words."""


async def queues(url: str, address: Address) -> list[dict[str, Any]]:
    """All queues of the vhost, as the API describes them.

    Raises:
        NoManagementError: it is not there, refuses the user, or says nonsense.
    """
    return await asyncio.to_thread(_list, url, address, f"queues/{_vhost(address)}")


async def consumers(url: str, address: Address) -> list[dict[str, Any]]:
    """All consumers of the vhost. Raises NoManagementError as `queues`."""
    return await asyncio.to_thread(_list, url, address, f"consumers/{_vhost(address)}")


async def connections(url: str, address: Address) -> list[dict[str, Any]]:
    """All connections of the vhost that this user may see. Raises NoManagementError as `queues`."""
    return await asyncio.to_thread(_list, url, address, f"vhosts/{_vhost(address)}/connections")


def _vhost(address: Address) -> str:
    return quote(address.vhost, safe="")


def _list(url: str, address: Address, path: str) -> list[dict[str, Any]]:
    login = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - the settings take http and https alone
        f"{url}/api/{path}", headers={"Authorization": f"Basic {login}"}
    )
    try:
        with urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({})).open(
            request, timeout=PATIENCE
        ) as answer:
            found = json.loads(answer.read(LARGEST))
    except urllib.error.HTTPError as error:
        raise NoManagementError(f"{url} answers {error.code}; the user needs the tag monitoring") from error
    except (OSError, ValueError) as error:
        raise NoManagementError(f"{url}: {getattr(error, 'reason', error)}") from error
    if not isinstance(found, list):
        raise NoManagementError(f"{url} is no management API of RabbitMQ")
    return [each for each in found if isinstance(each, dict)]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The password goes where the configuration says, through no proxy, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def rate(queue: dict[str, Any], what: str) -> float | None:
    """Messages a second, of `publish`, `ack` and so on; None before the first."""
    details = queue.get("message_stats", {}).get(f"{what}_details", {})
    value = details.get("rate")
    return float(value) if isinstance(value, int | float) else None


def head(queue: dict[str, Any]) -> int | None:
    """Epoch seconds at which the first message of a queue was sent; None where there is none."""
    sent = queue.get("head_message_timestamp")
    return sent if isinstance(sent, int) and sent > 0 else None


def oldest(queue: dict[str, Any]) -> float | None:
    """Seconds since the first message of a queue was sent; None where there is none."""
    sent = head(queue)
    return None if sent is None else max(time.time() - sent, 0.0)

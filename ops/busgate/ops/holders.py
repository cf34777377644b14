"""Who holds the queues of calls, as the broker sees it: it names those too that hang and say nothing themselves."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from busgate.bus import Address
from busgate.contracts.call import is_topic

from .management import connections, consumers


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer of a queue of calls.

    Args:
        queue: that it holds.
        process: its id, as `ps` shows it; empty where it is no busgate process.
        host: of that process, as it said when it connected.
        pid: of that process, likewise; 0 is not known.
        peer: where its connection comes from, as the broker sees it.
    """

    queue: str
    process: str
    host: str
    pid: int
    peer: str


async def holders(url: str, address: Address) -> list[Holder]:
    """All consumers of queues of calls.

    Raises:
        NoManagementError: the management API cannot be used.
    """
    taking, links = await asyncio.gather(consumers(url, address), connections(url, address))
    by_name = {link.get("name"): link for link in links}
    found = []
    for each in taking:
        queue = _dict(each, "queue").get("name")
        channel = _dict(each, "channel_details")
        if isinstance(queue, str) and is_topic(queue.partition("@")[0]):
            found.append(_holder(queue, channel, by_name.get(channel.get("connection_name"), {})))
    return found


def unanswered(found: Iterable[Holder], answering: Collection[str]) -> list[Holder]:
    """Those of busgate's own processes that hold a queue and are not among those who answer."""
    return [each for each in found if each.process and each.process not in answering]


def _holder(queue: str, channel: dict[str, Any], link: dict[str, Any]) -> Holder:
    said = _dict(link, "client_properties")
    name, pid = said.get("connection_name"), said.get("pid")
    ours = said.get("product") == "busgate" and isinstance(name, str)
    return Holder(
        queue=queue,
        process=str(name) if ours else "",
        host=str(said.get("host", "")),
        pid=pid if isinstance(pid, int) else 0,
        peer=f"{channel.get('peer_host', '?')}:{channel.get('peer_port', '?')}",
    )


def _dict(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}

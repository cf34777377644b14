"""What AMQP tells of queues at once; RabbitMQ's management API tells it up to five seconds late."""

import asyncio
from collections.abc import Collection

from busgate.bus import BusError, Depth, Topology
from busgate.bus.settings import BusSettings

from .loading import control_address

PATIENCE = 5.0
"""Seconds that all of the answers may take."""


async def depths_now(queues: Collection[str], settings: BusSettings) -> dict[str, Depth | None]:
    """The depth of each queue, None where there is no such queue; empty where it is not to be had in time."""
    if not queues:
        return {}
    try:
        async with asyncio.timeout(PATIENCE), Topology(control_address(settings)) as topology:
            return await topology.depths(queues)
    except (BusError, TimeoutError):
        return {}

"""The control bus on a real RabbitMQ: a process that leaves it is gone in bounded time, wherever it was."""

import asyncio

from support.management import Vhost

from busgate.bus import Topology
from busgate.bus.control import Control
from busgate.bus.settings import BusSettings


async def test_who_leaves_while_it_connects_is_not_held_up(vhost: Vhost) -> None:
    """The client library loses some cancellations that come while it connects; each number of turns is another place."""
    address = BusSettings(url=vhost.url).addresses()[0]
    async with Topology(address) as topology:
        await topology.make([])

    for milliseconds in range(0, 60, 2):
        control = Control(lambda: address, name="leaver", keys=["who"], receive=lambda *_: None)
        control.start()
        await asyncio.sleep(milliseconds / 1000)
        async with asyncio.timeout(5):
            await control.close()

    async with asyncio.timeout(10):
        while await vhost.connections():  # the broker tells of an end a moment later
            await asyncio.sleep(0.05)

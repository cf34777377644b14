"""A tap on everything, in a process of its own: `python -m bench.unread URL read` or `... unread`."""

import asyncio
import sys

from busgate.bus import Message, Pairing, RabbitBroker, Tap
from busgate.bus.settings import BusSettings

READY = "tapping"


async def main(url: str, kind: str) -> None:
    broker = RabbitBroker(BusSettings(url=url).addresses())
    loop = asyncio.get_running_loop()
    pairing = Pairing(lambda _: None)

    def sink(message: Message) -> None:
        pairing.see(message, loop.time())

    tap = Tap(broker.control_address, "*", sink, read=kind == "read")
    await tap.run(lambda: print(READY, flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))

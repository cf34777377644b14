"""A worker that dies between its first reply and the ack: `python -m support.faults.dying_worker URL` (F5)."""

import asyncio
import os
import signal
import sys

from busgate.bus import Bus, RabbitBroker
from busgate.bus.lane import Lane
from busgate.bus.settings import BusSettings
from busgate.workers import serve

from .services import probe


def die(lane: Lane, tag: int) -> None:
    """In place of the ack: let the reply leave, and be gone. asyncio's transport writes at once, uvloop's later."""
    lane._flush()
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str) -> None:
    setattr(Lane, "ack", die)  # noqa: B010 - past the type checker
    bus = Bus(RabbitBroker(BusSettings.model_validate({"url": url}).addresses()), name="dying")
    serve([probe], bus)
    await bus.start(10)
    sys.stderr.write("worker ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

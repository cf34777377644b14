"""A worker of a test: the handlers of one service on a bus of their own, as in a process of their own."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from busgate.bus import Answer, Bus, Delivery
from busgate.bus.consumer import Handle
from busgate.bus.testing import Stage
from busgate.workers.execution import Execution

Register = Callable[[Bus], list[Execution]]
"""Puts handlers on a bus that is not started yet."""


class Worker:
    """Serves until it is closed. When it dies, another takes its place, which knows nothing of what this one did.

    Args:
        name: of its service.
        register: puts its handlers on a bus.
        stage: where it works.
        dies_of: topics of which it dies after it ran a call, before it answers. Each is taken out as that happens.
    """

    def __init__(self, name: str, register: Register, *, stage: Stage, dies_of: set[str]) -> None:
        self._name = name
        self._register = register
        self._stage = stage
        self._dies_of = dies_of
        self._bus: Bus | None = None
        self._executions: list[Execution] = []
        self._deaths: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises BusError, ServiceError."""
        bus = self._stage.bus(self._name)
        bus.around = self._mortal
        executions = self._register(bus)
        try:
            await bus.start()
        except BaseException:
            await _end(bus, executions)
            raise
        self._bus, self._executions = bus, executions

    async def close(self) -> None:
        """Cut what runs, and go."""
        for death in tuple(self._deaths):
            with suppress(asyncio.CancelledError):
                await death
        if self._bus is not None:
            await _end(self._bus, self._executions)

    def _mortal(self, topic: str, handle: Handle) -> Handle:
        async def run(delivery: Delivery) -> Answer:
            answer = await handle(delivery)
            if topic not in self._dies_of:
                return answer
            self._dies_of.discard(topic)
            death = asyncio.create_task(self._die())
            self._deaths.add(death)
            death.add_done_callback(self._deaths.discard)
            return await asyncio.Future()  # cut by the death: neither answered nor acked

        return run

    async def _die(self) -> None:
        bus, executions = self._bus, self._executions
        await self.start()
        assert bus is not None
        await _end(bus, executions)


async def _end(bus: Bus, executions: list[Execution]) -> None:
    await bus.close()
    for execution in executions:
        execution.close()

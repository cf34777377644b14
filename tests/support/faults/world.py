"""Edges, workers and callers around one vhost, and the check of all invariants at the end."""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from busgate.bus import Bus, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.edge.app import Edge
from busgate.edge.records import Record, Recorder
from busgate.edge.settings import EdgeSettings
from busgate.workers import Service, serve
from busgate.workers.trust import Trust
from support.management import Vhost, quoted
from support.proxy import FaultProxy

from .callers import ISSUER, SECRET, Callers
from .contracts import CATALOG
from .history import History
from .processes import Process
from .services import LOG, probe

BASELINE = 5.0
"""Seconds after the load within which nothing may be left of it (I8)."""
CONTRACTS = "support.faults.contracts"
SERVICES = "support.faults.services:probe"


@dataclass(frozen=True, slots=True)
class LocalEdge:
    """An edge in the process of the test, so that its inside can be looked at."""

    edge: Edge
    bus: Bus
    base: str
    records: list[Record]

    def left(self) -> dict[str, object]:
        """What is left of calls; nothing, once all are answered."""
        requester = self.bus.requester
        return {
            "waiting": requester.waiting,
            "deadlines": sum(len(bucket) for bucket in requester._buckets.values()),
            "admitted": sum(each.admission.waiting for each in requester._endpoints.values()),
        }


class World:
    """What one test works with. `finish` ends it and says what did not hold."""

    def __init__(self, vhost: Vhost, folder: Path) -> None:
        self.vhost = vhost
        self.history = History(folder / "executions")
        self.edges: list[LocalEdge] = []
        self.workers: list[Process] = []
        self.edge_processes: list[tuple[Process, int]] = []
        self.buses = 0
        """Connections of this world that are no local edge and no worker."""
        self.baseline = BASELINE
        self._open = AsyncExitStack()
        self._tasks = asyncio.all_tasks()

    # -- to start things

    async def edge(self, url: str | None = None, *, bus: Mapping[str, Any] | None = None, **settings: Any) -> LocalEdge:
        """An edge in this process. `url` leads to the broker, by a proxy perhaps."""
        bus_settings = BusSettings.model_validate({"url": url or self.vhost.url, **(bus or {})})
        broker = RabbitBroker(bus_settings.addresses(), heartbeat=bus_settings.heartbeat)
        local = Bus(broker, name="edge", max_waiting=bus_settings.max_waiting)
        await local.start(10)
        self._open.push_async_callback(local.close)
        records: list[Record] = []
        edge = Edge(CATALOG, edge_settings(**settings), local, recorder=Recorder(records.extend))
        self._open.push_async_callback(edge.close)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        await edge.start(listener)
        here = LocalEdge(edge, local, f"http://127.0.0.1:{listener.getsockname()[1]}", records)
        self.edges.append(here)
        return here

    async def edge_process(self, *, processes: int = 1, **environ: str) -> tuple[Process, str]:
        """An edge of its own processes, and its address."""
        issuers = [{"issuer": ISSUER, "audience": ["probe"], "keys": [{"secret": SECRET}]}]
        process = await Process.start(
            "edge", CONTRACTS, "--bus", self.vhost.url, "--port", "0", "--processes", str(processes),
            "--log-format", "text",
            environ={"BUSGATE_EDGE__JWT": json.dumps(issuers), "BUSGATE_EDGE__ADMIN__ENABLED": "false", **environ},
        )  # fmt: skip
        self._open.push_async_callback(process.stop)
        self.edge_processes.append((process, processes))
        ready = await process.until("edge ready", number=processes)
        return process, ready.partition("address=")[2].split()[0]

    async def callers(self, edge: LocalEdge | str) -> Callers:
        callers = Callers(edge if isinstance(edge, str) else edge.base, self.history)
        self._open.push_async_callback(callers.close)
        return callers

    async def worker(self, url: str | None = None, *, ready: bool = True, **environ: str) -> Process:
        """A worker process that serves all contracts but `nowhere` and `lied`."""
        process = await Process.start(
            "worker", SERVICES, "--bus", url or self.vhost.url, "--log-format", "text",
            environ={LOG: str(self.history.log), **environ},
        )  # fmt: skip
        return await self._add(process, ready=ready)

    async def dying_worker(self) -> Process:
        """A worker that dies between its first reply and the ack."""
        module = "support.faults.dying_worker"
        process = await Process.start(self.vhost.url, module=module, environ={LOG: str(self.history.log)})
        return await self._add(process)

    async def _add(self, process: Process, *, ready: bool = True) -> Process:
        self._open.push_async_callback(process.kill)
        self.workers.append(process)
        if ready:
            await process.until("worker ready")
        return process

    async def proxy(self) -> FaultProxy:
        """A proxy in front of the broker of this world; `url` of it leads there."""
        url = urlsplit(self.vhost.url)
        return await self._open.enter_async_context(FaultProxy(url.hostname or "", url.port or 0))

    async def local_worker(
        self,
        *,
        url: str | None = None,
        name: str = "worker",
        service: Service = probe,
        trust: Trust | None = None,
    ) -> Bus:
        """A worker in this process; PROBE_LOG must be set in its environment."""
        settings = BusSettings.model_validate({"url": url or self.vhost.url})
        bus = Bus(RabbitBroker(settings.addresses()), name=name)
        executions = serve([service], bus, cancel_grace=0.2, trust=trust)
        await bus.start(10)
        self.buses += 1
        self._open.push_async_callback(self._close_worker, bus, executions)
        return bus

    async def _close_worker(self, bus: Bus, executions: list[Any]) -> None:
        await bus.close()
        for execution in executions:
            execution.close()

    # -- the end

    async def finish(self) -> list[str]:
        """Check that nothing is left, end everything, and return all that did not hold."""
        violations = await self._leaks()
        await self._open.aclose()
        violations += self.history.violations()
        violations += await self._tasks_left()
        return violations

    async def _leaks(self) -> list[str]:
        leaks: list[str] = []
        end = time.monotonic() + self.baseline
        while time.monotonic() < end:
            leaks = [*self._left_in_edges(), *await self._left_on_broker()]
            if not leaks:
                break
            await asyncio.sleep(0.1)
        return [f"I8: {leak}" for leak in leaks]

    def _left_in_edges(self) -> list[str]:
        return [f"left in the edge: {edge.left()}" for edge in self.edges if any(edge.left().values())]

    async def _left_on_broker(self) -> list[str]:
        members = sum(worker.alive for worker in self.workers)  # each has a connection to the control bus as well
        members += sum(count for process, count in self.edge_processes if process.alive)
        links = len(self.edges) + self.buses + members
        connections = await self.vhost.connections()
        totals = await self.totals()
        replies = [name for name in totals if name.startswith("busgate.reply.")]
        full = {name: messages for name, messages in totals.items() if messages}
        leaks = []
        if len(connections) > links + members:  # they are listed some seconds late
            leaks.append(f"{len(connections)} connections of {links + members}")
        if len(replies) != links:
            leaks.append(f"{len(replies)} reply queues of {links}")
        if full:
            leaks.append(f"messages left: {full}")
        return leaks

    async def totals(self) -> dict[str, int]:
        """Messages in each queue now, delivered ones included; the usual statistics lag by five seconds."""
        query = "disable_stats=true&enable_queue_totals=true"
        queues = await self.vhost.management.get(f"queues/{quoted(self.vhost.name)}?{query}")
        return {queue["name"]: queue.get("messages", 0) for queue in queues}

    async def _tasks_left(self) -> list[str]:
        left = {each for each in asyncio.all_tasks() - self._tasks if each is not asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=5)
        return [f"I8: a task is left: {task}" for task in left]


def edge_settings(**settings: Any) -> EdgeSettings:
    issuer = {"issuer": ISSUER, "audience": ["probe"], "keys": [{"secret": SECRET}]}
    return EdgeSettings.model_validate({"jwt": [issuer], **settings})

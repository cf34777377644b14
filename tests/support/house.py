"""An edge and workers of their own processes, and an operator's commands."""

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from typing import Any

from .command import Run, Start
from .faults.processes import Process
from .management import Vhost

TOPIC = "hello.greet.v1"


class House:
    """An edge and workers on one vhost, and somebody who calls them."""

    def __init__(self, start: Start, run: Run, vhost: Vhost, port: int) -> None:
        self.start = start
        self._run = run
        self.vhost = vhost
        self.port = port

    async def edge(self, **environ: str) -> Process:
        edge = await self.start(
            "edge",
            "hello.contracts",
            "--bus",
            self.vhost.url,
            "--port",
            str(self.port),
            BUSGATE_EDGE__ADMIN__PORT="0",
            **environ,
        )
        await edge.until("edge ready")
        return edge

    async def worker(self, *options: str, children: int = 1, **environ: str) -> Process:
        worker = await self.start("worker", "hello.services:greeter", "--bus", self.vhost.url, *options, **environ)
        await worker.until("worker ready", number=children)
        return worker

    async def busgate(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self._run, *arguments, "--bus", self.vhost.url, **environ)

    async def ps(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((await self.busgate("ps", "--json")).stdout)
        return document

    async def until_named(self) -> None:
        """Until the management API, which is up to five seconds late, can name who takes calls."""
        async with asyncio.timeout(30):
            while not await self._is_named():
                await asyncio.sleep(0.1)

    async def _is_named(self) -> bool:
        consumers, connections = await self.vhost.consumers(), await self.vhost.connections()
        taking = {each["channel_details"]["connection_name"] for each in consumers if each["queue"]["name"] == TOPIC}
        return bool(taking) and taking <= {each.get("name") for each in connections}

    async def one_that_runs(self) -> str:
        """The id of a worker that has a call in hand."""
        async with asyncio.timeout(20):
            while True:
                for each in (await self.ps())["processes"]:
                    if each["running"]:
                        return str(each["id"])

    async def call(self, name: str = "ann") -> int:
        url = f"http://127.0.0.1:{self.port}/greetings/{name}"

        def ask() -> int:
            try:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code

        return await asyncio.to_thread(ask)

    async def keep_calling(self, while_true: Process) -> None:
        while while_true.alive:
            await self.call()

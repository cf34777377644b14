"""Workers and edges as processes of their own, to be stopped and killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).parents[2]
START = 30.0


def _path() -> str:
    """Where a process finds `support`, before whatever the environment adds."""
    return os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))


class Process:
    """A process of the `busgate` command, or of another module; what it writes is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, *arguments: str, module: str = "busgate.ops.main", environ: Mapping[str, str] | None = None
    ) -> "Process":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": _path(), **(environ or {})}, cwd=TESTS,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def until(self, text: str, *, number: int = 1, limit: float = START) -> str:
        """Wait for so many lines that hold a text; the last of them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with suppress(TimeoutError):
            async with asyncio.timeout(limit), self._changed:
                await self._changed.wait_for(lambda: len(found()) >= number or self._reader.done())
        how = "it ended" if self._reader.done() else f"{limit:g} s went by"
        assert len(found()) >= number, f"{how}, {text!r} was said {len(found())} times of {number}:\n{self.output}"
        return found()[number - 1]

    def children(self) -> list[int]:
        """The processes that it started."""
        ids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(each) for each in ids]

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """As `kill -9`."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """Ask it to drain; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, *, limit: float = 30.0) -> int:
        async with asyncio.timeout(limit):
            code = await self.process.wait()
            await self._reader
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

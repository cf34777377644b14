"""Several processes: started, started again when they die, drained together.

Each is a process of its own session, so that a Ctrl-C in the terminal reaches the supervisor alone. A socket
pair joins both: the child says over it that it serves, and that an operator took it out; it sees it close when the
supervisor is gone. Only what was taken out so is not started again: any other end may be an accident.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from .child import DRAINED, READY
from .endings import BY_SIGNAL
from .signals import CUT

log = structlog.stdlib.get_logger("busgate.ops")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a process is started again; doubles with each death in a row."""
STEADY = 10.0
"""Seconds after which a process counts as well, and its next pause is the first again."""
READY_WAIT = 60.0
"""Seconds within which a process must say that it serves."""
KILL_AFTER = 3.0
"""Seconds beyond the grace after which a process that still runs is killed."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running.

    Args:
        name: for logs.
        arguments: of the `busgate` command.
        number: which of several alike it is.
        sockets: bound ones, which it inherits; they stay open here, so that its backlog outlives it.
        environ: in addition to ours.
        folder: to run in.
        last: drained when all others have ended, since they need it until then.
    """

    name: str
    arguments: Sequence[str]
    number: int = 0
    sockets: Sequence[socket.socket] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    last: bool = False


class Supervisor:
    """Keeps programs running until it is told to stop.

    Args:
        programs: all of them.
        grace: seconds that they are given to drain.
        ready: called when all of them serve for the first time.
        first_alone: start the others when the first serves.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        grace: float,
        ready: Callable[[], None] = lambda: None,
        first_alone: bool = True,
    ) -> None:
        self._programs = programs
        self._grace = grace
        self._ready = ready
        self._first_alone = first_alone
        self._children: dict[str, _Running] = {}
        self._cut = False

    async def run(self, stop: asyncio.Event) -> int:
        """Run all until told to stop, then drain them.

        Returns:
            The exit code: 0; 1 when a process was cut or failed while it drained; what a program said that
            could not even start.
        """
        try:
            code = await self._start_all(stop)
            if code == 0 and not stop.is_set():
                self._ready()
                await self._keep(stop)
        finally:
            if stop.is_set():
                log.info("processes drain", count=len(self._children), grace=self._grace)
            self._cut |= await self._stop()
        return code or (CUT if self._cut else 0)

    def kill(self) -> None:
        """End all processes at once."""
        for running in self._children.values():
            running.kill()

    async def _start_all(self, stop: asyncio.Event) -> int:
        """Start the first, and the others when that serves: so one fault of all is told only once."""
        first = 1 if self._first_alone else len(self._programs)
        for group in (self._programs[:first], self._programs[first:]):
            codes = await asyncio.gather(*(self._start(each, stop) for each in group))
            if stop.is_set() or any(codes):
                return next(filter(None, codes), 0)
        return 0

    async def _start(self, program: Program, stop: asyncio.Event) -> int:
        """Start a program and wait until it serves: 0, or its exit code when it ends instead."""
        running = self._children[program.name] = await _spawn(program)
        serves = asyncio.create_task(running.serves())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serves, stopped}, timeout=READY_WAIT, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done() or (serves.done() and serves.result()):
                return 0
            if not serves.done():
                log.error("a process does not get ready; it is killed", process=program.name, seconds=READY_WAIT)
                running.kill()
            return max(await running.process.wait(), CUT)  # negative when a signal ended it
        finally:
            serves.cancel()
            stopped.cancel()

    async def _keep(self, stop: asyncio.Event) -> None:
        keepers: asyncio.Future[Any] = asyncio.gather(*(self._keep_one(program) for program in self._programs))
        stopped: asyncio.Future[Any] = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({keepers, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if keepers.done():
                keepers.result()
        finally:
            keepers.cancel()
            stopped.cancel()
            await asyncio.gather(keepers, stopped, return_exceptions=True)

    async def _keep_one(self, program: Program) -> None:
        pause = FIRST_PAUSE
        while True:
            running = self._children[program.name]
            code = await running.process.wait()
            if running.drained():
                self._let_go(program, code)
                return
            if time.monotonic() - running.started > STEADY:
                pause = FIRST_PAUSE
            log.error("a process ended; it is started again", process=program.name, exit=code, pause=pause)
            running.control.close()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            self._children[program.name] = await _spawn(program)

    def _let_go(self, program: Program, code: int) -> None:
        log.info("a process ended as it was told; it is not started again", process=program.name, exit=code)
        self._cut |= code != 0
        for sock in program.sockets:  # or the kernel goes on to give it its share of connections
            sock.close()

    async def _stop(self) -> bool:
        """Drain all; whether something was cut."""
        for sock in (sock for program in self._programs for sock in program.sockets):
            sock.close()
        cut = False
        for last in (False, True):
            names = [program.name for program in self._programs if program.last is last]
            cut |= await self._drain([self._children[name] for name in names if name in self._children])
        return cut

    async def _drain(self, running: Sequence["_Running"]) -> bool:
        for each in running:
            each.terminate()
        ends = [asyncio.create_task(each.process.wait()) for each in running]
        if ends:
            await asyncio.wait(ends, timeout=self._grace + KILL_AFTER)
        for each in running:
            each.kill()
        codes = await asyncio.gather(*ends)
        for each in running:
            each.control.close()
        whole = (0, BY_SIGNAL + signal.SIGTERM, -signal.SIGTERM)  # the signal ends a process that does not serve yet
        return any(each.asked and code not in whole for each, code in zip(running, codes, strict=True))


class _Running:
    """One process that was started, and our end of the socket pair."""

    def __init__(self, process: Process, control: socket.socket) -> None:
        self.process = process
        self.control = control
        self.started = time.monotonic()
        self.asked = False
        """Whether it was alive when it was told to stop."""

    async def serves(self) -> bool:
        """Wait until the process says that it serves; False: it ended."""
        try:
            return await asyncio.get_running_loop().sock_recv(self.control, 1) == READY
        except ConnectionError:
            return False

    def drained(self) -> bool:
        """Whether the process, which ended, said that an operator took it out."""
        with suppress(OSError):  # it said nothing, or died before it read what we said
            return DRAINED in self.control.recv(16)
        return False

    def terminate(self) -> None:
        if self.process.returncode is None:
            self.asked = True
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


async def _spawn(program: Program) -> _Running:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    inherited = [theirs.fileno(), *(each.fileno() for each in program.sockets)]
    child = ":".join(str(each) for each in (program.number, *inherited))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "busgate.ops.main"),
            *program.arguments,
            f"--child={child}",
            env={**os.environ, **program.environ},
            cwd=program.folder,
            pass_fds=inherited,
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _Running(process, ours)

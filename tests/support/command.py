"""How tests run the `busgate` command: as the installed script, without the current folder before all libraries."""

import subprocess
import sys
from collections.abc import Awaitable
from typing import Protocol

from support.faults.processes import Process

COMMAND = sys.executable, "-P", "-m", "busgate.ops.main"


class Run(Protocol):
    """Runs the command to its end; keywords are its environment."""

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]: ...


class Start(Protocol):
    """Starts the command; what still runs at the end of the test is killed."""

    def __call__(self, *arguments: str, **environ: str) -> Awaitable[Process]: ...

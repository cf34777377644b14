"""The configuration of each kind of process: which tables of busgate.toml it reads.

Those of the edge are in `edge_settings`: a worker must not need an HTTP server installed to read its own.
"""

from typing import Literal

from busgate.bus.settings import BusSettings
from busgate.bus.tables import Table
from busgate.workers.settings import WorkerSettings


class LogSettings(Table):
    """The table [log].

    Args:
        level: what is worth a line.
        format: `text` for people, `json` for machines, `auto` is text on a terminal.
        calls: write a line for each call.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    calls: bool = True


class BusProcess(Table):
    """What a process on the bus reads, such as `tap` or `topology`."""

    bus: BusSettings = BusSettings()
    log: LogSettings = LogSettings()


class WorkerProcess(BusProcess):
    """What a worker reads."""

    worker: WorkerSettings = WorkerSettings()

"""The configuration of each kind of process: which tables of busgate.toml it reads.

Those of the edge are in `edge_settings`: a worker must not need an HTTP server installed to read its own.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from busgate.bus.settings import BusSettings
from busgate.bus.tables import Table, split_web_url
from busgate.workers.settings import WorkerSettings


class LogSettings(Table):
    """The table [log]: what is written on stderr and stdout.

    Args:
        level: what is worth a line.
        format: `text` for people, `json` for machines, `auto` is text on a terminal.
        calls: write a line for each call, on stdout.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    calls: bool = True


def _web_url(text: str) -> str:
    split_web_url(text)
    return text


class TracingSettings(Table):
    """The table [tracing]. Off unless there is an `endpoint`; needs `pip install 'busgate[tracing]'`.

    Args:
        endpoint: where a collector takes OTLP over HTTP, like `http://127.0.0.1:4318/v1/traces`.
        ratio: the share of traces that are recorded, from 0 to 1. The edge decides, services follow.
    """

    endpoint: Annotated[str, AfterValidator(_web_url)] | None = None
    ratio: float = Field(1.0, ge=0, le=1)


class BusProcess(Table):
    """What a process on the bus reads, such as `tap` or `topology`."""

    bus: BusSettings = BusSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()


class AdminAddress(Table):
    """What of [edge.admin] says where it is."""

    model_config = ConfigDict(extra="ignore")

    host: str = "127.0.0.1"
    port: int = 8081


class AuditPlace(Table):
    """What of [edge.audit] says where records are."""

    model_config = ConfigDict(extra="ignore")

    to: str = "nowhere"
    file: Path | None = None


class EdgeAudit(Table):
    """What of [edge] a reader of the audit needs. The rest is left alone, as with EdgeAddress."""

    model_config = ConfigDict(extra="ignore")

    audit: AuditPlace = AuditPlace()


class AuditProcess(BusProcess):
    """What `audit` reads."""

    edge: EdgeAudit = EdgeAudit()


class EdgeAddress(Table):
    """What of [edge] a tap needs. The rest is left alone: its secrets need not be on this machine."""

    model_config = ConfigDict(extra="ignore")

    admin: AdminAddress = AdminAddress()


class TapProcess(BusProcess):
    """What `tap` reads."""

    edge: EdgeAddress = EdgeAddress()


class WorkerProcess(BusProcess):
    """What a worker reads."""

    worker: WorkerSettings = WorkerSettings()

"""The table [worker]: which services, and in how many processes."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.admin_table import AdminTable
from busgate.bus.tables import Names, Table

from .trust_settings import TrustSettings

_SERVICE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _services(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _SERVICE.fullmatch(name):
            raise ValueError(f"{name!r} is not module:name, like shop.services:orders")
    return names


class AdminSettings(AdminTable):
    """The table [worker.admin]: the listener for the operator (health, metrics). There is none without a port.

    Args:
        host: address to listen on.
        port: to listen on. Each process of the worker has its own: the first this one, the second the next.
        hosts: names that requests may use for it in `Host`, beside addresses and localhost.
    """


class WorkerSettings(Table):
    """The table [worker]: which services run, and how they end.

    Args:
        services: what to serve, each `module:name`.
        processes: how many serve it.
        grace: seconds for running handlers when the process is told to stop.
        cancel_grace: seconds after its deadline when a handler is cancelled.
        trust: the public keys of the edge, for services that verify who calls.
        admin: the operator's listener.
    """

    services: Annotated[Names, AfterValidator(_services)] = ()
    processes: int = Field(1, ge=1, le=256)
    grace: float = Field(30.0, ge=0, le=3600)
    cancel_grace: float = Field(1.0, ge=0, le=300)
    trust: TrustSettings = TrustSettings()
    admin: AdminSettings = AdminSettings()

    @model_validator(mode="after")
    def _ports(self) -> Self:
        self.admin.check("worker.admin", self.processes)
        return self

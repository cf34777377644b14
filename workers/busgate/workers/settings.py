"""The table [worker]: which services, and in how many processes."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from busgate.bus.tables import Names, Table

_SERVICE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _services(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _SERVICE.fullmatch(name):
            raise ValueError(f"{name!r} is not module:name, like shop.services:orders")
    return names


class WorkerSettings(Table):
    """The table [worker].

    Args:
        services: what to serve, each `module:name`.
        processes: how many serve it.
        grace: seconds for running handlers when the process is told to stop.
        cancel_grace: seconds after its deadline when a handler is cancelled.
    """

    services: Annotated[Names, AfterValidator(_services)] = ()
    processes: int = Field(1, ge=1, le=256)
    grace: float = Field(30.0, ge=0, le=3600)
    cancel_grace: float = Field(1.0, ge=0, le=300)

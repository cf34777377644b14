"""The table [edge]: where to listen, what to serve, and the limits of the front door."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import Names, Table
from busgate.bus.wire import MAX_MESSAGE
from busgate.contracts import Catalog

from .claims import is_scope
from .issuers import IssuerSettings
from .limits import DoorLimits
from .tokens import REMEMBERED

_DOOR = DoorLimits()
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_AUTHORITY = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")

LAST_PORT = 65535
Port = Annotated[int, Field(ge=0, le=LAST_PORT)]
"""0 is any free one, for tests."""


def _modules(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _MODULE.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a module, like shop.contracts")
    return names


def _authorities(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _AUTHORITY.fullmatch(name):
            raise ValueError(f"{name!r} is not a host in lower case with or without a port, like api.shop.example")
    return names


class LimitSettings(Table):
    """The table [edge.limits]: what one client can take. DoorLimits says more, and has the defaults.

    Args:
        connections: open at a time, in one process.
        connections_per_address: of those, from one address. Raise it to `connections` behind a load balancer.
        first_byte: seconds from the opening of a connection to the first byte of a request.
        header: seconds from the first byte of a request to the end of its headers.
        body: seconds for a whole body.
        body_rate: bytes per second that a body, or a client that takes an answer, must keep up.
        keep_alive: seconds from an answer to the next request; more than a load balancer's in front.
        write: seconds for a client to take a whole answer.
        header_bytes: of a request line and all its headers.
    """

    connections: int = Field(_DOOR.connections, ge=1, le=1_000_000)
    connections_per_address: int = Field(_DOOR.connections_per_address, ge=1, le=1_000_000)
    first_byte: float = Field(_DOOR.first_byte, gt=0, le=300)
    header: float = Field(_DOOR.head, gt=0, le=300)
    body: float = Field(_DOOR.body, gt=0, le=3600)
    body_rate: int = Field(_DOOR.min_rate, ge=1, le=1_000_000)
    keep_alive: float = Field(_DOOR.keep_alive, gt=0, le=3600)
    write: float = Field(_DOOR.write, gt=0, le=3600)
    header_bytes: int = Field(_DOOR.head_bytes, ge=1024, le=1024 * 1024)


class AdminSettings(Table):
    """The table [edge.admin]: the listener for the operator (health, metrics, tap). Keep it from the world.

    Args:
        enabled: whether there is one.
        host: address to listen on.
        port: to listen on. Each process of the edge has its own: the first this one, the second the next.
        hosts: names that requests may use for it in `Host`, beside addresses and localhost.
    """

    enabled: bool = True
    host: str = Field("127.0.0.1", min_length=1)
    port: Port = 8081
    hosts: Annotated[Names, AfterValidator(_authorities)] = ()

    def port_of(self, process: int) -> int:
        """The port of one process of the edge, the first being 0."""
        return self.port and self.port + process


class EdgeSettings(Table):
    """The table [edge].

    Args:
        host: address to listen on.
        port: to listen on.
        processes: how many serve it.
        contracts: modules that hold the contracts to serve.
        hosts: authorities that requests may name in `Host`; none listed is any.
        jwt: who may issue tokens.
        remembered_tokens: verified tokens to keep in memory, about 2 kB each.
        max_body: the most bytes of a request body, whatever its contract allows.
        drain_grace: seconds for what is in flight when the process is told to stop.
        trust_traceparent: continue the trace of the client. Off, its traceparent is only noted.
        expose_service_names: say in answers which service failed.
        server_timing: send Server-Timing.
        admin: the operator's listener.
        limits: of the front door.
    """

    host: str = Field("127.0.0.1", min_length=1)
    port: Port = 8080
    processes: int = Field(1, ge=1, le=256)
    contracts: Annotated[Names, AfterValidator(_modules)] = ()
    hosts: Annotated[Names, AfterValidator(_authorities)] = ()
    jwt: tuple[IssuerSettings, ...] = ()
    remembered_tokens: int = Field(REMEMBERED, ge=0, le=10_000_000)
    max_body: int = Field(MAX_MESSAGE, ge=1, le=MAX_MESSAGE)
    drain_grace: float = Field(30.0, ge=0, le=3600)
    trust_traceparent: bool = False
    expose_service_names: bool = False
    server_timing: bool = False
    admin: AdminSettings = AdminSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [issuer.issuer for issuer in self.jwt]
        if len(set(names)) != len(names):
            raise ValueError("two tables of jwt have one issuer; give it several keys instead")
        if self.admin.enabled and self.admin.port:
            ports = range(self.admin.port, self.admin.port + self.processes)
            if self.host == self.admin.host and self.port in ports:
                raise ValueError("edge and edge.admin cannot listen on one port")
            if ports[-1] > LAST_PORT:
                raise ValueError(f"edge.admin needs {len(ports)} ports from {ports[0]}; the last is {LAST_PORT}")
        return self


def faults_with(settings: EdgeSettings, catalog: Catalog) -> list[str]:
    """Why an edge with these settings must not serve these contracts, in a line each; none when it may."""
    closed = [call.topic for call in catalog if not call.public]
    faults = []
    if closed and not settings.jwt:
        faults.append(
            f"edge.jwt: no issuer of tokens, but {len(closed)} contracts need authentication ({closed[0]}): "
            "add [[edge.jwt]], or say public=True in the contracts"
        )
    faults += [
        f"contract {call.topic}: no token can grant the scope {scope!r} (RFC 6749, 3.3)"
        for call in catalog
        for scope in sorted(call.scopes)
        if not is_scope(scope)
    ]
    return faults

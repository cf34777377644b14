"""The edge of one process: from contracts, settings and a bus to an HTTP server."""

import asyncio
import socket

from busgate.bus import Bus, Ids
from busgate.contracts import CallFailed, Catalog, Problem
from busgate.contracts.fields import request_fields

from .front_door import SINGLE, DoorRules, check
from .limits import DoorLimits
from .path import Exchange, Step, build_path
from .records import Recorder
from .refusal import Refusal
from .request import Request
from .response import Response, problem_response
from .router import Router
from .server import GateServer
from .settings import EdgeSettings, LimitSettings
from .tokens import TokenVerifier

CLIENT_GONE = 499
"""In records: the client hung up before its answer. Nobody ever sees it as a status."""


class Operation:
    """A contract as this edge serves it."""

    __slots__ = ("path", "topic")

    def __init__(self, topic: str, path: list[Step]) -> None:
        self.topic = topic
        self.path = path


class Edge:
    """Serves a catalog of contracts over HTTP. Start the bus first; close the bus last.

    Args:
        catalog: what is served.
        settings: how.
        bus: where the calls go.
        recorder: gets one record for each request that came through the front door.
    """

    def __init__(self, catalog: Catalog, settings: EdgeSettings, bus: Bus, *, recorder: Recorder) -> None:
        self.settings = settings
        self.bus = bus
        self.verifier = TokenVerifier(settings.jwt, remembered=settings.remembered_tokens)
        self.server = GateServer(self.handle, limits=_door_limits(settings.limits))
        self._recorder = recorder
        self._rules = _door_rules(catalog, settings)
        self._loop = asyncio.get_running_loop()
        ids = Ids()
        self._router = Router(
            (
                call.http,
                Operation(call.topic, build_path(call, settings=settings, verifier=self.verifier, bus=bus, ids=ids)),
            )
            for call in catalog
        )

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound socket."""
        await self.server.listen(sock)

    async def drain(self, grace: float) -> bool:
        """Accept no more, let what is in flight finish within `grace` seconds. False: something was cut."""
        return await self.server.stop(grace=grace)

    async def close(self) -> None:
        """Cut what is left and hand over the last records."""
        self.server.close()
        self._recorder.flush()

    @property
    def draining(self) -> bool:
        return self.server.draining

    async def handle(self, request: Request) -> Response:
        """Answer one request: the front door, the route, then the steps of the contract's path."""
        exchange = Exchange(request, self._loop.time())
        try:
            exchange.head = head = check(request.message, self._rules)
            operation, variables = self._router.find(head.method, head.path)
            exchange.topic = operation.topic
            exchange.variables = variables
            for step in operation.path:
                wait = step(exchange)
                if wait is not None:
                    await wait
        except (Refusal, CallFailed, Problem) as failure:
            return self._refuse(exchange, failure)
        except asyncio.CancelledError:  # the client hung up; its place is free already
            self._record(exchange, CLIENT_GONE, "unknown", "client-gone")
            raise
        response = exchange.response
        self._record(exchange, response.status, "executed", "")
        return response

    def _refuse(self, exchange: Exchange, failure: Refusal | CallFailed | Problem) -> Response:
        response = problem_response(
            failure,
            exchange.request.id,
            show_service=self.settings.expose_service_names,
            stages=None if isinstance(failure, Refusal) else self._stages(exchange),
        )
        if isinstance(failure, Problem):
            self._record(exchange, response.status, "executed", failure.type)
        else:
            self._record(exchange, response.status, failure.kind.outcome, failure.kind.name)
        return response

    def _stages(self, exchange: Exchange) -> dict[str, float]:
        """How long the call took in all, and of that in queues and in its handler, as far as anybody knows."""
        stages = {"total_ms": (self._loop.time() - exchange.started) * 1000}
        if exchange.reply is not None:
            stages |= {"queued_ms": exchange.reply.queued_ms, "ran_ms": exchange.reply.ran_ms}
        return stages

    def _record(self, exchange: Exchange, status: int, outcome: str, failure: str) -> None:
        total_ms = (self._loop.time() - exchange.started) * 1000
        reply, caller, message = exchange.reply, exchange.caller, exchange.request.message
        self._recorder.record(
            started=exchange.started,
            total_ms=total_ms,
            method=message.method,
            path=message.path.partition("?")[0],
            topic=exchange.topic,
            service="" if reply is None else reply.service,
            status=status,
            outcome=outcome,
            failure=failure,
            queue_ms=None if reply is None else reply.queued_ms,
            ran_ms=None if reply is None else reply.ran_ms,
            request_id=exchange.request.id,
            caller="" if caller is None else caller.caller.subject,
        )


def _door_limits(limits: LimitSettings) -> DoorLimits:
    return DoorLimits(
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        first_byte=limits.first_byte,
        head=limits.header,
        keep_alive=limits.keep_alive,
        body=limits.body,
        write=limits.write,
        min_rate=limits.body_rate,
        head_bytes=limits.header_bytes,
    )


def _door_rules(catalog: Catalog, settings: EdgeSettings) -> DoorRules:
    read = {marker.name.lower().encode() for call in catalog for marker, _ in request_fields(call).header.values()}
    return DoorRules(hosts=frozenset(host.encode() for host in settings.hosts), single=SINGLE | read)

"""The edge of one process: from contracts, settings and a bus to an HTTP server."""

import asyncio
import socket
import time
from typing import Any

from busgate.bus import Bus, Ids
from busgate.bus.tables import is_like
from busgate.contracts import Call, CallFailed, Catalog, Problem, http

from .audit import Audit
from .docs.files import docs_files
from .door import Door
from .door_rules import door_rules
from .error_documents import ErrorDocuments
from .exchange import Exchange, Finish, Step
from .finishing import Finishing
from .front_door import Head, check
from .limits import DoorLimits
from .metering.allowance import limit_fields
from .mocks import MARK
from .path import Tracing, build_path
from .records import Recorder
from .refusal import INTERNAL, Refusal
from .request import Request
from .response import Failure, Response, header_block, problem_response
from .router import Router
from .server import GateServer
from .settings import EdgeSettings
from .shown_paths import ShownPaths
from .static import StaticFile
from .tls.server import ServerTls

CLIENT_GONE = 499
"""In records: the client hung up before its answer. Nobody ever sees it as a status."""


class Operation:
    """A contract as this edge serves it, or a file: that has no topic, and a path of one step."""

    __slots__ = ("finish", "path", "topic")

    def __init__(self, topic: str, path: list[Step], finish: Finish | None = None) -> None:
        self.topic = topic
        self.path = path
        self.finish = finish


class Edge:
    """Serves a catalog of contracts over HTTP. Start the bus first; close the bus last.

    Args:
        catalog: what is served.
        settings: how.
        bus: where the calls go.
        recorder: gets one record for each request that came through the front door.
        audit: of its calls, not started; None: there is none.
        tracing: what gives requests their place in a trace; see TracedEdge.

    Raises:
        ContractError: there is to be an API document, and a model has a type that JSON Schema cannot say.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: EdgeSettings,
        bus: Bus,
        *,
        recorder: Recorder,
        audit: Audit | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.bus = bus
        self.door = Door(settings, bus)
        self._finishing = finishing = Finishing(settings, catalog)
        self._documents = ErrorDocuments(settings.errors) if settings.errors else None
        self.server = GateServer(
            self.handle,
            limits=_door_limits(settings),
            standard=finishing.standard,
            headers=header_block(settings.tls.headers) if settings.tls else b"",
        )
        self.tls = ServerTls(settings.tls, dismiss=self.server.dismiss_certified) if settings.tls else None
        self._recorder = recorder
        self.audit = audit
        files = docs_files(catalog, settings) if settings.docs.enabled else {}
        self._shown = ShownPaths(catalog, files=files.keys())
        self._rules = door_rules(catalog, settings)
        self._loop = asyncio.get_running_loop()
        ids = Ids()

        def operation(call: Call[Any, Any]) -> Operation:
            path = build_path(
                call,
                settings=settings,
                door=self.door,
                bus=bus,
                ids=ids,
                audit=audit,
                tracing=tracing,
                pages=None if finishing.cors is None else finishing.cors.of(call.topic),
            )
            return Operation(
                call.topic, path, finishing.of(call, more=MARK if is_like(call.topic, settings.mock) else ())
            )

        contracts = ((call.http, operation(call)) for call in catalog)
        documents = ((http.get(path), Operation("", [_serve(file)])) for path, file in files.items())
        self._router = Router([*contracts, *documents])

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound socket, once the door has what it needs, and the audit somewhere to write.

        Raises:
            StoreUnavailable: the store will never work as it is configured.
            AuditError, BusError: the audit has nowhere to write.
        """
        if self.audit is not None:
            await self.audit.start()
        await self.door.start()
        if self.tls is not None:
            await self.tls.start()
        await self.server.listen(sock, tls=self.tls.context if self.tls else None)

    async def drain(self, grace: float) -> bool:
        """Accept no more, let what is in flight finish within `grace` seconds. False: something was cut.

        A request whose body is still coming in after half of that is refused as `draining`: its call would have
        to be cut, and nobody could tell whether it ran.
        """
        late = self._loop.call_later(grace / 2, self.bus.requester.drain)
        try:
            return await self.server.stop(grace=grace)
        finally:
            late.cancel()

    async def close(self) -> None:
        """Cut what is left and hand over the last records."""
        self.server.close()
        if self.tls is not None:
            await self.tls.close()
        await self.door.close()
        self._recorder.flush()
        if self.audit is not None:
            await self.audit.close()

    @property
    def draining(self) -> bool:
        return self.server.draining

    async def handle(self, request: Request) -> Response:
        """Answer one request: the front door, the route, then the steps of the contract's path."""
        exchange = Exchange(request, time.monotonic(), finish=self._finishing.unrouted, addresses=self.door.addresses)
        try:
            exchange.head = head = check(request.message, self._rules)
            if head.method == "OPTIONS":
                operation, variables = self._options(head)
            else:
                operation, variables = self._router.find(head.method, head.path)
            exchange.topic = operation.topic
            exchange.finish = operation.finish
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
        except Exception:  # a bug of ours; the connection logs and answers it
            self._record(exchange, INTERNAL.status, INTERNAL.outcome, INTERNAL.name)
            raise
        finally:
            if exchange.held is not None:
                for give_back in exchange.held:
                    give_back()
        response = exchange.response
        if exchange.allowance is not None:
            response.headers += limit_fields(exchange.allowance)
        self._record(exchange, response.status, "executed", "")
        if exchange.finish is not None:
            exchange.finish(exchange, response)
        return response

    def _options(self, head: Head) -> tuple[Operation, tuple[str, ...]]:
        """What a browser asks before a call of a page from elsewhere; no contract has this method."""
        topics = {method: target.topic for method, target in self._router.targets(head.path).items() if target.topic}
        found = self._finishing.preflight(head, topics)
        return self._router.find(head.method, head.path) if found is None else (Operation("", [found[0]], found[1]), ())

    def _refuse(self, exchange: Exchange, failure: Failure) -> Response:
        response = problem_response(
            failure,
            exchange.request.id,
            show_service=self.settings.expose_service_names,
            stages=None if isinstance(failure, Refusal) else self._stages(exchange),
        )
        name, outcome = (
            (failure.type, "executed") if isinstance(failure, Problem) else (failure.kind.name, failure.kind.outcome)
        )
        if self._documents is not None:
            response = self._documents.replace(exchange, name, response)
        if exchange.allowance is not None:
            response.headers += limit_fields(exchange.allowance)
        exchange.response = response
        self._record(exchange, response.status, outcome, name, failure)
        if exchange.finish is not None:
            exchange.finish(exchange, response)
        return response

    def _stages(self, exchange: Exchange) -> dict[str, float]:
        """How long the call took in all, and of that in queues and in its handler, as far as anybody knows."""
        stages = {"total_ms": (time.monotonic() - exchange.started) * 1000}
        if exchange.reply is not None:
            stages |= {"queued_ms": exchange.reply.queued_ms, "ran_ms": exchange.reply.ran_ms}
        return stages

    def _record(
        self, exchange: Exchange, status: int, outcome: str, failure: str, cause: Failure | None = None
    ) -> None:
        total_ms = (time.monotonic() - exchange.started) * 1000
        reply, caller, message = exchange.reply, exchange.caller, exchange.request.message
        self._recorder.record(
            started=exchange.started,
            total_ms=total_ms,
            method=message.method,
            path=self._shown.of(exchange),
            topic=exchange.topic,
            service="" if reply is None else reply.service,
            status=status,
            outcome=outcome,
            failure=failure,
            queue_ms=None if reply is None else reply.queued_ms,
            ran_ms=None if reply is None else reply.ran_ms,
            request_id=exchange.request.id,
            traceparent=exchange.traceparent,
            caller="" if caller is None else caller.caller.subject,
            reason=_reason(cause),
        )
        if self.audit is not None:
            refusal = cause if isinstance(cause, Refusal) else None
            self.audit.note(exchange, status, failure, outcome=outcome, refusal=refusal)


def _reason(cause: Failure | None) -> str:
    """What the record says of a failure beyond its kind; not what a handler says of its customer."""
    if isinstance(cause, CallFailed):
        return cause.detail or ""
    return cause.reason if isinstance(cause, Refusal) else ""


def _serve(file: StaticFile) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.response = file.answer(exchange.head.headers)

    return step


def _door_limits(settings: EdgeSettings) -> DoorLimits:
    limits = settings.limits
    return DoorLimits(
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        first_byte=limits.first_byte,
        head=limits.header,
        keep_alive=limits.keep_alive,
        body=limits.body,
        write=limits.write,
        age=limits.age,
        handshake=settings.tls.handshake if settings.tls else limits.first_byte,
        min_rate=limits.body_rate,
        head_bytes=limits.header_bytes,
    )

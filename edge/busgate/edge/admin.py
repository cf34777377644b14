"""The admin listener: for the operator, never for the world.

`/livez` says that the process runs, `/readyz` whether it should get requests, `/metrics` what it counted.
Each process of an edge has its own listener, at its own port (`AdminSettings.port_of`): behind a shared one,
each look would find another process.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Iterable

from aiohttp import web

from busgate.contracts import FailureKind

from .metrics import CONTENT_TYPE
from .refusal import INTERNAL, METHOD_NOT_ALLOWED, MISDIRECTED, NOT_FOUND

UNREADY = FailureKind("unready", 503, "not_executed", "This edge should get no requests now", "edge")
PATIENCE = 1.0
"""Seconds that answers in flight get at the end."""
PIECES = 100
"""Pieces of metrics between two looks at other work: less than a millisecond."""

_LOG = logging.getLogger(__name__)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """The admin listener of one process.

    Args:
        host: address to listen on.
        port: to listen on; 0 is any free one.
        readiness: why this process should get no requests; empty when it should.
        metrics: all metrics as text, in pieces; calls are served in between.
        hosts: names, with or without a port, that requests may use for this listener. Addresses and
            localhost they always may; any other name could be a page of the web, rebound to this address.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        readiness: Callable[[], list[str]],
        metrics: Callable[[], Iterable[str]],
        hosts: Collection[str] = (),
    ) -> None:
        self._address = host, port
        self._readiness = readiness
        self._metrics = metrics
        self._hosts = frozenset(hosts)
        app = web.Application(middlewares=[_problems, self._check_host])
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_text)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=PATIENCE)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the address is not ours.
        """
        host, port = self._address
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise

    async def close(self) -> None:
        """Stop listening and end all connections, in bounded time."""
        await self._runner.cleanup()

    @web.middleware
    async def _check_host(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "").lower()
        found = _HOST.fullmatch(host)
        if found and (_is_local(found[1]) or host in self._hosts or found[1] in self._hosts):
            return await handler(request)
        return _problem(MISDIRECTED)

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers=_HEADERS)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._readiness()
        if reasons:
            return _problem(UNREADY, reasons=reasons)
        return web.json_response({"status": "ok"}, headers=_HEADERS)

    async def _metrics_text(self, _: web.Request) -> web.Response:
        text = bytearray()
        for number, piece in enumerate(self._metrics()):
            text += piece.encode()
            if number % PIECES == 0:
                await asyncio.sleep(0)
        return web.Response(body=bytes(text), headers=_HEADERS | {"Content-Type": CONTENT_TYPE})


def _is_local(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


@web.middleware
async def _problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every answer that is not 200 is a problem document."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        response = _problem(METHOD_NOT_ALLOWED)
        response.headers["Allow"] = error.headers["Allow"]
        return response
    except web.HTTPException:
        return _problem(NOT_FOUND)
    except Exception:  # noqa: BLE001 - whatever it is, who looks gets an answer
        _LOG.exception("the admin listener failed")
        return _problem(INTERNAL)


def _problem(kind: FailureKind, **more: object) -> web.Response:
    document = {"type": kind.type, "title": kind.title, "status": kind.status, **more}
    return web.json_response(document, status=kind.status, content_type="application/problem+json", headers=_HEADERS)

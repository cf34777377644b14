"""`busgate demo`: the example shop, in one process on the embedded bus or in several on a RabbitMQ."""

import argparse
import asyncio
import json
import os
import shlex
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from busgate.bus import Topology
from busgate.contracts import Catalog
from busgate.ops.config import load
from busgate.ops.demo_shop import ABOUT, CONTRACTS, SERVICES, TITLE, banner, new_signer, open_shop
from busgate.ops.edge_settings import Settings
from busgate.ops.listeners import bind, bind_free, show
from busgate.ops.loading import broker_addresses, read_catalog, read_services
from busgate.ops.logs import configure
from busgate.ops.signals import until_stopped
from busgate.ops.signer import Signer
from busgate.ops.supervisor import Program, Supervisor

HOST = "127.0.0.1"
PORTS, ADMIN_PORTS = range(8080, 8180), range(8081, 8180)
GRACE = 5.0


def run(options: argparse.Namespace) -> int:
    """Run the shop. Takes no busgate.toml: what stands there is for somebody's own gateway."""
    signer = new_signer()
    with open_shop() as folder, _listener(options.port) as public:
        settings = _settings(options, signer)
        configure(settings.log)
        catalog = read_catalog(settings.edge.contracts)
        address = f"http://{show(public.getsockname())}"
        admin = f"http://{HOST}:{settings.edge.admin.port}"
        text = banner(address, signer.token(catalog), watch=_watch(options, settings), admin=admin)
        ready = partial(print, text, flush=True)
        if settings.bus.embedded:
            return _in_one_process(settings, catalog, public, ready)
        programs = _programs(settings, signer, public=public, folder=folder)
        supervisor = Supervisor(programs, grace=GRACE, ready=ready, first_alone=False)
        return asyncio.run(_in_several(settings, catalog, supervisor))


def _watch(options: argparse.Namespace, settings: Settings) -> list[str]:
    if settings.bus.embedded:
        return [f"tap --bodies --admin http://{HOST}:{settings.edge.admin.port}"]
    bus = shlex.quote(options.bus)
    return [f"ps --bus {bus}", f"queues --bus {bus}", f"tap --bodies --bus {bus}"]


def _settings(options: argparse.Namespace, signer: Signer) -> Settings:
    overrides: dict[str, object] = {
        "bus.url": options.bus or "memory://",
        "edge.admin.port": _free_admin_port(),
        "edge.contracts": [CONTRACTS],
        "edge.docs.description": ABOUT,
        "edge.docs.title": TITLE,
        "edge.drain_grace": GRACE,
        "edge.jwt": [signer.table],
        "log.format": "text",
        "log.level": "warning",
        "worker.grace": GRACE,
        "worker.services": SERVICES,
    }
    return load(Settings, None, environ=os.environ, overrides=overrides)


def _free_admin_port() -> int:
    with bind_free(HOST, ADMIN_PORTS, name="admin port") as probe:
        return int(probe.getsockname()[1])


def _listener(port: int | None) -> socket.socket:
    if port is None:
        return bind_free(HOST, PORTS, name="port")
    return bind(HOST, port, name="port")[0]


def _in_one_process(settings: Settings, catalog: Catalog, public: socket.socket, ready: Callable[[], None]) -> int:
    from busgate.ops.edge_process import Place  # noqa: PLC0415 - a third of a second, for this way only
    from busgate.ops.one_process import serve_all  # noqa: PLC0415

    services = read_services(settings.worker.services)
    return serve_all(settings, catalog, services, place=Place(public), ready=ready)


def _programs(settings: Settings, signer: Signer, *, public: socket.socket, folder: Path) -> list[Program]:
    """Edge and workers as processes of their own. What is secret goes to them by the environment."""
    environ = {
        "BUSGATE_BUS__URL": json.dumps([url.get_secret_value() for url in settings.bus.url]),
        "BUSGATE_EDGE__ADMIN__PORT": str(settings.edge.admin.port),
        "BUSGATE_EDGE__DOCS__DESCRIPTION": ABOUT,
        "BUSGATE_EDGE__DOCS__TITLE": TITLE,
        "BUSGATE_EDGE__DRAIN_GRACE": str(GRACE),
        "BUSGATE_EDGE__JWT": json.dumps([signer.table]),
        "BUSGATE_LOG__FORMAT": settings.log.format,
        "BUSGATE_LOG__LEVEL": settings.log.level,
        "BUSGATE_WORKER__GRACE": str(GRACE),
    }
    program = partial(Program, environ=environ, folder=folder)
    empty = f"--config={os.devnull}"
    programs = [program(name, ["worker", name, empty], last=True) for name in settings.worker.services]
    programs.append(program("edge", ["edge", *settings.edge.contracts, empty], sockets=[public]))
    return programs


async def _in_several(settings: Settings, catalog: Catalog, supervisor: Supervisor) -> int:
    """Make the topology first: if the broker cannot be used, that is told once and not by each process."""
    async with Topology(broker_addresses(settings.bus)[0], kind=settings.bus.exchange_kind) as topology:
        await topology.make(call.topic for call in catalog)
    return await until_stopped(supervisor.run, at_once=supervisor.kill)

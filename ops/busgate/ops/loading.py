"""From the command line to what a command works with: settings, contracts, services, a bus."""

import argparse
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from busgate.bus import Address, Bus, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.contracts import Catalog, ContractError
from busgate.workers import Service, ServiceError, load_services

from .arguments import overrides
from .config import load
from .faults import CommandError, lines_of

ModelT = TypeVar("ModelT", bound=BaseModel)

DEFAULT_FILE = Path("busgate.toml")


def read_settings(model: type[ModelT], options: argparse.Namespace) -> ModelT:
    """The configuration of a process: command line, environment, file.

    Raises:
        ConfigError: something in it is wrong.
    """
    path = Path(options.config) if options.config else DEFAULT_FILE if DEFAULT_FILE.exists() else None
    return load(model, path, environ=os.environ, overrides=overrides(options))


def read_catalog(modules: Iterable[str]) -> Catalog:
    """Import contracts.

    Raises:
        CommandError: modules cannot be imported, or their contracts do not go together.
    """
    faults: list[str] = []
    for module in modules:
        try:
            Catalog.load([module])
        except ContractError as error:
            faults += lines_of(error) or []
    if faults:
        raise CommandError(faults)
    return Catalog.load(modules)


def read_services(references: Iterable[str]) -> list[Service]:
    """Import services.

    Raises:
        CommandError: some cannot be imported or are none.
    """
    services: list[Service] = []
    faults: list[str] = []
    for reference in references:
        try:
            services += load_services([reference])
        except ServiceError as error:
            faults += lines_of(error) or []
    if faults:
        raise CommandError(faults)
    return list(dict.fromkeys(services))


def broker_addresses(settings: BusSettings) -> list[Address]:
    """Where the broker of a process is that is not alone.

    Raises:
        CommandError: there is none to share, or a TLS file does not hold what it should.
    """
    if settings.embedded:
        raise CommandError(["bus.url: memory:// lives inside one process; this command needs a RabbitMQ: amqp://..."])
    try:
        return settings.addresses()
    except OSError as error:
        raise CommandError([f"bus.tls: {error.strerror or error}"]) from error


def new_bus(settings: BusSettings) -> Bus:
    """The bus of a process on RabbitMQ, not started yet. Raises CommandError as `broker_addresses`."""
    broker = RabbitBroker(broker_addresses(settings), kind=settings.exchange_kind, heartbeat=settings.heartbeat)
    return Bus(broker, name=process_name(settings), max_waiting=settings.max_waiting)


def process_name(settings: BusSettings) -> str:
    """What this process is called on the broker: as configured, or as its host."""
    return settings.name or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "busgate"

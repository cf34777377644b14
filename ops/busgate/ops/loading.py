"""From the command line to what a command works with: settings, contracts, services, a bus."""

import argparse
import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from busgate.bus import Address, Bus, RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.contracts import Catalog, ContractError
from busgate.contracts.catalog import AnyCall, contracts_in
from busgate.workers import Service, ServiceError, load_services

from .arguments import overrides
from .authors import place_of
from .config import load
from .faults import CommandError, lines_of

ModelT = TypeVar("ModelT", bound=BaseModel)

DEFAULT_FILE = Path("busgate.toml")


def read_settings(
    model: type[ModelT], options: argparse.Namespace, *, fixed: Mapping[str, object] | None = None
) -> ModelT:
    """The configuration of a process: command line, environment, file.

    Args:
        model: of the process.
        options: of the command line.
        fixed: values by dotted name that win over all others.

    Raises:
        ConfigError: something in it is wrong.
    """
    return load(model, config_file(options), environ=os.environ, overrides={**overrides(options), **(fixed or {})})


def config_file(options: argparse.Namespace) -> Path | None:
    """The file of the configuration: as named, else that of the current folder if it is there."""
    return Path(options.config) if options.config else DEFAULT_FILE if DEFAULT_FILE.exists() else None


def read_catalog(modules: Iterable[str]) -> Catalog:
    """Import contracts.

    Raises:
        CommandError: modules cannot be imported, or their contracts do not go together.
    """
    catalog, errors = try_catalog(modules)
    _refuse(errors)
    return catalog


def try_catalog(modules: Iterable[str]) -> tuple[Catalog, list[Exception]]:
    """Import contracts: those that can be served together, and what is wrong with the others."""
    errors: list[Exception] = []
    found: list[AnyCall] = []
    for module in modules:
        try:
            found += contracts_in(module)
        except ContractError as error:
            errors.append(error)
    try:
        return Catalog(dict.fromkeys(found)), errors
    except ContractError:  # the first of its faults: now all of them
        good: list[AnyCall] = []
        for call in dict.fromkeys(found):
            try:
                Catalog([*good, call])
                good.append(call)
            except ContractError as error:
                place = place_of(call)
                errors.append(ContractError(f"{error} ({place})" if place else str(error)))
        return Catalog(good), errors


def read_services(references: Iterable[str]) -> list[Service]:
    """Import services.

    Raises:
        CommandError: some cannot be imported or are none.
    """
    services, errors = try_services(references)
    _refuse(errors)
    return services


def try_services(references: Iterable[str]) -> tuple[list[Service], list[Exception]]:
    """Import services: those that are some, and what is wrong with the others."""
    services: list[Service] = []
    errors: list[Exception] = []
    for reference in references:
        try:
            services += load_services([reference])
        except ServiceError as error:
            errors.append(error)
    return list(dict.fromkeys(services)), errors


def _refuse(errors: Iterable[Exception]) -> None:
    faults = [line for error in errors for line in lines_of(error) or []]
    if faults:
        raise CommandError(faults)


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


def new_bus(settings: BusSettings, *, name: str | None = None, makes: bool = True) -> Bus:
    """A bus on RabbitMQ, not started yet, named after the process; `makes` as of RabbitBroker.

    Raises CommandError as `broker_addresses`.
    """
    addresses = broker_addresses(settings)
    broker = RabbitBroker(addresses, kind=settings.exchange_kind, heartbeat=settings.heartbeat, makes=makes)
    return Bus(broker, name=name or process_name(settings), max_waiting=settings.max_waiting)


def control_address(settings: BusSettings) -> Address:
    """Where the control bus is. Raises CommandError as `broker_addresses`."""
    return broker_addresses(settings)[0]


def process_name(settings: BusSettings) -> str:
    """What this process is called on the broker: as configured, or as its host, and digits that only it has."""
    name = settings.name or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "busgate"
    return f"{name}-{secrets.token_hex(3)}"

"""Contracts and services as rows of a table for people."""

from collections.abc import Iterable, Iterator

from busgate.contracts import Catalog
from busgate.workers import Service

from .table import lines


def contract_lines(catalog: Catalog) -> Iterator[str]:
    """Method, path, topic, scopes and budget of each contract."""
    return lines(
        (
            call.http.method,
            call.http.path,
            call.topic,
            "public" if call.public else " ".join(sorted(call.scopes)) or "any caller",
            f"{call.timeout:g} s",
        )
        for call in catalog
    )


def service_lines(services: Iterable[Service]) -> Iterator[str]:
    """Service, topic and way of running of each handler."""
    return lines(
        (
            service.name,
            handler.contract.topic,
            f"prefetch {handler.prefetch}",
            "async" if handler.is_async else "threads",
        )
        for service in services
        for handler in service
    )


def unhandled(catalog: Catalog, services: Iterable[Service]) -> list[str]:
    """Topics that none of the services handles."""
    handled = {handler.contract.topic for service in services for handler in service}
    return [call.topic for call in catalog if call.topic not in handled]

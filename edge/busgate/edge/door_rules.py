"""What one edge asks of the headers of all its requests: worked out once, from its contracts and settings."""

from collections.abc import Iterator

from busgate.contracts import Catalog
from busgate.contracts.fields import request_fields

from .front_door import KEPT, SINGLE, DoorRules
from .settings import EdgeSettings


def door_rules(catalog: Catalog, settings: EdgeSettings) -> DoorRules:
    """The rules of the front door of an edge that serves these contracts."""
    single = SINGLE.union(_read_once(catalog, settings))
    return DoorRules(
        hosts=frozenset(host.encode() for host in settings.hosts),
        single=single,
        kept=KEPT.union(single, _looked_at(settings)),
    )


def _read_once(catalog: Catalog, settings: EdgeSettings) -> Iterator[bytes]:
    """The headers that contracts read, and those by which a caller is known."""
    for call in catalog:
        yield from (_key(marker.name) for marker, _ in request_fields(call).header.values())
    yield _key(settings.api_keys.header)
    if settings.pre_call is not None:
        yield from map(_key, settings.pre_call.headers)


def _looked_at(settings: EdgeSettings) -> Iterator[bytes]:
    """The headers that limits count by, and that signatures must cover."""
    limits = settings.call_limits
    words = (word for table in (limits.rate, limits.quota, limits.concurrent) for limit in table for word in limit.by)
    yield from (_key(word.removeprefix("header:")) for word in words if word.startswith("header:"))
    yield from (_key(name) for name in settings.signature.components if not name.startswith("@"))


def _key(name: str) -> bytes:
    return name.lower().encode()

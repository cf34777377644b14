"""What a bus counts, as metrics. Edges and workers both show it."""

import dataclasses
from collections.abc import Iterable, Iterator

from .bus import Bus
from .exposition import family, labels, one
from .requester import Endpoint


def of_bus(bus: Bus) -> Iterator[str]:
    """The state of the link, and all that the bus counts."""
    yield from one("bus_ready", "1 while calls can be sent.", int(bus.unready is None))
    yield from one("bus_waiting_calls", "Calls of all topics that wait for a reply.", bus.requester.waiting)
    yield from one("clocks_wrong", "Processes whose clock is half a second or more from ours.", len(bus.clocks.ahead))
    for field in dataclasses.fields(bus.counters):
        yield from one(f"bus_{field.name}_total", field.metadata["help"], getattr(bus.counters, field.name))


def of_endpoints(endpoints: Iterable[Endpoint]) -> Iterator[str]:
    """Of the topics that this process calls: what waits, what may, and whether anybody serves them."""
    found = [(labels(topic=endpoint.topic), endpoint) for endpoint in endpoints]
    waiting = ((pairs, endpoint.admission.waiting) for pairs, endpoint in found)
    limits = ((pairs, endpoint.admission.limit) for pairs, endpoint in found)
    unserved = ((pairs, int(endpoint.unserved)) for pairs, endpoint in found)
    yield from family("waiting_calls", "Calls that wait for a reply, by topic.", waiting)
    yield from family("admission_limit_calls", "Calls of a topic that may wait; +Inf while none queue up.", limits)
    yield from family("unserved", "1 while a topic is known to have no worker.", unserved)

"""RabbitMQ for busgate: the wire, calls out and in, topology; and the embedded bus, which behaves the same."""

from .bus import Bus
from .consumer import Answer, Delivery, problem
from .counters import Counters
from .lane import Address
from .link import Broker, BusError
from .rabbit import RabbitBroker
from .requester import Endpoint, Reply, WaitingCall
from .topology import ExchangeKind, Part, Topology
from .wire import CallContext, Ids, Message

__all__ = [
    "Address",
    "Answer",
    "Broker",
    "Bus",
    "BusError",
    "CallContext",
    "Counters",
    "Delivery",
    "Endpoint",
    "ExchangeKind",
    "Ids",
    "Message",
    "Part",
    "RabbitBroker",
    "Reply",
    "Topology",
    "WaitingCall",
    "problem",
]

"""RabbitMQ for busgate: the wire, calls out and in, topology; and the embedded bus, which behaves the same.

Scripts and notebooks need one name of it: `connect`.
"""

from .address import Address
from .bus import Bus
from .client import Client, connect
from .consumer import Answer, Delivery, problem
from .counters import Counters
from .link import Broker, BusError
from .member import joined
from .pairing import Pairing, TappedCall
from .presence import Presence, SilentProcess
from .rabbit import RabbitBroker
from .requester import Endpoint, Reply, WaitingCall
from .roll_call import RollCall, roll_call
from .tap import Tap
from .topology import Depth, ExchangeKind, Part, Topology
from .wire import CallContext, Ids, Message

__all__ = [
    "Address",
    "Answer",
    "Broker",
    "Bus",
    "BusError",
    "CallContext",
    "Client",
    "Counters",
    "Delivery",
    "Depth",
    "Endpoint",
    "ExchangeKind",
    "Ids",
    "Message",
    "Pairing",
    "Part",
    "Presence",
    "RabbitBroker",
    "Reply",
    "RollCall",
    "SilentProcess",
    "Tap",
    "TappedCall",
    "Topology",
    "WaitingCall",
    "connect",
    "joined",
    "problem",
    "roll_call",
]

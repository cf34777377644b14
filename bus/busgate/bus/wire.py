"""The words of the wire, version 1: exchanges, queues, headers, types and limits. docs/wire.md is their manual.

Nothing here does I/O. `frames` turns these words into bytes, `requester` and `consumer` give them meaning.
"""

import os
import re

VERSION = 1

CALLS_EXCHANGE = "busgate.calls"
REPLIES_EXCHANGE = "busgate.replies"
CONTROL_EXCHANGE = "busgate.control"
AUDIT_EXCHANGE = "busgate.audit"
"""Only where edges publish audit records."""
REPLY_QUEUE_PREFIX = "busgate.reply."
TAPPED_SUFFIX = ".tapped"
"""Second key of a reply queue. Replies use it while a tap holds a lease on their topic."""

QUEUE_ARGUMENTS: dict[str, str | int] = {"x-queue-type": "classic", "x-expires": 120_000}
"""Frozen at the first declaration of a queue (RabbitMQ answers 406 to any other); all else is policy."""

TYPE_CALL = b"call"
TYPE_REPLY = b"reply"
TYPE_PROBLEM = b"problem"
TYPE_PING = b"ping"
TYPE_REFUSED = b"refused"
"""For taps alone: who called does not take the reply to a call. Its correlation id is the id of the call."""
CONTENT_TYPE = b"application/json"

JWS_LIMIT = 8192
"""Bytes of the header `jws`; the claims of the longest caller take some 5,800."""
VIA_LIMIT = 64
"""Bytes of the header `via`, the name of a service."""
CALL_ID_BYTES = 32
TRACEPARENT_BYTES = 55
MAX_HOPS = 8
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a body. RabbitMQ 4 refuses more by default and closes the channel."""

MARGIN_MS = 30
"""Worker and broker get the budget less this, so that a refusal still reaches the edge in time."""

_REPLY_QUEUE = re.compile(rb"busgate\.reply\.[A-Za-z0-9._-]{1,180}")
_CALL_ID = re.compile(r"[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def is_reply_queue(name: bytes) -> bool:
    """Whether a `reply_to` is one that a worker may answer to; anything else would make it a confused deputy."""
    return _REPLY_QUEUE.fullmatch(name) is not None


def caller_of(reply_queue: bytes) -> str:
    """The process that a reply queue belongs to, `busgate.reply.<process>.<generation>.<random>`."""
    name = reply_queue.decode("ascii", "replace").removeprefix(REPLY_QUEUE_PREFIX).removesuffix(TAPPED_SUFFIX)
    return name.rsplit(".", 2)[0]


def is_call_id(value: object) -> bool:
    return isinstance(value, str) and _CALL_ID.fullmatch(value) is not None


def is_traceparent(value: object) -> bool:
    """W3C Trace Context, version 00; anything else is ignored and a new trace begun."""
    return isinstance(value, str) and _TRACEPARENT.fullmatch(value) is not None


class Ids:
    """Unpredictable hex ids, drawn from the operating system in bulk (a system call for each costs 0.7 us)."""

    __slots__ = ("_at", "_pool")

    _BULK = 4096

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def take(self, digits: int) -> bytes:
        """The next `digits` hex digits, as ASCII."""
        start = self._at
        end = start + digits
        if end > len(self._pool):
            self._pool = os.urandom(self._BULK).hex().encode()
            start, end = 0, digits
        self._at = end
        return self._pool[start:end]


class CallContext:
    """What a call inherits and hands on: its id, its trace, its caller, and how deep it is nested.

    All of it is bytes, as they travel: `call_id` 32 hex digits, `traceparent` 55 characters, `caller` JSON or
    empty for a public call; `jws` the caller as the edge signed it, or empty; `via` the service that calls on, or
    empty, and only beside a `jws`.
    """

    __slots__ = ("call_id", "caller", "hops", "jws", "traceparent", "via")

    def __init__(
        self,
        call_id: bytes,
        traceparent: bytes,
        caller: bytes = b"",
        hops: int = 0,
        jws: bytes = b"",
        via: bytes = b"",
    ) -> None:
        self.call_id = call_id
        self.traceparent = traceparent
        self.caller = caller
        self.hops = hops
        self.jws = jws
        self.via = via

    @property
    def trace_id(self) -> str:
        """32 hex digits, the same for all calls of a trace: what logs are searched by."""
        return self.traceparent[3:35].decode()


def new_context(ids: Ids, caller: bytes = b"") -> CallContext:
    """A new call, the first of its trace: for whoever is not asked by somebody else."""
    call_id = ids.take(CALL_ID_BYTES)
    return CallContext(call_id, b"00-%b-%b-01" % (call_id, ids.take(16)), caller)


class Message:
    """A message as it was delivered, properties decoded, nothing believed yet.

    Short strings stay bytes as on the wire. `fault` says why the properties could not be read; then only
    `tag`, `routing_key` and `redelivered` mean anything.
    """

    __slots__ = (
        "body",
        "content_type",
        "correlation_id",
        "exchange",
        "expiration",
        "fault",
        "headers",
        "redelivered",
        "reply_to",
        "routing_key",
        "tag",
        "type",
    )

    def __init__(
        self, tag: int = 0, *, redelivered: bool = False, exchange: bytes = b"", routing_key: bytes = b""
    ) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.content_type = b""
        self.headers: dict[str, object] = {}
        self.correlation_id = b""
        self.reply_to = b""
        self.expiration = b""
        self.type = b""
        self.body = b""
        self.fault: str | None = None

"""Why a call got no reply from its handler: the whole vocabulary, one line each.

Every kind has a stable name, the HTTP status the edge answers with, and an outcome that says whether the
work was done. This table is the truth table of the design (docs/reliability.md shows it with what was
observed); nothing else in busgate maps an event to a status.
"""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["not_executed", "unknown", "executed"]
"""`not_executed` is said only on evidence and is safe to retry; `unknown` where nobody can tell."""

Party = Literal["client", "edge", "bus", "service"]
"""Who failed."""

TYPE_PREFIX = "urn:busgate:"


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One row of the truth table."""

    name: str
    status: int
    outcome: Outcome
    title: str
    by: Party

    @property
    def type(self) -> str:
        """The `type` member of the RFC 9457 problem: stable, and the thing to switch on."""
        return TYPE_PREFIX + self.name


# -- said by the bus side of the caller, before or instead of a reply
NO_ROUTE = FailureKind("no-route", 503, "not_executed", "No service listens on this topic", "service")
NO_WORKERS = FailureKind("no-workers", 503, "not_executed", "No worker serves this topic", "service")
TOPIC_FORBIDDEN = FailureKind(
    "topic-forbidden", 503, "not_executed", "The message bus does not let this gateway call this topic", "bus"
)
BUS_UNAVAILABLE = FailureKind("bus-unavailable", 503, "not_executed", "The message bus cannot be reached", "bus")
BUS_BLOCKED = FailureKind("bus-blocked", 503, "not_executed", "The message bus refuses new messages", "bus")
OVERLOADED = FailureKind("overloaded", 503, "not_executed", "Too many calls are waiting", "service")
DRAINING = FailureKind("draining", 503, "not_executed", "This process is shutting down", "edge")
QUEUE_FULL = FailureKind("queue-full", 503, "not_executed", "The queue of this topic is full", "service")
CONNECTION_LOST = FailureKind("connection-lost", 504, "unknown", "The bus connection fell during the call", "bus")
TIMEOUT = FailureKind("timeout", 504, "unknown", "No reply in time", "service")
BAD_REPLY = FailureKind("bad-reply", 502, "unknown", "The reply does not match the contract", "service")
TOO_MANY_HOPS = FailureKind("too-many-hops", 500, "not_executed", "Calls are nested too deeply", "service")
CALL_TOO_LARGE = FailureKind("call-too-large", 413, "not_executed", "The call is larger than the bus carries", "client")

# -- said by a worker in a reply of type `problem`
TOO_LATE = FailureKind("too-late", 504, "not_executed", "The call reached a worker after its deadline", "service")
REDELIVERED = FailureKind("redelivered", 504, "unknown", "The call was delivered before and may have run", "service")
UNREADABLE_REQUEST = FailureKind(
    "unreadable-request", 502, "not_executed", "The worker cannot read this request", "service"
)
CALLER_UNVERIFIED = FailureKind(
    "caller-unverified", 502, "not_executed", "The service cannot verify who calls", "service"
)
HANDLER_CRASHED = FailureKind("handler-crashed", 500, "unknown", "The service failed", "service")
HANDLER_TIMEOUT = FailureKind("handler-timeout", 504, "unknown", "The handler ran past its deadline", "service")
NESTED_FAILURE = FailureKind("nested-failure", 502, "unknown", "A service behind this service failed", "service")
NESTED_TIMEOUT = FailureKind("nested-timeout", 504, "unknown", "A service behind this service was too slow", "service")

WORKER_KINDS = {
    kind.type: kind
    for kind in (
        TOO_LATE,
        REDELIVERED,
        UNREADABLE_REQUEST,
        CALLER_UNVERIFIED,
        HANDLER_CRASHED,
        HANDLER_TIMEOUT,
        NESTED_FAILURE,
        NESTED_TIMEOUT,
        DRAINING,
    )
}
"""What a worker may say about itself. A problem of another `urn:busgate:` type is a bad reply."""


class CallFailed(Exception):  # noqa: N818 - a fact, not always an error
    """A call that no handler answered, and what is known about it.

    Raised by every way of calling over the bus. `kind` says what happened and whether the work was done,
    `service` who failed (None: nobody was reached), `retry_after` in how many seconds a new try makes sense.
    """

    def __init__(
        self,
        kind: FailureKind,
        detail: str | None = None,
        *,
        service: str | None = None,
        retry_after: float | None = None,
        ran_ms: int | None = None,
    ) -> None:
        super().__init__(f"{kind.name}: {detail or kind.title}")
        self.kind = kind
        self.detail = detail
        self.service = service
        self.retry_after = retry_after
        self.ran_ms = ran_ms

    def document(self) -> dict[str, object]:
        """The RFC 9457 problem document of this failure."""
        document: dict[str, object] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "outcome": self.kind.outcome,
            "by": self.kind.by,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        if self.service is not None:
            document["service"] = self.service
        return document

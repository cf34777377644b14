"""What processes say about themselves on the control bus, and what they are told: the documents, read and checked.

Keys of the exchange `busgate.control`, so that a broker's permissions can say who may send what:

| key | body | who sends it |
|---|---|---|
| `presence.<edge or worker>.<id>` | Presence | every process, now and then, at `who`, and at its end |
| `who` | empty | whoever wants to see all presences now |
| `drain.<id>` | empty | an operator: stop taking work, finish, end |
| `tap.<id>` | TapLease | a tap: use the second reply key for these topics, for so long |

Whatever is none of these is ignored and counted: anyone with rights on the exchange can send anything.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from busgate.contracts import Call
from busgate.contracts.fingerprint import fingerprint
from busgate.contracts.secret import reply_secret_paths, secret_paths

PRESENCE_EVERY = 5.0
"""Seconds between two presences of a process."""
PRESENCE_EXPIRES = 15
"""Seconds after which a process that was not heard of counts as gone: two may be lost."""
LARGEST_BODY = 256 * 1024
MOST_CONTRACTS = 500
"""Contracts that a presence names; of more it gives the number."""

MOST_SECRETS = 100
MOST_SILENT = 100
"""Silent processes that a presence names, and services that it names of each."""
LONGEST_TIMEOUT = 86_400.0
LONGEST_TEXT = 200

WHO = "who"
Kind = Literal["edge", "worker"]
State = Literal["serving", "unready", "draining", "gone"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
_Short = Annotated[str, Field(max_length=LONGEST_TEXT)]
_Millis = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Document(BaseModel):
    """Tolerant between versions: members that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


DocumentT = TypeVar("DocumentT", bound=_Document)


class ServedContract(_Document):
    """A contract as a process has it.

    `hash` tells versions apart; `service` is who answers, empty at an edge; `timeout` is in seconds, 0 where the sender
    does not say; the paths say which values of request and reply are secret.
    """

    topic: _Short
    hash: _Short
    service: _Short = ""
    timeout: Annotated[float, Field(ge=0, le=LONGEST_TIMEOUT, allow_inf_nan=False)] = 0.0
    request_secrets: Annotated[list[_Short], Field(max_length=MOST_SECRETS)] = []
    reply_secrets: Annotated[list[_Short], Field(max_length=MOST_SECRETS)] = []


class SilentProcess(_Document):
    """A process that was not heard of for `seconds` and said no goodbye, as somebody remembers it."""

    id: Name
    kind: Kind
    host: _Short
    pid: _Count
    seconds: _Count
    services: Annotated[list[_Short], Field(max_length=MOST_SILENT)] = []


class Presence(_Document):
    """One process, as it says.

    `now` and `started` are epoch milliseconds by its own clock, `expires` seconds for which this holds. `waiting` are
    its calls that wait for a reply, `running` its handlers, `stuck` those of them that nothing can end, `calls` all
    that it took or sent since its start.
    `admin` is the host and port of its admin listener, empty where it has none; `silent` are those that it misses.
    """

    id: Name
    kind: Kind
    version: _Short
    host: _Short
    pid: _Count
    started: _Millis
    now: _Millis
    expires: Annotated[int, Field(ge=1, le=3600)]
    state: State
    reasons: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=20)] = []
    waiting: _Count = 0
    running: _Count = 0
    stuck: _Count = 0
    calls: _Count = 0
    reply_queue: _Short = ""
    admin: _Short = ""
    contracts: Annotated[list[ServedContract], Field(max_length=MOST_CONTRACTS)] = []
    more_contracts: _Count = 0
    silent: Annotated[list[SilentProcess], Field(max_length=MOST_SILENT)] = []
    shortened: bool = False
    """Whether it was too large to travel: without services, and where a contract has secrets, all of it is secret."""


class SignOfLife(_Document):
    """The part of a presence that tells the time, read where many come and nothing else of them matters."""

    id: Name
    kind: Kind
    now: _Millis
    state: State


class TapLease(_Document):
    """Replies of these topics are to go out under the second reply key for `seconds`; renewed while the tap looks."""

    topics: Annotated[list[_Short], Field(max_length=10_000)]
    seconds: Annotated[float, Field(gt=0, le=60)]


def served(call: Call[Any, Any], service: str = "") -> ServedContract:
    """A contract as it is announced."""
    return ServedContract(
        topic=call.topic,
        hash=fingerprint(call),
        service=service,
        timeout=min(float(call.timeout), LONGEST_TIMEOUT),
        request_secrets=_announced(secret_paths(call.request)),
        reply_secrets=_announced(reply_secret_paths(call)),
    )


def _announced(paths: list[str]) -> list[str]:
    """The paths, or where they do not fit into a presence: everything is secret."""
    fit = len(paths) <= MOST_SECRETS and all(len(path) <= LONGEST_TEXT for path in paths)
    return paths if fit else ["*"]


def presence_key(kind: Kind, process_id: str) -> str:
    return f"presence.{kind}.{process_id}"


def drain_key(process_id: str) -> str:
    return f"drain.{process_id}"


def tap_key(tap_id: str) -> str:
    return f"tap.{tap_id}"


def write_presence(presence: Presence) -> bytes:
    """A presence as it travels. One that is too large says less, so that it is heard at all."""
    body = _write(presence)
    if len(body) <= LARGEST_BODY:
        return body
    brief = [_brief(contract) for contract in presence.contracts]
    silent = [process.model_copy(update={"services": []}) for process in presence.silent]
    while len(body) > LARGEST_BODY:  # what is left without contracts fits: all of it is bounded
        left_out = len(presence.contracts) - len(brief)
        more = presence.more_contracts + left_out
        fewer = {"contracts": brief, "more_contracts": more, "silent": silent, "shortened": True}
        body = _write(presence.model_copy(update=fewer))
        brief = brief[: len(brief) * 9 // 10]
    return body


def _write(presence: Presence) -> bytes:
    return presence.model_dump_json(exclude_defaults=True).encode()


def _brief(contract: ServedContract) -> ServedContract:
    return ServedContract(
        topic=contract.topic,
        hash=contract.hash,
        timeout=contract.timeout,
        request_secrets=["*"] if contract.request_secrets else [],
        reply_secrets=["*"] if contract.reply_secrets else [],
    )


def read_presence(key: str, body: bytes) -> Presence | None:
    """A presence, or None where it is none, or speaks for another than its key says."""
    return _own(key, _read(Presence, body))


def read_sign_of_life(key: str, body: bytes) -> SignOfLife | None:
    """The same, but only a part of it is looked at."""
    return _own(key, _read(SignOfLife, body))


SignT = TypeVar("SignT", Presence, SignOfLife)


def _own(key: str, sign: SignT | None) -> SignT | None:
    return sign if sign is not None and key == presence_key(sign.kind, sign.id) else None


def read_lease(body: bytes) -> TapLease | None:
    return _read(TapLease, body)


def _read(model: type[DocumentT], body: bytes) -> DocumentT | None:
    if len(body) > LARGEST_BODY:
        return None
    try:
        return model.model_validate_json(body)
    except (ValidationError, RecursionError):
        return None

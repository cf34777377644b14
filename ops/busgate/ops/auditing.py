"""What `busgate audit` shows: which records of calls, how, and what they add up to."""

import json
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from .faults import CommandError
from .logs import printable
from .screen import DIM, GREEN, RED, YELLOW, fit, paint, table
from .tapping import seconds_of

Record = dict[str, Any]

_STATUS = re.compile(r"[2345]xx|[2345]\d\d")
_AGO = re.compile(r"\d+(\.\d+)?(ms|s|m|h)?")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "timestamp": str,
    "caller": str,
    "issuer": str,
    "address": str,
    "method": str,
    "topic": str,
    "route": str,
    "decision": str,
    "reason": str,
    "status": int,
    "outcome": str,
    "total_ms": (int, float),
    "request_bytes": int,
    "reply_bytes": int,
}
"""What every record has."""


def read_record(line: str | bytes) -> Record | None:
    """A line as a record; None: it is a line of another kind, as others may write to the same stream.

    Raises:
        ValueError: it is neither.
    """
    try:
        document = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for every bad line
    if document.get("event") != "audit":
        return None
    for name, kind in _TYPES.items():
        if not isinstance(document.get(name), kind):
            raise ValueError(f"{name} is missing")  # noqa: TRY004 - as above
    when_of(document["timestamp"])
    return document


def when_of(text: str) -> datetime:
    """Raises ValueError. A time without a zone is that of this machine."""
    return datetime.fromisoformat(text).astimezone(UTC)


def moment(text: str, option: str) -> datetime:
    """`15m` (ago), or a date with or without a time.

    Raises:
        CommandError: it is neither.
    """
    if _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=seconds_of(text, option))
    try:
        return when_of(text)
    except ValueError:
        raise CommandError([f"{option} {text!r}: a time is needed, like 15m (ago) or 2026-01-31T12:00"]) from None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are shown; what is not named is not asked for.

    Args:
        caller: subject.
        topic: pattern; `*` is any text.
        status: `4xx`, `5xx`, or a status.
        outcome: whether the work was done.
        refused: only what the edge refused.
        rule: access rule that decided, or limit that refused.
        since: from then on.
        until: before then.

    Raises:
        CommandError: the status is none of these.
    """

    caller: str | None = None
    topic: str | None = None
    status: str | None = None
    outcome: str | None = None
    refused: bool = False
    rule: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.status is not None and not _STATUS.fullmatch(self.status):
            raise CommandError([f"--status {self.status!r}: say 2xx, 4xx, 5xx, or a status like 403"])

    def lets_through(self, record: Record) -> bool:
        if self.since or self.until:
            when = when_of(record["timestamp"])
            if (self.since and when < self.since) or (self.until and when >= self.until):
                return False
        status = record["status"]
        return (
            self.caller in (None, record["caller"])
            and (self.topic is None or fnmatchcase(record["topic"], self.topic))
            and self.status in (None, str(status), f"{status // 100}xx")
            and self.outcome in (None, record["outcome"])
            and not (self.refused and record["decision"] != "refused")
            and (self.rule is None or self.rule in (record.get("rule"), *record.get("limits", ())))
        )


MOCK = "mock"
"""What records call who answers by the examples of a contract."""
HEAD = f"{'TIME':19}  {'STATUS':6}  {'METHOD':7}  {'TOPIC':28}  {'CALLER':16}  {'ADDRESS':15}  {'TOTAL':>9}  OUTCOME"


def as_text(record: Record) -> str:
    """One line for people, by the clock on their wall."""
    when = when_of(record["timestamp"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    status = record["status"]
    refused = record["decision"] == "refused"
    why = f"refused: {record['reason']}" if refused else record["outcome"]
    if record.get("service") == MOCK:
        why = f"{why} ({MOCK}: by an example)"
    elif not refused and record.get("rule"):
        why = f"{why} (rule {record['rule']})"
    topic = record["topic"] or str(record.get("path", "-"))
    line = (
        f"{when}  {status:<6}  {record['method'][:7]:7}  {topic:28}  {record['caller'] or '-':16}  "
        f"{record['address'] or '-':15}  {record['total_ms']:>6.1f} ms  {why}"
    )
    return paint(fit(printable(line)), RED if status >= 500 else YELLOW if status >= 400 else GREEN)


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    refused: int = 0
    client_errors: int = 0
    server_errors: int = 0
    request_bytes: int = 0
    reply_bytes: int = 0
    times: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, record: Record) -> None:
        self.calls += 1
        self.refused += record["decision"] == "refused"
        self.client_errors += 400 <= record["status"] < 500
        self.server_errors += record["status"] >= 500
        self.request_bytes += record["request_bytes"]
        self.reply_bytes += record["reply_bytes"]
        self.times.append(record["total_ms"])

    def document(self) -> Record:
        ordered = sorted(self.times)
        return {
            "calls": self.calls,
            "refused": self.refused,
            "4xx": self.client_errors,
            "5xx": self.server_errors,
            "request_bytes": self.request_bytes,
            "reply_bytes": self.reply_bytes,
            "mean_ms": round(sum(ordered) / len(ordered), 3),
            "p50_ms": _quantile(ordered, 0.5),
            "p95_ms": _quantile(ordered, 0.95),
            "p99_ms": _quantile(ordered, 0.99),
            "max_ms": ordered[-1],
        }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Statistics:
    """What records add up to, for each caller or each topic."""

    def __init__(self, by: str) -> None:
        self._by = by
        self._sums: dict[tuple[str, str], _Sum] = {}

    def add(self, record: Record) -> None:
        key = (record["caller"], record["issuer"]) if self._by == "caller" else (record["topic"], "")
        self._sums.setdefault(key, _Sum()).add(record)

    def documents(self) -> list[Record]:
        """One for each, the busiest first."""
        found = sorted(self._sums.items(), key=lambda pair: (-pair[1].calls, pair[0]))
        return [dict(zip(self._names, key, strict=False)) | total.document() for key, total in found]

    @property
    def _names(self) -> tuple[str, ...]:
        """What is added up for itself: one subject of two issuers is two callers."""
        return ("caller", "issuer") if self._by == "caller" else ("topic",)

    def lines(self) -> Iterable[str]:
        """A table for people."""
        head = [
            *map(str.upper, self._names),
            "CALLS",
            "REFUSED",
            "4XX",
            "5XX",
            "P50",
            "P95",
            "P99",
            "BYTES IN",
            "BYTES OUT",
        ]
        rows = [
            [
                *(each[name] or "-" for name in self._names),
                *(f"{each[name]:,}" for name in ("calls", "refused", "4xx", "5xx")),
                *(f"{each[name]:.1f} ms" for name in ("p50_ms", "p95_ms", "p99_ms")),
                *(f"{each[name]:,}" for name in ("request_bytes", "reply_bytes")),
            ]
            for each in self.documents()
        ]
        first, *rest = table(head, rows)
        return [paint(first, DIM), *rest]

"""Call records: one line for each request, made off the hot path.

A request only appends a tuple to a list. At most 0.1 s later the whole list goes to its takers: the lines,
and the metrics. Nothing that a client or a worker says can forge a line, break one in two or colour a
terminal: what is not printable ASCII is escaped.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Literal, cast

from .batches import Batches
from .line_writer import WHOLE, LineWriter

Record = tuple[float, float, str, str, str, str, int, str, str, float | None, float | None, bytes, bytes, str, str]
"""What `Recorder.record` takes, in that order. A plain tuple costs a third of a named one."""
Batch = Sequence[Record]

CUT = 80
"""Characters that are kept of foreign texts where a line would be too long to be written as a whole."""
REASON = 200
"""Characters that are kept of a reason."""


class Recorder(Batches[Record]):
    """Collects the records of one event loop, and hands them over in batches. `flush` it before metrics are read."""

    def record(
        self,
        *,
        started: float,
        total_ms: float,
        method: str,
        path: str,
        topic: str,
        service: str,
        status: int,
        outcome: str,
        failure: str,
        queue_ms: float | None,
        ran_ms: float | None,
        request_id: bytes,
        caller: str,
        traceparent: bytes = b"",
        reason: str = "",
    ) -> None:
        """Note one request.

        Args:
            started: when it came, by `now`.
            total_ms: until it was answered.
            method: of HTTP.
            path: without the query, and without what the contract marks as secret.
            topic: of its contract; empty where none was found.
            service: who answered; empty where nobody was reached.
            status: of the answer.
            outcome: whether the work was done.
            failure: the name of its kind, or the type of a declared problem; empty for success.
            queue_ms: waited in the queue; None where that is not known.
            ran_ms: ran in the handler; None where that is not known.
            request_id: 32 hex digits, ours.
            caller: the subject that was authenticated; empty for nobody.
            traceparent: of the call; empty where none was sent, whose trace would have the id of the request.
            reason: what is known of a failure beyond its kind, for the operator: which call behind it failed, which
                limit, rule or credential refused.
        """
        # fmt: off
        self.add((
            started, total_ms, method, path, topic, service, status, outcome, failure, queue_ms, ran_ms,
            request_id, traceparent, caller, reason,
        ))
        # fmt: on


class RecordLines:
    """Writes each record as a line: JSON for machines, aligned text for people.

    Args:
        writer: where to.
        style: `auto` is text on a terminal. Colours are only there, whatever the style.
    """

    def __init__(self, writer: LineWriter, style: Literal["auto", "text", "json"] = "auto") -> None:
        self._writer = writer
        self._text = style == "text" or (style == "auto" and writer.terminal)

    def take(self, batch: Batch) -> None:
        """Write these records soon, if the stream takes them."""
        epoch = time.time() - time.monotonic()  # anew each time: the wall clock may have been set
        lines = text_lines(batch, epoch, colour=self._writer.terminal) if self._text else json_lines(batch, epoch)
        self._writer.write("".join(lines).encode("ascii"))


# -- JSON

_JSON = (
    '{"timestamp":"%s.%03dZ","level":"info","event":"call","request":"%s","trace":"%s","method":%s,"path":%s,"topic":%s,'
    '"service":%s,"caller":%s,"status":%d,"outcome":%s,"failure":%s,"reason":%s,"total_ms":%.3f,"queue_ms":%s,"ran_ms":%s}\n'
)


def json_lines(batch: Batch, epoch: float) -> Iterator[str]:
    """One JSON object in a line for each record, ASCII only. `epoch` is when the clock of the loop was 0."""
    clock = Clock("%Y-%m-%dT%H:%M:%S", time.gmtime)
    for record in batch:
        now = clock.read(record[0] + epoch)
        line = _json_line(record, now)
        yield line if len(line) <= WHOLE else _json_line(_cut(record), now)


def _json_line(record: Record, now: tuple[str, int]) -> str:
    # fmt: off
    (
        _, total_ms, method, path, topic, service, status, outcome, failure, queue_ms, ran_ms,
        call_id, traceparent, caller, reason,
    ) = record
    # fmt: on
    return _JSON % (
        now[0],
        now[1],
        call_id.decode(),
        (traceparent[3:35] or call_id).decode(),
        quoted(method),
        quoted(path),
        quoted(topic),
        quoted(service),
        quoted(caller),
        status,
        quoted(outcome),
        quoted(failure),
        quoted(reason[:REASON]),
        total_ms,
        "null" if queue_ms is None else f"{queue_ms:.3f}",
        "null" if ran_ms is None else f"{ran_ms:.3f}",
    )


def _cut(record: Record) -> Record:
    """The record with less of what others said; what contracts say stays whole."""
    started, total_ms, method, path, topic, service, *rest, caller, reason = record
    cut = (started, total_ms, method, path[:CUT], topic, service[:CUT], *rest, caller[:CUT], reason[: CUT // 4])
    return cast(Record, cut)


# -- text

_UNSAFE = re.compile(r"[^\x21-\x7e]")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_RED, _YELLOW, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


def text_lines(batch: Batch, epoch: float, *, colour: bool) -> Iterator[str]:
    """One line for people for each record, ASCII only, by the clock on their wall."""
    clock = Clock("%H:%M:%S", time.localtime)
    for record in batch:
        yield _text_line(record, clock.read(record[0] + epoch), colour=colour)


def _text_line(record: Record, now: tuple[str, int], *, colour: bool) -> str:
    _, total_ms, method, path, topic, service, status, outcome, failure, queue_ms, ran_ms, call_id, _, _, reason = (
        record
    )
    mark, dim, end = (_status_colour(status), _DIM, _PLAIN) if colour else ("", "", "")
    request = f"{_safe(method)} {_safe(path[:CUT])}"
    why = f"  {mark}{_safe(failure)} ({_safe(outcome)}){end}" if failure else ""
    if reason:
        why += f": {_UNPRINTABLE.sub(_escaped, reason[:REASON])}"
    return (
        f"{dim}{now[0]}.{now[1]:03d}{end}  {request:<20}  {mark}{status}{end}  "
        f"{_safe(topic) or '-':<22}  {_safe(service[:CUT]) or '-':<8}  total {_duration(total_ms)}  "
        f"queue {_duration(queue_ms)}  run {_duration(ran_ms)}  {dim}{call_id.decode()}{end}{why}\n"
    )


def _status_colour(status: int) -> str:
    if status >= 500:
        return _RED
    return _YELLOW if status >= 400 else _GREEN


def _duration(millis: float | None) -> str:
    return "       -" if millis is None else f"{millis:>5.1f} ms"


def _safe(text: str) -> str:
    """A text without blanks and control characters: one column of one line."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


# -- both


class Clock:
    """Splits epoch seconds into a text for the second, made once for each, and milliseconds."""

    def __init__(self, form: str, zone: Callable[[float], time.struct_time]) -> None:
        self._form = form
        self._zone = zone
        self._second = -1
        self._text = ""

    def read(self, now: float) -> tuple[str, int]:
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime(self._form, self._zone(second))
        return self._text, int((now - second) * 1000)

"""What `busgate tap` shows of the calls that it sees: which of them, and how."""

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from busgate.bus import Presence, TappedCall
from busgate.contracts.secret import shown

from .faults import CommandError
from .logs import printable
from .screen import DIM, GREEN, RED, YELLOW, fit, paint

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
_RESULTS = ("reply", "problem", "none", "unseen", "refused")
_STATUS = re.compile(rf"{'|'.join(_RESULTS)}|[45]xx|[45]\d\d")
_ID = re.compile(r"[0-9a-f]{8,32}")
SHORT = 12
"""Digits of an id on a terminal: enough for --call, and for a search in logs."""
SHOWN_BODY = 400
"""Characters of a body on a terminal; --json has all of it."""
SHOWN_TOPICS = 20
MOST_TOPICS, MOST_PATHS = 20_000, 1000
"""Of a topic with more secrets than that all is masked."""


def seconds_of(text: str, option: str) -> float:
    """`30s`, `250ms`, `5m`, or a bare number of seconds.

    Raises:
        CommandError: it is none of these.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise CommandError([f"{option} {text!r}: a length of time is needed, like 250ms, 30s or 5m"])
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which calls are shown; what is not named is not asked for.

    Args:
        status: `reply`, `problem`, `none` (no answer came), `unseen`, `refused` (by who called), `4xx`,
            `5xx` or a status.
        slower_than: seconds that a call took in all; unanswered ones are slow.
        caller: subject of the caller.
        call: id of a call, or of the trace that it shares with the calls that it leads to; its beginning is enough.

    Raises:
        CommandError: the status or the id is none.
    """

    status: str | None = None
    slower_than: float | None = None
    caller: str | None = None
    call: str | None = None

    def __post_init__(self) -> None:
        if self.status is not None and not _STATUS.fullmatch(self.status):
            raise CommandError([f"--status {self.status!r}: say {', '.join(_RESULTS)}, 4xx, 5xx, or a status like 409"])
        if self.call is not None and not _ID.fullmatch(self.call):
            raise CommandError([f"--call {self.call!r}: 8 to 32 hex digits are needed, of an X-Request-Id or a trace"])

    def lets_through(self, call: TappedCall) -> bool:
        mine = self.caller is None or call.caller == self.caller
        return mine and self._is_slow(call) and self._has_status(call) and self._has_id(call)

    def _is_slow(self, call: TappedCall) -> bool:
        if self.slower_than is None:
            return True
        return call.result == "none" if call.total_ms is None else call.total_ms >= self.slower_than * 1000

    def _has_id(self, call: TappedCall) -> bool:
        return self.call is None or call.call.startswith(self.call) or call.trace.startswith(self.call)

    def _has_status(self, call: TappedCall) -> bool:
        if self.status is None:
            return True
        if self.status in _RESULTS:
            return call.result == self.status
        return call.status is not None and self.status in (str(call.status), f"{call.status // 100}xx")


class Masks:
    """What is secret of each topic: all that anybody said while the tap looks, for anybody can say less.

    Args:
        unknown: show bodies of topics whose contract nobody announced; else all of their values are masked.
    """

    def __init__(self, *, unknown: bool = False) -> None:
        self._secrets: dict[str, tuple[set[str], set[str]]] = {}
        self._unknown = set[str]() if unknown else None

    def learn(self, presence: Presence) -> None:
        """Note what a process says is secret."""
        for contract in presence.contracts:
            known = self._secrets.get(contract.topic)
            if known is None:
                if len(self._secrets) >= MOST_TOPICS:
                    continue  # all of it stays masked
                known = self._secrets[contract.topic] = set(), set()
            for paths, more in zip(known, (contract.request_secrets, contract.reply_secrets), strict=True):
                paths.update(more if len(paths) < MOST_PATHS else ["*"])

    def bodies(self, call: TappedCall) -> tuple[object, object]:
        """Request and reply of a call as JSON values, secrets masked."""
        request, reply = self._secrets.get(call.topic, (self._unknown, self._unknown))
        return shown(call.request, request), shown(call.reply, reply)


def as_json(call: TappedCall, bodies: tuple[object, object] | None) -> str:
    """One line of JSON."""
    document = call.document()
    if bodies is not None:
        document["request"], document["reply"] = bodies
    return json.dumps(document)


HEAD = (
    f"{'TIME':12}  {'CALL':{SHORT}}  {'TOPIC':24}  {'RESULT':22}  {'TOTAL':>9}  {'QUEUE':>9}  {'RUN':>9}  "
    f"{'SERVICE':12}  {'TRACE':{SHORT}}  CALLER"
)


def as_text(call: TappedCall) -> str:
    """One line for people."""
    clock = time.strftime("%H:%M:%S", time.localtime(call.sent_ms / 1000)) + f".{call.sent_ms % 1000:03d}"
    result, colour = _result(call)
    line = (
        f"{clock:12}  {call.call[:SHORT] or '-':{SHORT}}  {call.topic:24}  {result:22}  {_ms(call.total_ms)}  "
        f"{_ms(call.queue_ms)}  {_ms(call.ran_ms)}  {call.service or '-':12}  {call.trace[:SHORT] or '-':{SHORT}}  "
        f"{call.caller or '-'}"
    )
    return paint(fit(printable(line)), colour)


def nothing_like(pattern: str, topics: Iterable[str]) -> str:
    """The hint for whoever taps what is not there."""
    topics = list(topics)
    if like := [topic for topic in topics if fnmatchcase(topic, pattern)]:
        return f"{some(like)}: no worker and no queue is there. Waiting; Ctrl-C ends it"
    return f"no topic is like {pattern!r} and has a worker; there are: {some(topics)}. Waiting; Ctrl-C ends it"


def some(topics: Iterable[str]) -> str:
    """Their names, as far as a line holds them."""
    names = sorted(topics)
    more = f" and {len(names) - SHOWN_TOPICS} more" if len(names) > SHOWN_TOPICS else ""
    return printable(", ".join(names[:SHOWN_TOPICS]) or "none") + more


def body_lines(request: object, reply: object) -> Iterable[str]:
    for arrow, body in (("->", request), ("<-", reply)):
        if body is not None:
            yield paint(fit(printable(f"  {arrow} {json.dumps(body, ensure_ascii=False)[:SHOWN_BODY]}")), DIM)


def _result(call: TappedCall) -> tuple[str, str]:
    if call.result == "reply":
        return "reply", GREEN
    if call.result == "none":
        return "no answer", RED
    if call.result == "unseen":
        return "reply not seen", DIM
    name = call.problem.removeprefix("urn:busgate:").removeprefix("urn:problem:")
    return f"{call.status or ''} {name}".strip(), RED if (call.status or 500) >= 500 else YELLOW


def _ms(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:>6.1f} ms"

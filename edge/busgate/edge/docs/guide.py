"""What holds for every call: outcomes, time limits, tokens, and the problems of the gateway itself."""

from collections.abc import Iterable
from itertools import groupby
from typing import get_args

from busgate.contracts import FailureKind, Outcome, failure
from busgate.edge import refusal

from .html import Content, Html, code, prose, tag
from .operation import outcome_label, status_label

_EXECUTED = """\
A 2xx is its reply. A problem with this outcome is its answer too: it looked at the request and said no. To ask again
is a new request.
"""
_NOT_EXECUTED = """\
That is known, not guessed, so it is safe to try again: after you mended the request (4xx), or after the seconds in
`Retry-After` (503).
"""
_UNKNOWN = """\
Nobody can tell: no answer came in time, or it was lost. A GET, PUT or DELETE can be repeated. Before you repeat
anything else, look whether it was done.
"""
OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "executed": ("The service did its work.", _EXECUTED),
    "not_executed": ("Nothing was done.", _NOT_EXECUTED),
    "unknown": ("It may have been done, or not.", _UNKNOWN),
}
_MEMBERS = (
    ("type", "What happened. Stable: switch on this, not on the status or the texts."),
    ("title, detail", "For people: what happened, and what about this request."),
    ("status", "The HTTP status again."),
    ("outcome", "Whether the work was done: `not_executed`, `unknown` or `executed`."),
    ("by", "Who failed: the `client`, the `edge` (this gateway), the `bus` behind it or the `service`."),
    ("errors", "Of a 422: what is wrong where, by JSON `pointer` into the body, or by `in` and `name` of a parameter."),
    ("stages", "How many milliseconds the call took in all, in queues and in the service, as far as known."),
    ("instance", "The id of this request, as in the header `X-Request-Id`. Say it when you ask for help."),
)
_TIME = """\
Every call has a time limit, and gets its answer or a problem within it. It is the same for all who work on the
call: what cannot begin in time does not begin. `Prefer: wait=N` lowers it to N seconds for one call, if you would
rather hear no than wait; nothing raises it.
"""
_TOKENS = """\
Send `Authorization: Bearer …` with a JWT of an issuer that this gateway trusts, or where an operation says so, an API
key in a header of its own or a signature of the request (RFC 9421). 401 is no credential, or none that is valid now;
403 is one without the scope that the operation names.
"""


def outcomes() -> Html:
    """The three words that every answer can be put under."""
    cards = [
        tag("li", tag("h3", outcome_label(word), id=word), tag("p", tag("b", title)), prose(text))
        for word, (title, text) in OUTCOMES.items()
    ]
    assert OUTCOMES.keys() == set(get_args(Outcome))
    return tag(
        "section",
        tag("h2", "Was it done?", id="outcomes"),
        tag("p", "Every failure says in its member ", code("outcome"), " whether the work was done.", class_="lead"),
        tag("ul", cards, class_="cards"),
        tag("ul", _card("Time", _TIME), _card("Tokens", _TOKENS), class_="cards two"),
        aria_labelledby="outcomes",
    )


def _card(title: str, text: str) -> Html:
    return tag("li", tag("h3", title, id=title.lower()), prose(text))


def problems() -> Html:
    """The problem document, and all kinds of it that the gateway itself answers with."""
    members = [[tag("dt", _codes(names)), tag("dd", prose(text))] for names, text in _MEMBERS]
    kinds = sorted(_kinds(), key=lambda kind: (kind.status, kind.name))
    groups = groupby(kinds, key=lambda kind: kind.status)
    return tag(
        "section",
        tag("h2", "Problems", id="problems"),
        tag("p", "Every failure is a document of type ", code("application/problem+json"), " (RFC 9457) with:"),
        tag("dl", members, class_="terms"),
        tag("h3", "Of the gateway"),
        tag("p", "Beside the problems that an operation declares, any call can end with these.", class_="lead"),
        tag("ul", [_row(kind) for _, group in groups for kind in group], class_="kinds"),
        aria_labelledby="problems",
    )


def _codes(names: str) -> list[Content]:
    return [[" " if number else None, code(name)] for number, name in enumerate(names.split(", "))]


def _row(kind: FailureKind) -> Html:
    return tag(
        "li",
        status_label(str(kind.status)),
        tag("span", code(kind.type), tag("span", kind.title, class_="title"), class_="what"),
        tag("span", outcome_label(kind.outcome), " ", tag("span", f"by {kind.by}", class_="by"), class_="how"),
        id=kind.type,
    )


def _kinds() -> Iterable[FailureKind]:
    """All rows of the truth table that a client can meet."""
    return {kind for table in (failure, refusal) for kind in vars(table).values() if isinstance(kind, FailureKind)}

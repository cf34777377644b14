"""The tables [[edge.errors]]: what failures look like to clients that take something else than problem documents.

A client that asks for `application/problem+json` always gets it. All templates are filled in once at start with the
worst of values: what would not be a document then does not start.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from operator import itemgetter
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from busgate.bus.tables import Names, PublicFile, Table, is_like
from busgate.contracts import Catalog, FailureKind, failure

from . import refusal
from .context_values import Template, TemplateError
from .exchange import Exchange
from .negotiation import ACCEPT_LIMIT, ranges_of
from .places import lonely
from .refusal import Refusal
from .response import PROBLEM_JSON, Response

LARGEST = 64 * 1024
"""Bytes of a template."""
VALUES = frozenset(
    {"by", "client.address", "detail", "errors", "method", "outcome", "request.id", "status", "title", "topic", "type"}
)
_WORST = "\"'}${title}]\\\n\t\x00<b>&\u2028\ud800 ä"
_MEDIA_TYPE = re.compile(r"(?:text|application)/[a-z0-9.+-]+")
_VALUE = re.compile(r"\$\{[^{}]*\}")
_READ_AS_TEXT = (None, "title", "textarea")
"""Elements in which a browser resolves what is escaped, where `HTMLParser` names them at all."""

Facts = Mapping[str, str]
"""The values of one failure."""

_GETTERS: dict[str, Callable[[Facts], str | None]] = {name: itemgetter(name) for name in VALUES}


def _media_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text) or _family(text) is None:
        raise ValueError("must be text/html, text/plain, or a type of JSON or XML")
    if text == PROBLEM_JSON.decode():
        raise ValueError("problem documents are always there; choose another type")
    return text


def _family(media_type: str) -> str | None:
    kind = media_type.partition("/")[2]
    if kind in ("html", "plain"):
        return kind if media_type.startswith("text/") else None
    return next((each for each in ("json", "xml") if kind == each or kind.endswith(f"+{each}")), None)


class ErrorSettings(Table):
    """A table [[edge.errors]]: a document for failures, in place of a problem document. The first one that fits holds.

    Args:
        types: names of failures, like `unauthenticated` or `urn:problem:out-of-stock`; `*` is any text.
        media_type: of the document: text/html, text/plain, or a type of JSON or XML.
        status: of the answer, within the class (4xx, 5xx) of those failures; without it, their own.
        template: the document. Values are `${type}`, `${title}`, `${status}`, `${detail}`, `${outcome}`, `${by}`,
            `${errors}`, `${request.id}`, `${client.address}`, `${method}` and `${topic}`, escaped for the media type.
        file: the same, from a file.
        default: send it also to clients that take anything; else those get the problem document.
    """

    types: Names = Field(min_length=1)
    media_type: Annotated[str, AfterValidator(_media_type)]
    status: int | None = Field(None, ge=400, le=599)
    template: str | None = None
    file: PublicFile | None = None
    default: bool = False

    @model_validator(mode="after")
    def _has_a_document(self, info: ValidationInfo) -> Self:  # noqa: ARG002 - pydantic's order of arguments
        if (self.template is None) == (self.file is None):
            raise ValueError("exactly one of template and file is the document")
        self.compiled()
        return self

    def compiled(self) -> Template[Facts]:
        """The template, tried out.

        Raises:
            ValueError: it cannot be one; says the line.
        """
        text = self._text()
        family = _family(self.media_type) or ""
        try:
            template: Template[Facts] = Template(text, _GETTERS, escape=_ESCAPES[family])
            _check_places(text, family)
            filled = template.render(dict.fromkeys(VALUES, _WORST) | {"status": "500"})
            if family == "json":
                json.loads(filled or "")
        except TemplateError as error:
            raise ValueError(f"{self._place(error.line)}: {error}") from None
        except json.JSONDecodeError as error:
            why = "not JSON once it is filled in; values stand within quotes, but for ${status}"
            raise ValueError(f"{self._place(error.lineno)}: {why}") from None
        return template

    def _text(self) -> str:
        if self.template is not None:
            return self.template
        assert self.file is not None
        try:
            if self.file.stat().st_size > LARGEST:
                raise ValueError(f"{self.file} is larger than {LARGEST} bytes")
            return self.file.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"cannot read {self.file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{self.file} is not UTF-8") from None

    def _place(self, line: int) -> str:
        return f"{self.file}:{line}" if self.file is not None else f"template, line {line}"


def _check_places(text: str, family: str) -> None:
    """In HTML and XML a value is safe between tags, and nowhere else: escaping does not help in a script or a link."""
    if family not in ("html", "xml"):
        return
    reader = _BrowserReader() if family == "html" else HTMLParser(convert_charrefs=False)
    end = 0
    for place in _VALUE.finditer(text):
        line = text.count("\n", 0, place.start()) + 1
        try:
            reader.feed(text[end : place.start()])
        except AssertionError:  # of marked sections that it does not know, in some versions of Python
            raise TemplateError(line, "something before it is no HTML") from None
        end = place.end()
        if "<" in reader.rawdata or reader.cdata_elem not in _READ_AS_TEXT:  # it waits for the end of what is open
            raise TemplateError(line, "values stand between tags: not inside one, nor in a script or style")


class _BrowserReader(HTMLParser):
    """To a browser `<script/>` is the beginning of a script, whatever its author meant."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - as it is called
        if tag in self.CDATA_CONTENT_ELEMENTS:
            self.set_cdata_mode(tag)


def _escape_markup(value: str) -> str:
    return html.escape("".join(each if each.isprintable() else "\ufffd" for each in value))


def _escape_plain(value: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in value)


_ESCAPES = {
    "json": lambda value: json.dumps(value)[1:-1],
    "html": _escape_markup,
    "xml": _escape_markup,
    "plain": _escape_plain,
}


def document_faults(tables: Sequence[ErrorSettings], catalog: Catalog) -> Iterator[str]:
    """What is wrong with tables for these contracts, in a line each."""
    statuses = _statuses(catalog)
    for number, table in enumerate(tables):
        for pattern in lonely(table.types, statuses):
            yield f"edge.errors.{number}: no failure is called {pattern!r}"
        if table.status is not None:
            foreign = [
                name
                for name, status in statuses.items()
                if is_like(name, table.types) and status // 100 != table.status // 100
            ]
            if foreign:
                yield (
                    f"edge.errors.{number}: the status of {foreign[0]} is {statuses[foreign[0]]}; "
                    f"{table.status} would be of another class"
                )


def _statuses(catalog: Catalog) -> dict[str, int]:
    """The status of every failure there is, by its name; problems that contracts declare by their type."""
    kinds = [each for module in (refusal, failure) for each in vars(module).values() if isinstance(each, FailureKind)]
    problems = {problem.type: problem.status for call in catalog for problem in call.errors}
    return {kind.name: kind.status for kind in kinds} | problems


@dataclass(frozen=True, slots=True)
class _Document:
    settings: ErrorSettings
    template: Template[Facts]


class ErrorDocuments:
    """All tables, ready to answer."""

    def __init__(self, tables: Iterable[ErrorSettings]) -> None:
        self._documents = [_Document(table, table.compiled()) for table in tables]
        self._by_name: dict[str, list[_Document]] = {}

    def replace(self, exchange: Exchange, name: str, response: Response) -> Response:
        """The answer to a failure as its client takes it.

        Args:
            exchange: the request.
            name: of the kind of failure, or the type of a declared problem.
            response: the problem document.
        """
        known = self._by_name.get(name)
        if known is None:  # names are those of kinds and contracts: bounded
            known = [each for each in self._documents if is_like(name, each.settings.types)]
            self._by_name[name] = known
        if not known:
            return response
        response.headers += b"Vary: Accept\r\n"
        chosen = _choose(known, ", ".join(exchange.request.message.headers.getall("Accept", ())))
        if chosen is None:
            return response
        facts = _facts(exchange, response)
        status = chosen.settings.status or response.status
        body = chosen.template.render(facts | {"status": str(status)}) or ""
        charset = "; charset=utf-8" if chosen.settings.media_type.startswith("text/") else ""
        return Response(
            status,
            body.encode("utf-8", "replace"),
            headers=response.headers,
            content_type=f"{chosen.settings.media_type}{charset}".encode(),
            close=response.close,
        )


def _choose(documents: Sequence[_Document], accept: str) -> _Document | None:
    """What a client takes best (RFC 9110, 12.5.1), the exactest of ranges first; None: the problem document."""
    wanted: list[tuple[str, _Document | None]]
    wanted = [(each.settings.media_type, each) for each in documents if each.settings.default]
    wanted.append((PROBLEM_JSON.decode(), None))
    wanted += [(each.settings.media_type, each) for each in documents if not each.settings.default]
    try:
        ranges = ranges_of((accept or "*/*")[:ACCEPT_LIMIT])
    except Refusal:
        return None
    best, chosen = (0.0, -1), None
    for media_type, each in wanted:
        found = _weight(media_type, ranges)
        if found[0] > 0 and found > best:
            best, chosen = found, each
    return chosen


def _weight(media_type: str, ranges: Iterable[tuple[str, float]]) -> tuple[float, int]:
    """How much a media type is wanted, and how exactly that was said."""
    exactness = {media_type: 2, f"{media_type.partition('/')[0]}/*": 1, "*/*": 0}
    found = [(exactness[each], weight) for each, weight in ranges if each in exactness]
    if not found:
        return 0.0, -1
    exact, weight = max(found)
    return weight, exact


def _facts(exchange: Exchange, response: Response) -> dict[str, str]:
    document = json.loads(response.body)
    facts = {name: str(document.get(name, "")) for name in ("type", "title", "detail", "outcome", "by")}
    errors = document.get("errors")
    faults = errors if isinstance(errors, list) else []
    told = (f"{each.get('pointer') or each.get('name')}: {each.get('detail')}" for each in faults)
    return facts | {
        "errors": "; ".join(told),
        "request.id": exchange.request.id.decode(),
        "client.address": exchange.noted_address,
        "method": exchange.request.message.method,
        "topic": exchange.topic,
    }

"""The tables [[edge.headers]]: headers of answers, and of requests that contracts read, by rule.

All that can be is worked out at start: a rule without a value of the request costs nothing per call. What a value holds
ends neither a header nor a part of one: all that could part, quote or close something there is percent-encoded.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from busgate.bus.tables import Names
from busgate.contracts.catalog import AnyCall
from busgate.contracts.fields import holds_many, request_fields

from .context_values import Template, TemplateError, request_values
from .exchange import Exchange, Step
from .places import ForContracts
from .response import header_block, is_header_name, is_header_value

OURS = frozenset(
    {
        "allow",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "location",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "retry-after",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "www-authenticate",
        "x-request-id",
    }
)
"""Hop by hop, about how the answer is written, or made by the edge for each answer: no rule touches them."""
_OUR_FAMILIES = ("access-control-", "busgate-", "ratelimit", "sec-")
_CACHING = frozenset({"cache-control", "expires"})
_SAFE = "-._~:@/+="
"""What stands as it is, beside letters and digits: enough for names, addresses, times and base64."""


def _name(name: str) -> str:
    if not is_header_name(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if name.lower() in OURS or name.lower().startswith(_OUR_FAMILIES):
        raise ValueError(f"{name} is the edge's own: no rule may touch it")
    return name


def _split(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"{line!r} is not like 'Name: value'")
    return _name(name.strip()), value.strip()


def _lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    for line in lines:
        name, value = _split(line)
        if not value or not is_header_value(value):
            raise ValueError(f"the value of {name} must be printable ASCII, and not empty")
    return lines


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        _name(name)
    return names


Lines = Annotated[Names, AfterValidator(_lines)]
"""Headers as they are written: `Name: value`."""

HeaderNames = Annotated[Names, AfterValidator(_names)]


class HeaderSettings(ForContracts):
    """A table [[edge.headers]]: headers by rule. Tables hold in their order; in each: remove, set, add.

    Args:
        topics: patterns of the topics of contracts that it is for, `*` is any text.
        paths: the same for path templates, like `/orders/*`. Neither given is every answer.
        remove: names of headers that answers do not have. No rule is for `Strict-Transport-Security` where
            `edge.tls.hsts` says it.
        set: headers of answers, as `Name: value`, in place of what was there. Values may name `${caller}`,
            `${caller.issuer}`, `${caller.tenant}`, `${client.address}`, `${method}`, `${path.NAME}` (a variable),
            `${request.id}`, `${timestamp}` and `${topic}`; without such a value there is no such header.
        add: headers of answers, beside what was there.
        request_remove: headers that contracts read, and do not get from clients.
        request_set: headers that contracts read, as `Name: value`, in place of what the client sent.
    """

    remove: HeaderNames = ()
    set: Lines = ()
    add: Lines = ()
    request_remove: HeaderNames = ()
    request_set: Lines = ()

    @property
    def of_answers(self) -> frozenset[str]:
        """The headers of answers that it touches, in lower case."""
        return frozenset(map(str.lower, (*self.remove, *(_split(line)[0] for line in (*self.set, *self.add)))))

    @property
    def lets_caches_keep(self) -> bool:
        """Whether it says anything of how long answers may be kept."""
        return not _CACHING.isdisjoint(self.of_answers)


def rule_faults(tables: Sequence[HeaderSettings], calls: Iterable[AnyCall]) -> Iterator[str]:
    """What is wrong with rules for these contracts, in a line each."""
    known = list(calls)
    for number, table in enumerate(tables):
        key = f"edge.headers.{number}"
        covered = [call for call in known if table.covers(call)]
        read = {name for call in covered for name in headers_read(call)}
        unrouted = [None] if table.everywhere else []
        for line in (*table.set, *table.add):
            yield from islice(_template_faults(key, line, [*covered, *unrouted]), 1)
        for line in table.request_set:
            yield from islice(_template_faults(key, line, covered), 1)
        for name in (*table.request_remove, *(_split(line)[0] for line in table.request_set)):
            if known and name.lower() not in read:
                yield f"{key}: no contract that it covers reads the header {name}"


def _template_faults(key: str, line: str, calls: Iterable[AnyCall | None]) -> Iterator[str]:
    name, value = _split(line)
    for call in calls:
        try:
            Template(value, request_values(call))
        except TemplateError as error:
            yield f"{key}: {name}: {error} ({'where there is no contract' if call is None else call.topic})"


class ResponseHeaders:
    """The headers that are on every answer of a contract, by standard and by rules.

    Args:
        standard: those that are on every answer.
        tables: the rules that hold here.
        call: the contract; None: where none was found.
        errors: of failures: no rule makes those last in a cache.
    """

    def __init__(
        self,
        standard: Iterable[tuple[str, str]],
        tables: Iterable[HeaderSettings],
        call: AnyCall | None,
        *,
        errors: bool,
    ) -> None:
        values = request_values(call)
        kept = _CACHING if errors else frozenset()
        found: list[tuple[str, Template[Exchange]]] = [(name, Template(value, {})) for name, value in standard]
        for table in tables:
            dropped = {name.lower() for name in (*table.remove, *(_split(line)[0] for line in table.set))} - kept
            found = [pair for pair in found if pair[0].lower() not in dropped]
            for line in (*table.set, *table.add):
                name, value = _split(line)
                if name.lower() not in kept:
                    found.append((name, Template(value, values, escape=_escape)))
        constant = ((name, each.constant) for name, each in found)
        self.fixed = header_block((name, value) for name, value in constant if value is not None)
        self._varying = [(name, each) for name, each in found if each.constant is None]

    @property
    def varies(self) -> bool:
        """Whether some of them depend on the request."""
        return bool(self._varying)

    def varying(self, exchange: Exchange) -> bytes:
        """Those that depend on the request."""
        rendered = ((name, template.render(exchange)) for name, template in self._varying)
        return header_block((name, value) for name, value in rendered if value is not None)


def _escape(value: str) -> str:
    return quote(value, safe=_SAFE, errors="surrogatepass")


def _as_it_is(value: str) -> str:
    return value


def request_rules(tables: Iterable[HeaderSettings], call: AnyCall) -> Step | None:
    """The step that gives a contract the headers that rules say, in place of the client's; None where no rule does."""
    read = headers_read(call)
    lists = {
        marker.name.lower() for marker, field in request_fields(call).header.values() if holds_many(field.annotation)
    }
    values = request_values(call)
    changes: dict[bytes, Template[Exchange] | None] = {}
    for table in tables:
        if not table.covers(call):
            continue
        changes |= {name.lower().encode(): None for name in table.request_remove if name.lower() in read}
        for name, value in map(_split, table.request_set):
            if name.lower() in read:
                escape = _escape if name.lower() in lists else _as_it_is  # a comma would make two values of one
                changes[name.lower().encode()] = Template(value, values, escape=escape)
    if not changes:
        return None

    def step(exchange: Exchange) -> None:
        headers = exchange.head.headers
        for name, template in changes.items():
            value = None if template is None else template.render(exchange)
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value.encode("utf-8", "surrogatepass")

    return step


def headers_read(call: AnyCall) -> set[str]:
    """The headers that a contract reads, in lower case."""
    return {marker.name.lower() for marker, _ in request_fields(call).header.values()}

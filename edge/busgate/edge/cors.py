"""CORS (Fetch Standard, 3.2): which pages of other origins may call which contracts and read their answers.

What a browser asks before a call is answered here, without authentication: it sends none. Every answer of a path that
has a table carries the headers, refusals too, or a page could not read why it was refused. An origin that is not
listed gets no header, and its browser keeps the answer from it. CORS protects users of browsers; it lets nobody in.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import Names
from busgate.contracts.catalog import AnyCall
from busgate.contracts.fields import request_fields

from .exchange import Exchange, Step
from .places import ForContracts
from .refusal import FORBIDDEN, Refusal
from .response import Response, header_block, is_header_name

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_DEFAULT_PORT = re.compile(r"http://[^/]*:80|https://[^/]*:443")
_VARY = b"Vary: Origin\r\n"


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if not origins:
        raise ValueError("must not be empty")
    for origin in origins:
        if origin != "*" and (not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin)):
            raise ValueError(f"{origin!r} is not an origin as browsers send it, like https://shop.example")
    if "*" in origins and len(origins) > 1:
        raise ValueError("* stands alone: it is every origin")
    return origins


def _header_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_header_name(name) or name == "*":
            raise ValueError(f"{name!r} is not the name of a header")
    return names


HeaderNames = Annotated[Names, AfterValidator(_header_names)]


class CorsSettings(ForContracts):
    """A table [[edge.cors]]: pages of which origins may call some contracts. The first table that covers one holds.

    Args:
        topics: patterns of the topics of contracts that it is for, `*` is any text.
        paths: the same for path templates, like `/orders/*`. Neither given is all contracts.
        origins: exact ones, like https://shop.example, or `*` for all.
        credentials: pages may send cookies and certificates of their user; never with `*`.
        headers: that pages may send, beside those that the contracts read.
        exposed: headers of answers that pages may read.
        max_age: seconds that a browser may keep the answer to its question.
    """

    origins: Annotated[Names, AfterValidator(_origins)]
    credentials: bool = False
    headers: HeaderNames = ("Authorization", "Content-Type", "Prefer")
    exposed: HeaderNames = ("Location", "Retry-After", "X-Request-Id")
    max_age: int = Field(600, ge=0, le=86_400)

    @model_validator(mode="after")
    def _no_credentials_for_all(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise ValueError("credentials are for named origins: with * every page could act for its visitors")
        return self


class CorsPolicy:
    """One table with the contracts that it covers.

    Args:
        settings: the table.
        calls: the contracts.
    """

    def __init__(self, settings: CorsSettings, calls: Iterable[AnyCall]) -> None:
        read = {marker.name for call in calls for marker, _ in request_fields(call).header.values()}
        self._settings = settings
        self._headers = ", ".join(dict.fromkeys([*settings.headers, *sorted(read)]))
        self._all = settings.origins == ("*",)
        self._vary = b"" if self._all else _VARY
        self._granted = {origin.encode(): self._grant(origin) for origin in settings.origins}

    def block(self, origin: bytes | None) -> bytes:
        """The headers of an answer to a request from this origin; None: it names none."""
        if self._all:  # without an origin too: a cache may give the answer to a page later
            return self._granted[b"*"]
        return self._vary if origin is None else self._granted.get(origin, self._vary)

    def allows(self, origin: bytes) -> bool:
        return self._all or origin in self._granted

    def allows_credentials(self, origin: bytes) -> bool:
        """Whether pages of an origin may send what their browser knows of its user."""
        return self._settings.credentials and origin in self._granted

    def preflight(self, methods: Sequence[str]) -> Response:
        """The answer to an allowed origin that asks what it may do; `block` is still to be added."""
        headers = [
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Allow-Headers", self._headers),
            ("Access-Control-Max-Age", str(self._settings.max_age)),
        ]
        return Response(204, headers=header_block([pair for pair in headers if pair[1]]))

    def _grant(self, origin: str) -> bytes:
        headers = [("Access-Control-Allow-Origin", origin)]
        if self._settings.credentials:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        if self._settings.exposed:
            headers.append(("Access-Control-Expose-Headers", ", ".join(self._settings.exposed)))
        return header_block(headers) + self._vary


class Cors:
    """All tables, worked out for the contracts of an edge."""

    def __init__(self, tables: Sequence[CorsSettings], calls: Iterable[AnyCall]) -> None:
        self._tables = tables
        covered: dict[int, list[AnyCall]] = {number: [] for number in range(len(tables))}
        numbers: dict[str, int] = {}
        for call in calls:
            number = next((number for number, table in enumerate(tables) if table.covers(call)), None)
            if number is not None:
                covered[number].append(call)
                numbers[call.topic] = number
        self._policies = [CorsPolicy(table, covered[number]) for number, table in enumerate(tables)]
        self._by_topic: Mapping[str, CorsPolicy] = {topic: self._policies[number] for topic, number in numbers.items()}

    def of(self, topic: str) -> CorsPolicy | None:
        """What holds for a contract."""
        return self._by_topic.get(topic)

    def preflight(self, headers: Mapping[bytes, bytes], topics: Mapping[str, str]) -> tuple[CorsPolicy, Step] | None:
        """What holds for a page that asks (Fetch Standard, 4.8), and the step that answers it; None: it does not ask.

        Args:
            headers: of the request.
            topics: of the contracts at its path, by method.
        """
        origin, asked = headers.get(b"origin"), headers.get(b"access-control-request-method")
        if origin is None or asked is None:
            return None
        policies = {method: self.of(topic) for method, topic in topics.items()}
        method = "GET" if asked == b"HEAD" else asked.decode("latin-1")
        # One that no contract has is answered by any: the browser sees the 405. One whose contract has no table is not:
        # a GET or POST that was allowed its headers is sent, whatever methods the answer lists.
        policy = policies[method] if method in policies else next(filter(None, policies.values()), None)
        if policy is None:
            return None
        methods = sorted(method for method, each in policies.items() if each is policy)

        def step(exchange: Exchange) -> None:
            if not policy.allows(origin):
                raise Refusal(FORBIDDEN, "pages of this origin may not call this path")
            exchange.response = policy.preflight(methods)

        return policy, step

    def of_path(self, path: str) -> CorsPolicy | None:
        """What holds for a path that no contract was found for."""
        found = zip(self._tables, self._policies, strict=True)
        return next((policy for table, policy in found if table.covers_path(path)), None)

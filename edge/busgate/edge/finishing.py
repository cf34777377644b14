"""What is done to every answer of a contract before it is sent: headers by rule, headers for pages of other origins.

Worked out once, at start. An edge without such rules has none of it.
"""

from collections.abc import Iterator, Mapping, Sequence

from busgate.contracts import Catalog
from busgate.contracts.catalog import AnyCall

from .cors import Cors, CorsPolicy
from .exchange import Exchange, Finish, Step
from .front_door import Head
from .header_rules import HeaderSettings, ResponseHeaders, headers_read
from .response import Response
from .settings import EdgeSettings


class Finishing:
    """The finishing of an edge.

    Attributes:
        standard: the headers of every answer that no rule of a contract changes.
        unrouted: what is done where no contract was found; None: nothing.
    """

    def __init__(self, settings: EdgeSettings, catalog: Catalog) -> None:
        self.cors = Cors(settings.cors, catalog) if settings.cors else None
        self._rules = settings.headers
        self._credentials = set(_credentials(settings))
        self._standard = settings.security_headers.headers()
        everywhere = self._headers([table for table in self._rules if table.everywhere], None, errors=True)
        self.standard = everywhere.fixed
        self.unrouted: Finish | None = None
        if everywhere.varies or self.cors is not None:
            self.unrouted = self._unrouted(everywhere)

    def of(self, call: AnyCall, *, more: Sequence[tuple[str, str]] = ()) -> Finish | None:
        """What is done to answers of a contract, which have `more` headers; None: nothing."""
        tables = [table for table in self._rules if table.covers(call)]
        replies = self._headers(tables, call, errors=False, more=[*more, *self._varies(call, tables)])
        errors = self._headers(tables, call, errors=True, more=more)
        policy = None if self.cors is None else self.cors.of(call.topic)
        if replies.fixed == errors.fixed == self.standard and not replies.varies and policy is None:
            return None
        return _finish(replies, errors, policy)

    def preflight(self, head: Head, topics: Mapping[str, str]) -> tuple[Step, Finish] | None:
        """How a request OPTIONS is answered that asks what pages of an origin may do; None: it is none, or of no table.

        `topics` are those of the contracts at its path, by method.
        """
        found = None if self.cors is None else self.cors.preflight(head.headers, topics)
        if found is None:
            return None
        policy, answer = found

        def finish(exchange: Exchange, response: Response) -> None:
            response.headers += policy.block(_origin(exchange))

        return answer, finish

    def _varies(self, call: AnyCall, tables: Sequence[HeaderSettings]) -> list[tuple[str, str]]:
        """What a cache that may keep replies must look at: it knows of no key but Authorization, and of no tenant."""
        names = headers_read(call) | (set() if call.public else self._credentials)
        if not names or not any(table.lets_caches_keep for table in tables):
            return []
        return [("Vary", ", ".join(sorted(names)))]

    def _headers(
        self,
        tables: Sequence[HeaderSettings],
        call: AnyCall | None,
        *,
        errors: bool,
        more: Sequence[tuple[str, str]] = (),
    ) -> ResponseHeaders:
        return ResponseHeaders([*self._standard, *more], tables, call, errors=errors)

    def _unrouted(self, headers: ResponseHeaders) -> Finish:
        def finish(exchange: Exchange, response: Response) -> None:
            policy = None if self.cors is None else self.cors.of_path(_path(exchange))
            _finish(headers, headers, policy)(exchange, response)

        return finish


def _finish(replies: ResponseHeaders, errors: ResponseHeaders, policy: CorsPolicy | None) -> Finish:
    def finish(exchange: Exchange, response: Response) -> None:
        headers = replies if response.status < 400 else errors
        response.fixed = headers.fixed
        if headers.varies:
            response.headers += headers.varying(exchange)
        if policy is not None:
            response.headers += policy.block(_origin(exchange))

    return finish


def _credentials(settings: EdgeSettings) -> Iterator[str]:
    """The headers by which callers are known, in lower case."""
    yield "authorization"
    if settings.api_keys.file is not None:
        yield settings.api_keys.header.lower()
    if settings.pre_call is not None:
        yield from settings.pre_call.headers
    if settings.signature.keys:
        yield "signature"


def _origin(exchange: Exchange) -> bytes | None:
    """As it was sent: of what the front door refused nothing else is known. Two are none."""
    values = exchange.request.message.headers.getall("Origin", ())
    return values[0].encode("utf-8", "surrogateescape") if len(values) == 1 else None


def _path(exchange: Exchange) -> str:
    head = getattr(exchange, "head", None)
    return exchange.request.message.path.partition("?")[0] if head is None else str(head.path)

"""The paths of requests as records and traces show them: what a contract marks as secret in its path is masked."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from busgate.contracts import Catalog
from busgate.contracts.http import segments_of
from busgate.contracts.secret import MASK, secret_paths

from .exchange import Exchange

_PLAIN = "!$&'()*+,;=:@~"
_SEGMENT = re.compile("[^/]+")


class ShownPaths:
    """Those of one edge. A path without secrets is shown as it was sent, without its query."""

    def __init__(self, catalog: Catalog) -> None:
        self._secret: dict[str, frozenset[int]] = {}
        self._before: list[Sequence[str]] = []  # the segments before each first secret; empty: a variable
        for call in catalog:
            secret = secret_paths(call.request)
            segments = segments_of(call.http.path)
            places = [place for place, (_, name) in enumerate(segments, 1) if name in secret]
            if places:
                self._secret[call.topic] = frozenset(places)
                self._before.append([literal.casefold() for literal, _ in segments[: places[0] - 1]])

    def of(self, exchange: Exchange) -> str:
        """The path of a request."""
        secret = self._secret.get(exchange.topic)
        if secret is None:
            path = exchange.request.message.path
            return path.partition("?")[0] if exchange.topic else self.unrouted(path)
        segments = enumerate(exchange.head.path.split("/"))
        return "/".join(MASK if place in secret else quote(segment, safe=_PLAIN) for place, segment in segments)

    def unrouted(self, target: str) -> str:
        """The path of a request for which no contract was found: of another method, below a prefix, or mistyped.

        What follows where a contract has a secret may be one all the same, and is masked.
        """
        path = target.partition("?")[0]
        segments = list(_SEGMENT.finditer(path)) if self._before else []
        plain = [unquote(segment[0]).casefold() for segment in segments]
        found = [
            segments[start + len(before)].start()
            for before in self._before
            for start in range(len(plain) - len(before))
            if all(not literal or literal == plain[start + place] for place, literal in enumerate(before))
        ]
        return path[: min(found)] + MASK if found else path

"""The paths of requests as records and traces show them: what a contract marks as secret in its path is masked."""

from urllib.parse import quote

from busgate.contracts import Catalog
from busgate.contracts.http import segments_of
from busgate.contracts.secret import MASK, secret_paths

from .exchange import Exchange

_PLAIN = "!$&'()*+,;=:@~"


class ShownPaths:
    """Those of one edge. A path without secrets, or of no contract, is shown as it was sent, without its query."""

    def __init__(self, catalog: Catalog) -> None:
        self._secret: dict[str, frozenset[int]] = {}
        for call in catalog:
            secret = secret_paths(call.request)
            places = [place for place, (_, name) in enumerate(segments_of(call.http.path), 1) if name in secret]
            if places:
                self._secret[call.topic] = frozenset(places)

    def of(self, exchange: Exchange) -> str:
        """The path of a request."""
        secret = self._secret.get(exchange.topic)
        if secret is None:
            return exchange.request.message.path.partition("?")[0]
        segments = enumerate(exchange.head.path.split("/"))
        return "/".join(MASK if place in secret else quote(segment, safe=_PLAIN) for place, segment in segments)

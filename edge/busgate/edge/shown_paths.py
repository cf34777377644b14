"""The paths of requests as records and traces show them: what a contract marks as secret in its path is masked."""

import re
from collections.abc import Collection
from urllib.parse import quote, unquote

from busgate.contracts import Catalog
from busgate.contracts.http import segments_of
from busgate.contracts.secret import MASK, secret_paths

from .exchange import Exchange

CUT = 200
"""Characters that are looked at, and shown, of a path that nobody serves: anybody may send one of 8 kB."""

_PLAIN = "!$&'()*+,;=:@~"
_SEGMENT = re.compile(r"(?:(?!%2[Ff]|%5[Cc])[^/\\])+")
"""Between all that somebody on the way may take for a slash."""
_WORD_ENDS = re.compile(r"[;:,?#\x00-\x20]")
_USER = re.compile(r"[^/]*(?://)?[^/]*@")
"""All before the host of a target that is a URL with a name and a password in it."""


class ShownPaths:
    """Those of one edge. A path without secrets is shown as it was sent, without its query.

    Args:
        catalog: what it serves.
        files: the paths of what it serves beside that.
    """

    def __init__(self, catalog: Catalog, *, files: Collection[str] = ()) -> None:
        self._files = frozenset(files)
        self._secret: dict[str, frozenset[int]] = {}
        self._before: set[str] = set()  # the literals after which a secret comes
        self._anywhere = False
        for call in catalog:
            secret = secret_paths(call.request)
            segments = segments_of(call.http.path)
            places = [place for place, (_, name) in enumerate(segments, 1) if name in secret]
            if places:
                self._secret[call.topic] = frozenset(places)
                literals = [literal.casefold() for literal, _ in segments[: places[0]] if literal]
                self._before.update(literals[-1:])
                self._anywhere |= not literals

    def of(self, exchange: Exchange) -> str:
        """The path of a request."""
        secret = self._secret.get(exchange.topic)
        if secret is None:
            target = exchange.request.message.path
            path = target.partition("?")[0]
            return path if exchange.topic or path in self._files else self.unserved(target)
        segments = enumerate(exchange.head.path.split("/"))
        return "/".join(MASK if place in secret else quote(segment, safe=_PLAIN) for place, segment in segments)

    def unserved(self, target: str) -> str:
        """The path of a request that found no contract: refused at once, of another method, below a prefix.

        What follows a literal that stands before a secret in some contract may be that secret, and is masked: the
        rest of such a path says nothing. Without such a literal (`/{token}`) no such path does. A literal that
        was mistyped is not known again.
        """
        path = target[:CUT].partition("?")[0]
        if "@" in path and (user := _USER.match(path)):
            path = path[user.end() :]
        if self._anywhere:
            return f"/{MASK}"
        for segment in _SEGMENT.finditer(path) if self._before else ():
            word = _word(segment[0])
            if word in self._before:
                shown = segment.end() if word == segment[0].casefold() else segment.start()
                return f"{path[:shown].rstrip('/')}/{MASK}" if path[shown:].strip("/") else path
        return path


def _word(segment: str) -> str:
    """What a segment begins with, as one would read it who decodes once more than is right."""
    text = unquote(unquote(segment)) if "%" in segment else segment
    return _WORD_ENDS.split(text.strip().casefold(), maxsplit=1)[0]

"""What a signature covers, and from a request to the text that was signed (RFC 9421, 2.5).

A list of components is the same in all requests of a client, so it is judged once and then remembered.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from busgate.edge.exchange import Exchange
from busgate.edge.target import origin_form
from busgate.edge.verified import CredentialRefused

_NAMES = re.compile(r'"([^"]+)"')
_TARGET = frozenset({"@authority", "@path", "@query"})


class Origin:
    """Scheme and authority of what clients call.

    Args:
        url: as in `https://api.shop.example`; None: as each request says itself.
    """

    def __init__(self, url: str | None = None) -> None:
        scheme, _, authority = (url or "").partition("://")
        self._scheme = scheme.encode()
        self._authority = _normal(authority.encode(), self._scheme)

    def scheme(self, exchange: Exchange) -> bytes:
        if self._scheme:
            return self._scheme
        transport = exchange.request.origin.transport
        return b"http" if transport is None or transport.get_extra_info("sslcontext") is None else b"https"

    def authority(self, exchange: Exchange) -> bytes:
        if self._authority:
            return self._authority
        host = exchange.head.headers[b"host"]
        return _normal(host, self.scheme(exchange) if host.endswith((b":80", b":443")) else b"")


Component = Callable[[Exchange, Origin], bytes]
"""Takes one component out of a request."""


class Coverage:
    """A list of components that may be signed.

    Attributes:
        names: of the components.
        digest: whether the body is among them.
    """

    __slots__ = ("_parts", "digest", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self._parts = [(f'"{name}": '.encode(), _component(name)) for name in names]
        self.names = frozenset(names)
        self.digest = "content-digest" in self.names

    def base(self, exchange: Exchange, origin: Origin, parameters: str) -> bytes:
        """The text that was signed.

        Raises:
            CredentialRefused: a component is not in the request, or not ASCII.
        """
        lines = [label + component(exchange, origin) for label, component in self._parts]
        lines.append(f'"@signature-params": {parameters}'.encode("latin-1"))
        base = b"\n".join(lines)
        if not base.isascii():
            raise CredentialRefused("a component is not ASCII")
        return base


def read_coverage(text: str, required: frozenset[str]) -> Coverage:
    """Judge a list of components, as `fields` has read it.

    Args:
        text: like `("@method" "@target-uri")`.
        required: what must be there beside method and target.

    Raises:
        CredentialRefused: one stands twice or is not known, or one is missing.
    """
    names = _NAMES.findall(text)
    covered = frozenset(names)
    if len(covered) != len(names):
        raise CredentialRefused("a component stands twice")
    if "@method" not in covered or ("@target-uri" not in covered and not covered >= _TARGET):
        raise CredentialRefused("method and target are not covered")
    if not covered >= required:
        raise CredentialRefused("a component that must be covered is not")
    return Coverage(names)


def _component(name: str) -> Component:
    if not name.startswith("@"):
        return _header(name.encode())
    try:
        return _DERIVED[name]
    except KeyError:
        raise CredentialRefused("a component is not known") from None


def _header(name: bytes) -> Component:
    def value(exchange: Exchange, _: Origin) -> bytes:
        try:
            return exchange.head.headers[name]
        except KeyError:
            raise CredentialRefused("a header that is covered is not there") from None

    return value


def _method(exchange: Exchange, _: Origin) -> bytes:
    return exchange.request.message.method.encode()


def _target(exchange: Exchange) -> str:
    target = exchange.request.message.path
    return target if target.startswith("/") else origin_form(target, exchange.head.headers[b"host"])


def _path(exchange: Exchange, _: Origin) -> bytes:
    return _target(exchange).partition("?")[0].encode("utf-8", "surrogateescape")


def _query(exchange: Exchange, _: Origin) -> bytes:
    return b"?" + _target(exchange).partition("?")[2].encode("utf-8", "surrogateescape")


def _scheme(exchange: Exchange, origin: Origin) -> bytes:
    return origin.scheme(exchange)


def _authority(exchange: Exchange, origin: Origin) -> bytes:
    return origin.authority(exchange)


def _target_uri(exchange: Exchange, origin: Origin) -> bytes:
    target = _target(exchange).encode("utf-8", "surrogateescape")
    return origin.scheme(exchange) + b"://" + origin.authority(exchange) + target


_DERIVED: dict[str, Component] = {
    "@method": _method,
    "@scheme": _scheme,
    "@authority": _authority,
    "@path": _path,
    "@query": _query,
    "@target-uri": _target_uri,
}
"""Not among them: `@query-param`, which is read in more than one way, and what stands in for it is `@query`."""


@lru_cache(maxsize=256)
def _normal(host: bytes, scheme: bytes) -> bytes:
    """In lower case, without the default port (RFC 9421, 2.2.3)."""
    return host.lower().removesuffix({b"http": b":80", b"https": b":443"}.get(scheme, b"\0"))

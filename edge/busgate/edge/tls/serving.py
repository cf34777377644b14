"""From certificates to what a listener serves: the right one for each name that a client asks for."""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .authorities import Authorities
from .certificate import Certificate
from .context import plain_context

ValueT = TypeVar("ValueT")


def serving(certificates: Sequence[Certificate], clients: Authorities | None) -> ssl.SSLContext:
    """A context that serves all of them.

    Args:
        certificates: the first is for clients that ask for no name, or for one that none has. Of two that have
            one name, the earlier has it.
        clients: who may vouch for clients; None: they are not asked.

    Raises:
        CertificateFault: OpenSSL does not take one of them.
    """
    contexts = [_context(each, clients) for each in certificates]
    first = contexts[0]
    known = by_name(zip(certificates, contexts, strict=True))

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        chosen = find(known, name) if name else None
        if chosen is not None and chosen is not first:
            connection.context = chosen

    first.sni_callback = choose
    return first


def by_name(certificates: Iterable[tuple[Certificate, ValueT]]) -> dict[str, ValueT]:
    """What belongs to the certificate that has a name, for all names."""
    known: dict[str, ValueT] = {}
    for certificate, value in certificates:
        for name in certificate.names:
            known.setdefault(name, value)
    return known


def find(known: Mapping[str, ValueT], name: str) -> ValueT | None:
    """What a name asks for: what has it exactly, else what has it with `*` for its first label (RFC 6125, 6.4.3)."""
    name = name.lower().removesuffix(".")
    exact = known.get(name)
    return exact if exact is not None else known.get(f"*.{name.partition('.')[2]}")


def _context(certificate: Certificate, clients: Authorities | None) -> ssl.SSLContext:
    context = plain_context()
    certificate.load_into(context)
    if clients is not None:
        clients.load_into(context)
    return context

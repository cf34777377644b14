"""Client certificates: as a credential of their own, and as what a token may be bound to (RFC 8705)."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from busgate.contracts import Catalog

from .exchange import Exchange
from .tls.peer import PeerCertificate
from .tls.settings import ClientSettings
from .verified import CredentialRefused, VerifiedCaller


class ClientCertificates:
    """The scheme `certificate`. The handshake has verified the certificate; here its names find the caller.

    A name counts where it is exactly one that is configured. A certificate without such a name is no credential: its
    connection may still be asked for another, or be what a token is bound to.

    Args:
        clients: who is known.
        clock: epoch seconds.
    """

    names = frozenset({"certificate"})
    challenge = ""
    refusal = ""

    def __init__(self, clients: Iterable[ClientSettings], *, clock: Callable[[], float] = time.time) -> None:
        self._callers = {client.san: client.caller() for client in clients}
        self._clock = clock

    def presented(self, exchange: Exchange) -> bool:
        certificate = exchange.request.origin.certificate
        if certificate is None:
            return False
        if certificate.callers is None:
            certificate.callers = self._find(certificate)
        return bool(certificate.callers)

    def verify(self, exchange: Exchange) -> VerifiedCaller:
        certificate = exchange.request.origin.certificate
        assert certificate is not None
        assert certificate.callers
        first, *others = certificate.callers
        if any(each.caller != first.caller for each in others):
            raise CredentialRefused("the names of the certificate belong to different callers")
        if first.expires <= self._clock():  # the handshake may be long ago
            raise CredentialRefused("the certificate has ended")
        return first

    def _find(self, certificate: PeerCertificate) -> tuple[VerifiedCaller, ...]:
        found = (self._callers.get(name) for name in certificate.names)
        return tuple(VerifiedCaller(caller, certificate.ends, "certificate") for caller in found if caller is not None)


def check_binding(caller: VerifiedCaller, exchange: Exchange, clock: Callable[[], float] = time.time) -> None:
    """Refuse a credential that is bound to another certificate than that of its connection, or to one that has ended.

    Args:
        caller: as the credential proves it, however long ago it was verified.
        exchange: the request.
        clock: epoch seconds.

    Raises:
        CredentialRefused: it was taken from whom it was made for, or the edge asks for no client certificates.
    """
    if caller.certificate:
        certificate = exchange.request.origin.certificate
        if certificate is None or certificate.thumbprint != caller.certificate:
            raise CredentialRefused("it is bound to a client certificate that this connection does not have")
        if certificate.ends <= clock():  # the handshake may be long ago
            raise CredentialRefused("the certificate that it is bound to has ended")


def without_certificates(catalog: Catalog) -> Catalog:
    """The contracts for an edge without TLS, on an author's own machine: who takes certificates alone takes tokens."""
    return Catalog(replace(call, schemes=()) if call.schemes == {"certificate"} else call for call in catalog)

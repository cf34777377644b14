"""What certificates an edge has in its files, and what it serves: the two differ when a renewal went wrong."""

import hashlib
import math
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict

from busgate.bus.tables import Port, Table
from busgate.edge.tls.authorities import read_authorities
from busgate.edge.tls.certificate import Certificate, read_certificate
from busgate.edge.tls.pem import CertificateFault, when
from busgate.edge.tls.serving import by_name
from busgate.edge.tls.settings import TlsFiles

from .listeners import show

DAY = 24 * 3600
_WAIT = 3.0
"""Seconds for a handshake."""
SOON = 14
"""Days."""
_LOOKS = 3
"""Connections for each process of the edge: the kernel chooses which of them answers."""
_MOST_LOOKS = 24
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


class ServingEdge(Table):
    """What of [edge] says where it is, and which files it serves."""

    model_config = ConfigDict(extra="ignore")

    host: str = "127.0.0.1"
    port: Port = 8080
    processes: int = 1
    tls: TlsFiles | None = None


class CertsProcess(Table):
    """What `certs` reads. Files that are no good are what it is for: they are no fault of the configuration."""

    edge: ServingEdge = ServingEdge()


@dataclass(slots=True)
class Found:
    """A file, and what is served of it.

    Attributes:
        kind: `server`, `client-ca` or `client-crl`.
        names: of a server: the hosts; of authorities: who they are.
        ends: epoch seconds; None: it cannot be read.
        fault: why it cannot be used.
        served: fingerprints of what connections got instead of or beside it; for a server alone.
        state: `same`, `differs`, `unanswered`, `shadowed` (all its names are another's); empty where nothing is served.
        life: seconds for which it was made.
    """

    kind: str
    file: Path
    names: Sequence[str] = ()
    issuer: str = ""
    ends: float | None = None
    fingerprint: str = ""
    fault: str | None = None
    served: list[str] = field(default_factory=list)
    state: str = ""
    life: float = math.inf

    def troubles(self, now: float, *, within: int | None = None) -> Iterator[str]:
        """What an operator should do something about.

        Soon is within so many days; a quarter of its life where nothing is said, but not more than 14 days. For a list,
        which is made anew again and again, that quarter is always the bound.
        """
        days = SOON if within is None else within
        quarter = self.life / 4 if within is None or self.kind == "client-crl" else math.inf
        if self.fault is not None:
            yield self.fault
        elif self.ends is not None and now > self.ends:
            yield f"{self.file} ended {when(self.ends)}"
        elif self.ends is not None and self.ends - now < min(days * DAY, quarter):
            bound = f"{days} days" if days * DAY < quarter else "a quarter of its life"
            yield f"{self.file} ends {when(self.ends)}, in less than {bound}"
        if self.state == "differs":
            yield f"{self.file}: the edge serves another certificate than stands there; its log says why"


def look(edge: ServingEdge) -> tuple[list[Found], str | None]:
    """Read all files, and ask the edge for each; with why it could not be asked."""
    assert edge.tls is not None
    certificates = [_read(each.cert, each.key) for each in edge.tls.certificates]
    good = [(certificate, number) for number, (_, certificate) in enumerate(certificates) if certificate is not None]
    owners = by_name(good)
    trouble: str | None = None
    for number, (found, certificate) in enumerate(certificates):
        own = [name for name in certificate.names if owners[name] == number] if certificate is not None else []
        if number and certificate is not None and not own:
            found.state = "shadowed"
            continue
        if number and not own:
            continue  # nobody knows which name to ask for
        served = _ask(edge, _askable(own[0]) if number else None)
        if isinstance(served, str):
            found.state, trouble = "unanswered", served
        else:
            found.served = sorted(served)
            found.state = "same" if served == {found.fingerprint} else "differs"
    return [found for found, _ in certificates] + list(_of_clients(edge.tls)), trouble


def address_of(edge: ServingEdge) -> str:
    """Where the edge is asked."""
    return show((_EVERYWHERE.get(edge.host, edge.host), edge.port))


def _read(cert: Path, key: Path) -> tuple[Found, Certificate | None]:
    try:
        read = read_certificate(cert, key)
    except CertificateFault as error:
        return Found("server", cert, fault=str(error)), None
    fault = read.trouble(time.time())
    return Found("server", cert, read.names, read.issuer, read.ends, read.fingerprint, fault, life=read.life), read


def _of_clients(files: TlsFiles) -> Iterator[Found]:
    if files.client_ca is None:
        return
    try:
        read = read_authorities(files.client_ca, files.client_crl, required=False)
    except CertificateFault as error:
        yield Found("client-ca", files.client_ca, fault=str(error))
        return
    fault = read.trouble(time.time())
    yield Found("client-ca", files.client_ca, read.names, ends=read.ends, fault=fault, life=read.life)
    if files.client_crl is not None:
        ends = read.lists_end
        yield Found("client-crl", files.client_crl, ends=None if ends == math.inf else ends, life=read.lists_life)


def _askable(name: str) -> str:
    return f"any{name[1:]}" if name.startswith("*.") else name


def _ask(edge: ServingEdge, name: str | None) -> set[str] | str:
    """Fingerprints of what is served for a name, by all processes that were met; or why that is not known."""
    host = _EVERYWHERE.get(edge.host, edge.host)
    looks = 1 if edge.processes == 1 else min(edge.processes * _LOOKS, _MOST_LOOKS)
    try:
        return {_served((host, edge.port), name) for _ in range(looks)}
    except ssl.SSLError as error:
        return f"what answers at {address_of(edge)} speaks no TLS 1.3 ({error.reason or error})"
    except OSError as error:
        return f"no edge answers at {address_of(edge)} ({error.strerror or error})"


def _served(address: tuple[str, int], name: str | None) -> str:
    """Of TLS 1.3, where a client sees the certificate whether it may come in or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(address, timeout=_WAIT) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        certificate = client.getpeercert(binary_form=True)
    return hashlib.sha256(certificate or b"").hexdigest()

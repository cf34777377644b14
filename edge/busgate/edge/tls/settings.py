"""The table [edge.tls]: which certificates are served, which clients must or may have some, and who they are."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from busgate.bus.tables import Names, PlacedFile, Table
from busgate.contracts import Caller

from .authorities import Authorities, read_authorities
from .certificate import Certificate, read_certificate
from .pem import CertificateFault

YEAR = 365 * 24 * 3600

_DNS = re.compile(r"DNS:(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_URI = re.compile(r"URI:[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-Z\[\]_a-z~]+")


def _san(text: str) -> str:
    if not _DNS.fullmatch(text) and not _URI.fullmatch(text):
        raise ValueError("must be one whole name, like DNS:billing.shop.example or URI:spiffe://shop.example/billing")
    return text


class CertificateFiles(Table):
    """Where a certificate and its key stand, whether they are any good or not."""

    cert: PlacedFile
    key: PlacedFile


class CertificateSettings(CertificateFiles):
    """A table [[edge.tls.certificates]]: a certificate and its key. Names in it choose it; the first is for all else.

    Args:
        cert: PEM file of the server's certificate, then those that lead to the authority. Looked at again for changes.
        key: PEM file of its private key, unencrypted and not readable by everyone. Looked at again with `cert`.
    """

    def load(self) -> Certificate:
        """Read both anew. Raises CertificateFault."""
        return read_certificate(self.cert, self.key)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.load()
        return self


class ClientSettings(Table):
    """A table [[edge.tls.clients]]: a caller who proves who it is by a client certificate.

    Args:
        san: a name in the certificate's subjectAltName, whole and exact: `DNS:billing.shop.example` or
            `URI:spiffe://shop.example/billing`.
        subject: of the caller.
        issuer: of the caller; that of its tokens, where it may present both.
        scopes: what the caller may do.
        roles: what the caller is.
        tenant: on whose behalf it acts.
    """

    san: Annotated[str, AfterValidator(_san)]
    subject: str = Field(min_length=1, max_length=256)
    issuer: str = ""
    scopes: Names = ()
    roles: Names = ()
    tenant: str = ""

    def caller(self) -> Caller:
        return Caller(
            self.subject,
            self.issuer,
            frozenset(self.scopes),
            roles=frozenset(self.roles),
            tenant=self.tenant,
        )

    @model_validator(mode="after")
    def _travels(self) -> Self:
        self.caller().to_json()
        return self


class TlsFiles(Table):
    """The files of [edge.tls], whether they are any good or not."""

    model_config = ConfigDict(extra="ignore")

    certificates: tuple[CertificateFiles, ...]
    client_ca: PlacedFile | None = None
    client_crl: PlacedFile | None = None


class EdgeTlsSettings(Table):
    """The table [edge.tls]: the edge speaks TLS 1.2 and 1.3, and nothing else on its port.

    Args:
        certificates: which are served: tables [[edge.tls.certificates]].
        client_ca: PEM file of the authorities that may vouch for clients; without it, clients are not asked for
            certificates. Looked at again for changes.
        client_crl: PEM file of the revocation lists of those authorities. Looked at again for changes.
        client_required: refuse clients without a certificate in the handshake; else they may have one.
        clients: callers by certificate: tables [[edge.tls.clients]].
        handshake: seconds for a handshake.
        look: seconds between two looks at the files.
        hsts: seconds for which browsers must come back by https (Strict-Transport-Security); 0: it is not sent.
        hsts_subdomains: the same for all hosts below.
    """

    certificates: tuple[CertificateSettings, ...]
    client_ca: PlacedFile | None = None
    client_crl: PlacedFile | None = None
    client_required: bool = False
    clients: tuple[ClientSettings, ...] = ()
    handshake: float = Field(5.0, gt=0, le=60)
    look: float = Field(5.0, ge=0.05, le=3600)
    hsts: int = Field(YEAR, ge=0, le=10 * YEAR)
    hsts_subdomains: bool = False

    @field_validator("client_ca")
    @classmethod
    def _authorities(cls, file: Path | None) -> Path | None:
        if file is not None:
            read_authorities(file, None, required=False)
        return file

    @field_validator("client_crl")
    @classmethod
    def _lists(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        client_ca = info.data.get("client_ca")
        if file is not None and client_ca is not None:
            read_authorities(client_ca, file, required=False)
        return file

    def load_authorities(self) -> Authorities:
        """Read those of clients anew, where there are any. Raises CertificateFault."""
        assert self.client_ca is not None
        return read_authorities(self.client_ca, self.client_crl, required=self.client_required)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What every answer says."""
        if not self.hsts:
            return ()
        return (("Strict-Transport-Security", f"max-age={self.hsts}{'; includeSubDomains' * self.hsts_subdomains}"),)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.certificates:
            raise CertificateFault("there is no certificate: add [[edge.tls.certificates]]")
        if self.client_ca is None:
            for name in ("client_crl", "client_required", "clients"):
                if getattr(self, name):
                    raise CertificateFault(f"{name} needs client_ca: who may vouch for clients")
        sans = [client.san for client in self.clients]
        if len(set(sans)) != len(sans):
            raise ValueError("two tables of clients have one san")
        return self

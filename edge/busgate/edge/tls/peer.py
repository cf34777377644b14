"""The certificate of a client, as the handshake left it: verified, so that what it says can be believed."""

import base64
import hashlib

from cryptography import x509

from busgate.edge.verified import VerifiedCaller


class PeerCertificate:
    """A client's certificate. What stands in it is read when somebody asks: once for a connection.

    Args:
        der: the certificate.

    Attributes:
        callers: who it is good for; None: nobody has looked yet.
    """

    __slots__ = ("_thumbprint", "callers", "der")

    def __init__(self, der: bytes) -> None:
        self.der = der
        self.callers: tuple[VerifiedCaller, ...] | None = None
        self._thumbprint = ""

    @property
    def thumbprint(self) -> str:
        """As tokens name it that are bound to it: `x5t#S256` (RFC 8705, 3.1)."""
        if not self._thumbprint:
            digest = hashlib.sha256(self.der).digest()
            self._thumbprint = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self._thumbprint

    def read(self) -> tuple[list[str], float]:
        """Its names, as `DNS:...` and `URI:...`, and when it ends (epoch seconds).

        Raises:
            ValueError: it cannot be read. OpenSSL takes what is not quite right.
        """
        certificate = x509.load_der_x509_certificate(self.der)
        try:
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return [], certificate.not_valid_after_utc.timestamp()
        names = [f"DNS:{name.lower()}" for name in san.get_values_for_type(x509.DNSName)]
        names += [f"URI:{name}" for name in san.get_values_for_type(x509.UniformResourceIdentifier)]
        return names, certificate.not_valid_after_utc.timestamp()

"""The certificate of a client, as the handshake left it: verified, so that what it says can be believed."""

import base64
import hashlib
from functools import cached_property

from cryptography import x509

from busgate.edge.verified import VerifiedCaller


class PeerCertificate:
    """A client's certificate. What stands in it is read when somebody asks: once for a connection.

    Args:
        der: the certificate.

    Attributes:
        callers: who it is good for; None: nobody has looked yet.
    """

    def __init__(self, der: bytes) -> None:
        self.der = der
        self.callers: tuple[VerifiedCaller, ...] | None = None

    @cached_property
    def thumbprint(self) -> str:
        """As tokens name it that are bound to it: `x5t#S256` (RFC 8705, 3.1)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.der).digest()).rstrip(b"=").decode()

    @property
    def names(self) -> tuple[str, ...]:
        """As `DNS:...` and `URI:...`."""
        return self._read[0]

    @property
    def ends(self) -> float:
        """Epoch seconds. One that cannot be read has ended: OpenSSL takes what is not quite right."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[tuple[str, ...], float]:
        try:
            certificate = x509.load_der_x509_certificate(self.der)
            ends = certificate.not_valid_after_utc.timestamp()
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return (), ends
        except ValueError:
            return (), 0.0
        names = [f"DNS:{name.lower()}" for name in san.get_values_for_type(x509.DNSName)]
        names += [f"URI:{name}" for name in san.get_values_for_type(x509.UniformResourceIdentifier)]
        return tuple(names), ends

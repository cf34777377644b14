"""A certificate of ours with its key: read from two files, and judged before anybody uses it."""

import ssl
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from .context import plain_context
from .handshake import served_in_memory
from .pem import CertificateFault, as_file, certificates_in, first_end, read, when

SMALLEST_RSA = 2048
"""Bits; OpenSSL would refuse smaller ones too."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, its chain and its key, as two files held them when they were read.

    Attributes:
        file: where the certificate stands.
        names: for which host names it is, in lower case, `*.shop.example` among them; addresses stand beside them.
        issuer: who vouches for it, as one line.
        begins: epoch seconds.
        ends: epoch seconds: of it or of the first of its chain to end.
        life: seconds for which that one was made.
        fingerprint: SHA-256 of the certificate, in hex.
    """

    file: Path
    names: tuple[str, ...]
    issuer: str
    begins: float
    ends: float
    life: float
    fingerprint: str
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def trouble(self, now: float) -> str | None:
        """Why it is not good at this time (epoch seconds); None: it is."""
        if now < self.begins:
            return f"{self.file} is not good before {when(self.begins)}"
        if now > self.ends:
            return f"{self.file} ended {when(self.ends)}"
        return None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context serve it.

        Raises:
            CertificateFault: OpenSSL does not take it.
        """
        with as_file(self.chain) as chain, as_file(self.key) as key:
            try:
                context.load_cert_chain(chain, key, password=lambda: b"")  # without it OpenSSL asks the terminal
            except ssl.SSLError as error:
                raise CertificateFault(f"{self.file} cannot be served: {_words(error)}") from error


def read_certificate(cert: Path, key: Path) -> Certificate:
    """Read and judge a pair of files: all but the dates, which `trouble` tells.

    Raises:
        CertificateFault: what is wrong, with the name of the file.
    """
    data = read(cert)
    chain = certificates_in(data, cert)
    private = read(key, private=True)
    _check_pair(chain[0], _private_key(private, key), cert=cert, key=key)
    _check_chain(chain, cert)
    found = describe(chain, cert, pem=(data, private))
    context = plain_context()
    found.load_into(context)
    served = served_in_memory(context)
    if served != chain[0].public_bytes(Encoding.DER):
        raise CertificateFault(f"{cert} could not be served in a trial")
    return found


def describe(chain: list[x509.Certificate], file: Path, *, pem: tuple[bytes, bytes]) -> Certificate:
    """What stands in a certificate; `pem` is its chain and its key.

    Raises:
        CertificateFault: it is for no host.
    """
    leaf = chain[0]
    names = names_of(leaf)
    if not names:
        raise CertificateFault(f"{file} names no host: clients look for a subjectAltName, a CN alone does not count")
    return Certificate(
        file,
        names,
        issuer_of(leaf),
        max(each.not_valid_before_utc.timestamp() for each in chain),
        *first_end(chain),
        leaf.fingerprint(hashes.SHA256()).hex(),
        *pem,
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts that a certificate is for."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    return (*names, *(str(address) for address in san.get_values_for_type(x509.IPAddress)))


def issuer_of(certificate: x509.Certificate) -> str:
    """Who signed it: the common name, else all of the name."""
    common = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else certificate.issuer.rfc4514_string()


def _private_key(data: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(data, None)
    except TypeError:
        raise CertificateFault(
            f"{path} is encrypted: keep it unencrypted, readable by busgate alone (openssl pkey -in ... -out ...)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateFault(f"{path} holds no private key in PEM that can be read") from None


def _check_pair(leaf: x509.Certificate, private: PrivateKeyTypes, *, cert: Path, key: Path) -> None:
    match private:
        case rsa.RSAPrivateKey(key_size=bits) if bits < SMALLEST_RSA:
            raise CertificateFault(f"{key} has {bits} bits; RSA needs {SMALLEST_RSA} or more")
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey() | ed25519.Ed25519PrivateKey():
            pass
        case _:
            raise CertificateFault(f"{key} is of no kind that clients take: RSA, ECDSA or Ed25519")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise CertificateFault(f"{key} is not the key of {cert}, or that does not begin with the server's own")


def _check_chain(chain: list[x509.Certificate], file: Path) -> None:
    for number, (below, above) in enumerate(pairwise(chain), start=1):
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise CertificateFault(
                f"{file}: certificate {number} was not issued by certificate {number + 1}: the server's own comes "
                "first, then each its issuer"
            ) from None
    if not _is_for_servers(chain[0]):
        raise CertificateFault(f"{file} is not for servers: its extendedKeyUsage has no serverAuth")


def _is_for_servers(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(usage)


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()

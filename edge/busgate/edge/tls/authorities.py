"""Who may vouch for clients: authorities, and lists of what they took back."""

import math
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .pem import CertificateFault, as_file, certificates_in, first_end, read, when

_BEGIN_CRL = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authorities of client certificates, as their files were when they were read.

    Attributes:
        file: where they stand.
        names: of them.
        ends: epoch seconds, when the first of them ends.
        life: seconds for which that one was made.
        all_end: the same for the last.
        lists_end: the same for the lists of revoked certificates: from then on no client gets in. None: no lists.
        lists_life: seconds for which the one that ends first was made.
        required: whether a client without a certificate is refused.
    """

    file: Path
    names: tuple[str, ...]
    ends: float
    life: float
    all_end: float
    lists_end: float | None
    lists_life: float
    required: bool
    pem: bytes = field(repr=False)
    lists: bytes = field(repr=False)

    def trouble(self, now: float) -> str | None:
        """Why no client gets in at this time (epoch seconds); None: some do."""
        if self.lists_end is not None and now > self.lists_end:
            return f"a revocation list of {self.file} ended {when(self.lists_end)}"
        if now > self.all_end:
            return f"{self.file} ended {when(self.all_end)}"
        return None

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a context ask for client certificates.

        A client that resumes a session is not looked at again. So none is kept but those of TLS 1.2, for five minutes
        and in this context, which ends with the next change of authorities.
        """
        context.verify_mode = ssl.CERT_REQUIRED if self.required else ssl.CERT_OPTIONAL
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        try:
            context.load_verify_locations(cadata=self.pem.decode("ascii"))
            if self.lists:
                with as_file(self.lists) as path:
                    context.load_verify_locations(cafile=path)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise CertificateFault(f"{self.file} or its revocation lists cannot be used") from error


def read_authorities(file: Path, lists: Path | None, *, required: bool) -> Authorities:
    """Read and judge the files: all but the dates.

    Raises:
        CertificateFault: what is wrong, with the name of the file.
    """
    data = read(file)
    found = certificates_in(data, file)
    for number, each in enumerate(found, start=1):
        if not _is_authority(each):
            raise CertificateFault(f"{file}: certificate {number} is not that of an authority (basicConstraints CA)")
    crl = b"" if lists is None else read(lists)
    lists_end, lists_life = (None, math.inf) if lists is None else _end_of(crl, lists, found)
    authorities = Authorities(
        file,
        tuple(each.subject.rfc4514_string() for each in found),
        *first_end(found),
        max(each.not_valid_after_utc.timestamp() for each in found),
        lists_end,
        lists_life,
        required,
        # Only the certificates: what else stands in such files is for people, and may be in any encoding.
        b"".join(each.public_bytes(Encoding.PEM) for each in found),
        crl,
    )
    authorities.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return authorities


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _end_of(data: bytes, path: Path, authorities: list[x509.Certificate]) -> tuple[float, float]:
    """When the first of the lists ends, and how long it was to live.

    Each is signed by one of the authorities, and each of those has one: else all of its certificates are refused, as
    OpenSSL has it. Who only vouches for another authority of the file needs none.
    """
    blocks = [_BEGIN_CRL + rest for rest in data.split(_BEGIN_CRL)[1:]]
    if not blocks:
        raise CertificateFault(f"{path} holds no revocation list in PEM")
    ends, listed = [], []
    for block in blocks:
        try:
            crl = x509.load_pem_x509_crl(block)
        except ValueError:
            raise CertificateFault(f"{path} holds a revocation list that cannot be read") from None
        signers = [each for each in authorities if _signed(crl, each)]
        if not signers:
            raise CertificateFault(f"{path} holds a revocation list of none of the authorities")
        listed += signers
        if crl.next_update_utc is not None:
            end = crl.next_update_utc.timestamp()
            ends.append((end, end - crl.last_update_utc.timestamp()))
    for each in authorities:
        if each not in listed and not any(_vouches(each, other) for other in authorities):
            raise CertificateFault(f"{path} holds no revocation list of {each.subject.rfc4514_string()}: add it")
    return min(ends, default=(math.inf, math.inf))


def _vouches(authority: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether it issued another one."""
    return other != authority and other.issuer == authority.subject


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return crl.issuer == authority.subject and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type] # of another kind: TypeError
    except TypeError:
        return False

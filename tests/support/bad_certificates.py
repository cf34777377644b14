"""Pairs of certificate and key that must not be served, each with the words that say why: rows of data."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import CLIENT, DAY, Authority, Issued, key_pem, write_key

NAME = "shop.example"


@dataclass(frozen=True, slots=True)
class Files:
    """Where the pair stands, and two authorities to make it with: the second is vouched for by the first."""

    cert: Path
    key: Path
    root: Authority
    middle: Authority

    def write(self, cert: bytes, key: bytes, *, mode: int = 0o600) -> None:
        self.cert.write_bytes(cert)
        write_key(self.key, key, mode)

    def write_issued(self, issued: Issued) -> None:
        self.write(issued.pem, issued.key_pem)

    def write_in_part(self, issued: Issued, *, cert: bool = True, key: bool = True) -> None:
        """What is not written is a directory."""
        self.write_issued(issued)
        for path, written in ((self.cert, cert), (self.key, key)):
            if not written:
                path.unlink()
                path.mkdir()


@dataclass(frozen=True, slots=True)
class BadPair:
    """One row.

    Args:
        id: of the case.
        make: writes the files.
        told: words of the fault; `{cert}` and `{key}` are their names.
        at_start: whether it is also refused when nothing better is there.
    """

    id: str
    make: Callable[[Files], object]
    told: str
    at_start: bool = True


def _good(files: Files) -> Issued:
    return files.middle.issue(NAME)


def _truncated(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _write_cut(files: Files, share: float) -> None:
    issued = _good(files)
    files.write(_truncated(issued.pem, share), issued.key_pem)


def _small_key() -> bytes:
    return key_pem(rsa.generate_private_key(65537, 1024))


def _dsa() -> bytes:
    return key_pem(dsa.generate_private_key(2048))  # type: ignore[arg-type] # a kind that nobody serves


BAD_PAIRS = [
    BadPair("no certificate file", lambda f: write_key(f.key, _good(f).key_pem), "there is no file {cert}"),
    BadPair("no key file", lambda f: f.cert.write_bytes(_good(f).pem), "there is no file {key}"),
    BadPair("certificate empty", lambda f: f.write(b"", _good(f).key_pem), "{cert} is empty"),
    BadPair("key empty", lambda f: f.write(_good(f).pem, b"\n"), "{key} is empty"),
    BadPair(
        "certificate is a directory",
        lambda f: f.write_in_part(_good(f), cert=False),
        "{cert} is not a file",
    ),
    BadPair("key is a directory", lambda f: f.write_in_part(_good(f), key=False), "{key} is not a file"),
    BadPair("too long", lambda f: f.write(_good(f).pem + b"#" * 60_000, _good(f).key_pem), "{cert} is longer than"),
    BadPair(
        "DER",
        lambda f: f.write((issued := _good(f)).certificate.public_bytes(Encoding.DER), issued.key_pem),
        "{cert} holds no certificate in PEM",
    ),
    BadPair(
        "PEM of nonsense",
        lambda f: f.write(_good(f).leaf_pem.replace(b"MII", b"AAA", 1), _good(f).key_pem),
        "{cert} holds a certificate that cannot be read",
    ),
    BadPair(
        "key in place of the certificate", lambda f: f.write(_good(f).key_pem, _good(f).key_pem), "{cert} holds no"
    ),
    BadPair("certificate in place of the key", lambda f: f.write(_good(f).pem, _good(f).pem), "{key} holds no private"),
    *(
        BadPair(
            f"only the first {share:.0%} of the certificates",
            partial(_write_cut, share=share),
            "{cert} is cut off",
        )
        for share in (0.25, 0.5125, 0.75, 0.995)
    ),
    BadPair(
        "half of the key",
        lambda f: f.write(_good(f).pem, _truncated(_good(f).key_pem, 0.6)),
        "{key} holds no private key",
    ),
    BadPair("key of another certificate", lambda f: f.write(_good(f).pem, _good(f).key_pem), "{key} is not the key of"),
    BadPair(
        "key of the authority", lambda f: f.write(_good(f).pem, key_pem(f.middle.key)), "{key} is not the key of {cert}"
    ),
    BadPair(
        "key of another kind",
        lambda f: f.write(_good(f).pem, key_pem(rsa.generate_private_key(65537, 2048))),
        "{key} is not the key of",
    ),
    BadPair(
        "encrypted key",
        lambda f: f.write((issued := _good(f)).pem, key_pem(issued.key, password=b"secret")),
        "{key} is encrypted",
    ),
    BadPair(
        "key that everyone can read",
        lambda f: f.write((issued := _good(f)).pem, issued.key_pem, mode=0o644),
        "{key} can be read by everyone; chmod o-r it",
    ),
    BadPair("small RSA key", lambda f: f.write(_good(f).pem, _small_key()), "{key} has 1024 bits"),
    BadPair("DSA key", lambda f: f.write(_good(f).pem, _dsa()), "{key} is of no kind that clients take"),
    BadPair(
        "chain in the wrong order",
        lambda f: f.write(f.middle.pem + (issued := _good(f)).leaf_pem, issued.key_pem),
        "{key} is not the key of {cert}, or that does not begin with the server's own",
    ),
    BadPair(
        "chain of another authority",
        lambda f: f.write((issued := _good(f)).leaf_pem + f.root.pem, issued.key_pem),
        "{cert}: certificate 1 was not issued by certificate 2",
    ),
    BadPair(
        "chain of an impostor",
        lambda f: f.write((issued := _good(f)).leaf_pem + Authority("middle").pem, issued.key_pem),
        "{cert}: certificate 1 was not issued by certificate 2",
    ),
    BadPair("a CN alone", lambda f: f.write_issued(f.middle.issue(common=NAME)), "{cert} names no host"),
    BadPair("only a mail address", lambda f: f.write_issued(f.middle.issue("EMAIL:a@shop.example")), "names no host"),
    BadPair("for clients alone", lambda f: f.write_issued(f.middle.issue(NAME, usage=CLIENT)), "is not for servers"),
    BadPair(
        "expired",
        lambda f: f.write_issued(f.middle.issue(NAME, begins=-3 * DAY, ends=-DAY)),
        "{cert} ended 20",
        at_start=False,
    ),
    BadPair(
        "expired a moment ago",
        lambda f: f.write_issued(f.middle.issue(NAME, ends=-dt.timedelta(seconds=2))),
        "{cert} ended 20",
        at_start=False,
    ),
    BadPair(
        "not yet valid",
        lambda f: f.write_issued(f.middle.issue(NAME, begins=DAY, ends=2 * DAY)),
        "{cert} is not good before 20",
        at_start=False,
    ),
    BadPair(
        "chain expired",
        lambda f: f.write_issued(Authority("old", parent=f.root, ends=-dt.timedelta(hours=1)).issue(NAME)),
        "{cert} ended 20",
        at_start=False,
    ),
]

"""The headers of a signed request, read strictly: one signature, in the one spelling that the RFCs write.

Sources: RFC 9421, 4 (`Signature-Input`, `Signature`), RFC 9530 (`Content-Digest`), RFC 9651 (their grammar).
A parser by those rules also takes what nobody writes: more blanks, other escapes, members and parameters that
stand twice, of which the last counts. Here each of them is refused, so that what was signed is what was sent,
letter by letter. That is also what makes it quick: the library at hand (http-message-signatures, against which the
tests hold this) takes five times as long for a request.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from busgate.edge.verified import CredentialRefused

INPUT_LIMIT = 2048
"""Bytes of `Signature-Input`."""
NAME_LIMIT = 128
"""Bytes of a keyid, a nonce or a tag."""

_LABEL = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"[ !#-\[\]-~]*"'  # without the escapes of RFC 9651: nobody needs a quote in a keyid
_NAME = r"\"@?[a-z0-9!#$%&'*+.^_`|~-]+\""
_INPUT = re.compile(rf"({_LABEL})=((\((?:{_NAME}(?: {_NAME})*)?\))((?:;{_LABEL}=(?:{_STRING}|0|[1-9][0-9]{{0,14}}))*))")
_PARAMETER = re.compile(rf";({_LABEL})=(?:({_STRING})|([0-9]+))")
_SIGNATURE = re.compile(rf"({_LABEL})=:([A-Za-z0-9+/]+={{0,2}}):")
_DIGEST = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]+={0,2}):")
_DIGESTS = re.compile(rf"{_DIGEST.pattern}(?:, {_DIGEST.pattern})*")

_TEXTS = ("keyid", "nonce", "alg", "tag")
_TIMES = ("created", "expires")


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """What one signature says of itself.

    Attributes:
        label: the name that `Signature` has it under.
        text: all of it, as it is signed.
        components: the list of what is covered, as text.
        created: epoch seconds.
        expires: epoch seconds.
    """

    label: str
    text: str
    components: str
    keyid: str
    nonce: str
    created: int
    expires: int | None
    alg: str | None
    tag: str | None


def read_input(value: bytes | None) -> SignatureInput:
    """Read `Signature-Input`.

    Raises:
        CredentialRefused: it is missing, not one signature, or lacks a parameter that every one must have.
    """
    if value is None:
        raise CredentialRefused("there is no Signature-Input")
    if len(value) > INPUT_LIMIT:
        raise CredentialRefused("Signature-Input is too long")
    found = _INPUT.fullmatch(value.decode("latin-1"))
    if found is None:
        raise CredentialRefused("Signature-Input is not one signature over plain components")
    label, text, components, tail = found.groups()
    texts: dict[str, str] = {}
    times: dict[str, int] = {}
    for name, string, number in _PARAMETER.findall(tail):
        if name in texts or name in times:
            raise CredentialRefused("a parameter of the signature stands twice")
        if string and name in _TEXTS:
            texts[name] = string[1:-1]
        elif number and name in _TIMES:
            times[name] = int(number)
        else:
            raise CredentialRefused("a parameter of the signature is unknown or of another type")
    for name in ("keyid", "nonce"):
        if not 0 < len(texts.get(name, "")) <= NAME_LIMIT:
            raise CredentialRefused(f"the {name} is missing, empty or too long")
    if "created" not in times:
        raise CredentialRefused("created is missing")
    return SignatureInput(
        label,
        text,
        components,
        texts["keyid"],
        texts["nonce"],
        times["created"],
        times.get("expires"),
        texts.get("alg"),
        texts.get("tag"),
    )


def read_signature(value: bytes | None, label: str) -> bytes:
    """The signature of that label in Base64, as it stands in `Signature`.

    Raises:
        CredentialRefused: it is missing, or not the only one.
    """
    if value is None:
        raise CredentialRefused("there is no Signature")
    found = _SIGNATURE.fullmatch(value.decode("latin-1"))
    if found is None or found[1] != label:
        raise CredentialRefused("Signature is not the one of Signature-Input")
    return found[2].encode()


def read_digests(value: bytes | None) -> dict[str, bytes]:
    """Names and Base64 of all digests in `Content-Digest`.

    Raises:
        CredentialRefused: there is none, one stands twice, or one is not of an algorithm that counts.
    """
    text = "" if value is None else value.decode("latin-1")
    found = _DIGEST.findall(text) if _DIGESTS.fullmatch(text) else []
    read = {name: digest.encode() for name, digest in found}
    if not read or len(read) != len(found):
        raise CredentialRefused("Content-Digest is not a list of digests by sha-256 or sha-512")
    return read


def decode(encoded: bytes) -> bytes:
    """The bytes of a Base64 in its one spelling.

    Raises:
        CredentialRefused: it has another.
    """
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        raise CredentialRefused("not Base64") from None
    if b64encode(data) != encoded:
        raise CredentialRefused("Base64 with spare bits")
    return data

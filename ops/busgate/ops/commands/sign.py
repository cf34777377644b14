"""`busgate sign`: the headers that sign one request (RFC 9421), or the whole curl line.

The secret is read from a file or the environment: what stands on a command line, everyone on the machine can see.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from busgate.contracts.signing import Signer
from busgate.ops.faults import CommandError

_JSON = "application/json"
_READABLE_BY_ALL = 0o004


def run(options: argparse.Namespace) -> int:
    headers = _headers(options.header)
    body = _body(options.data)
    if body and "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = _JSON
    method = options.method.upper()
    try:
        signer = Signer(options.keyid, _secret(options), tag=options.tag, covered=tuple(headers))
        signed = headers | signer.headers(method, options.url, body, headers)
    except ValueError as error:
        raise CommandError([str(error)]) from None
    if options.curl:
        print(_curl(method, options.url, signed, body))
    else:
        for name, value in signed.items():
            print(f"{name}: {value}")
    return 0


def _secret(options: argparse.Namespace) -> str | Callable[[bytes], bytes]:
    if options.private_key is not None:
        return _private_key(options.private_key)
    if options.secret is not None:
        return _read_private(options.secret, "--secret").decode("utf-8", "surrogateescape").rstrip("\r\n")
    if options.secret_env in os.environ:
        return os.environ[options.secret_env]
    where = (
        f"name a file with --secret or --private-key, or put the secret into the environment as {options.secret_env}"
    )
    raise CommandError([f"no key: {where}"])


def _private_key(file: Path) -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - only for these
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(_read_private(file, "--private-key"), password=None)
    except (ValueError, TypeError):
        raise CommandError([f"--private-key {file}: not a private key in PEM without a password"]) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CommandError([f"--private-key {file}: not an Ed25519 key"])
    return key.sign


def _read_private(file: Path, option: str) -> bytes:
    data = _read(file, option)
    if file.stat().st_mode & _READABLE_BY_ALL:
        raise CommandError([f"{option} {file}: can be read by everyone; chmod o-r it"])
    return data


def _read(file: Path, option: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError([f"{option} {file}: {error.strerror}"]) from None


def _headers(texts: list[str]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise CommandError([f"--header {text!r}: a header is needed, like 'X-Shop: seoul'"])
        headers[name.strip()] = value.strip()
    return headers


def _body(data: str | None) -> bytes:
    """As curl has it: the text, or a file behind an @, or - for what is piped in."""
    if data is None:
        return b""
    if data == "@-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return _read(Path(data[1:]), "--data")
    return data.encode("utf-8", "surrogateescape")


def _curl(method: str, url: str, headers: dict[str, str], body: bytes) -> str:
    words = ["curl", "--globoff", "--path-as-is", "--request", method, url]
    for name, value in headers.items():
        words += ["--header", f"{name}: {value}"]
    if body:
        try:
            words += ["--data-raw", body.decode()]
        except UnicodeDecodeError:
            raise CommandError(["the body is not text: print the headers, and send it with --data-binary"]) from None
    return shlex.join(words)

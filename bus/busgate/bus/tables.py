"""What the tables of busgate.toml are made of: frozen models, and values that stand elsewhere.

A secret stands in the config itself, or where the config points: `{ file = "..." }` or `{ env = "NAME" }`.
Whoever validates says with `context` where to look: `{"folder": Path, "environ": Mapping}`; without it that
is the working folder and the environment of the process.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from .file_rights import too_open

LAST_PORT = 65535

_AUTHORITY = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")
_SOURCES = 'must be text, { file = "..." } or { env = "NAME" }'


class Table(BaseModel):
    """One table of busgate.toml: complete, without unknown keys, never changed. Its errors show no values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """`true` is 1 to Python and to pydantic, but hardly to who wrote it."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise ValueError("must be a number, not true or false")
        return value


@dataclass(frozen=True, slots=True)
class Kind:
    """What a sort of value is called in the reference of the configuration."""

    name: str


def split_web_url(text: str) -> SplitResult:
    """Split an address of http or https.

    Raises:
        ValueError: it is none, or holds what no address in a file should. Quotes nothing: it may be a password.
    """
    try:
        url = urlsplit(text)
        readable = url.port != 0 and bool(url.hostname) and text.isascii() and text.isprintable() and " " not in text
    except ValueError:
        readable = False
    if not readable or url.scheme not in ("http", "https"):
        raise ValueError("must be an address like https://host/path")
    if "@" in url.netloc:
        raise ValueError("an address holds no user and password")
    if url.fragment:
        raise ValueError("an address ends before its #")
    return url


def is_loopback(host: str) -> bool:
    """Whether the name or address of a host is that of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _place(name: str | Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", "")) / name


def _existing(name: Path, info: ValidationInfo, *, private: bool = False) -> Path:
    path = _place(name, info)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a file")
    if (fault := too_open(mode, private=private)) is not None:
        raise ValueError(f"{path} {fault}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"cannot read {path}: Permission denied")
    return path


def _public(name: Path, info: ValidationInfo) -> Path:
    return _existing(name, info)


def _private(name: Path, info: ValidationInfo) -> Path:
    return _existing(name, info, private=True)


def _folder(name: Path, info: ValidationInfo) -> Path:
    path = _place(name, info)
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return path


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None


def _from_environment(name: str, info: ValidationInfo) -> str:
    environ = (info.context or {}).get("environ", os.environ)
    if name not in environ:
        raise ValueError(f"the environment has no {name}")
    return str(environ[name])


def _resolve(value: object, info: ValidationInfo, *, private: bool) -> str:
    match value:
        case str(text):
            pass
        case {"file": str(name), **rest} if not rest:
            text = _from_file(_existing(Path(name), info, private=private))
        case {"env": str(name), **rest} if not rest:
            text = _from_environment(name, info)
        case _:
            raise ValueError(_SOURCES)
    if not text:
        raise ValueError("must not be empty")
    return text


def _text(value: object, info: ValidationInfo) -> str:
    return _resolve(value, info, private=False)


def _secret(value: object, info: ValidationInfo) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(_resolve(value, info, private=True))


def _zoned(when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ValueError("needs its time zone, like 2026-12-31T00:00:00Z")
    return when


def _authorities(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _AUTHORITY.fullmatch(name):
            raise ValueError(f"{name!r} is not a host in lower case with or without a port, like api.shop.example")
    return names


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Secret = Annotated[SecretStr, BeforeValidator(_secret), Kind("secret")]
"""Text that is never shown. Not everyone may read or change a file that holds it."""

Text = Annotated[str, BeforeValidator(_text), Kind("text or place")]
"""Text that may be long and public, such as a public key; from the same places as a secret."""

PublicFile = Annotated[Path, AfterValidator(_public), Kind("file")]
"""An existing file that not everyone may change. A relative path starts at the folder of the config file."""

PrivateFile = Annotated[Path, AfterValidator(_private), Kind("private file")]
"""An existing file that not everyone may read or change."""

Folder = Annotated[Path, AfterValidator(_folder), Kind("folder")]
"""An existing folder. A relative path starts at the folder of the config file."""

PlacedFile = Annotated[Path, AfterValidator(_place), Kind("file")]
"""A file that whoever reads it judges, and that may come later. A relative path starts at the folder of the config
file.
"""

Time = Annotated[datetime, AfterValidator(_zoned), Kind("time")]
"""A moment, like 2026-12-31T00:00:00Z."""

Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list of texts; one text stands for a list of one."""

Authorities = Annotated[Names, AfterValidator(_authorities)]
"""What requests may name in `Host`."""

Port = Annotated[int, Field(ge=0, le=LAST_PORT)]
"""0 is any free one, for tests."""


def is_like(text: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is like a text; `*` is any text."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)

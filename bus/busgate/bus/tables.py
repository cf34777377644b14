"""What the tables of busgate.toml are made of: frozen models, and values that stand elsewhere.

A secret stands in the config itself, or where the config points: `{ file = "..." }` or `{ env = "NAME" }`.
Whoever validates says with `context` where to look: `{"folder": Path, "environ": Mapping}`; without it that
is the working folder and the environment of the process.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationInfo

_READABLE_BY_ALL = 0o004
_SOURCES = 'must be text, { file = "..." } or { env = "NAME" }'


class Table(BaseModel):
    """One table of busgate.toml: complete, without unknown keys, never changed. Its errors show no values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _place(name: str | Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", "")) / name


def _existing(name: Path, info: ValidationInfo) -> Path:
    path = _place(name, info)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _private(name: Path, info: ValidationInfo) -> Path:
    path = _existing(name, info)
    if path.stat().st_mode & _READABLE_BY_ALL:
        raise ValueError(f"{path} can be read by everyone; chmod o-r it")
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
            text = _from_file((_private if private else _existing)(Path(name), info))
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


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Secret = Annotated[SecretStr, BeforeValidator(_secret)]
"""Text that is never shown. A file that holds it must not be readable by everyone."""

Text = Annotated[str, BeforeValidator(_text)]
"""Text that may be long and public, such as a public key; from the same places as a secret."""

PublicFile = Annotated[Path, AfterValidator(_existing)]
"""An existing file. A relative path starts at the folder of the config file."""

PrivateFile = Annotated[Path, AfterValidator(_private)]
"""An existing file that not everyone may read."""

Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list of texts; one text stands for a list of one."""

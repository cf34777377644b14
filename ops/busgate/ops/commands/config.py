"""`busgate config show`: the values that hold, and where each came from. `busgate config reference`: all there are."""

import argparse
import json
import os
from collections.abc import Callable
from itertools import zip_longest
from urllib.parse import urlsplit

from pydantic import SecretStr

from busgate.ops.arguments import overrides
from busgate.ops.config import KeyPath, Sources
from busgate.ops.config_document import document
from busgate.ops.config_faults import dotted
from busgate.ops.config_reference import leaves, literal
from busgate.ops.edge_settings import Settings
from busgate.ops.loading import config_file
from busgate.ops.table import lines

MASK = "********"
_WIDTH = 60


def run(options: argparse.Namespace) -> int:
    if options.action == "reference":
        print(document(Settings), end="")
        return 0
    sources = Sources(config_file(options), environ=os.environ, overrides=overrides(options))
    settings = sources.validate(Settings)
    shown = [
        (dotted(path), _shown(value, sources.raw(path), mask=_mask_of(path)), sources.origin(path))
        for path, value in leaves(settings)
    ]
    if options.json:
        print(json.dumps({key: {"value": value, "origin": origin} for key, value, origin in shown}, indent=2))
    else:
        for line in lines((key, _short(value), origin) for key, value, origin in shown):
            print(line)
    return 0


def _shown(value: object, raw: object, *, mask: Callable[[str], str]) -> object:
    """A value for JSON, without secrets. What stands elsewhere is shown as the place where it stands."""
    if isinstance(raw, dict):
        return raw
    match value:
        case SecretStr():
            return mask(value.get_secret_value())
        case tuple():
            given = raw if isinstance(raw, list | tuple) else [raw]
            pairs = zip_longest(value, given[: len(value)])
            return [_shown(each, written, mask=mask) for each, written in pairs]
        case frozenset():
            return sorted(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _mask_of(path: KeyPath) -> Callable[[str], str]:
    return _without_password if path == ("bus", "url") else lambda _: MASK


def _without_password(address: str) -> str:
    url = urlsplit(address)
    login, at, place = url.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    return url._replace(netloc=f"{user}{colon and ':' + MASK}{at}{place}").geturl()


def _short(value: object) -> str:
    text = "" if value is None else literal(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."

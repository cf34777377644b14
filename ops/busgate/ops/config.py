"""Reads busgate.toml, the environment and the command line into one model, and reports every fault at once.

A value is taken from the command line, else from the environment, else from the file, else the default holds.
The name in the environment is `BUSGATE_` and the path of the key with `__` between its parts, in upper case:
`BUSGATE_EDGE__PORT`, `BUSGATE_EDGE__LIMITS__HEADER`, `BUSGATE_BUS__PASSWORD__FILE`. Lists and tables are
JSON. Names without `__` are not read: Kubernetes sets `BUSGATE_EDGE_PORT` beside a service `busgate-edge`.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .config_faults import TABLES, describe, dotted
from .toml_lines import key_lines, line_of

PREFIX = "BUSGATE_"

ModelT = TypeVar("ModelT", bound=BaseModel)
Tree = dict[str, Any]
KeyPath = tuple[str | int, ...]


class ConfigError(Exception):
    """The configuration cannot be used. `faults` are all the reasons, a line each, without secrets."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def load(
    model: type[ModelT],
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> ModelT:
    """Read the configuration of a process.

    Args:
        model: of the process: a field for each table that it needs.
        path: of the file; None is no file.
        environ: the environment.
        overrides: what the command line says, by dotted name: `{"edge.port": 9000}`.

    Raises:
        ConfigError: the file cannot be read, or a value is wrong.
    """
    sources = _Sources(path)
    for name, text in environ.items():
        if name.startswith(PREFIX) and "__" in name:
            keys = name.removeprefix(PREFIX).lower().split("__")
            sources.put(tuple(keys), _from_text(text), place=name)
    for name, value in (overrides or {}).items():
        sources.put(tuple(name.split(".")), value, place="command line")
    foreign = [table for table in TABLES if table not in model.model_fields]
    tree = {key: value for key, value in sources.tree.items() if key not in foreign}
    try:
        return model.model_validate(tree, context={"folder": sources.folder, "environ": environ})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise ConfigError([sources.line(fault["loc"], describe(fault, model)) for fault in faults]) from None


class _Sources:
    """The values of all sources in one tree, and where each came from."""

    def __init__(self, path: Path | None) -> None:
        self.folder = path.parent if path else Path()
        self._name = str(path) if path else "busgate.toml"
        text = _read(path) if path else ""
        self.tree = _parse(text, self._name)
        self._lines = key_lines(text)
        self._places: dict[KeyPath, str] = {}

    def put(self, path: tuple[str, ...], value: object, *, place: str) -> None:
        """Set a value in place of what is there, and leave its neighbours."""
        table = self.tree
        for key in path[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        table[path[-1]] = value
        self._places = {known: at for known, at in self._places.items() if known[: len(path)] != path}
        self._places[path] = place

    def line(self, path: KeyPath, fault: str) -> str:
        """A fault with its place."""
        return f"{self._place(path)}: {dotted(path)}: {fault}"

    def _place(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
            if path[:length] in self._lines:
                return f"{self._name}:{self._lines[path[:length]]}"
        under = [at for known, at in self._places.items() if known[: len(path)] == path]
        return under[0] if under else f"{self._name}:{line_of(self._lines, path)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8"]) from None


def _parse(text: str, name: str) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)", str(error))
        place = f"{name}:{at[1]}" if at else name
        message = str(error).replace(at[0], "").strip() if at else str(error)
        raise ConfigError([f"{place}: not TOML: {message}"]) from None


def _from_text(text: str) -> object:
    """A value of the environment: JSON where it looks like a list or a table, else the text as it is."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text

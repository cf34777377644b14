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
from pydantic_core import ErrorDetails

from .config_faults import TABLES, causes, describe, dotted
from .toml_lines import key_lines, line_of

PREFIX = "BUSGATE_"
DEFAULT, COMMAND_LINE = "default", "command line"
"""Origins of values, beside a line of the file and a name of the environment."""

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
    return Sources(path, environ=environ, overrides=overrides).validate(model)


class Sources:
    """The values of all sources in one tree, and where each came from.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(
        self, path: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
    ) -> None:
        self._name = str(path) if path else "busgate.toml"
        self._context = {"folder": path.parent if path else Path(), "environ": environ}
        text = _read(path) if path else ""
        self._tree = _parse(text, self._name)
        self._lines = key_lines(text)
        self._places: dict[KeyPath, str] = {}
        for name, value in environ.items():
            if name.startswith(PREFIX) and "__" in name:
                keys = name.removeprefix(PREFIX).lower().split("__")
                self._put(tuple(keys), _from_text(value), place=name)
        for name, given in (overrides or {}).items():
            self._put(tuple(name.split(".")), given, place=COMMAND_LINE)

    def validate(self, model: type[ModelT]) -> ModelT:
        """The values as a model, which leaves the tables of other processes alone.

        Raises:
            ConfigError: a value is wrong.
        """
        foreign = [table for table in TABLES if table not in model.model_fields]
        tree = {key: value for key, value in self._tree.items() if key not in foreign}
        try:
            return model.model_validate(tree, context=self._context)
        except ValidationError as error:
            faults = [self._fault(fault, model) for fault in causes(error.errors(include_url=False))]
            raise ConfigError([line for _, line in sorted(faults)]) from None

    def raw(self, path: KeyPath) -> object:
        """A value as it was given, before it was checked and resolved; None: nobody gave it."""
        value: Any = self._tree
        for part in path:
            if isinstance(value, list | tuple) and isinstance(part, int):
                value = value[part] if part < len(value) else None
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return value

    def origin(self, path: KeyPath) -> str:
        """Where a value came from: file and line, a name of the environment, the command line, or DEFAULT."""
        return DEFAULT if self.raw(path) is None else self.place(path)

    def place(self, path: KeyPath) -> str:
        """Where a value stands, or else what is around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
            for known in (path[:length], (*path[:length], 0)):  # the second: [[table]] in place of [table]
                if known in self._lines:
                    return f"{self._name}:{self._lines[known]}"
        under = [at for known, at in self._places.items() if known[: len(path)] == path]
        return under[0] if under else f"{self._name}:{line_of(self._lines, path)}"

    def _put(self, path: tuple[str, ...], value: object, *, place: str) -> None:
        """Set a value in place of what is there, and leave its neighbours."""
        table = self._tree
        for key in path[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        table[path[-1]] = value
        self._places = {known: at for known, at in self._places.items() if known[: len(path)] != path}
        self._places[path] = place

    def _fault(self, fault: ErrorDetails, model: type[BaseModel]) -> tuple[tuple[str, int], str]:
        """A fault with its place, after what puts it in order: as in the file, then the other sources by name."""
        path = fault["loc"]
        within = [at for known, at in self._places.items() if len(known) > len(path) and known[: len(path)] == path]
        # Of a table as a whole, what the command line says of it is the likelier cause than where the table stands.
        place = COMMAND_LINE if COMMAND_LINE in within else self.place(path)
        name, _, line = place.rpartition(":")
        order = ("", int(line)) if name == self._name and line.isdigit() else (place, 0)
        return order, f"{place}: {dotted(path)}: {describe(fault, model, as_json=place.startswith(PREFIX))}"


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

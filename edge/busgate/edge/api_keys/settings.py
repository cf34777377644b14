"""The table [edge.api_keys]: where the API keys are, and how clients present one."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from busgate.bus.tables import Kind, PlacedFile, Table

from .records import KeyFileError, read_records

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_TAKEN = frozenset({"authorization", "cookie", "host", "content-type", "content-length", "signature"})


def _header(name: str) -> str:
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        raise ValueError("must be the name of a header of its own, like X-Api-Key")
    return name


def _keys(file: Path) -> Path:
    if not file.exists():
        raise ValueError(f"there is no file {file}; busgate keys create makes it")
    if not file.is_file():
        raise ValueError(f"{file} is not a file")
    try:
        read_records(file)
    except KeyFileError as error:
        raise ValueError(str(error)) from None
    return file


class ApiKeySettings(Table):
    """The table [edge.api_keys]: API keys (`busgate keys`). None are taken without a file.

    Args:
        file: of the keys. It is read again when it changes. Not everyone may read or change it. Every plan that a
            key has must be configured: else the edge does not start, and a key that comes later is refused.
        header: that a key comes in.
    """

    file: Annotated[PlacedFile, AfterValidator(_keys), Kind("private file")] | None = None
    header: Annotated[str, AfterValidator(_header)] = "X-Api-Key"

    def faults(self, plans: Collection[str]) -> list[str]:
        """A plan that keys have and that is not among those that are configured, in a line each."""
        if self.file is None:
            return []
        try:
            records = read_records(self.file)
        except KeyFileError as error:
            return [f"edge.api_keys.file: {error}"]
        unknown: dict[str, list[str]] = {}
        for number, record in enumerate(records, 1):
            if record.plan and record.plan not in plans:
                unknown.setdefault(record.plan, []).append(f"{self.file}:{number}: the key {record.id}")
        return [
            f"edge.api_keys.file: {keys[0]}{f' (and {len(keys) - 1} more)' if keys[1:] else ''} has the plan {plan!r}, "
            f"which no [[edge.plan]] is called; configure it, or busgate keys revoke the key and create it with another"
            for plan, keys in unknown.items()
        ]

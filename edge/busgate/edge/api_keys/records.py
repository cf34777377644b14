"""The file of API keys: one JSON object a line, without the keys themselves. Written whole, so that readers see
the old file or the new one.
"""

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from busgate.bus.file_rights import too_open
from busgate.bus.tables import Table, Time
from busgate.contracts.caller import CALLER_LIMIT
from busgate.edge.principal import Grant, Name
from busgate.edge.verified import VerifiedCaller

_MODE = 0o640
"""Of a new file: the group may be that of the edge."""
NEVER = float("inf")
LIVE = 2
"""Secrets of one key that hold at a time: the new one, and the one before until its user has changed."""


class KeyFileError(Exception):
    """The file of keys cannot be used, why and where."""


class SecretRecord(Table):
    """One secret of a key.

    Args:
        sha256: its hash, in hex.
        created: when it was made.
        until: when it stops to hold.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: Time
    until: Time | None = None


class KeyRecord(Grant):
    """A line of the file: one key, whose owner is `subject`.

    Args:
        id: what the key begins with.
        plan: how often it may call.
        created: when it was made.
        expires: when it stops to hold.
        secrets: the newest first.
    """

    id: str = Field(pattern=r"^[0-9A-Za-z]{10}$")
    plan: Name = ""
    created: Time
    expires: Time | None = None
    secrets: Annotated[tuple[SecretRecord, ...], Field(min_length=1, max_length=LIVE)]

    def caller(self) -> VerifiedCaller:
        """Who presents this key. Raises ValueError: what was granted is too large to travel."""
        return self.verified("key", epoch(self.expires), credential=self.id, plan=self.plan)


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file of keys, which `read_record` reads.

    Raises:
        KeyFileError: it cannot be read, or everyone can read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    if (fault := too_open(mode, private=True)) is not None:
        raise KeyFileError(f"{path}: {fault}")
    return lines


def read_record(line: bytes, place: str) -> KeyRecord:
    """One key. Raises KeyFileError, with the place."""
    try:
        record = KeyRecord.model_validate_json(line)
        if len(line) > CALLER_LIMIT // 4:  # shorter ones always fit, though a letter of two bytes travels as six
            record.caller()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise KeyFileError(f"{place}: {where}: {first['msg']}" if where else f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise KeyFileError(f"{place}: {error}") from None
    return record


def read_records(path: Path) -> list[KeyRecord]:
    """All keys of a file.

    Raises:
        KeyFileError: the file or one of its lines is not good.
    """
    records: dict[str, KeyRecord] = {}
    for number, line in enumerate(read_lines(path), 1):
        record = read_record(line, f"{path}:{number}")
        if record.id in records:
            raise KeyFileError(f"{path}:{number}: the id stands twice")
        records[record.id] = record
    return list(records.values())


@contextlib.contextmanager
def changing(path: Path) -> Iterator[list[KeyRecord]]:
    """All keys, to be changed in place: they are written when the block ends well. One process at a time.

    Raises:
        KeyFileError: the file cannot be read or written.
    """
    path = path.resolve()  # a link stays one
    with _lock(path.parent):
        records = read_records(path) if path.exists() else []
        yield records
        try:
            _write(path, records)
        except OSError as error:
            raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """The folder itself is locked: a lock of its own would be left behind."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"{folder}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, records: Iterable[KeyRecord]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{_line(record)}\n" for record in records)
            file.flush()
            _keep_rights(path, file.fileno())
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _keep_rights(path: Path, handle: int) -> None:
    """Who could read the old file can read the new one."""
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(handle, _MODE)
        return
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _line(record: KeyRecord) -> str:
    return json.dumps(record.model_dump(mode="json", exclude_defaults=True), separators=(",", ":"))


def epoch(when: datetime | None) -> float:
    """In seconds; None is never."""
    return NEVER if when is None else when.timestamp()


def now() -> datetime:
    """In whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)

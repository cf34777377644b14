"""`busgate audit`: the records of calls: filtered, followed, or added up for each caller or topic."""

import argparse
import asyncio
import gzip
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from busgate.bus.audit import records
from busgate.ops.auditing import HEAD, Statistics, Wanted, as_text, moment, read_record
from busgate.ops.faults import CommandError
from busgate.ops.loading import config_file, control_address, process_name, read_settings
from busgate.ops.settings import AuditProcess

LOOK_EVERY = 0.2
"""Seconds between two looks at a file that is followed."""
NOT_ALL_READ = 1
"""Exit code where lines could not be read."""


def run(options: argparse.Namespace) -> int:
    settings = read_settings(AuditProcess, options)
    wanted = Wanted(
        caller=options.caller,
        topic=options.topic,
        status=options.status,
        outcome=options.outcome,
        refused=options.refused,
        rule=options.rule,
        since=moment(options.since, "--since") if options.since else None,
        until=moment(options.until, "--until") if options.until else None,
    )
    shown = _Shown(wanted, by=options.by, as_json=options.json)
    from_bus = not options.files and (vars(options)["bus.url"] is not None or settings.edge.audit.to == "exchange")
    if options.by and (options.follow or from_bus):
        raise CommandError(["--by needs records that are there: name a file, without --follow"])
    shown.head()
    if from_bus:
        asyncio.run(_listen(settings, shown))
        return 0
    paths = options.files or [_configured(settings, options)]
    if options.follow and (len(paths) > 1 or paths[0] == "-" or paths[0].endswith(".gz")):
        raise CommandError(["--follow reads one file that still grows"])
    for path in paths:
        for line in _followed(Path(path)) if options.follow else _lines(path):
            shown.take(line)
    return shown.end()


def _configured(settings: AuditProcess, options: argparse.Namespace) -> str:
    if settings.edge.audit.file is None:
        raise CommandError(["no records to read: name a file, or --bus where edge.audit goes to the exchange"])
    file = config_file(options)
    return str((file.parent if file else Path()) / settings.edge.audit.file)


class _Shown:
    """Prints records, or adds them up, and counts what is none."""

    def __init__(self, wanted: Wanted, *, by: str | None, as_json: bool) -> None:
        self._wanted = wanted
        self._sums = Statistics(by) if by else None
        self._as_json = as_json
        self._unreadable = 0

    def head(self) -> None:
        if self._sums is None and not self._as_json:
            print(HEAD if sys.stdout.isatty() else HEAD.rstrip(), flush=True)

    def take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = read_record(line)
        except ValueError:
            self._unreadable += 1
            return
        if record is None or not self._wanted.lets_through(record):
            return
        if self._sums is not None:
            self._sums.add(record)
        else:
            print(json.dumps(record) if self._as_json else as_text(record))

    def end(self) -> int:
        if self._sums is not None and self._as_json:
            print("\n".join(json.dumps(each) for each in self._sums.documents()))
        elif self._sums is not None:
            print("\n".join(self._sums.lines()))
        if self._unreadable:
            sys.stdout.flush()
            print(f"busgate: {self._unreadable} lines are no records; they were left out", file=sys.stderr)
        return NOT_ALL_READ if self._unreadable else 0


async def _listen(settings: AuditProcess, shown: _Shown) -> None:
    async for body in records(control_address(settings.bus), name=process_name(settings.bus)):
        for line in body.splitlines():
            shown.take(line)
        sys.stdout.flush()


def _lines(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from sys.stdin.buffer
        return
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:  # noqa: PTH123 - beside gzip's
            yield from file
    except (OSError, EOFError) as error:
        raise CommandError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error


def _followed(path: Path) -> Iterator[bytes]:
    """Whole lines as they come; a file that was rotated away is read to its end, then the new one."""
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            time.sleep(LOOK_EVERY)
            continue
        except OSError as error:
            raise CommandError([f"{path}: cannot be read: {error.strerror}"]) from error
        with file:
            yield from _rest_of(path, file)


def _rest_of(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """What comes until nothing more can: a writer may be a moment late to see that its file was moved."""
    rest, last_look = b"", False
    while True:
        piece = file.read(1 << 20)
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if piece:
            continue
        sys.stdout.flush()
        if last_look:
            return
        last_look = _moved(path, file.fileno())
        time.sleep(LOOK_EVERY)


def _moved(path: Path, descriptor: int) -> bool:
    try:
        there, ours = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) or there.st_size < os.lseek(
        descriptor, 0, os.SEEK_CUR
    )

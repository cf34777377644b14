"""The file of the SQLite store, as the one thread of a process that works with it sees it."""

import os
import random
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from .held import changed
from .jobs import ALIVE, Chain, Get, Hold, Job, Once, Put, Take, says_no
from .rules import NOTHING, Spent, Verdict, weigh
from .store import StoreUnavailable

T = TypeVar("T")

LOCK_WAIT = 1.0
"""Seconds to wait for the transactions of other processes."""
PAGES = 262_144
"""Pages of 4 kB that the file may have: 1 GiB, some ten million keys. Then new keys are refused, and old ones count."""
SWEPT = 4
"""Keys that are looked at, whether they are over, for each job: a full round goes through the file without a pause."""
FORMAT = 1

_OPEN = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA max_page_count = {PAGES};
CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, value, ends INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""
_FIND = "SELECT value, ends FROM kept WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)"
_SWEEP = "SELECT key, ends FROM kept WHERE key > ? ORDER BY key LIMIT ?"


def wall_clock() -> int:
    """Microseconds since the epoch: the one clock that all processes share and that outlives them."""
    return time.time_ns() // 1000


class SqliteFile:
    """Open it and use it in one thread.

    Args:
        path: of the file.
        clock: microseconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock
        self._base: sqlite3.Connection | None = None
        self._inode = 0
        self._swept = b""

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            StoreUnavailable: it cannot be, is something else, or everyone can read it.
        """
        try:
            status = self._made()
        except OSError as error:
            raise StoreUnavailable(f"cannot use {self._path}: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise StoreUnavailable(f"cannot use {self._path}: it is not a file")
        if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise StoreUnavailable(f"{self._path} can be read by everyone; chmod o-rw it")
        try:
            self._base = _patiently(self._connect)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot use {self._path}: {error}") from None
        self._inode = status.st_ino

    def _made(self) -> os.stat_result:
        """The file, made if it is not there. One that is there is not opened: to close it would end SQLite's locks."""
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return self._path.lstat()

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)  # see _patiently
        try:
            base.execute("BEGIN")  # one look at both
            tables = [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            version = base.execute("PRAGMA user_version").fetchone()[0]
            base.execute("COMMIT")
            if (tables, version) not in (([], 0), (["kept"], 0), (["kept"], FORMAT)):
                raise sqlite3.DatabaseError("it is not a store of this version of busgate")
            base.executescript(_OPEN)
        except BaseException:
            base.close()
            raise
        return base

    def close(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def do(self, jobs: Sequence[Job | Chain]) -> list[object]:
        """What comes of each job, done in one transaction; for a job that failed alone, its StoreUnavailable.

        Raises:
            StoreUnavailable: none of them was done.
        """
        base = self._usable()
        try:
            return self._together(base, jobs)
        except sqlite3.Error as error:
            if len(jobs) == 1 or isinstance(error, _Locked):
                raise StoreUnavailable(f"{self._path}: {error}") from None
        results: list[object] = []
        for job in jobs:  # what one of them cannot have, the others may
            try:
                results += self._together(base, [job])
            except sqlite3.Error as error:
                results.append(StoreUnavailable(f"{self._path}: {error}"))
        return results

    def _usable(self) -> sqlite3.Connection:
        """The file, opened anew where somebody put another in its place: what we have open is nobody else's then."""
        if self._base is not None and not self._in_place():
            self.close()
        if self._base is None:
            self.open()
        assert self._base is not None
        return self._base

    def _in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _together(self, base: sqlite3.Connection, jobs: Sequence[Job | Chain]) -> list[object]:
        _begin(base)
        try:
            now = self._clock()
            results = [self._one(base, job, now) for job in jobs]
            self._sweep(base, now, SWEPT * sum(len(job.jobs) if isinstance(job, Chain) else 1 for job in jobs))
            base.execute("COMMIT")
        except BaseException:
            if base.in_transaction:
                base.execute("ROLLBACK")
            raise
        return results

    def _one(self, base: sqlite3.Connection, job: Job | Chain, now: int) -> object:
        match job:
            case Chain(jobs):
                results: list[object] = []
                for each in jobs:
                    results.append(self._one(base, each, now))
                    if says_no(each, results[-1]):
                        break
                return results
            case Hold():
                return _hold(base, job, now)
            case Take():
                return _take(base, job, now)
            case Once(key, lasts):
                if _find(base, key, now) is not None:
                    return False
                base.execute(_KEEP, (_encoded(key), None, now + lasts))
                return True
            case Get(key):
                found = _find(base, key, now)
                return found[0] if found is not None and isinstance(found[0], bytes) else None
            case Put(key, value, lasts):
                base.execute(_KEEP, (_encoded(key), value, now + lasts))
                return None

    def _sweep(self, base: sqlite3.Connection, now: int, most: int) -> None:
        rows = base.execute(_SWEEP, (self._swept, most)).fetchall()
        base.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key, ends in rows if ends <= now])
        self._swept = rows[-1][0] if rows and len(rows) == most else b""


class _Locked(sqlite3.OperationalError):
    """Other processes held the file for too long."""


def _begin(base: sqlite3.Connection) -> None:
    """Begin to write, before anything is read: else two processes could both see room for one more."""
    _patiently(lambda: base.execute("BEGIN IMMEDIATE"))


def _patiently(work: Callable[[], T]) -> T:
    """Do what other processes may be in the way of, again and again for LOCK_WAIT seconds."""
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() >= end:
                raise _Locked(f"other processes held it for {LOCK_WAIT:.0f} s") from None
        time.sleep(random.uniform(0.0002, 0.001))  # noqa: S311 - not a secret: so that two do not step together


def _encoded(key: str) -> bytes:
    """A key as it is kept: whatever text it is, even half of a pair of surrogates."""
    return key.encode("utf-8", "surrogatepass")


def _find(base: sqlite3.Connection, key: str, now: int) -> tuple[object, int] | None:
    row: tuple[object, int] | None = base.execute(_FIND, (_encoded(key),)).fetchone()
    return None if row is None or row[1] <= now else row


def _hold(base: sqlite3.Connection, job: Hold, now: int) -> bool:
    found = _find(base, job.key, now)
    text = changed("" if found is None else str(found[0]), job, lambda name: _find(base, ALIVE + name, now) is not None)
    if text is None:
        return False
    base.execute(_KEEP, (_encoded(job.key), text, now + job.lasts if text else now))
    return True


def _take(base: sqlite3.Connection, job: Take, now: int) -> Verdict:
    found: list[Spent] = []
    for ask in job.asks:
        kept = _find(base, ask.key, now)
        found.append(NOTHING if kept is None else kept)  # type: ignore[arg-type] # numbers stand under these keys
    verdict, spent = weigh(job.asks, found, now)
    changed = [
        (_encoded(ask.key), *after)
        for ask, before, after in zip(job.asks, found, spent, strict=True)
        if after is not before
    ]
    base.executemany(_KEEP, changed)
    return verdict

"""API keys in memory: small, and read from their file in a time that goes by what has changed in it."""

from collections.abc import Collection, Hashable, Sequence
from hmac import compare_digest
from pathlib import Path
from typing import Any

from busgate.contracts import Caller
from busgate.edge.verified import VerifiedCaller

from .records import KeyFileError, KeyRecord, epoch, read_lines, read_record


class ApiKey:
    """One key.

    Args:
        caller: who presents it; None: nobody may use it.
        live: the hashes of one or two secrets, and until when each holds.
        mark: tells the line that it was read from.

    Attributes:
        used: epoch seconds of the last use.
    """

    __slots__ = ("caller", "first", "first_until", "mark", "second", "second_until", "used")

    def __init__(self, caller: VerifiedCaller | None, live: Sequence[tuple[bytes, float]], *, mark: int) -> None:
        self.caller = caller
        self.first, self.first_until = live[0]
        self.second, self.second_until = live[-1]
        self.mark = mark
        self.used = 0.0

    def holds(self, digest: bytes, now: float) -> bool:
        """Whether this is the hash of one of its secrets. Takes the same time whatever the answer."""
        first, second = compare_digest(self.first, digest), compare_digest(self.second, digest)
        return first & (now < self.first_until) | second & (now < self.second_until)


def load_keys(path: Path, known: dict[str, ApiKey], *, plans: Collection[str]) -> dict[str, ApiKey]:
    """The keys of a file by name. Those whose line is as it was are taken from `known`.

    Args:
        path: of the file.
        known: the keys of an earlier time, with the same plans.
        plans: the names of those that are configured. A key of another one has no caller: with what it was sold for
            unknown, it would have the limits of whoever has no plan.

    Raises:
        KeyFileError: the file or one of its lines is not good.
    """
    by_mark = {key.mark: (name, key) for name, key in known.items()}
    pool: dict[Hashable, Any] = {}
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(read_lines(path), 1):
        mark = hash(line)
        found = by_mark.get(mark)
        if found is None:
            record = read_record(line, f"{path}:{number}")
            found = record.id, _key(record, mark, pool, plans)
        name, key = found
        if name in keys:
            raise KeyFileError(f"{path}:{number}: the id stands twice")
        keys[name] = key
    return keys


def _key(record: KeyRecord, mark: int, pool: dict[Hashable, Any], plans: Collection[str]) -> ApiKey:
    """A key that has in common with others what is the same: of many thousands, most have few plans and scopes."""
    end = epoch(record.expires)
    made = Caller(
        record.subject,
        pool.setdefault(record.issuer, record.issuer),
        pool.setdefault(record.scopes, frozenset(record.scopes)),
        roles=pool.setdefault(record.roles, frozenset(record.roles)),
        tenant=pool.setdefault(record.tenant, record.tenant),
    )
    plan = pool.setdefault(record.plan, record.plan)
    caller = VerifiedCaller(made, end, "key", credential=record.id, plan=plan)
    live = [(bytes.fromhex(each.sha256), min(end, epoch(each.until))) for each in record.secrets]
    return ApiKey(caller if plan == "" or plan in plans else None, live, mark=mark)

"""API keys for tests: a file of them, and the keys themselves."""

from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from busgate.edge.api_keys.records import KeyRecord, SecretRecord, changing, now
from busgate.edge.api_keys.text import new_id, new_key


def secret_of(key: str, *, until: datetime | None = None) -> SecretRecord:
    return SecretRecord(sha256=sha256(key.encode()).hexdigest(), created=now(), until=until)


def add_key(path: Path, *, until: datetime | None = None, **grant: Any) -> str:
    """Write a new key into a file; the key."""
    name = new_id()
    key = new_key(name)
    values = {"subject": "shop", "created": now()} | grant
    record = KeyRecord(id=name, secrets=(secret_of(key, until=until),), **values)
    with changing(path) as records:
        records.append(record)
    return key


def replace(path: Path, data: bytes) -> None:
    """Put another file into the place of this one, with its rights."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.chmod(path.stat().st_mode)
    new.replace(path)

"""Section `many`: what the door remembers of many callers and many addresses, and what finding one of them takes."""

import gc
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from ipaddress import IPv6Address
from pathlib import Path
from typing import TypeVar

from bench.processes import rss
from bench.report import Row, Table
from bench.room import Room, say
from busgate.edge.api_keys.memory import load_keys
from busgate.edge.api_keys.text import new_id, new_key, read_key
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.rules import Ask, Pace

T = TypeVar("T")

PRESENTED = 1_000
"""Of the keys and addresses, so many are looked up again and timed."""
ROUNDS = 20
RATE = Pace.of(100, 60.0, 100)


def many(room: Room) -> list[Table]:
    """Each row in a process of its own, so that its memory is nothing else's."""
    say("many: API keys and addresses")
    most = 10_000 if room.quick else 1_000_000
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as apart:
        keys = Table("API keys that an edge knows", list(apart.map(_keys, (most // 1000, most // 100, most // 10))))
        addresses = Table("Addresses that a rate limit in memory has seen", list(apart.map(_seen, (most // 10, most))))
    return [keys, addresses]


def _keys(count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="busgate-bench-") as folder:
        file = Path(folder) / "keys.jsonl"
        texts = _write_keys(file, count)
        before = _held()
        began = time.perf_counter()
        known = load_keys(file, {}, plans=())
        took = time.perf_counter() - began
        after = _held()

    def found(text: bytes) -> None:
        name, digest = read_key(text)
        assert known[name].holds(digest, 0.0)

    return {
        "keys": count,
        "bytes each": (after - before) / count,
        "read in s": took,
        "found in us": _time(found, texts),
    }


def _write_keys(file: Path, count: int) -> list[bytes]:
    """So many keys, each of an owner of its own; some of them as they are presented."""
    texts = []
    file.touch(mode=0o600)
    with file.open("w") as lines:
        for number in range(count):
            name = new_id()
            text = new_key(name).encode()
            if number < PRESENTED:
                texts.append(text)
            secret = {"sha256": sha256(text).hexdigest(), "created": "2026-01-01T00:00:00Z"}
            line = {
                "subject": f"customer-{number}",
                "scopes": ["orders:read", "orders:write"],
                "id": name,
                "created": "2026-01-01T00:00:00Z",
                "secrets": [secret],
            }
            lines.write(json.dumps(line) + "\n")
    return texts


def _seen(count: int) -> Row:
    store = MemoryStore()
    before = _held()
    for number in range(count):
        store.take([_ask(number)])
    after = _held()
    return {
        "addresses": count,
        "kept": len(store),
        "MiB": (after - before) / 1024 / 1024,
        "counted in us": _time(lambda number: store.take([_ask(number)]), range(PRESENTED)),
    }


def _ask(number: int) -> Ask:
    return Ask(f"rate:addresses:{IPv6Address(number << 64)}", RATE)


def _held() -> int:
    gc.collect()
    return rss(os.getpid())


def _time(do: Callable[[T], object], each: Sequence[T]) -> float:
    """Microseconds of CPU for one, the best of some rounds."""
    best = math.inf
    for _ in range(ROUNDS):
        began = time.process_time()
        for one in each:
            do(one)
        best = min(best, time.process_time() - began)
    return best / len(each) * 1e6

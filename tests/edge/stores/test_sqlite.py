"""The SQLite store shares one file among processes, keeps it from others, and says what is wrong with it."""

import asyncio
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.stores import told

from busgate.edge.stores import sqlite_file
from busgate.edge.stores.rules import Ask, Pace
from busgate.edge.stores.sqlite import SqliteStore
from busgate.edge.stores.store import StoreUnavailable

ASK = Ask("rate:one:a", Pace.of(5, 3600, 5))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
async def open_store(path, clock):
    stores = []

    async def opened():
        store = SqliteStore(path, clock=clock)
        await store.start()
        stores.append(store)
        return store

    yield opened
    for store in stores:
        await store.close()


async def test_stores_on_one_file_hold_one_limit(open_store):
    stores = [await open_store() for _ in range(3)]
    futures = [store.take([ASK]) for _ in range(4) for store in stores]

    assert sum([(await future).allowed for future in futures]) == 5


def test_many_open_a_new_file_at_once(path):
    files = [sqlite_file.SqliteFile(path, sqlite_file.wall_clock) for _ in range(16)]
    with ThreadPoolExecutor(len(files)) as threads:
        for done in [threads.submit(file.open) for file in files]:
            done.result(timeout=30)
    for file in files:
        file.close()


async def test_a_nonce_is_taken_once_by_all_and_after_a_restart(open_store, path, clock):
    stores = [await open_store() for _ in range(2)]
    first = [await told(store.once("nonce:a", 300)) for store in stores]
    await stores[0].close()
    later = await open_store()

    assert (first, await told(later.once("nonce:a", 300))) == ([True, False], False)


async def test_its_files_are_for_their_owner_alone(open_store, path):
    store = await open_store()
    await told(store.once("nonce:a", 300))

    modes = {name.name: stat.S_IMODE(name.stat().st_mode) for name in path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        pytest.param(lambda path: path.touch(0o644), "can be read by everyone; chmod o-rw it", id="readable"),
        pytest.param(lambda path: path.mkdir(), "is not a file", id="folder"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), "is not a file", id="link"),
        pytest.param(lambda path: (path.write_bytes(b"x" * 5000), path.chmod(0o600)), "not a database", id="other"),
        pytest.param(lambda path: _with(path, "CREATE TABLE mine (a)"), "not a store of this version", id="foreign"),
        pytest.param(
            lambda path: _with(path, "CREATE TABLE kept (a); PRAGMA user_version = 99"),
            "not a store of this version",
            id="newer",
        ),
    ],
)
async def test_a_file_that_it_cannot_use_is_refused_at_start(path, prepare, why):
    prepare(path)
    store = SqliteStore(path)

    with pytest.raises(StoreUnavailable, match=why):
        await store.start()
    await store.close()


def _with(path: Path, script: str) -> None:
    path.touch(0o600)
    with sqlite3.connect(path) as base:
        base.executescript(script)
    base.close()


async def test_a_folder_that_is_not_there_is_told(tmp_path):
    store = SqliteStore(tmp_path / "away" / "store.db")

    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        await store.start()
    await store.close()


async def test_who_holds_the_file_too_long_makes_it_unavailable_until_it_lets_go(open_store, path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "LOCK_WAIT", 0.05)
    store = await open_store()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="other processes held it"):
        await told(store.take([ASK]))
    unready = store.unready
    other.execute("ROLLBACK")
    other.close()
    assert (await told(store.take([ASK]))).allowed
    assert "other processes held it" in unready
    assert store.unready is None


async def test_a_file_that_was_taken_away_is_made_anew(open_store, path):
    store = await open_store()
    while (await told(store.take([ASK]))).allowed:
        pass
    for name in path.parent.iterdir():
        name.unlink()
    again = await told(store.take([ASK]))
    neighbour = await told((await open_store()).take([ASK]))

    assert [left for verdict in (again, neighbour) for left, _, _ in verdict.standings] == [4, 3]


async def test_what_is_over_leaves_the_file(open_store, path, clock):
    store = await open_store()
    for number in range(300):
        await told(store.once(f"nonce:{number}", 60))
    clock.forward(61)
    for _ in range(200):
        await told(store.take([ASK]))

    base = sqlite3.connect(path)
    kept = [key for (key,) in base.execute("SELECT key FROM kept")]
    base.close()
    assert kept == [b"rate:one:a"]


async def test_a_full_file_refuses_new_keys_and_still_counts_those_it_has(open_store, path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_OPEN", sqlite_file._OPEN.replace(str(sqlite_file.PAGES), "24"))
    store = await open_store()
    for _ in range(3):
        await told(store.take([ASK]))
    nonces = [store.once(f"nonce:{number:0100}", 3600) for number in range(2000)]
    results = await asyncio.gather(*nonces, return_exceptions=True)
    verdicts = [(await told(store.take([ASK]))).allowed for _ in range(3)]

    assert verdicts == [True, True, False]
    assert results[0] is True
    assert "full" in str(results[-1])


async def test_what_one_job_cannot_have_the_others_of_its_turn_get(open_store, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_OPEN", sqlite_file._OPEN.replace(str(sqlite_file.PAGES), "24"))
    store = await open_store()
    await told(store.once("nonce:small", 60))
    large, small = store.put("cache:large", bytes(1_000_000), 60), store.once("nonce:small", 60)

    assert await small is False
    with pytest.raises(StoreUnavailable, match="full"):
        await large


async def test_a_closed_store_says_so(open_store):
    store = await open_store()
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        store.take([ASK])

"""Limits and stores as an operator meets them: what check says, what stops a start, what is seen while it runs."""

import asyncio
import json
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
from support.command import Run, Start
from support.management import Vhost
from support.redis_node import RedisNode

EDGE = '[edge]\ncontracts = ["hello.contracts"]\n'
RATE = '[[edge.rate]]\nname = "each"\nby = ["address"]\ncount = 3\nwindow = 3600\nburst = 3\n'
WHEN = 'when_unavailable = "allow"\n'
QUOTA = '[[edge.quota]]\nname = "monthly"\ncount = 100\nper = "month"\n'


@pytest.fixture
def write(folder: Path):
    def write(*parts: str) -> None:
        (folder / "busgate.toml").write_text("".join(parts))
        (folder / "busgate.toml").chmod(0o640)

    return write


@pytest.mark.parametrize("command", [["check"], ["edge"]])
def test_processes_that_would_count_on_their_own_are_refused_with_the_cure(run: Run, write, command: list[str]) -> None:
    write(EDGE, "processes = 4\n", RATE)

    done = run(*command)

    assert done.returncode == 2
    assert "4 processes would each count edge.rate on their own in memory://" in done.stderr
    assert 'url = "sqlite:///var/lib/busgate/store.db"' in done.stderr


def test_check_tells_what_is_wrong_with_limits_with_its_place(run: Run, write) -> None:
    write(EDGE, RATE.replace('"address"', '"path:id"'), 'topics = ["shop.*"]\n')

    done = run("check")

    assert done.stderr.splitlines() == [
        "busgate: busgate.toml:3: edge.rate: each is about 'shop.*', which no contract is like",
    ]


def test_check_warns_of_quotas_that_a_restart_forgets_and_of_stores_that_may_be_away(run: Run, write) -> None:
    write(EDGE, QUOTA)
    forgets = run("check")
    write(EDGE, QUOTA, '[edge.store]\nurl = "redis://cache.example"\nallow_plaintext = true\n', WHEN)
    away = run("check")

    assert (forgets.returncode, away.returncode) == (0, 0)
    assert "edge.store.url: quotas begin anew with each start of the edge" in forgets.stderr
    assert "edge.store.allow_plaintext: its password and all it keeps can be read: use rediss://" in away.stderr
    assert "edge.store.when_unavailable: while the store is away there are no limits" in away.stderr


def test_a_password_in_a_file_that_everyone_can_read_is_warned_of(run: Run, write, folder: Path) -> None:
    write(EDGE, '[edge.store]\nurl = "redis://:hunter2@127.0.0.1"\n')
    (folder / "busgate.toml").chmod(0o644)

    done = run("check")

    assert "edge.store.url: everyone can read it here: chmod o-r busgate.toml" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_the_password_of_a_store_is_never_shown(run: Run, write) -> None:
    write(EDGE, '[edge.store]\nurl = "redis://:hunter2@127.0.0.1"\n')

    done = run("config", "show")

    assert done.returncode == 0
    assert "hunter2" not in done.stdout


def test_a_file_that_is_no_store_stops_the_start_in_one_line(run: Run, write, tmp_path: Path, vhost: Vhost) -> None:
    (tmp_path / "other.db").write_bytes(b"x" * 5000)
    (tmp_path / "other.db").chmod(0o600)
    write(EDGE, f'[edge.store]\nurl = "sqlite://{tmp_path}/other.db"\n', RATE)

    done = run("edge", "--bus", vhost.url, "--port", "0", BUSGATE_EDGE__ADMIN__ENABLED="false")

    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "Traceback" in line] == []
    assert f"busgate: edge.store: cannot use {tmp_path}/other.db: file is not a database" in done.stderr


def get(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "ready", "says"),
    [pytest.param("refuse", 503, "reasons", id="refuse"), pytest.param("allow", 200, "remarks", id="allow")],
)
async def test_a_store_that_is_away_is_said_wherever_an_operator_looks(
    start: Start, write, folder: Path, free_ports: list[int], vhost: Vhost, faulty_redis: RedisNode, *,
    when: str, ready: int, says: str,
) -> None:  # fmt: skip
    port, admin = free_ports[:2]
    write(EDGE, f'[edge.store]\nurl = "{faulty_redis.url}"\nprefix = "{when}:"\nwhen_unavailable = "{when}"\n', RATE)
    edge = await start(
        "edge", "--bus", vhost.url, "--port", str(port), "--config", str(folder / "busgate.toml"),
        BUSGATE_EDGE__ADMIN__PORT=str(admin),
    )  # fmt: skip
    await edge.until("edge ready")
    assert get(f"http://127.0.0.1:{admin}/readyz") == (200, {"status": "ok"})
    faulty_redis.kill()
    line = await edge.until("store unavailable")
    async with asyncio.timeout(15):
        while "busgate_store_up{} 0" not in (text := await asyncio.to_thread(metrics, admin)):
            await asyncio.sleep(0.05)
    status, document = await asyncio.to_thread(get, f"http://127.0.0.1:{admin}/readyz")
    greeted, _ = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/greetings/ann")

    assert (status, str(document[says]).startswith("['store: redis at redis://127.0.0.1:")) == (ready, True)
    assert greeted == 503  # refused for the store, or for there being no service
    assert faulty_redis.password not in f"{line}{document}{text}"
    await faulty_redis.start()
    await edge.until("store available again")

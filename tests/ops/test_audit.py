"""`busgate audit`: reads, filters, follows and adds up the records of calls."""

import asyncio
import gzip
import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.command import Run, Start

from busgate.ops.auditing import Wanted, read_record

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def record(number: int = 0, **changes: Any) -> dict[str, Any]:
    base = {
        "timestamp": (NOW + timedelta(minutes=number)).isoformat().replace("+00:00", "Z"),
        "event": "audit",
        "call": f"{number:032x}",
        "caller": "ann",
        "issuer": "https://login.example",
        "address": "192.0.2.1",
        "method": "POST",
        "topic": "shop.orders.place.v1",
        "route": "/orders",
        "decision": "allowed",
        "reason": "",
        "status": 201,
        "outcome": "executed",
        "total_ms": 2.5 + number,
        "request_bytes": 10,
        "reply_bytes": 20,
    }
    return base | changes


RECORDS = [
    record(0),
    record(1, caller="bob", status=409, rule="staff", limits=[]),
    record(2, topic="shop.stock.check.v1", status=504, outcome="unknown", service="mock"),
    record(3, caller="", decision="refused", reason="the limit few lets 5 through", limits=["few"], status=401, outcome="not_executed"),
    record(4, topic="", path="/\u001b[31mnowhere", caller="", decision="refused", reason="There is nothing here", status=404,
           outcome="not_executed"),
]  # fmt: skip


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "audit.jsonl"
    others = ['{"event":"call","status":200}', ""]
    path.write_text("\n".join([*map(json.dumps, RECORDS), *others]) + "\n")
    return path


def numbers(out: str) -> list[int]:
    return [int(json.loads(line)["call"], 16) for line in out.splitlines()]


def add(path: Path, document: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(document) + "\n")


def rotate(path: Path, *, then: dict[str, Any]) -> None:
    """Move a file away, under the hands of a writer that does not know it yet."""
    old = path.with_suffix(".1")
    path.rename(old)
    add(old, then)


CASES: list[Any] = [
    pytest.param([], [0, 1, 2, 3, 4], id="all"),
    pytest.param(["--caller", "bob"], [1], id="caller"),
    pytest.param(["--topic", "shop.orders.*"], [0, 1, 3], id="topic"),
    pytest.param(["--status", "4xx"], [1, 3, 4], id="class of status"),
    pytest.param(["--status", "504"], [2], id="status"),
    pytest.param(["--outcome", "unknown"], [2], id="outcome"),
    pytest.param(["--refused"], [3, 4], id="refused"),
    pytest.param(["--rule", "staff"], [1], id="rule that let in"),
    pytest.param(["--rule", "few"], [3], id="limit that refused"),
    pytest.param(["--since", "2026-01-31T12:02Z", "--until", "2026-01-31T12:04Z"], [2, 3], id="between"),
    pytest.param(["--since", "2026-01-31T13:03+01:00"], [3, 4], id="another zone"),
    pytest.param(["--since", "1m"], [], id="ago"),
    pytest.param(["--refused", "--status", "401"], [3], id="both"),
]


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_records_are_filtered(run: Run, file: Path, options: list[str], expected: list[int]) -> None:
    shown = run("audit", str(file), "--json", *options)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert numbers(shown.stdout) == expected


def test_people_get_lines_that_no_record_can_forge(run: Run, file: Path) -> None:
    lines = run("audit", str(file)).stdout.splitlines()

    assert len(lines) == 6
    assert lines[2].endswith("executed (rule staff)")
    assert "unknown (mock: by an example)" in lines[3]
    assert "refused: the limit few lets 5 through" in lines[4]
    assert "/\\x1b[31mnowhere" in lines[5]


def test_the_file_of_the_configuration_is_read_from_its_folder(run: Run, file: Path) -> None:
    (file.parent / "busgate.toml").write_text('[edge.audit]\nto = "file"\nfile = "audit.jsonl"\n')

    assert numbers(run("audit", "--json").stdout) == [0, 1, 2, 3, 4]


def test_rotated_files_and_stdin_are_read_too(run: Run, folder: Path, file: Path) -> None:
    (folder / "old.gz").write_bytes(gzip.compress(json.dumps(record(7)).encode() + b"\n"))

    assert numbers(run("audit", "old.gz", "audit.jsonl", "--json").stdout) == [7, 0, 1, 2, 3, 4]


def test_figures_for_each_caller(run: Run, file: Path) -> None:
    shown = [json.loads(line) for line in run("audit", str(file), "--by", "caller", "--json").stdout.splitlines()]

    assert [(each["caller"], each["calls"], each["refused"], each["4xx"], each["5xx"]) for each in shown] == [
        ("", 2, 2, 2, 0),
        ("ann", 2, 0, 0, 1),
        ("bob", 1, 0, 1, 0),
    ]
    assert (shown[1]["mean_ms"], shown[1]["p50_ms"], shown[1]["max_ms"]) == (3.5, 4.5, 4.5)
    assert (shown[1]["request_bytes"], shown[1]["reply_bytes"]) == (20, 40)


def test_one_subject_of_two_issuers_is_two_callers_in_the_table_too(run: Run, file: Path) -> None:
    add(file, record(5, issuer="https://other.example"))

    lines = run("audit", str(file), "--by", "caller", "--caller", "ann").stdout.splitlines()

    assert [line.split()[:3] for line in lines] == [
        ["CALLER", "ISSUER", "CALLS"],
        ["ann", "https://login.example", "2"],
        ["ann", "https://other.example", "1"],
    ]


def test_figures_for_each_topic_as_a_table(run: Run, file: Path) -> None:
    lines = run("audit", str(file), "--by", "topic").stdout.splitlines()

    assert lines[0].split()[:5] == ["TOPIC", "CALLS", "REFUSED", "4XX", "5XX"]
    assert lines[1].split()[:5] == ["shop.orders.place.v1", "3", "1", "2", "0"]


def test_lines_that_are_no_records_are_left_out_and_told(run: Run, file: Path) -> None:
    torn = json.dumps(record(9))[:50]
    with file.open("a") as out:
        out.write(torn + "\n" + '{"event":"audit"}\n[1]\n' + json.dumps(record(5)) + "\n")

    shown = run("audit", str(file), "--json", "--caller", "ann")

    assert shown.returncode == 1
    assert shown.stderr == "busgate: 3 lines are no records; they were left out\n"
    assert numbers(shown.stdout) == [0, 2, 5]


FAULTS: list[Any] = [
    pytest.param(["nowhere"], "nowhere: cannot be read: No such file or directory", id="no file"),
    pytest.param([], "no records to read: name a file, or --bus where edge.audit goes to the exchange", id="nothing"),
    pytest.param(["audit.jsonl", "--status", "6xx"], "--status '6xx': say 2xx, 4xx, 5xx, or a status", id="status"),
    pytest.param(["audit.jsonl", "--since", "soon"], "--since 'soon': a time is needed", id="time"),
    pytest.param(["audit.jsonl", "--by", "caller", "--follow"], "--by needs records that are there", id="both"),
    pytest.param(["-", "--follow"], "--follow reads one file", id="follow stdin"),
    pytest.param(["audit.jsonl", "--outcome", "done"], "--outcome", id="outcome"),
    pytest.param(["bad.gz"], "bad.gz: cannot be read: Not a gzipped file", id="no gzip"),
]


@pytest.mark.parametrize(("options", "why"), FAULTS)
def test_what_cannot_be_read_is_told_in_one_line(run: Run, file: Path, options: list[str], why: str) -> None:
    (file.parent / "bad.gz").write_bytes(b"no gzip")

    told = run("audit", *options)

    assert told.returncode == 2
    assert why in told.stderr
    assert told.stderr.count("\n") == 1


async def test_a_file_is_followed_through_its_rotation(start: Start, file: Path) -> None:
    follower = await start("audit", str(file), "--follow", "--json", "--caller", "ann")
    await follower.until(f"{2:032x}")

    rotate(file, then=record(10))
    await follower.until(f"{10:032x}")
    add(file, record(11))
    await follower.until(f"{11:032x}")
    follower.signal(signal.SIGINT)

    assert await follower.ended() == 130


@pytest.mark.parametrize("line", ["", "{", "[]", '{"event":"audit"}', "[" * 100_000, '{"event":"audit","timestamp":1}'])
def test_what_is_no_record_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        read_record(line)


def test_a_record_with_an_odd_time_is_none() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        read_record(json.dumps(record(timestamp="soon")))


def test_everything_passes_where_nothing_is_asked_for() -> None:
    assert Wanted().lets_through(record())


async def test_an_edge_writes_what_the_command_reads(
    start: Start, run: Run, folder: Path, free_ports: list[int]
) -> None:
    (folder / "busgate.toml").write_text(
        '[bus]\nurl = "memory://"\n[edge]\ncontracts = "hello.contracts"\n[edge.audit]\nto = "file"\nfile = "calls.jsonl"\n'
        '[worker]\nservices = "hello.services:greeter"\n'
    )
    port, admin = free_ports
    config = f"--config={folder / 'busgate.toml'}"
    dev = await start("dev", config, f"--port={port}", f"--admin-port={admin}")
    await dev.until("ready")
    await asyncio.to_thread(subprocess.run, ["curl", "-sS", f"http://127.0.0.1:{port}/greetings/ann"], check=True)
    dev.signal(signal.SIGTERM)
    await dev.ended()

    (told,) = [json.loads(line) for line in run("audit", "--json").stdout.splitlines()]

    assert (told["topic"], told["variables"], told["status"]) == ("hello.greet.v1", {"name": "ann"}, 200)

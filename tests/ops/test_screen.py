"""Tables and sentences on a terminal: what does not fit leaves in a set order, and nothing that matters is cut."""

import asyncio
import re

import pytest

from busgate.ops import screen

HEAD = ["ID", "STATE", "PID", "VERSION"]
ROWS = [["shop-1", "serving", "7", "0.1.0"]]
WIDE = ["ID      STATE    PID  VERSION", "shop-1  serving  7    0.1.0"]


def on_a_terminal_of(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "width", lambda: columns)


@pytest.mark.parametrize("columns", [None, 80, 29])
def test_a_table_that_fits_is_whole(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal_of(columns, monkeypatch)

    assert screen.table(HEAD, ROWS, spare=["VERSION", "STATE"]) == WIDE


def test_spare_columns_leave_in_their_order_and_no_more_than_must(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal_of(28, monkeypatch)
    assert screen.table(HEAD, ROWS, spare=["VERSION", "STATE"]) == ["ID      STATE    PID", "shop-1  serving  7"]

    on_a_terminal_of(12, monkeypatch)
    assert screen.table(HEAD, ROWS, spare=["VERSION", "STATE"]) == ["ID      PID", "shop-1  7"]


def test_what_still_does_not_fit_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal_of(8, monkeypatch)

    assert screen.table(HEAD, ROWS, spare=["VERSION", "STATE"]) == ["ID     …", "shop-1 …"]


def test_a_sentence_is_not_cut_but_goes_on_in_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal_of(20, monkeypatch)

    assert screen.wrapped("! shop-1 hangs: kill -9 7 there") == ["! shop-1 hangs: kill", "  -9 7 there"]


async def test_a_watch_on_a_terminal_says_when_it_looked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    async def draw() -> tuple[list[str], int]:
        return ["a look"], 0

    watching = asyncio.create_task(screen.show(draw, watch=True))
    async with asyncio.timeout(10):
        while "a look" not in (said := capsys.readouterr().out):
            await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)

    assert re.search(r"at \d\d:\d\d:\d\d", said)

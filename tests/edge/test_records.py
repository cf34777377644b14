import asyncio
import json
import os
import pty
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.town import eventually

from busgate.edge.batches import LARGEST_BATCH
from busgate.edge.line_writer import WHOLE, LineWriter
from busgate.edge.records import (
    Batch,
    Record,
    Recorder,
    RecordLines,
    json_lines,
    text_lines,
)

PATIENCE = 10.0
ORDER: dict[str, Any] = {
    "started": 100.25,
    "total_ms": 3.2,
    "method": "POST",
    "path": "/orders",
    "topic": "shop.orders.place.v1",
    "service": "orders",
    "status": 201,
    "outcome": "executed",
    "failure": "",
    "queue_ms": 0.8,
    "ran_ms": 1.9,
    "request_id": b"0123456789abcdef0123456789abcdef",
    "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "caller": "demo",
    "reason": "",
}
FOREIGN = ("path", "service", "caller", "reason")
TEXTS = ("method", "path", "topic", "service", "outcome", "failure", "caller", "reason")
EPOCH = 1_700_000_000.0


def record_of(**changes: Any) -> Record:
    assert changes.keys() <= ORDER.keys()
    return tuple((ORDER | changes).values())


class Stream:
    """A pipe, and writers to it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.reader = os.fdopen(self.reading, "rb")
        self._writers: list[LineWriter] = []

    def writer(self, **how: Any) -> LineWriter:
        self._writers.append(LineWriter(self.writing, **how))
        return self._writers[-1]

    async def lines(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.to_thread(lambda: [self.reader.readline() for _ in range(count)])

    def close(self) -> None:
        self.reader.close()  # ends what is stuck in a write
        for writer in self._writers:
            writer.close(PATIENCE)
        os.close(self.writing)


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream()
    yield stream
    stream.close()


class Pile:
    """Takes batches and says when records are there."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.arrived = asyncio.Event()

    def take(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.arrived.set()


@pytest.fixture
async def pile() -> Pile:
    return Pile()


# -- batches


async def test_records_are_handed_over_together_and_soon(pile: Pile):
    recorder = Recorder(pile.take)

    recorder.record(**ORDER)
    recorder.record(**ORDER | {"status": 409})

    assert pile.batches == []
    async with asyncio.timeout(PATIENCE):
        await pile.arrived.wait()
    assert pile.batches == [[record_of(), record_of(status=409)]]


async def test_a_large_batch_does_not_wait(pile: Pile):
    recorder = Recorder(pile.take)

    for _ in range(LARGEST_BATCH + 1):
        recorder.record(**ORDER)

    assert [len(batch) for batch in pile.batches] == [LARGEST_BATCH]


async def test_every_record_is_handed_over_once_however_many_come(pile: Pile):
    recorder = Recorder(pile.take)

    for status in range(3 * LARGEST_BATCH + 7):
        recorder.record(**ORDER | {"status": status})
    recorder.flush()
    recorder.flush()

    assert [record[6] for batch in pile.batches for record in batch] == list(range(3 * LARGEST_BATCH + 7))


async def test_no_timer_runs_while_there_is_nothing_to_record(pile: Pile):
    recorder = Recorder(pile.take)
    recorder.record(**ORDER)
    recorder.flush()

    assert recorder._timer is None


# -- JSON


def test_a_json_line_says_all_that_is_known():
    (line,) = json_lines([record_of()], EPOCH)

    assert json.loads(line) == {
        "timestamp": "2023-11-14T22:15:00.250Z",
        "level": "info",
        "event": "call",
        "request": "0123456789abcdef0123456789abcdef",
        "trace": "0af7651916cd43dd8448eb211c80319c",
        "method": "POST",
        "path": "/orders",
        "topic": "shop.orders.place.v1",
        "service": "orders",
        "caller": "demo",
        "status": 201,
        "outcome": "executed",
        "failure": "",
        "reason": "",
        "total_ms": 3.2,
        "queue_ms": 0.8,
        "ran_ms": 1.9,
    }


def test_times_that_are_not_known_are_null():
    (line,) = json_lines([record_of(queue_ms=None, ran_ms=None)], EPOCH)

    assert (json.loads(line)["queue_ms"], json.loads(line)["ran_ms"]) == (None, None)


def test_each_record_has_its_own_time_of_day():
    lines = json_lines([record_of(started=started) for started in (0.999, 1.0, 0.5)], EPOCH)

    times = [json.loads(line)["timestamp"][-7:] for line in lines]
    assert times == ["20.999Z", "21.000Z", "20.500Z"]


any_text = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates too
any_texts = st.fixed_dictionaries(dict.fromkeys(TEXTS, any_text))


@given(st.lists(any_texts, min_size=1, max_size=4))
def test_whatever_a_record_says_it_is_one_json_line_that_says_the_same(texts: list[dict[str, str]]):
    lines = "".join(json_lines([record_of(**text) for text in texts], EPOCH)).encode("ascii")

    assert len(lines.splitlines()) == len(texts)
    read = [json.loads(line) for line in lines.splitlines()]
    assert [{name: line[name] for name in TEXTS} for line in read] == texts


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=100), st.integers(1, 500))
def test_a_line_is_never_longer_than_a_pipe_takes_at_once(text: str, times: int):
    topic = "t" * 200
    (line,) = json_lines([record_of(topic=topic, **dict.fromkeys(FOREIGN, text * times))], EPOCH)

    assert len(line) <= WHOLE
    read = json.loads(line)
    assert read["topic"] == topic
    assert all((text * times).startswith(read[name]) for name in FOREIGN)


# -- text


def test_a_text_line_reads_like_a_sentence_in_columns():
    (line,) = text_lines([record_of()], EPOCH, colour=False)

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.250  POST /orders          201  shop\.orders\.place\.v1    orders    "
        r"total   3\.2 ms  queue   0\.8 ms  run   1\.9 ms  0123456789abcdef0123456789abcdef\n",
        line,
    )


def test_a_text_line_of_a_failure_ends_with_what_it_was():
    failure = {"service": "", "status": 503, "outcome": "not_executed", "failure": "no-route"}
    (line,) = text_lines([record_of(**failure, queue_ms=None, ran_ms=None)], EPOCH, colour=False)

    assert line.endswith(
        "  503  shop.orders.place.v1    -         "
        "total   3.2 ms  queue        -  run        -  0123456789abcdef0123456789abcdef  no-route (not_executed)\n"
    )


def test_a_text_line_of_a_failure_says_what_is_known_of_it():
    (line,) = text_lines(
        [record_of(status=502, failure="nested-failure", outcome="unknown", reason="shop.stock.v1: bad-reply\n")],
        EPOCH,
        colour=False,
    )

    assert line.endswith("  nested-failure (unknown): shop.stock.v1: bad-reply\\u000a\n")


@pytest.mark.parametrize(("status", "colour"), [(201, 32), (409, 33), (503, 31)])
def test_colours_show_how_it_went(status: int, colour: int):
    (line,) = text_lines([record_of(status=status)], EPOCH, colour=True)

    assert f"\x1b[{colour}m{status}\x1b[0m" in line


@given(any_texts)
def test_whatever_a_record_says_it_is_one_text_line_with_as_many_columns(texts: dict[str, str]):
    (line,) = text_lines([record_of(**texts | {"failure": "", "path": "/" + texts["path"]})], EPOCH, colour=False)

    assert re.fullmatch(r"[\x20-\x7e]+\n", line)
    assert line.count("  total ") == 1
    assert len(line) <= WHOLE


# -- streams


async def test_what_is_not_a_terminal_gets_json(stream: Stream):
    recorder = Recorder(RecordLines(stream.writer()).take)

    recorder.record(**ORDER)
    recorder.flush()

    (line,) = await stream.lines(1)
    assert json.loads(line)["path"] == "/orders"


async def test_a_terminal_gets_text_in_colour():
    terminal, shown = pty.openpty()
    writer = LineWriter(shown)

    RecordLines(writer).take([record_of()])
    writer.close(PATIENCE)

    line = os.read(terminal, WHOLE)
    os.close(terminal)
    os.close(shown)
    assert b"POST /orders" in line
    assert b"\x1b[32m201" in line


async def test_text_may_be_had_elsewhere_but_without_colours(stream: Stream):
    RecordLines(stream.writer(), "text").take([record_of()])

    (line,) = await stream.lines(1)
    assert b"POST /orders" in line
    assert b"\x1b" not in line


async def test_a_reader_that_never_reads_costs_bounded_memory_and_no_time(stream: Stream):
    writer = stream.writer(kept=100_000)
    recorder = Recorder(RecordLines(writer).take)

    for _ in range(4_000):  # 1 MB: the pipe takes 64 kB
        recorder.record(**ORDER)
    recorder.flush()

    assert writer.dropped > 2_500


async def test_no_line_is_lost_to_a_reader_that_comes_late(stream: Stream):
    writer = stream.writer()
    recorder = Recorder(RecordLines(writer).take)
    for status in range(2_000):
        recorder.record(**ORDER | {"status": status})
    recorder.flush()

    lines = await stream.lines(2_000)

    assert [json.loads(line)["status"] for line in lines] == list(range(2_000))
    assert writer.dropped == 0


async def test_lines_are_taken_again_once_a_slow_reader_has_caught_up(stream: Stream):
    writer = stream.writer(kept=100_000)
    taken = 0
    while not writer.dropped:
        writer.write(b"x" * 9_999 + b"\n")
        taken += 1

    await stream.lines(taken - 1)
    writer.write(b"again\n")

    assert await stream.lines(1) == [b"again\n"]
    assert writer.dropped == 1


async def test_a_stream_that_nobody_reads_any_more_is_only_counted(stream: Stream):
    writer = stream.writer()
    stream.reader.close()

    for _ in range(3):
        writer.write(b"one\ntwo\n")
    writer.close(PATIENCE)
    writer.write(b"late\n")

    assert writer.dropped == 7


async def test_lines_are_written_again_once_a_full_disk_has_room_and_none_continues_a_torn_one(stream: Stream):
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd)
    writer.write(b"one\ntwo\n")
    await eventually(lambda: writer.dropped == 2)

    os.dup2(stream.writing, fd)
    writer.write(b"three\n")
    writer.write(b"four\n")

    assert await stream.lines(3) == [b"\n", b"three\n", b"four\n"]
    assert writer.dropped == 2
    writer.close(PATIENCE)
    os.close(fd)


async def test_a_stream_that_somebody_made_non_blocking_is_waited_for(stream: Stream):
    os.set_blocking(stream.writing, False)
    lines = [b"%07d\n" % number for number in range(20_000)]

    stream.writer().write(b"".join(lines))

    assert await stream.lines(len(lines)) == lines


async def test_the_end_waits_no_longer_than_it_is_told_and_leaves_the_stream_open(stream: Stream):
    writer = stream.writer()
    writer.write(b"x" * 200_000 + b"\n")
    writer.write(b"never\n")

    writer.close(wait=0)

    assert writer.dropped >= 1
    os.fstat(stream.writing)


async def test_processes_that_share_a_pipe_do_not_tear_their_lines(stream: Stream):
    count = 400
    for letter in (b"a", b"b"):
        stream.writer(shared=True).write((letter * 3_000 + b"\n") * count)

    lines = await stream.lines(2 * count)

    assert set(lines) == {b"a" * 3_000 + b"\n", b"b" * 3_000 + b"\n"}


def test_the_trace_of_what_was_not_sent_is_the_request_itself() -> None:
    (line,) = json_lines([record_of(traceparent=b"")], EPOCH)

    assert json.loads(line)["trace"] == json.loads(line)["request"]

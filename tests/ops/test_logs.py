"""One event is one line, whatever stands in it."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars

from busgate.ops.logs import configure
from busgate.ops.settings import LogSettings

Style = Literal["auto", "text", "json"]
ANYTHING = st.text() | st.sampled_from(["a\nb", "\x1b[31mred", "\u202egnp.exe", "\x85", "\u2028", "a=b c", '"', ""])


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before
    structlog.reset_defaults()


def written(style: Style, say: Callable[[Any], object], *, process: str | None = None, child: int | None = None) -> str:
    stream = io.StringIO()
    configure(LogSettings(format=style), stream=stream, process=process, child=child)
    say(structlog.stdlib.get_logger("busgate.test"))
    return stream.getvalue()


@given(event=ANYTHING, value=ANYTHING)
def test_a_line_of_text_cannot_be_broken_or_forged(event: str, value: str) -> None:
    text = written("text", lambda log: log.warning(event, value=value))

    assert text.endswith("(busgate.test)\n")
    assert text[:-1].isprintable()


@given(event=ANYTHING, value=ANYTHING)
def test_a_line_of_json_gives_back_what_was_said(event: str, value: str) -> None:
    text = written("json", lambda log: log.warning(event, value=value))

    assert text.isascii()
    assert text.count("\n") == 1
    line = json.loads(text)
    assert (line["event"], line["value"], line["level"], line["logger"]) == (
        *(event, value),
        *("warning", "busgate.test"),
    )


@given(message=ANYTHING)
@pytest.mark.parametrize("style", ["text", "json"])
def test_libraries_that_use_the_standard_logging_are_cleaned_alike(style: Style, message: str) -> None:
    text = written(style, lambda _: logging.getLogger("asyncio").warning("%s", message))

    assert text.count("\n") == 1
    assert text[:-1].isprintable()


def test_a_traceback_is_indented_below_its_line() -> None:
    def say(log: Any) -> None:
        try:
            raise ValueError("one\n20:00:00 info    forged (busgate.test)\x1b[31m")
        except ValueError:
            log.exception("it failed")

    first, *trace = written("text", say).splitlines()

    assert first.endswith("it failed (busgate.test)")
    assert all(line.startswith("    | ") for line in trace)
    assert trace[-1] == r"    | 20:00:00 info    forged (busgate.test)\x1b[31m"


def test_values_stand_bare_only_where_that_is_clear() -> None:
    line = written("text", lambda log: log.info("done", plain="a.b", spaced="a b", empty="", number=3))

    assert line[9:] == 'info    done plain=a.b spaced="a b" empty="" number=3 (busgate.test)\n'


def test_the_level_holds_for_libraries_too() -> None:
    def say(log: Any) -> None:
        log.info("ours")
        logging.getLogger("aiohttp").debug("theirs")

    assert written("text", say).count("\n") == 1


def test_a_stream_that_is_no_terminal_gets_json_without_colours() -> None:
    text = written("auto", lambda log: log.error("no"))

    assert json.loads(text)["event"] == "no"
    assert "\x1b" not in written("text", lambda log: log.error("no"))


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    configure(LogSettings(), stream=stream)

    structlog.stdlib.get_logger("busgate.test").error("no")

    assert "\x1b[31merror" in stream.getvalue()


def test_each_line_says_which_process_wrote_it() -> None:
    text = written("text", lambda log: log.info("here"), process="web-4ad210", child=1)

    assert " here process=web-4ad210 child=1 " in text
    assert "child" not in written("text", lambda log: log.info("here"), process="web-4ad210")


def test_of_several_members_in_one_process_each_line_names_its_own() -> None:
    with bound_contextvars(process="orders"):
        text = written("text", lambda log: log.info("here"), process="web-4ad210")

    assert " process=orders " in text


def test_stderr_is_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure(LogSettings())

    structlog.stdlib.get_logger("busgate.test").info("here")

    assert "here" in stream.getvalue()

"""Logs: one line for each event, on stderr, for people or as JSON. No value can forge or break a line.

Everything goes through the standard library's root handler, so that libraries which log there are formatted
and cleaned alike. The lines of calls have their own way: they are too many for this one.
"""

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .settings import LogSettings

_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_PLAIN = "\x1b[0m"
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@+*#~()<>$%&;!?")


def configure(
    settings: LogSettings, *, process: str | None = None, child: int | None = None, stream: TextIO | None = None
) -> None:
    """Send the logs of this process to a stream (stderr) from now on.

    Args:
        settings: what is worth a line, and how lines look.
        process: what this process is called on the bus, and by `busgate ps`; it stands in each line. Where several
            are in one process of the machine, `process` of structlog's context variables says which.
        child: which of several alike it is.
        stream: stderr if None.
    """
    stream = stream or sys.stderr
    text = wants_text(settings, stream)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
        structlog.processors.format_exc_info,
    ]
    who = {name: value for name, value in (("process", process), ("child", child)) if value is not None}
    shared[:0] = [structlog.contextvars.merge_contextvars, _add(who)]
    handler = logging.StreamHandler(stream)
    render: Processor = TextRenderer(colours=stream.isatty()) if text else _render_json
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.raiseExceptions = False  # a log that nobody reads any more is no reason for a traceback
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _add(values: Mapping[str, object]) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **{name: value for name, value in values.items() if name not in event}}

    return add


def wants_text(settings: LogSettings, stream: TextIO) -> bool:
    """Whether lines are for people."""
    return settings.format == "text" or (settings.format == "auto" and stream.isatty())


class TextRenderer:
    """`20:17:03 warning lost the broker generation=1 (busgate.bus)`, and a traceback indented below."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = _COLOURS if colours else {}

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        level = str(event.pop("level", "info"))
        time = event.pop("timestamp", "")
        words = [printable(str(event.pop("event", "")))]
        name = str(event.pop("logger", ""))
        trace = "".join(f"\n    | {printable(line)}" for line in str(event.pop("exception", "")).splitlines())
        words += [f"{printable(key)}={_value(value)}" for key, value in event.items()]
        colour = self._colours.get(level, "")
        return f"{time} {colour}{level:7}{colour and _PLAIN} {' '.join(words)} ({printable(name)}){trace}"


def printable(text: str) -> str:
    """A text with escapes in place of whatever a terminal or a reader of lines would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _value(value: object) -> str:
    text = str(value)
    if text and _BARE.issuperset(text):
        return text
    return printable(json.dumps(text, ensure_ascii=False))


def _render_json(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> str:
    """One object; all that is not ASCII is escaped, so nothing in it ends the line."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    return json.dumps(head | dict(event), default=str)

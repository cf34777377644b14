"""Turns tracing on where the configuration says so. Off, nothing of OpenTelemetry is imported anywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .faults import CommandError
from .settings import TracingSettings

if TYPE_CHECKING:
    from busgate.bus.spans import Spans


def faults_with(settings: TracingSettings) -> list[str]:
    """Why tracing cannot be turned on, in a line each; none when it can, or is off."""
    if settings.endpoint is None or _is_installed():
        return []
    return ["tracing.endpoint: OpenTelemetry is not installed: pip install 'busgate[tracing]'"]


@contextmanager
def tracing(settings: TracingSettings) -> Iterator["Spans | None"]:
    """Where the spans of this process go; None: nowhere. What is left at the end is sent, in bounded time.

    Raises:
        CommandError: OpenTelemetry is not installed.
    """
    if faults := faults_with(settings):
        raise CommandError(faults)
    if settings.endpoint is None:
        yield None
        return
    from busgate.bus.spans import open_otlp  # noqa: PLC0415 - needs OpenTelemetry, which only who wants it has

    spans = open_otlp(settings.endpoint, ratio=settings.ratio)
    try:
        yield spans
    finally:
        spans.close()


def _is_installed() -> bool:
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:  # not even a part of it
        return False

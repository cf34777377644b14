"""Worlds for system tests. At the end of every one all invariants are checked."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from support.faults.services import LOG
from support.faults.world import World
from support.management import Vhost


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Logs as a process has them: no debugging, and tracebacks that take no tenth of a second to write."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
async def world(vhost: Vhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world on the broker of the behaviour tests."""
    monkeypatch.setenv(LOG, str(tmp_path / "executions"))
    world = World(vhost, tmp_path)
    yield world
    assert await world.finish() == []


@pytest.fixture
async def faulty_world(faulty_vhost: Vhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world on the node that the test may break."""
    monkeypatch.setenv(LOG, str(tmp_path / "executions"))
    world = World(faulty_vhost, tmp_path)
    yield world
    assert await world.finish() == []

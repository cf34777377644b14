"""The pytest plugin: the fixtures `busgate` and `busgate_http`, and the option --busgate-bus. See docs/testing.md.

pytest loads it in every project that has busgate installed, so it imports nothing before a test asks for a fixture,
and does nothing for tests that do not. `-p no:busgate` leaves it out.
"""

import asyncio
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from busgate.bus import RabbitBroker
    from busgate.edge.testing import HttpHarness
    from busgate.workers.testing import Harness

_OPTION = "--busgate-bus"
_HARNESS = "busgate"
_ASKED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("busgate").addoption(
        _OPTION,
        metavar="URL",
        help="a RabbitMQ for the tests with the fixture busgate: amqp://user:password@host:port/vhost "
        "(default: a bus in memory)",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look whether the RabbitMQ can be used before the first test that needs it runs into its absence."""
    config = session.config
    if config.getoption(_OPTION) is None or config.option.collectonly:
        return
    if hasattr(config, "workerinput"):  # of pytest-xdist, which does not survive an error here: each test will tell
        return
    if any(_HARNESS in getattr(item, "fixturenames", ()) for item in session.items):
        _check(config)


@pytest.hookimpl
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test of ours where no other plugin does, such as pytest-asyncio or anyio."""
    if not pyfuncitem.stash.get(_ASKED, False) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}))
    return True


@pytest.fixture
def busgate(request: pytest.FixtureRequest) -> "Iterator[Harness]":
    """Services at work, and somebody who calls them: `async with busgate.serving(service): ...`."""
    from busgate.bus.testing import Stage  # noqa: PLC0415 - see above
    from busgate.workers.testing import Harness  # noqa: PLC0415

    request.node.stash[_ASKED] = True
    try:
        broker = _broker(request.config)
    except Exception as error:  # noqa: BLE001 - told in lines, or raised as it is
        raise _failure(error) from None
    with _logs():
        yield Harness(Stage(broker))


@pytest.fixture
def busgate_http(busgate: "Harness") -> "HttpHarness":
    """An edge before the services of `busgate`: `async with busgate_http.serving(contract) as client: ...`."""
    try:
        from busgate.edge.testing import HttpHarness  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _failure(error) from None
    return HttpHarness(busgate.stage)


@contextmanager
def _logs() -> Iterator[None]:
    """Send the logs to pytest, which shows those of failed tests; unless the project has its own way with structlog."""
    import structlog  # noqa: PLC0415

    if structlog.is_configured():
        yield
        return
    render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, render],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def _broker(config: pytest.Config) -> "RabbitBroker | None":
    """The RabbitMQ of the option; None where tests use memory. The environment says more: BUSGATE_BUS__PASSWORD."""
    url = config.getoption(_OPTION)
    if url is None:
        return None
    from busgate.bus import RabbitBroker  # noqa: PLC0415

    from .config import load  # noqa: PLC0415
    from .loading import broker_addresses  # noqa: PLC0415
    from .settings import BusProcess  # noqa: PLC0415

    settings = load(BusProcess, None, environ=os.environ, overrides={"bus.url": url}).bus
    if settings.embedded:
        return None
    return RabbitBroker(broker_addresses(settings), kind=settings.exchange_kind, heartbeat=settings.heartbeat)


def _check(config: pytest.Config) -> None:
    try:
        broker = _broker(config)
        if broker is not None:
            asyncio.run(broker.prepare([]))
    except Exception as error:
        lines = _lines(error)
        if not lines:
            raise
        raise pytest.UsageError("; ".join(f"{_OPTION}: {line}" for line in lines)) from None


def _failure(error: Exception) -> BaseException:
    """What ends a test: the lines for people, where there are some."""
    lines = _lines(error)
    return pytest.fail.Exception("; ".join(lines), pytrace=False) if lines else error


def _lines(error: Exception) -> list[str]:
    from .faults import lines_of  # noqa: PLC0415

    return lines_of(error) or []

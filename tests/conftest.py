"""Fixtures of the whole suite: a broker for the session, a fresh vhost for each test that wants one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from support.broker import Broker, BrokerError, RabbitNode
from support.management import Vhost
from support.node_service import NodeJsError, prepare_node_service
from support.provider import find_node
from support.redis_node import RedisError, RedisNode, find_redis

import busgate

# A busy machine makes no example wrong.
settings.register_profile("busgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busgate")

NODE = pytest.StashKey[Callable[[], RabbitNode]]()
REDIS = pytest.StashKey[Callable[[], RedisNode]]()


def pytest_report_header() -> str:
    return f"busgate from {' '.join(busgate.__path__)}"


PARTS = ("bus", "contracts", "edge", "ops", "workers")


def pytest_sessionstart() -> None:
    """With BUSGATE_FROM=wheel nothing may come from the checkout."""
    if os.environ.get("BUSGATE_FROM") == "wheel":
        places = [str(find_spec(f"busgate.{part}").origin) for part in PARTS]  # type: ignore[union-attr] # or it fails
        foreign = [place for place in places if not Path(place).is_relative_to(sys.prefix)]
        if foreign:
            raise pytest.UsageError(f"busgate is not imported from the wheel but from {foreign}")


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """What runs under nohup, or in the background of a script, begins with these ignored, and so would what it starts."""
    before = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGINT)}
    for each, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find a broker, and Redis and Node.js where wanted, before the first test runs, or say what is missing."""
    wanted = {"broker_node"} if os.environ.get("AMQP_URL") else {"broker_node", "rabbit"}
    names = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    try:
        if wanted & names:
            session.config.stash[NODE] = find_node(lambda line: say(session.config, line))
        if "redis_node" in names:
            session.config.stash[REDIS] = find_redis(lambda line: say(session.config, line))
        if "node_service" in names:
            prepare_node_service(lambda line: say(session.config, line))
    except (BrokerError, NodeJsError, RedisError) as error:
        raise pytest.UsageError(str(error)) from None


def say(config: pytest.Config, line: str) -> None:
    """Show a line of progress although pytest captures output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if capture and reporter:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> Iterator[None]:
    """`connect` sets up structlog where nobody has; the next test is somebody else."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def broker_node(pytestconfig: pytest.Config) -> Iterator[RabbitNode]:
    """A RabbitMQ of the suite's own, for all tests of the session; a test that breaks it takes `faulty_node`."""
    node = pytestconfig.stash[NODE]()
    try:
        asyncio.run(node.start())
        yield node
    except BrokerError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    finally:
        node.dispose()


@pytest.fixture
async def faulty_node(broker_node: RabbitNode) -> AsyncIterator[RabbitNode]:
    """The suite's own RabbitMQ, to be paused, killed, alarmed; it is healed after the test."""
    yield broker_node
    await broker_node.heal()


@pytest.fixture(scope="session")
def rabbit(request: pytest.FixtureRequest) -> Broker:
    """The RabbitMQ of the behaviour tests: that of AMQP_URL if set, else the suite's own."""
    if url := os.environ.get("AMQP_URL"):
        return Broker.at(url, os.environ.get("AMQP_MANAGEMENT_URL"))
    node: RabbitNode = request.getfixturevalue("broker_node")
    return node.broker


@pytest.fixture
async def vhost(rabbit: Broker, request: pytest.FixtureRequest) -> AsyncIterator[Vhost]:
    """A fresh vhost, named after the test, on the RabbitMQ of the behaviour tests."""
    async with rabbit.fresh_vhost(request.node.name) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def node_service() -> None:
    """Whoever starts the service in Node takes this, so that Node.js and its packages are there before the first test."""


@pytest.fixture
async def faulty_vhost(faulty_node: RabbitNode, request: pytest.FixtureRequest) -> AsyncIterator[Vhost]:
    """A fresh vhost on the node that the test may break."""
    async with faulty_node.broker.fresh_vhost(request.node.name) as fresh:
        yield fresh
        # Its deletion needs a node that answers.
        await faulty_node.heal()


@pytest.fixture(scope="session")
def redis_node(pytestconfig: pytest.Config) -> Iterator[RedisNode]:
    """A Redis of the suite's own, for all tests of the session; a test that breaks it takes `faulty_redis`."""
    node = pytestconfig.stash[REDIS]()
    try:
        asyncio.run(node.start())
        yield node
    except RedisError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    finally:
        node.dispose()


@pytest.fixture
async def faulty_redis(redis_node: RedisNode) -> AsyncIterator[RedisNode]:
    """The suite's own Redis, to be paused, killed and filled; it is healed after the test."""
    yield redis_node
    await redis_node.heal()

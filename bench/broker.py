"""The broker of a run: the one that is named, or one that is started for it and ends with it."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.processes import ROOT

STATISTICS = "application:set_env(rabbit, collect_statistics_interval, 5000)."
"""RabbitMQ's default; the node of the tests counts ten times as often."""


@contextmanager
def broker(url: str | None) -> Iterator[str]:
    """The URL of a broker.

    Raises:
        BrokerError: none was named, and none can be started here.
    """
    if url is not None:
        yield url
        return
    sys.path.append(str(ROOT / "tests"))
    from support.private_node import PrivateNode, find_scripts  # noqa: PLC0415 - the node that the tests use too
    from support.provider import find_node  # noqa: PLC0415

    scripts = find_scripts()
    node = PrivateNode(scripts) if scripts else find_node(lambda line: print(line, file=sys.stderr))()
    try:
        asyncio.run(node.start())
        asyncio.run(node.ctl("eval", STATISTICS))
        yield node.broker.url()
    finally:
        node.dispose()

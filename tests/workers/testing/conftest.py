"""The harness on either bus: the same tests for both."""

import pytest
from support.bounding import bound

from busgate.bus import RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.bus.testing import Stage
from busgate.workers.testing import Harness


def pytest_itemcollected(item: pytest.Item) -> None:
    bound(item, needs={"busgate": "rabbit"})


@pytest.fixture(params=["embedded", "rabbitmq"])
def busgate(request: pytest.FixtureRequest) -> Harness:
    """As the plugin makes it, without and with --busgate-bus."""
    if request.param == "embedded":
        return Harness()
    vhost = request.getfixturevalue("vhost")
    return Harness(Stage(RabbitBroker(BusSettings(url=vhost.url).addresses())))

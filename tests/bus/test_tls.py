"""TLS to a real RabbitMQ that asks for certificates too: whom it is believed to be, and what is said when it is not."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.certificates import CLIENT, DAY, Authority, key_pem
from support.ports import HOST, free_port
from support.private_node import PrivateNode
from support.provider import find_private_node

from busgate.bus import Bus, BusError, RabbitBroker, Topology
from busgate.bus.lane import open_lane
from busgate.bus.link import LinkEvents
from busgate.bus.settings import BusSettings

pytestmark = pytest.mark.slow

CONFIG = """\
listeners.ssl.default = {host}:{port}
ssl_options.cacertfile = {folder}/clients.pem
ssl_options.certfile = {folder}/broker.pem
ssl_options.keyfile = {folder}/broker.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


class Place:
    """A RabbitMQ whose certificate is for localhost, with those who vouch for it and for its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.clients = Authority("brokers"), Authority("clients")
        self.port = free_port()
        self.authority.issue("localhost").write(folder, "broker")
        self.authority.write(folder, "ca")
        self.clients.write(folder, "clients")
        self.clients.issue("edge.example", usage=CLIENT).write(folder, "edge")
        config = CONFIG.format(host=HOST, port=self.port, folder=folder)
        self.node: PrivateNode = find_private_node(print)(config=config)

    def settings(self, host: str = "localhost", port: int | None = None, **tls: Any) -> BusSettings:
        login = self.node.broker.authority.rpartition("@")[0]
        files = {"cafile": self.folder / "ca.pem", "cert": self.folder / "edge.pem", "key": self.folder / "edge.key"}
        table = {name: value for name, value in {**files, **tls}.items() if value is not None}
        return BusSettings.model_validate({"url": f"amqps://{login}@{host}:{port or self.port}", "tls": table})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("tls"))
    try:
        asyncio.run(place.node.start())
        yield place
    finally:
        place.node.dispose()


async def connect(settings: BusSettings) -> None:
    """Log in twice, once for calls and once for all else, and leave."""
    broker = RabbitBroker(settings.addresses(), kind="direct")
    async with asyncio.timeout(30), Bus(broker, name="calls") as bus:
        assert bus.unready is None
    async with asyncio.timeout(30), Topology(settings.addresses()[0], kind="direct") as topology:
        assert await topology.compare([])


async def test_calls_and_topology_go_over_tls(place: Place) -> None:
    await connect(place.settings())


async def refusals(settings: BusSettings) -> list[str]:
    """Why it cannot be done: of the lane, and of all else."""
    (address,) = settings.addresses()
    told = []
    async with asyncio.timeout(30):
        with pytest.raises(BusError) as caught:
            await open_lane(address, LinkEvents(), name="test", generation=1, heartbeat=5)
        told.append(str(caught.value))
        with pytest.raises(BusError) as caught:
            async with Topology(address, kind="direct") as topology:
                await topology.compare([])
    return [*told, str(caught.value)]


def pair(place: Place, name: str, authority: Authority | None = None, **more: Any) -> dict[str, Any]:
    """A client's certificate of that name."""
    issued = (authority or place.clients).issue("edge.example", **{"usage": CLIENT, **more})
    cert, key = issued.write(place.folder, name)
    return {"cert": cert, "key": key}


Row = tuple[Callable[[Place], dict[str, Any]], str]
OF_THE_BROKER: dict[str, Row] = {
    "an authority that is not known here": (lambda place: {"cafile": None}, "unable to get local issuer certificate"),
    "another authority": (
        lambda place: {"cafile": Authority("others").write(place.folder, "other")},
        "unable to get local issuer certificate; see bus.tls.cafile",
    ),
    "an impostor of the authority": (
        lambda place: {"cafile": Authority("brokers").write(place.folder, "impostor")},
        "its certificate does not hold",
    ),
    "another host": (lambda place: {"host": "127.0.0.1"}, "certificate is not valid for '127.0.0.1'"),
    "none: its port is that without TLS": (
        lambda place: {"port": place.node.broker.address[1]},
        "no TLS with it: it speaks none at this port",
    ),
}
OF_OURS: dict[str, Row] = {
    "none": (lambda place: {"cert": None, "key": None}, "it wants a certificate of ours"),
    "of another authority": (lambda place: pair(place, "foreign", Authority("others")), "it does not know who vouches"),
    "ended": (lambda place: pair(place, "ended", begins=-3 * DAY, ends=-DAY), "bus.tls.cert has ended"),
}


@pytest.mark.parametrize(("change", "why"), OF_THE_BROKER.values(), ids=OF_THE_BROKER)
async def test_a_broker_whose_certificate_does_not_hold_gets_no_password(
    place: Place, change: Callable[[Place], dict[str, Any]], why: str
) -> None:
    told = await refusals(place.settings(**change(place)))

    assert all(why in line and "\n" not in line for line in told), told


@pytest.mark.parametrize(("change", "why"), OF_OURS.values(), ids=OF_OURS)
async def test_a_broker_that_does_not_take_our_certificate_is_understood(
    place: Place, change: Callable[[Place], dict[str, Any]], why: str
) -> None:
    """As far as it can be: it hangs up as soon as it has said why, and the network may drop what it said."""
    told = await refusals(place.settings(**change(place)))

    hung_up = "it hung up: it may want a certificate of ours (bus.tls.cert)"
    assert all((why in line or hung_up in line) and "\n" not in line for line in told), told


async def test_verification_that_is_off_takes_anyone(place: Place) -> None:
    await connect(place.settings(host="127.0.0.1", cafile=None, verify=False))


async def test_a_renewed_certificate_is_used_by_the_next_connection(place: Place) -> None:
    files = pair(place, "renewed")
    settings = place.settings(**files)
    (address,) = settings.addresses()
    pair(place, "renewed", Authority("others"))

    async with asyncio.timeout(30):
        with pytest.raises(BusError, match=r"bus\.tls\.cert"):
            await open_lane(address, LinkEvents(), name="test", generation=1, heartbeat=5)
        pair(place, "renewed")
        async with Topology(address, kind="direct") as topology:
            assert await topology.compare([])


async def test_files_that_are_no_good_leave_those_of_before(place: Place) -> None:
    files = pair(place, "broken")
    (address,) = place.settings(**files).addresses()
    files["key"].write_text("half of a k")

    with capture_logs() as logs:
        async with asyncio.timeout(30), Topology(address, kind="direct") as topology:
            assert await topology.compare([])
    assert [line["event"] for line in logs] == ["the files of bus.tls cannot be used; those of before are"]


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(place: Place) -> None:
    files = pair(place, "encrypted")
    issued = place.clients.issue("edge.example", usage=CLIENT)
    files["cert"].write_bytes(issued.pem)
    files["key"].write_bytes(key_pem(issued.key, password=b"secret"))

    with pytest.raises(OSError, match="key is encrypted"):
        place.settings(**files).addresses()

"""The suite's own RabbitMQ: what fault tests rely on."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from support.broker import Broker, BrokerError, RabbitNode
from support.management import Vhost

REAPER = """
import sys
sys.path.insert(0, {path!r})
from support.reaper import Reaper
reaper = Reaper(["touch", {mark!r}])
print("ready", flush=True)
sys.stdin.read()
"""


async def test_each_test_has_a_vhost_of_its_own(vhost: Vhost, rabbit: Broker) -> None:
    async with rabbit.fresh_vhost("another") as other:
        assert "amq.direct" in await vhost.exchanges()
        assert other.name != vhost.name
        assert other.url.endswith(other.name)


async def test_a_paused_node_does_not_answer_and_a_resumed_one_does(faulty_node: RabbitNode) -> None:
    await faulty_node.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await faulty_node.answers()
    await faulty_node.resume()

    assert await faulty_node.answers()


async def test_a_memory_alarm_is_raised_and_healed(faulty_node: RabbitNode) -> None:
    await faulty_node.raise_memory_alarm()
    assert await faulty_node.broker.management.has_alarm()
    await faulty_node.heal()

    assert not await faulty_node.broker.management.has_alarm()


@pytest.mark.slow
async def test_a_killed_node_comes_back_at_its_port_with_its_vhosts(
    faulty_node: RabbitNode, faulty_vhost: Vhost
) -> None:
    await faulty_node.kill()
    assert not await faulty_node.answers()
    await faulty_node.start()

    assert "amq.direct" in await faulty_vhost.exchanges()


async def test_what_rabbitmqctl_refuses_is_an_error_of_one_line(broker_node: RabbitNode) -> None:
    with pytest.raises(BrokerError, match=r"^rabbitmqctl no_such_command: .+$"):
        await broker_node.ctl("no_such_command")


def test_clean_up_happens_when_the_test_process_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "cleaned"
    script = REAPER.format(path=str(Path(__file__).parent), mark=str(mark))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    # The reaper shares its output: it ends when the reaper does.
    process.communicate(timeout=20)

    assert mark.exists()


def test_an_amqp_url_of_the_environment_names_the_management_api_too() -> None:
    broker = Broker.at("amqp://me:pa%2Fss@rabbit.example/other")

    assert broker.url("a/b") == "amqp://me:pa%2Fss@rabbit.example:5672/a%2Fb"
    assert broker.management.url == "http://rabbit.example:15672"
    assert broker.management.password == "pa/ss"
    assert broker.address == ("rabbit.example", 5672)


def test_an_amqp_url_that_is_none_is_refused() -> None:
    with pytest.raises(BrokerError, match="AMQP_URL must look like"):
        Broker.at("localhost:5672")

"""ps, queues, drain and tap while nobody can answer on the control bus: in an alarm of the broker, or without rights."""

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator

import pytest
from support.broker import RabbitNode
from support.command import Run, Start
from support.house import House
from support.management import Vhost

ALARM = "the broker takes no messages (a memory or disk alarm)"


@pytest.fixture
async def alarmed(
    start: Start, run: Run, faulty_node: RabbitNode, faulty_vhost: Vhost, free_port: int
) -> AsyncIterator[House]:
    """An edge and a worker, both well, on a broker with an alarm for longer than a presence holds."""
    house = House(start, run, faulty_vhost, free_port)
    edge, worker = await house.edge(), await house.worker()
    await faulty_node.raise_memory_alarm()
    await house.busgate("ps")  # whoever answers is blocked from now on
    yield house
    await faulty_node.clear_memory_alarm()
    assert edge.alive
    assert worker.alive


@pytest.mark.slow
async def test_an_alarm_of_the_broker_is_told_and_nobody_is_blamed(alarmed: House) -> None:
    url = alarmed.vhost.management.url

    every = [await alarmed.busgate(*command.split(), "--management", url) for command in ("ps", "queues", "ps --json")]
    without = await alarmed.busgate("queues", "--management", "http://127.0.0.1:9")

    for done in [*every, without]:
        assert done.returncode == 1
        assert ALARM in done.stdout
        assert "kill" not in done.stdout
        assert "silent 0s" not in done.stdout
    assert json.loads(every[2].stdout)["silent"] == []


@pytest.mark.slow
async def test_in_an_alarm_nobody_can_be_drained_and_a_tap_says_why_it_sees_nothing(alarmed: House) -> None:
    drained = await alarmed.busgate("drain", "whoever")
    tap = await alarmed.start("tap", "hello.*", "--bus", alarmed.vhost.url)
    await tap.until(ALARM)
    tap.signal(signal.SIGINT)
    await tap.ended()

    assert drained.returncode == 2
    assert ALARM in drained.stderr
    assert "kill" not in drained.stderr
    assert "no topic is like" not in tap.output


@pytest.mark.slow
async def test_after_the_alarm_all_are_there_again(alarmed: House, faulty_node: RabbitNode) -> None:
    await faulty_node.clear_memory_alarm()

    async with asyncio.timeout(30):
        while True:
            done = await alarmed.busgate("ps")
            if done.returncode == 0:
                break

    assert "serving" in done.stdout


@pytest.mark.slow
async def test_a_worker_without_rights_on_the_control_bus_is_not_called_hung_alone(house: House) -> None:
    await house.edge()
    user, password = f"worker-{secrets.token_hex(4)}", secrets.token_hex(8)
    management = house.vhost.management
    await management.create_user(user, password)
    try:
        await management.allow(
            user, house.vhost.name, read=r"^(?!busgate\.control$).*", write=r"^(?!busgate\.control).*"
        )
        url = house.vhost.url.replace(f"{management.user}:{management.password}@", f"{user}:{password}@")
        worker = await house.start("worker", "hello.services:greeter", "--bus", url)
        await worker.until("not on the control bus")
        at_once = await house.busgate("ps", "--management", management.url)
        await house.until_named()
        ps = await house.busgate("ps", "--management", management.url)
        queues = await house.busgate("queues", "--management", management.url)
    finally:
        await management.delete_user(user)

    assert "no worker of hello.greet.v1 answers, though its queue has a consumer" in at_once.stdout
    assert "does not answer on the control bus: it may not use it (see its log), or it hangs" in ps.stdout
    assert "died without a word" not in ps.stdout
    assert "or may not use the control bus (see its log)" in queues.stdout


@pytest.mark.slow
async def test_where_nobody_at_all_answers_nobody_is_to_be_killed(house: House) -> None:
    worker = await house.worker(BUSGATE_BUS__HEARTBEAT="60")
    await house.until_named()
    worker.signal(signal.SIGSTOP)

    ps = await house.busgate("ps", "--management", house.vhost.management.url)
    queues = await house.busgate("queues", "--management", house.vhost.management.url)

    for done in (ps, queues):
        assert done.returncode == 1
        assert "nobody answers on the control bus, though there are consumers" in done.stdout
        assert "kill" not in done.stdout


@pytest.mark.slow
async def test_a_queue_that_nobody_takes_from_stands_out_though_nothing_waits(house: House) -> None:
    worker = await house.worker()
    await worker.stop()

    done = await house.busgate("queues", "--management", house.vhost.management.url)

    assert done.returncode == 1
    assert "! hello.greet.v1: nobody takes its calls, callers get 503; start a worker" in done.stdout

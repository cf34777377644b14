"""Audit records of an edge on the exchange of a real RabbitMQ: many in one message, none lost without a word."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from support.audit_queue import Keep, keeping
from support.management import Vhost
from support.waiting import until

from busgate.bus import Address
from busgate.bus.settings import BusSettings
from busgate.edge import audit_exchange
from busgate.edge.audit_exchange import ExchangeSink

PATIENCE = 20.0


@pytest.fixture
def address(vhost: Vhost) -> Address:
    return BusSettings(url=vhost.url).addresses()[0]


@pytest.fixture
async def keeper(vhost: Vhost) -> AsyncIterator[Keep]:
    async with keeping(vhost.url) as keep:
        yield keep


def sink(address: Address, *, lossless: bool) -> ExchangeSink:
    return ExchangeSink(lambda: address, name="web", kept=1 << 20, lossless=lossless)


async def test_records_of_one_kind_go_together_in_their_order(address, keeper):
    publisher = sink(address, lossless=True)
    await publisher.start()
    queue = await keeper()

    publisher.backlog.put([(False, b"1\n"), (False, b"2\n"), (True, b"3\n"), (False, b"4\n")])
    await publisher.close()
    messages = [await queue.get(no_ack=True) for _ in range(3)]

    assert [(each.routing_key, each.body) for each in messages] == [
        ("call.allowed", b"1\n2\n"),
        ("call.refused", b"3\n"),
        ("call.allowed", b"4\n"),
    ]
    assert (publisher.backlog.written, publisher.backlog.dropped) == (4, 0)


async def test_without_a_queue_records_are_dropped_and_counted_and_that_is_told_once_until_there_is_one(
    address, keeper
):
    publisher = sink(address, lossless=False)
    await publisher.start()

    with capture_logs() as logs:
        for _ in range(2):
            publisher.backlog.put([(False, b"1\n"), (False, b"2\n")])
            await until(lambda: not publisher.backlog.waiting, limit=PATIENCE)
        failing = publisher.backlog.failing
        await keeper()
        publisher.backlog.put([(False, b"3\n")])
        await until(lambda: publisher.backlog.written, limit=PATIENCE)
        await publisher.close()

    assert (publisher.backlog.written, publisher.backlog.dropped) == (1, 4)
    assert failing == "no queue is bound to busgate.audit"
    assert [(log["event"], log.get("error")) for log in logs] == [
        ("audit records cannot be written; they are dropped", failing),
        ("audit records are written again", None),
    ]


async def test_where_nothing_may_be_lost_records_wait_for_a_queue(address, keeper, monkeypatch):
    monkeypatch.setattr(audit_exchange, "RETRY_EVERY", 0.05)
    publisher = sink(address, lossless=True)
    await publisher.start()
    publisher.backlog.put([(False, b"1\n")])
    await until(lambda: publisher.backlog.failing, limit=PATIENCE)

    queue = await keeper()
    await until(lambda: not publisher.backlog.waiting, limit=PATIENCE)
    message = await queue.get(no_ack=True)
    await publisher.close()

    assert message.body == b"1\n"
    assert (publisher.backlog.written, publisher.backlog.failing) == (1, None)


async def test_a_connection_that_falls_costs_no_record(vhost, address, keeper, monkeypatch):
    monkeypatch.setattr(audit_exchange, "RETRY_EVERY", 0.05)
    publisher = sink(address, lossless=True)
    await publisher.start()
    queue = await keeper()
    assert publisher._channel._connection is not None

    await publisher._channel._connection.close()
    publisher.backlog.put([(False, b"1\n")])
    await until(lambda: not publisher.backlog.waiting, limit=PATIENCE)
    message = await queue.get(no_ack=True)
    await publisher.close()

    assert message.body == b"1\n"

"""The exchange of audit records on a real RabbitMQ: confirmed, told when nobody keeps them, heard by who listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from support.audit_queue import Keep, keeping
from support.management import Vhost

from busgate.bus import Address, BusError, Topology
from busgate.bus.audit import ALLOWED, REFUSED, AuditChannel, UnheardError, records
from busgate.bus.settings import BusSettings

PATIENCE = 20.0


@pytest.fixture
def address(vhost: Vhost) -> Address:
    return BusSettings(url=vhost.url).addresses()[0]


@pytest.fixture
async def keeper(vhost: Vhost) -> AsyncIterator[Keep]:
    async with keeping(vhost.url) as keep:
        yield keep


async def test_records_are_published_under_their_key_and_last(address, keeper):
    channel = AuditChannel(lambda: address, name="web")
    await channel.open()
    queue = await keeper()

    await channel.publish(ALLOWED, b"one\n")
    await channel.publish(REFUSED, b"two\n")
    messages = [await queue.get(no_ack=True), await queue.get(no_ack=True)]
    await channel.close()

    assert [(each.routing_key, each.body) for each in messages] == [
        ("call.allowed", b"one\n"),
        ("call.refused", b"two\n"),
    ]
    assert {each.delivery_mode for each in messages} == {2}
    assert {each.content_type for each in messages} == {"application/x-ndjson"}


async def test_records_that_no_queue_keeps_are_told(address):
    channel = AuditChannel(lambda: address, name="web")
    await channel.open()

    with pytest.raises(UnheardError, match="no queue is bound"):
        await channel.publish(ALLOWED, b"one\n")
    await channel.close()


async def test_the_embedded_bus_has_none(address):
    with pytest.raises(BusError, match="choose a file"):
        await AuditChannel(lambda: None, name="web").open()


async def test_the_exchange_is_part_of_the_topology_where_it_is_used(address):
    async with Topology(address, audit=True) as topology:
        before = {part.name: part.state for part in await topology.compare(())}
        made = {part.name: (part.kind, part.state) for part in await topology.make(())}

    assert before["busgate.audit"] == "missing"
    assert made["busgate.audit"] == ("topic", "made")


async def test_who_listens_hears_what_comes(address):
    channel = AuditChannel(lambda: address, name="web")
    await channel.open()

    async with asyncio.timeout(PATIENCE), aclosing(records(address, name="me")) as heard:
        first = asyncio.ensure_future(anext(heard))
        while not first.done():
            try:
                await channel.publish(ALLOWED, b"one\n")
            except UnheardError:
                await asyncio.sleep(0.01)  # nobody listens yet
    await channel.close()

    assert first.result() == b"one\n"


async def test_a_listener_without_an_exchange_is_told_in_one_line(address):
    with pytest.raises(BusError, match="no exchange"):
        await anext(records(address, name="me"))

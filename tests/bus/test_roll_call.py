"""An operator who looks at the control bus of a real RabbitMQ: also at who is silent, and after the connection fell."""

import asyncio
import secrets
from dataclasses import replace

import pytest
from support.town import Town, eventually

from busgate.bus import Bus, BusError, Presence, joined, roll_call, silence
from busgate.bus.presence import presence_key


async def test_who_comes_later_learns_from_others_who_fell_silent(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT_AFTER", 0.2)
    await town.worker()
    ghost = Presence(
        id="ghost", kind="worker", version="1", host="far", pid=9, started=0, now=0, expires=15, state="serving"
    )
    early = await town.operator()
    await eventually(lambda: early.present)  # so the worker hears what comes now
    await town.publish(presence_key("worker", "ghost"), ghost.model_dump_json().encode())

    late = await town.operator()
    async with asyncio.timeout(10):
        while "ghost" not in {each.id for each in late.silent}:
            await late.ask()
            await asyncio.sleep(0.05)

    missing = next(each for each in late.silent if each.id == "ghost")
    assert (missing.host, missing.pid) == ("far", 9)
    assert [each.id for each in late.present] == ["shop"]


async def test_who_says_goodbye_is_not_silent(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT_AFTER", 0.0)
    bus = Bus(town.broker, name="brief")
    async with bus, joined(bus, kind="worker", contracts=[], on_drain=lambda: None):
        roll = await town.operator()
        await eventually(lambda: [each.id for each in roll.silent] == ["brief"])

    await eventually(lambda: roll.is_gone("brief"))

    assert roll.silent == []


async def test_asking_again_finds_everybody_after_the_connection_fell(town: Town) -> None:
    await town.worker()
    roll = await town.operator()
    await town.vhost.close_connection("operator control")
    await eventually(lambda: roll._control._exchange is None)

    said = await roll.ask()
    await roll.ask_again()
    await eventually(lambda: [each.id for each in roll.present] == ["shop"])

    assert not said
    assert roll.gathers


async def test_a_queue_that_nobody_can_make_beforehand_is_not_asked_of_an_operator(town: Town) -> None:
    await town.lay_out()
    management, user, password = town.vhost.management, f"poor-{secrets.token_hex(4)}", secrets.token_hex(8)
    await management.create_user(user, password)
    await management.allow(user, town.vhost.name, configure="^$")
    address = town.broker.control_address()
    assert address is not None
    poor = replace(address, user=user, password=password)
    try:
        with pytest.raises(BusError) as refused:
            async with roll_call(lambda: poor, name="operator", wait=0):
                pass
    finally:
        await management.delete_user(user)

    assert "access to queue 'busgate.control.operator." in str(refused.value)
    assert str(refused.value).endswith("; grant it")

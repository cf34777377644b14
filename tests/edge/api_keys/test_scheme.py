"""API keys at work: who presents one, what is refused, and keys that change while an edge runs."""

import asyncio
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs
from support.api_keys import add_key, replace, secret_of
from support.signed import request

from busgate.contracts import Call, http
from busgate.edge import EdgeSettings
from busgate.edge.api_keys import memory
from busgate.edge.api_keys.memory import load_keys
from busgate.edge.api_keys.records import KeyFileError, changing, now
from busgate.edge.api_keys.scheme import COARSE, ApiKeys
from busgate.edge.api_keys.text import new_id, new_key
from busgate.edge.api_keys.watch import KeyWatch, used_key
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.store import StoreUnavailable
from busgate.edge.testing import HttpHarness
from busgate.edge.verified import CredentialRefused, VerifiedCaller
from busgate.workers import Context, Service
from busgate.workers.testing import Harness

PATIENCE = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = now().timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def keys(path: Path, clock: Callable[[], float] | None = None) -> ApiKeys:
    made = ApiKeys("X-Api-Key", clock=clock or Clock())
    made.replace(load_keys(path, {}, plans={"gold"}))
    return made


def verify(scheme: ApiKeys, key: str) -> VerifiedCaller:
    asked = request(f"X-API-KEY: {key}")
    assert scheme.presented(asked)
    return scheme.verify(asked)


def test_a_key_is_its_owner(path: Path) -> None:
    key = add_key(path, subject="shop", scopes=("orders:read",), tenant="t1", plan="gold")

    found = verify(keys(path), key)

    assert (found.caller.subject, found.caller.issuer, found.caller.tenant) == ("shop", "busgate", "t1")
    assert (found.scheme, found.credential, found.plan, *found.scopes) == ("key", key[4:14], "gold", "orders:read")


def test_what_is_presented_elsewhere_is_not_looked_at(path: Path) -> None:
    add_key(path)

    assert not keys(path).presented(request("Authorization: Bearer x", "X-Key: y"))


def test_an_old_secret_holds_beside_the_new_one_until_its_time(path: Path) -> None:
    clock = Clock()
    old = add_key(path)
    new = new_key(old[4:14])
    with changing(path) as records:
        end = datetime.fromtimestamp(clock.now + 60, UTC)
        before = records[0].secrets[0].model_copy(update={"until": end})
        records[0] = records[0].model_copy(update={"secrets": (secret_of(new), before)})
    scheme = keys(path, clock)

    assert verify(scheme, old).caller == verify(scheme, new).caller
    clock.now += 60
    assert verify(scheme, new).caller.subject == "shop"
    with pytest.raises(CredentialRefused):
        verify(scheme, old)


@pytest.mark.parametrize(
    "presented",
    [
        lambda key: new_key(new_id()),
        lambda key: new_key(key[4:14]),
        lambda key: key[:-1],
        lambda key: key + " x",
        lambda key: "",
    ],
    ids=["unknown", "a wrong secret", "mistyped", "more", "nothing"],
)
def test_a_key_that_does_not_hold_is_refused(path: Path, presented: Callable[[str], str]) -> None:
    key = add_key(path)

    with pytest.raises(CredentialRefused):
        verify(keys(path), presented(key))


def test_an_expired_key_is_refused_whatever_its_secrets_say(path: Path) -> None:
    clock = Clock()
    key = add_key(path, expires=datetime.fromtimestamp(clock.now + 1, UTC), until=now() + timedelta(days=9))
    scheme = keys(path, clock)

    assert verify(scheme, key).credential == key[4:14]
    clock.now += 1
    with pytest.raises(CredentialRefused):
        verify(scheme, key)


def test_unknown_expired_revoked_and_wrong_keys_cost_the_same_and_say_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, good = add_key(path, expires=now() - timedelta(1)), add_key(path)
    scheme = keys(path)
    compared: list[int] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(memory, "compare_digest", counted)
    seen = []
    for key in (expired, new_key(new_id()), new_key(good[4:14])):
        compared.clear()
        with pytest.raises(CredentialRefused) as caught:
            verify(scheme, key)
        seen.append((str(caught.value), list(compared)))

    assert seen == [("a key that is not known, revoked or expired", [64, 64])] * 3


def test_the_last_use_is_noted_now_and_then(path: Path) -> None:
    clock = Clock()
    key = add_key(path)
    scheme = keys(path, clock)

    for _ in range(5):
        verify(scheme, key)
    first, again = scheme.take_used(), scheme.take_used()
    clock.now += COARSE
    verify(scheme, key)

    assert first == {key[4:14]: clock.now - COARSE}
    assert again == {}
    assert scheme.take_used() == {key[4:14]: clock.now}


class Away(MemoryStore):
    away = True

    def put(self, key: str, value: bytes, ttl: float) -> None:
        if self.away:
            raise StoreUnavailable("away")
        super().put(key, value, ttl)


async def test_the_last_use_goes_to_the_store_as_soon_as_it_is_there(path: Path) -> None:
    clock, store = Clock(), Away()
    key = add_key(path)
    scheme = keys(path, clock)
    watch = KeyWatch(path, scheme, store)
    verify(scheme, key)

    with pytest.raises(StoreUnavailable):
        await watch.note_used()
    store.away = False
    await watch.note_used()

    assert store.get(used_key(key[4:14])) == str(int(clock.now)).encode()


def test_a_key_of_a_plan_that_is_not_configured_is_nobodys_and_the_operator_is_told_why(path: Path) -> None:
    key = add_key(path, plan="golf")
    scheme = keys(path)

    with pytest.raises(CredentialRefused, match="plan is not configured"):
        verify(scheme, key)
    with pytest.raises(CredentialRefused, match="not known"):
        verify(scheme, new_key(key[4:14]))


async def test_keys_of_unknown_plans_are_told_once_for_each_reading_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busgate.edge.api_keys.watch.LOOK_EVERY", 0.01)
    good = add_key(path, plan="gold")
    scheme = keys(path)
    watch = KeyWatch(path, scheme, MemoryStore(), plans={"gold"})
    with capture_logs() as logs:
        await watch.start()
        before = watch.without_plan
        first, second = add_key(path, plan="golf"), add_key(path, plan="god")
        await until(lambda: _true(watch.without_plan == 2))
        with changing(path) as records:
            del records[1:]
        await until(lambda: _true(watch.without_plan == 0))
    await watch.close()

    told = [each for each in logs if each["log_level"] == "error"]
    assert before == 0
    assert told[-1]["keys"] == 2
    assert told[-1]["first"] == first[4:14]
    assert len(told) <= 2  # the second key may have been read with the first
    assert second not in str(logs)
    assert verify(scheme, good).plan == "gold"


# -- an edge that runs


class Asked(BaseModel):
    pass


class Told(BaseModel):
    caller: str


ask = Call("shop.ask.v1", http.get("/ask"), request=Asked, reply=Told, scopes={"ask"}, schemes={"key"})
asked = Service("asked")


@asked.handles(ask)
async def tell(request: Asked, context: Context) -> Told:
    assert context.caller is not None
    return Told(caller=context.caller.subject)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_keys_are_made_revoked_and_spoilt_while_an_edge_runs(
    path: Path, busgate: Harness, busgate_http: HttpHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busgate.edge.api_keys.watch.LOOK_EVERY", 0.02)
    first = add_key(path, scopes=("ask",))
    settings = EdgeSettings.model_validate({"api_keys": {"file": str(path)}})
    async with busgate.serving(asked), busgate_http.serving(ask, settings=settings) as client:

        async def status(key: str) -> int:
            return (await client.get("/ask", headers={"x-api-key": key}, caller=None)).status

        before = await status(first)
        second = add_key(path, subject="mill", scopes=("ask",))
        without_scope = add_key(path)
        await until(lambda: _is(status(second), 200))
        forbidden = await status(without_scope)
        with capture_logs() as logs:
            good = path.read_bytes()  # noqa: ASYNC240 - a small file of a test
            replace(path, good + b"{\n")
            await until(lambda: _true(logs))
            while_spoilt = await status(first)
            replace(path, good)
            await until(lambda: _true(len(logs) > 1))
        with changing(path) as records:
            del records[0]
        await until(lambda: _is(status(first), 401))
        after = await status(second)

    assert (before, forbidden, while_spoilt, after) == (200, 403, 200, 200)
    assert [each["log_level"] for each in logs] == ["error", "info"]
    assert "keys.jsonl:4" in logs[0]["why"]


async def test_a_look_at_the_keys_that_fails_in_a_way_nobody_foresaw_is_not_the_last(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_key(path)
    scheme = keys(path)
    watch = KeyWatch(path, scheme, MemoryStore())
    monkeypatch.setattr("busgate.edge.api_keys.watch.LOOK_EVERY", 0.01)
    await watch.start()

    def broken(*_: object, **__: object) -> Any:
        monkeypatch.setattr("busgate.edge.api_keys.watch.load_keys", load_keys)
        raise MemoryError

    monkeypatch.setattr("busgate.edge.api_keys.watch.load_keys", broken)
    with capture_logs() as logs:
        add_key(path)
        await until(lambda: _true(logs))
    with changing(path) as records:
        del records[0]
    await until(lambda: _is_not(scheme, key))
    await watch.close()

    assert [each["log_level"] for each in logs] == ["error"]


async def test_a_change_that_could_not_be_read_at_once_is_read_at_the_next_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a key that was revoked meanwhile would hold until the next change."""
    key = add_key(path)
    scheme = keys(path)
    watch = KeyWatch(path, scheme, MemoryStore())
    monkeypatch.setattr("busgate.edge.api_keys.watch.LOOK_EVERY", 0.01)
    await watch.start()
    refusals = iter(["too many open files"] * 3)
    faults: list[str | None] = []

    def at_times(*arguments: Any, **options: Any) -> Any:
        faults.append(watch.fault)
        for why in refusals:
            raise KeyFileError(why)
        return load_keys(*arguments, **options)

    monkeypatch.setattr("busgate.edge.api_keys.watch.load_keys", at_times)
    with capture_logs() as logs:
        with changing(path) as records:
            del records[0]
        await until(lambda: _is_not(scheme, key))
    await watch.close()

    assert faults == [None, *["too many open files"] * 3]
    assert watch.fault is None
    assert [each["log_level"] for each in logs] == ["error", "info"]


async def _is_not(scheme: ApiKeys, key: str) -> bool:
    return key[4:14] not in scheme.known


async def _is(found: Any, wanted: int) -> bool:
    return bool(await found == wanted)


async def _true(value: Any) -> bool:
    return bool(value)


async def test_refusals_look_alike_and_say_what_is_taken(
    path: Path, busgate: Harness, busgate_http: HttpHarness
) -> None:
    key, expired = add_key(path, scopes=("ask",)), add_key(path, expires=now() - timedelta(1))
    settings = EdgeSettings.model_validate({"api_keys": {"file": str(path), "header": "X-Shop-Key"}})
    async with (
        busgate.serving(asked),
        busgate_http.serving(ask, settings=settings) as client,
        aiohttp.ClientSession() as session,
    ):
        answers = []
        for presented in (new_key(new_id()), new_key(key[4:14]), expired, "typo", ""):
            answer = await client.get("/ask", headers={"X-Shop-Key": presented}, caller=None)
            problem = answer.json()
            problem.pop("instance")
            answers.append((answer.status, answer.headers["WWW-Authenticate"], problem))
        nothing = await client.get("/ask", caller=None)
        other_header = await client.get("/ask", headers={"X-Api-Key": key}, caller=None)
        held = await client.get("/ask", headers={"x-shop-KEY": key}, caller=None)
        twice = await session.get(f"{client.address}/ask", headers=[("X-Shop-Key", key), ("X-Shop-Key", key)])

    assert all(each == answers[0] for each in answers)
    assert answers[0][:2] == (401, 'ApiKey realm="busgate", header="X-Shop-Key", error="invalid_key"')
    assert nothing.headers["WWW-Authenticate"] == 'ApiKey realm="busgate", header="X-Shop-Key"'
    assert [each.status for each in (nothing, other_header, held)] == [401, 401, 200]
    assert twice.status == 400
    assert key not in json.dumps(answers)

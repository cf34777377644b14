"""Verdicts on opaque tokens that processes share: asked for once, and not to be forged by who can write to the store."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.endpoint import Endpoint
from support.redis_node import RedisNode
from support.stores import Clock

from busgate.contracts import Caller
from busgate.edge.introspection import IntrospectionSettings, Introspector
from busgate.edge.shared_verdicts import SharedVerdicts
from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.edge.stores.sqlite import SqliteStore
from busgate.edge.verified import CredentialRefused, VerifiedCaller

ISSUER, TOKEN = "https://issuer.example", "opaque"
HASHED = hashlib.sha256(TOKEN.encode()).digest()

New = Callable[..., Any]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.come_back()
    yield endpoint
    await endpoint.go_away()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Any, redis_node: RedisNode, clock: Clock
) -> AsyncIterator[SqliteStore | RedisStore]:
    made = (
        SqliteStore(tmp_path / "store.db", clock=clock)
        if request.param == "sqlite"
        else RedisStore(RedisUrl.parse(redis_node.url, prefix=f"{secrets.token_hex(8)}:"), clock=clock)
    )
    await made.start()
    yield made
    await made.close()


def table(**settings: Any) -> IntrospectionSettings:
    given = {"issuer": ISSUER, "url": "https://issuer.example/i", "client_id": "edge", "client_secret": "s" * 32}
    return IntrospectionSettings.model_validate(given | {"audience": ["shop"]} | settings)


@pytest.fixture
async def process(endpoint: Endpoint, store: SqliteStore, clock: Clock) -> AsyncIterator[New]:
    """Makes the introspector of one process, which remembers nothing yet."""
    async with AsyncExitStack() as closing:

        async def new(**settings: Any) -> Introspector:
            made = Introspector(table(url=endpoint.url, **settings), store=store, clock=lambda: clock() / 1e6)
            made.start()
            closing.push_async_callback(made.close)
            return made

        yield new


async def verify(introspector: Introspector, token: str = TOKEN) -> VerifiedCaller:
    async with asyncio.timeout(10):
        found = introspector.verify(token)
        return found if isinstance(found, VerifiedCaller) else await found


async def test_a_good_token_is_asked_about_once_for_all_processes(endpoint: Endpoint, process: New) -> None:
    endpoint.says(roles=["clerk"], org="north", email="a@x", cnf={"x5t#S256": "x" * 43})
    mapped = {"role_claim": "roles", "tenant_claim": "org", "claims": ["email"]}
    first, second = await process(**mapped), await process(**mapped)
    asked, shared = await verify(first), await verify(second)

    assert (len(endpoint.questions), first.asked, second.asked) == (1, 1, 0)
    assert (shared.header, shared.expires, shared.certificate) == (asked.header, asked.expires, "x" * 43)
    assert (shared.scopes, shared.scheme) == (asked.scopes, "introspection")
    assert shared.caller == Caller("ann", ISSUER)
    assert shared.caller.claims == {"email": "a@x"}


async def test_what_is_shared_lasts_no_longer_than_what_was_said(
    endpoint: Endpoint, process: New, clock: Clock
) -> None:
    await verify(await process(remember=30))
    clock.forward(29)
    late = await process(remember=30)
    await verify(late)
    clock.forward(1)
    endpoint.says(active=False)

    with pytest.raises(CredentialRefused):
        await verify(late)


async def test_a_remembered_token_asks_nobody(process: New, store: SqliteStore) -> None:
    introspector = await process()
    await verify(introspector)
    await store.close()

    assert isinstance(introspector.verify(TOKEN), VerifiedCaller)


async def test_a_bad_token_is_not_shared(endpoint: Endpoint, process: New) -> None:
    endpoint.says(active=False)
    for introspector in (await process(), await process()):
        with pytest.raises(CredentialRefused):
            await verify(introspector)

    assert len(endpoint.questions) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"client_secret": "t" * 32},
        {"audience": ["shop", "mill"]},
        {"scope_claim": "scp"},
        {"revoked": ["j1"]},
        {"match": {"azp": ["web"]}, "require": []},
        {"remember": 31},
    ],
    ids=repr,
)
async def test_with_other_rules_the_issuer_is_asked_anew(endpoint: Endpoint, process: New, other: Any) -> None:
    endpoint.says(azp="web", scp="x")
    await verify(await process())
    await verify(await process(**other))

    assert len(endpoint.questions) == 2


async def test_the_order_of_a_set_makes_no_other_table(store: SqliteStore) -> None:
    names = [f"j{number}" for number in range(20)]
    one, other = (SharedVerdicts(table(revoked=each), store) for each in (names, names[::-1]))

    assert one._key(HASHED) == other._key(HASHED)


class Writer:
    """Somebody who can read and write the store, and knows all but the secret."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    def verdicts(self, secret: str = "s" * 32) -> SharedVerdicts:
        return SharedVerdicts(table(client_secret=secret), self.store, clock=lambda: self.clock() / 1e6)

    async def place(self, token: bytes = HASHED) -> tuple[str, bytes]:
        key = self.verdicts()._key(token)
        value = await self.store.get(key)
        assert value is not None
        return key, value


@pytest.fixture
async def writer(store: SqliteStore, clock: Clock) -> Writer:
    writer = Writer(store, clock)
    good = VerifiedCaller(Caller("ann", ISSUER, frozenset({"read"})), clock() / 1e6 + 30, "introspection")
    writer.verdicts().keep(HASHED, good)
    return writer


async def test_the_store_never_sees_a_token_or_its_hash(writer: Writer) -> None:
    key, value = await writer.place()

    assert TOKEN not in key + value.decode()
    assert HASHED.hex() not in key + value.decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace(b"read", b"root"),
        lambda value: value.replace(b"ann", b"bob"),
        lambda value: value[64:],
        lambda value: b"0" * 64 + value[64:],
        lambda value: value[:-1],
        lambda value: value[:64],
        lambda value: value + b" ",
        lambda value: b"",
        lambda value: b"\xff" * 80,
    ],
    ids=["scope", "subject", "no seal", "another seal", "shorter", "seal alone", "longer", "empty", "noise"],
)
async def test_a_changed_verdict_is_not_believed_and_it_is_said_once(
    writer: Writer, change: Callable[[bytes], bytes]
) -> None:
    key, value = await writer.place()
    await writer.store.put(key, change(value), 60)
    verdicts = writer.verdicts()
    with capture_logs() as logs:
        found = [await verdicts.find(HASHED) for _ in range(3)]

    assert (found, verdicts.found, verdicts.refused) == ([None] * 3, 0, 3)
    assert len(logs) == 1


async def test_a_verdict_on_one_token_is_none_on_another(writer: Writer) -> None:
    _, value = await writer.place()
    other = hashlib.sha256(b"other").digest()
    await writer.store.put(writer.verdicts()._key(other), value, 60)

    assert await writer.verdicts().find(other) is None


async def test_a_verdict_that_is_over_is_over_though_the_store_still_has_it(writer: Writer, clock: Clock) -> None:
    key, value = await writer.place()
    await writer.store.put(key, value, 3600)
    before = await writer.verdicts().find(HASHED)
    clock.forward(30)

    assert (before is None, await writer.verdicts().find(HASHED)) == (False, None)


async def test_a_verdict_of_another_version_is_not_read(writer: Writer) -> None:
    key, value = await writer.place()
    verdicts = writer.verdicts()
    text = json.dumps(json.loads(value[64:]) | {"version": 2}).encode()
    await writer.store.put(key, verdicts._seal(key, text) + text, 60)

    assert await verdicts.find(HASHED) is None


async def test_a_clock_that_is_ahead_elsewhere_makes_no_verdict_last_longer(writer: Writer, clock: Clock) -> None:
    ahead = SharedVerdicts(table(), writer.store, clock=lambda: clock() / 1e6 + 600)
    ahead.keep(HASHED, VerifiedCaller(Caller("ann", ISSUER), clock() / 1e6 + 630, "introspection"))
    found = await writer.verdicts().find(HASHED)

    assert found is not None
    assert found.expires == clock() / 1e6 + 30


async def test_while_the_store_is_away_the_issuer_is_asked(endpoint: Endpoint, faulty_redis: RedisNode) -> None:
    store = RedisStore(RedisUrl.parse(faulty_redis.url, prefix="verdicts-away:"))
    await store.start()
    introspector = Introspector(table(url=endpoint.url), store=store)
    introspector.start()
    faulty_redis.kill()
    found = [(await verify(introspector, token)).caller.subject for token in ("a", "b")]
    await introspector.close()
    await store.close()

    assert (found, introspector.asked) == (["ann", "ann"], 2)

"""The Redis store shares one Redis among machines, and gets over whatever happens to it."""

import asyncio
import secrets
from contextlib import suppress

import pytest
from structlog.testing import capture_logs
from support.certificates import self_signed, server_context
from support.stores import told
from support.waiting import until

from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.edge.stores.rules import Ask, Pace
from busgate.edge.stores.store import StoreUnavailable

PATIENCE = 15.0
ASK = Ask("rate:one:a", Pace.of(5, 3600, 5))


@pytest.fixture
async def open_store(redis_node):
    stores = []
    prefix = f"{secrets.token_hex(8)}:"

    async def opened(url=None):
        store = RedisStore(RedisUrl.parse(url or redis_node.url, prefix=prefix))
        stores.append(store)
        await store.start()
        return store

    yield opened
    for store in stores:
        async with asyncio.timeout(PATIENCE):
            await store.close()


async def test_stores_on_one_redis_hold_one_limit(open_store):
    stores = [await open_store() for _ in range(3)]
    futures = [store.take([ASK]) for _ in range(4) for store in stores]

    assert sum([(await future).allowed for future in futures]) == 5


async def test_requests_of_one_turn_go_in_one_message(open_store, redis_node):
    store = await open_store()
    before = await redis_node.scripts_run()
    await asyncio.gather(*(store.take([Ask(f"rate:one:{number}", ASK.rule)]) for number in range(50)))

    assert await redis_node.scripts_run() - before <= 2  # one, and perhaps a look whether the connection is well


async def test_a_nonce_is_taken_once_by_all_and_after_a_restart_of_the_edge(open_store):
    stores = [await open_store() for _ in range(2)]
    first = [await told(store.once("nonce:a", 300)) for store in stores]
    await stores[0].close()

    assert (first, await told((await open_store()).once("nonce:a", 300))) == ([True, False], False)


async def test_a_killed_redis_is_unavailable_at_once_and_used_again_when_it_is_back(open_store, faulty_redis):
    store = await open_store()
    faulty_redis.kill()
    with pytest.raises(StoreUnavailable):
        await told(store.take([ASK]))
    await until(lambda: store.unready, limit=PATIENCE)
    with pytest.raises(StoreUnavailable):
        store.take([ASK])  # not even a wait
    await faulty_redis.start()
    await until(lambda: store.unready is None, limit=PATIENCE)

    assert (await told(store.take([ASK]))).allowed


async def test_a_redis_that_is_stopped_keeps_nobody_waiting_for_long(open_store, faulty_redis):
    store = await open_store()
    faulty_redis.pause()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreUnavailable):
            await told(store.take([ASK]))
    faulty_redis.resume()
    await until(lambda: store.unready is None, limit=PATIENCE)

    assert (await told(store.take([ASK]))).allowed


async def test_one_that_dies_while_nobody_asks_is_noticed(open_store, faulty_redis):
    store = await open_store()
    faulty_redis.pause()

    await until(lambda: store.unready, limit=PATIENCE)


async def test_a_start_without_redis_goes_on_and_connects_later(open_store, faulty_redis):
    faulty_redis.kill()
    with capture_logs() as logs:
        store = await open_store()
    unready = store.unready
    await faulty_redis.start()
    await until(lambda: store.unready is None, limit=PATIENCE)

    assert "Connect" in unready
    assert logs[0]["event"] == "store unavailable"
    assert (await told(store.take([ASK]))).allowed


async def test_no_log_line_and_no_error_has_the_password(open_store, redis_node):
    with capture_logs() as logs:
        store = await open_store(f"redis://:pass-word@{redis_node.host}:{redis_node.port}")
        with pytest.raises(StoreUnavailable) as caught:
            store.take([ASK])

    assert "invalid" in store.unready
    assert "pass-word" not in f"{logs}{caught.value}{store.unready}"


async def test_scripts_that_redis_forgot_are_given_to_it_again(open_store, faulty_redis):
    store = await open_store()
    await faulty_redis.ask("SCRIPT FLUSH")
    with pytest.raises(StoreUnavailable):
        await told(store.take([ASK]))
    await until(lambda: store.unready is None, limit=PATIENCE)

    assert (await told(store.take([ASK]))).allowed


async def test_a_redis_without_memory_refuses_and_says_so(open_store, faulty_redis):
    store = await open_store()
    await faulty_redis.ask("CONFIG SET maxmemory 1")

    with pytest.raises(StoreUnavailable, match="used memory > 'maxmemory'"):
        await told(store.take([ASK]))
    assert "maxmemory" in store.unready


async def test_a_redis_that_may_throw_keys_away_is_warned_of(open_store, faulty_redis):
    with capture_logs() as quiet:
        await open_store()
    await faulty_redis.ask("CONFIG SET maxmemory 100mb")
    await faulty_redis.ask("CONFIG SET maxmemory-policy allkeys-lru")
    with capture_logs() as logs:
        await open_store()

    assert quiet == []
    assert [(line["log_level"], line["policy"]) for line in logs] == [("warning", "allkeys-lru")]


async def test_a_user_with_few_rights_is_enough(open_store, faulty_redis):
    rights = "+evalsha +script|load +client|setname +get +set +time"
    await faulty_redis.ask(f"ACL SETUSER edge reset on >pw ~*:* {rights}")
    store = await open_store(f"redis://edge:pw@{faulty_redis.host}:{faulty_redis.port}")

    assert store.unready is None
    assert (await told(store.take([ASK]))).allowed


async def test_who_is_gone_when_the_answer_comes_disturbs_nobody(open_store):
    store = await open_store()
    gone, other = store.take([ASK]), store.take([ASK])
    gone.cancel()

    assert (await other).allowed


async def test_it_leaves_nothing_in_redis_for_longer_than_it_means(open_store, redis_node):
    store = await open_store()
    await told(store.once("nonce:a", 60))
    prefix = store._url.prefix

    assert 60_000 < int((await redis_node.ask(f"PTTL {prefix}nonce:a"))[1:]) <= 61_000


@pytest.fixture
async def behind_tls(redis_node, tmp_path):
    """Host and port of the Redis behind TLS, with the file of who vouches for it."""
    file = self_signed(tmp_path)

    async def serve(reader, writer):
        inner, outer = await asyncio.open_connection(redis_node.host, redis_node.port)
        with suppress(OSError):
            await asyncio.gather(_pass_on(reader, outer), _pass_on(inner, writer))

    async def _pass_on(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(file)) as server:
        yield server.sockets[0].getsockname()[1], file
        server.close()


async def test_a_server_behind_tls_is_used_if_its_authority_is_known_and_its_certificate_names_it(
    redis_node, behind_tls
):
    port, file = behind_tls
    known = [("127.0.0.1", file), ("127.0.0.1", None), ("localhost", file)]
    urls = [(f"rediss://:{redis_node.password}@{host}:{port}", cafile) for host, cafile in known]
    stores = [RedisStore(RedisUrl.parse(url, cafile=cafile, prefix=f"{port}:")) for url, cafile in urls]
    for store in stores:
        await store.start()
    verdict = await stores[0].take([ASK])
    reasons = [store.unready for store in stores]
    for store in stores:
        await store.close()

    assert verdict.allowed
    assert reasons[0] is None
    assert "certificate verify failed" in str(reasons[1])
    assert "certificate is not valid for 'localhost'" in str(reasons[2])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("rediss://user:p%40ss@host:6380/3", "rediss://host:6380/3"),
        ("redis://:secret@[::1]/0", "redis://[::1]:6379/0"),
    ],
)
def test_a_url_is_shown_without_its_password(text, told):
    assert str(RedisUrl.parse(text)) == told


@pytest.mark.parametrize(
    "text",
    [
        "redis://",
        "redis://host/abc",
        "redis://host/-1",
        "redis://host/0/1",
        "redis://host:0",
        "redis://host:99999",
        "redis://host?ssl_cert_reqs=none",
        "redis://host#x",
        "http://host",
        "redis://ho st",
        "redis://hôst",
        "redis://host/\x00",
    ],
)
def test_what_is_no_url_of_redis_is_refused_without_a_quotation(text):
    with pytest.raises(ValueError, match="must be like redis://"):
        RedisUrl.parse(text)


def test_a_url_is_read_whole():
    url = RedisUrl.parse("rediss://us%2Fer:p%40ss@host:6380/3")

    assert (url.host, url.port, url.database, url.user, url.tls) == ("host", 6380, 3, "us/er", True)
    assert url.password is not None and url.password.get_secret_value() == "p@ss"

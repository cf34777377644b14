"""Keys at a URL, through an edge that serves: what callers see while the issuer rotates, dawdles, lies or is gone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel
from structlog.testing import capture_logs
from support.issuer import Issuer, answer, endless, jwk, jwk_set, never, signing_key

from busgate.bus import Bus, Delivery
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Catalog, http
from busgate.edge import issuer_keys, outbound
from busgate.edge.app import Edge
from busgate.edge.issuer_keys import COOLDOWN
from busgate.edge.records import Recorder
from busgate.edge.settings import EdgeSettings


class Empty(BaseModel):
    pass


CALL = Call("shop.look.v1", http.get("/look"), request=Empty, reply=Empty)


class Gate:
    """An edge in front of a service that answers everything, on the embedded bus."""

    def __init__(self, edge: Edge, base: str, session: aiohttp.ClientSession) -> None:
        self.edge = edge
        self._base = base
        self._session = session

    async def ask(self, token: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, document and headers."""
        headers = {"Authorization": f"Bearer {token}"}
        async with asyncio.timeout(10), self._session.get(f"{self._base}/look", headers=headers) as response:
            return response.status, json.loads(await response.read()), dict(response.headers)

    async def status(self, token: str) -> int:
        return (await self.ask(token))[0]

    def cooled_down(self) -> None:
        """As if the last look were long ago."""
        for source in self.edge.door.issuer_keys.sources:
            source._began -= COOLDOWN

    async def look(self) -> None:
        """As if it were time for the next look."""
        await asyncio.gather(*(source.look() for source in self.edge.door.issuer_keys.sources))


OpenGate = Callable[..., Awaitable[Gate]]


@pytest.fixture
async def open_gate() -> AsyncIterator[OpenGate]:
    async with AsyncExitStack() as closing:

        async def open_one(*issuers: dict[str, Any], **more: Any) -> Gate:
            broker = EmbeddedBroker()
            worker = Bus(broker, name="worker")

            async def reply(_: Delivery) -> tuple[bytes, bytes]:
                return b"reply", b"{}"

            worker.serve(CALL.topic, reply, prefetch=10, reruns=True, service="shop")
            await closing.enter_async_context(worker)
            bus = await closing.enter_async_context(Bus(broker, name="edge"))
            settings = EdgeSettings.model_validate({"jwt": issuers, **more})
            edge = Edge(Catalog([CALL]), settings, bus, recorder=Recorder(lambda _: None))
            closing.push_async_callback(edge.close)
            listener = socket.create_server(("127.0.0.1", 0))
            async with asyncio.timeout(10):
                await edge.start(listener)
            session = await closing.enter_async_context(aiohttp.ClientSession())
            return Gate(edge, f"http://127.0.0.1:{listener.getsockname()[1]}", session)

        yield open_one


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer("one") as issuer:
        yield issuer


async def test_a_token_of_a_published_key_is_good_at_once(issuer: Issuer, open_gate: OpenGate) -> None:
    gate = await open_gate(issuer.settings())

    assert gate.edge.door.issuer_keys.unready is None
    assert await gate.status(issuer.token("one")) == 200
    assert len(issuer.requests) == 1


async def test_a_remembered_token_is_answered_without_a_wait_and_without_the_issuer(
    issuer: Issuer, open_gate: OpenGate
) -> None:
    gate = await open_gate(issuer.settings())
    token = issuer.token("one")
    await gate.status(token)
    await issuer.go_away()

    assert await gate.status(token) == 200
    assert gate.edge.door.tokens.verify(token) is gate.edge.door.tokens.verify(token)


async def test_a_token_of_a_new_key_waits_for_one_look_however_many_come(issuer: Issuer, open_gate: OpenGate) -> None:
    gate = await open_gate(issuer.settings())
    gate.cooled_down()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await answer(jwk_set("one", "two"))(writer)

    issuer.serve = slowly
    many = [asyncio.create_task(gate.status(issuer.token("two", sub=f"caller {n}"))) for n in range(50)]
    await asyncio.wait_for(asked.wait(), 10)
    known = await gate.status(issuer.token("one"))  # nobody else waits
    go_on.set()

    assert known == 200
    assert await asyncio.gather(*many) == [200] * 50
    assert len(issuer.requests) == 2


async def test_a_flood_of_unknown_kids_costs_the_issuer_one_look(issuer: Issuer, open_gate: OpenGate) -> None:
    """T41, T42, T50."""
    gate = await open_gate(issuer.settings())
    gate.cooled_down()
    kids = [f"{n}" for n in range(300)] + ["../../dev/null", "' OR 1=1 --", "k" * 128, "k" * 129, "a\0b", ""]

    statuses = [await gate.status(issuer.token("evil", header={"kid": kid})) for kid in kids]

    assert statuses == [401] * len(kids)
    assert len(issuer.requests) == 2  # one at the start
    gate.cooled_down()
    await gate.status(issuer.token("evil"))
    assert len(issuer.requests) == 3


@pytest.mark.parametrize("header", [{"jku": "URL"}, {"x5u": "URL"}, {"x5c": ["AAAA"]}, {"jwk": jwk("evil")}])
async def test_a_key_that_a_token_brings_along_is_neither_fetched_nor_believed(
    issuer: Issuer, open_gate: OpenGate, header: dict[str, Any]
) -> None:
    """T43, T44, T45."""
    gate = await open_gate(issuer.settings())
    async with Issuer("evil") as other:
        brought = {name: other.url if value == "URL" else value for name, value in header.items()}
        for kid in ("evil", "one"):
            gate.cooled_down()
            assert await gate.status(issuer.token("evil", header={**brought, "kid": kid})) == 401

        assert other.requests == []


async def test_a_bad_signature_by_a_known_key_is_no_reason_to_look(issuer: Issuer, open_gate: OpenGate) -> None:
    gate = await open_gate(issuer.settings())
    gate.cooled_down()

    assert await gate.status(issuer.token("evil", header={"kid": "one"})) == 401
    assert len(issuer.requests) == 1


async def test_a_withdrawn_key_is_refused_from_the_next_look_on(issuer: Issuer, open_gate: OpenGate) -> None:
    """T58: remembered or not."""
    gate = await open_gate(issuer.settings())
    old = issuer.token("one")
    before = await gate.status(old)
    issuer.publish("two")
    await gate.look()

    assert (before, await gate.status(old), await gate.status(issuer.token("two"))) == (200, 401, 200)


async def test_a_look_that_changes_nothing_forgets_no_token(issuer: Issuer, open_gate: OpenGate) -> None:
    issuer.publish("one", "two")
    gate = await open_gate(issuer.settings())
    await gate.status(issuer.token("one"))
    issuer.publish("two", "one")
    await gate.look()

    assert len(gate.edge.door.tokens) == 1


BAD = {
    "gone": None,
    "slow": never,
    "404": answer(b"", status="404 Not Found"),
    "huge": endless,
    "redirect": answer(b"", status="302 Found", headers="Location: /keys\r\n"),
    "not JSON": answer(b"<html>"),
    "JSON twice over": answer(b'{"keys": [], "keys": []}'),
    "no keys": answer(b'{"keys": []}'),
    "two of one kid": answer(json.dumps({"keys": [jwk("two"), jwk("three") | {"kid": "two"}]}).encode()),
    "a private key": answer(json.dumps({"keys": [jwk("two", d="AAAA")]}).encode()),
    "for encryption": answer(json.dumps({"keys": [jwk("two", use="enc")]}).encode()),
    "to encrypt": answer(json.dumps({"keys": [jwk("two", key_ops=["encrypt"])]}).encode()),
    "another alg": answer(json.dumps({"keys": [jwk("two", alg="ES384")]}).encode()),
    "a secret": answer(b'{"keys": [{"kty": "oct", "kid": "two", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}'),
    "a weak key": answer(b'{"keys": [{"kty": "RSA", "kid": "two", "n": "AQAB", "e": "AQAB"}]}'),
}


@pytest.mark.parametrize("bad", BAD)
async def test_while_looks_fail_the_keys_of_before_are_good_and_unknown_ones_are_not(
    issuer: Issuer, open_gate: OpenGate, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F44, T46, T47."""
    monkeypatch.setattr(outbound, "TIMEOUT", 0.3)
    gate = await open_gate(issuer.settings())
    gate.cooled_down()
    serve = BAD[bad]
    if serve is None:
        await issuer.go_away()
    else:
        issuer.serve = serve

    unknown = await gate.status(issuer.token("two"))
    known = await gate.status(issuer.token("one"))

    (source,) = gate.edge.door.issuer_keys.sources
    assert (unknown, known) == (401, 200)
    assert (source.fetches, source.failures) == (2, 1)
    assert 29 < source.next_look_in <= COOLDOWN
    assert gate.edge.door.issuer_keys.unready is None


@pytest.mark.parametrize("bad", ["gone", "slow", "404", "not JSON"])
async def test_an_edge_starts_without_its_issuer_and_says_what_is_missing(
    issuer: Issuer, open_gate: OpenGate, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT", 0.3)
    monkeypatch.setattr(issuer_keys, "FIRST_RETRY", 20.0)
    serve = BAD[bad]
    if serve is None:
        await issuer.go_away()
    else:
        issuer.serve = serve

    with capture_logs() as logged:
        gate = await open_gate(issuer.settings())
    status, document, headers = await gate.ask(issuer.token("one"))

    assert (status, document["type"], document["outcome"]) == (503, "urn:busgate:keys-unavailable", "not_executed")
    assert 15 <= int(headers["Retry-After"]) <= 20
    assert gate.edge.door.issuer_keys.unready == "no keys of any issuer could be fetched"
    (alarm,) = [line for line in logged if line["log_level"] == "error"]
    assert (alarm["issuer"], alarm["url"], alarm["kept"]) == (issuer.name, issuer.url, 0)


async def test_an_issuer_that_comes_back_is_found_by_itself(
    issuer: Issuer, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "FIRST_RETRY", 0.02)
    await issuer.go_away()
    gate = await open_gate(issuer.settings())
    await issuer.come_back()

    async with asyncio.timeout(10):
        while gate.edge.door.issuer_keys.unready:
            await asyncio.sleep(0.01)

    assert await gate.status(issuer.token("one")) == 200


async def test_one_issuer_that_is_gone_keeps_nobody_from_the_other(issuer: Issuer, open_gate: OpenGate) -> None:
    async with Issuer("two") as gone:
        await gone.go_away()
        gate = await open_gate(issuer.settings(), gone.settings())

        assert await gate.status(issuer.token("one")) == 200
        assert await gate.status(gone.token("two")) == 503
        assert gate.edge.door.issuer_keys.unready is None
        await gone.come_back()


async def test_an_edge_whose_issuers_are_gone_is_ready_for_those_who_need_none(
    issuer: Issuer, open_gate: OpenGate
) -> None:
    """It says so all the same."""
    why = "no keys of any issuer could be fetched"
    key = {"keyid": "k", "subject": "mill", "secret": "s" * 32}
    await issuer.go_away()

    alone = await open_gate(issuer.settings())
    beside = await open_gate(issuer.settings(), signature={"keys": [key]})

    assert (alone.edge.door.unready, alone.edge.door.remark) == (why, None)
    assert (beside.edge.door.unready, beside.edge.door.remark) == (None, why)
    assert await beside.status(issuer.token("one")) == 503


async def test_keys_are_kept_no_longer_than_they_may_be(issuer: Issuer, open_gate: OpenGate) -> None:
    gate = await open_gate(issuer.settings(keep=100))
    token = issuer.token("one")
    await gate.status(token)
    await issuer.go_away()
    (source,) = gate.edge.door.issuer_keys.sources
    assert source._good is not None
    await gate.look()
    still = await gate.status(token)
    source._good -= 101
    await gate.look()

    assert (still, await gate.status(token)) == (200, 503)
    assert gate.edge.door.issuer_keys.unready is not None


async def test_published_and_configured_keys_go_together(issuer: Issuer, open_gate: OpenGate) -> None:
    table = issuer.settings()
    pem = jwt_pem("static")
    table["keys"].append({"algorithm": "ES256", "public_key": pem, "kid": "static"})
    gate = await open_gate(table)
    await gate.status(issuer.token("one"))
    issuer.publish("static", "two")  # a name that is taken: the whole answer is refused
    await gate.look()

    assert [await gate.status(issuer.token(kid)) for kid in ("static", "one", "two")] == [200, 200, 401]
    assert gate.edge.door.issuer_keys.sources[0].failures == 1


def jwt_pem(kid: str) -> str:
    return signing_key(kid).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_only_the_algorithms_of_the_settings_count(issuer: Issuer, open_gate: OpenGate) -> None:
    gate = await open_gate(issuer.settings(algorithms=["RS256"]))

    assert await gate.status(issuer.token("one")) == 503
    assert gate.edge.door.issuer_keys.sources[0].failures == 1


async def test_a_client_that_hangs_up_while_it_waits_ends_no_look(
    issuer: Issuer, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await open_gate(issuer.settings())
    gate.cooled_down()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await answer(jwk_set("two"))(writer)

    issuer.serve = slowly
    first = asyncio.create_task(gate.status(issuer.token("two")))
    await asyncio.wait_for(asked.wait(), 10)
    first.cancel()
    go_on.set()

    assert await gate.status(issuer.token("two", sub="another")) == 200

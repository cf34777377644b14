"""Services with trust="verified" take the word of the edge for who calls, and nobody else's."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, ValidationError

from busgate.bus import Bus, CallContext, Reply
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.signed import SigningKey, UnfitKeyError, digest, jwk_set, new_pem
from busgate.contracts import Call, Caller, http
from busgate.workers import Context, Service, ServiceError, run_worker, serve, trust
from busgate.workers.execution import Execution
from busgate.workers.jwks import SIZE_LIMIT, FetchError, fetch
from busgate.workers.metrics import WorkerMetrics
from busgate.workers.settings import WorkerSettings
from busgate.workers.trust import Trust
from busgate.workers.trust_settings import TrustSettings

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANN = Caller("ann", "https://issuer.example", frozenset({"orders:write"}))
KEY, OTHER = SigningKey(new_pem()), SigningKey(new_pem())


class Ask(BaseModel):
    text: str = ""


class Said(BaseModel):
    caller: str = ""
    via: str = ""


stock = Call("shop.stock.check.v1", http.get("/stock"), request=Ask, reply=Said, delegates={"shop.orders"})
price = Call("shop.prices.read.v1", http.get("/price"), request=Ask, reply=Said)
place = Call("shop.orders.place.v1", http.post("/orders"), request=Ask, reply=Said)
cancel = Call("shop.orders.cancel.v1", http.post("/cancel"), request=Ask, reply=Said)
pay = Call("shop.payments.pay.v1", http.post("/pay"), request=Ask, reply=Said, bound=True)
refund = Call("shop.payments.refund.v1", http.post("/refund"), request=Ask, reply=Said)
read = Call("shop.orders.list.v1", http.get("/list"), request=Ask, reply=Said, public=True, redelivery="run")
CONTRACTS = (stock, price, place, cancel, pay, refund, read)

shop = Service("shop", trust="verified")


async def say(_request: Ask, context: Context) -> Said:
    return Said(caller=context.caller.subject if context.caller else "nobody", via=context.via)


for each in (stock, price, cancel, pay, refund, read):
    shop.handles(each)(say)


@shop.handles(place)
async def ask_stock(request: Ask, context: Context) -> Said:
    """Calls on to the contract that the request names."""
    return await context.call(price if request.text == "price" else stock, Ask())


class House:
    """One worker with the service, and who calls it."""

    def __init__(self, client: Bus, executions: list[Execution], bus: Bus, trust: Trust) -> None:
        self._client = client
        self._calls = 0
        self.executions = {each.topic: each for each in executions}
        self.metrics = WorkerMetrics(bus, executions, trust)

    async def call(
        self, contract: Call[Any, Any], *, caller: bytes = ANN.to_json(), jws: bytes = b"", via: bytes = b"",
        body: bytes = b"{}", call_id: bytes | None = None,
    ) -> Reply:  # fmt: skip
        self._calls += 1
        context = CallContext(call_id or b"%032x" % self._calls, TRACEPARENT, caller, 0, jws, via)
        return await self._client.endpoint(contract.topic).call(body, context, 5)

    async def said(self, contract: Call[Any, Any], **how: Any) -> Any:
        """The document of the answer; the name of the failure where it is one."""
        document = json.loads((await self.call(contract, **how)).body)
        return document.get("type", document)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    broker = EmbeddedBroker()
    believed = Trust(TrustSettings(jwks=jwk_set([KEY]).decode()))
    worker = Bus(broker, name="worker")
    executions = serve([shop], worker, trust=believed)
    async with worker, Bus(broker, name="edge") as edge:
        yield House(edge, executions, worker, believed)
    for execution in executions:
        execution.close()


def signed(
    audience: str = "shop.orders", *, caller: Caller = ANN, key: SigningKey = KEY, ago: int = 0, message: str = ""
) -> bytes:
    return key.sign(caller.to_json(), audience, now=int(time.time()) - ago, message=message)


UNVERIFIED = "urn:busgate:caller-unverified"


async def test_the_caller_is_the_one_that_the_edge_signed(house: House) -> None:
    assert await house.said(cancel, jws=signed()) == {"caller": "ann", "via": ""}
    assert (await house.call(cancel, jws=signed())).service == "shop"


def pieces(jws: bytes) -> list[bytes]:
    return jws.split(b".")


REFUSED: dict[str, tuple[Call[Any, Any], dict[str, Any], str]] = {
    "unsigned": (cancel, {}, "unsigned"),
    "unsigned and without a caller": (cancel, {"caller": b""}, "unsigned"),
    "over": (cancel, {"jws": lambda: signed(ago=66)}, "expired"),
    "from the future": (cancel, {"jws": lambda: signed(ago=-10)}, "time"),
    "for another audience": (cancel, {"jws": lambda: signed("shop.stock")}, "audience"),
    "for the topic itself, which is no audience": (cancel, {"jws": lambda: signed(cancel.topic)}, "audience"),
    "for an audience around ours": (cancel, {"jws": lambda: signed("shop")}, "audience"),
    "for an audience that begins like ours": (cancel, {"jws": lambda: signed("shop.orders2")}, "audience"),
    "by a key that is not known": (cancel, {"jws": lambda: signed(key=OTHER)}, "unknown-key"),
    "with the signature of another": (
        cancel, {"jws": lambda: b".".join([*pieces(signed())[:2], pieces(signed("shop.stock"))[2]])}, "forged"
    ),
    "with the claims of another": (
        cancel, {"jws": lambda: b".".join([pieces(signed())[0], pieces(signed("x"))[1], pieces(signed())[2]])}, "forged"
    ),
    "beside another caller": (cancel, {"jws": signed, "caller": Caller("root").to_json()}, "mismatch"),
    "beside more scopes": (
        cancel, {"jws": signed, "caller": Caller("ann", ANN.issuer, ANN.scopes | {"admin"}).to_json()}, "mismatch"
    ),
    "no JWS at all": (cancel, {"jws": lambda: b"ann"}, "malformed"),
    "handed on by a service that may not": (stock, {"jws": lambda: signed("shop.prices"), "via": b"orders"}, "audience"),
    "handed on where nobody may": (price, {"jws": lambda: signed("shop.orders"), "via": b"orders"}, "audience"),
    "unsigned, at a public contract that is told a caller": (read, {}, "unsigned"),
    "of any message, where the contract is bound": (pay, {"jws": lambda: signed("shop.payments")}, "message"),
    "of another message": (
        pay, {"jws": lambda: signed("shop.payments", message=digest(pay.topic, b"f" * 32, b"[]")), "call_id": b"f" * 32}, "message"
    ),
    "of another call": (
        pay, {"jws": lambda: signed("shop.payments", message=digest(pay.topic, b"e" * 32, b"{}")), "call_id": b"f" * 32}, "message"
    ),
    "of the same message to another topic": (
        refund, {"jws": lambda: signed("shop.payments", message=digest(pay.topic, b"f" * 32, b"{}")), "call_id": b"f" * 32}, "message"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("contract", "how", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_call_is_refused_whose_caller_nothing_proves(
    house: House, contract: Call[Any, Any], how: dict[str, Any], reason: str
) -> None:
    headers = {name: value() if callable(value) else value for name, value in how.items()}  # signed now

    document = json.loads((await house.call(contract, **headers)).body)

    assert (document["type"], document["outcome"], document["status"]) == (UNVERIFIED, "not_executed", 502)
    assert "detail" not in document
    execution = house.executions[contract.topic]
    assert execution.answers == {"caller-unverified": 1}
    assert execution.gate is not None
    assert execution.gate.reasons == {reason: 1}


async def test_a_service_may_hand_a_caller_on_to_those_whose_contract_says_so(house: House) -> None:
    """The nested call carries the signature that was made for its parent."""
    assert await house.said(place, jws=signed()) == {"caller": "ann", "via": "shop"}
    assert await house.said(stock, jws=signed("shop.stock")) == {"caller": "ann", "via": ""}


async def test_a_nested_call_that_may_not_be_is_named_to_who_called(house: House) -> None:
    document = json.loads((await house.call(place, jws=signed(), body=b'{"text":"price"}')).body)

    assert document["type"] == "urn:busgate:nested-failure"
    assert document["detail"] == "shop.prices.read.v1: caller-unverified"


async def test_a_bound_signature_is_good_for_its_message(house: House) -> None:
    message = digest(pay.topic, b"f" * 32, b"{}")

    said = await house.said(pay, jws=signed("shop.payments", message=message), call_id=b"f" * 32)

    assert said == {"caller": "ann", "via": ""}


async def test_a_public_contract_takes_calls_of_nobody_and_of_who_is_signed(house: House) -> None:
    assert (await house.said(read, caller=b""))["caller"] == "nobody"
    assert (await house.said(read, jws=signed()))["caller"] == "ann"


async def test_what_is_refused_is_told_once_for_each_reason_and_counted_each_time(house: House) -> None:
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await house.call(cancel)
            await house.call(cancel, jws=signed("shop.stock"), via=b"stock")

    told = [entry for entry in logs if entry["event"] == "refused a call: who calls cannot be verified"]
    assert [(entry["topic"], entry["via"]) for entry in told] == [(cancel.topic, ""), (cancel.topic, "stock")]
    assert "[edge.signing]" in told[0]["why"]
    assert "delegates={'shop.stock'}" in told[1]["why"]
    lines = "".join(house.metrics.render())
    assert 'busgate_worker_unverified_total{topic="shop.orders.cancel.v1",reason="unsigned"} 3' in lines
    assert 'busgate_worker_answers_total{topic="shop.orders.cancel.v1",failure="caller-unverified"} 6' in lines
    assert "busgate_worker_trusted_keys{} 1" in lines


async def test_a_service_without_trust_takes_what_the_bus_says(house: House) -> None:
    broker = EmbeddedBroker()
    plain = Service("plain")
    plain.handles(cancel)(say)
    worker = Bus(broker, name="worker")
    (execution,) = serve([plain], worker)
    async with worker, Bus(broker, name="edge") as edge:
        context = CallContext(b"0" * 32, TRACEPARENT, Caller("anyone").to_json(), 0, b"whatever")
        reply = await edge.endpoint(cancel.topic).call(b"{}", context, 5)
    execution.close()

    assert json.loads(reply.body)["caller"] == "anyone"


# -- keys


def test_a_service_that_verifies_does_not_start_without_keys() -> None:
    with pytest.raises(ServiceError, match=r"service shop has trust=\"verified\".*\[worker.trust\]"):
        asyncio.run(_run(WorkerSettings()))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "busgate.workers.trust", None)
    settings = WorkerSettings.model_validate({"trust": {"jwks": jwk_set([KEY]).decode()}})

    with pytest.raises(ServiceError, match=r"pip install 'busgate\[trust\]'"):
        asyncio.run(_run(settings))


def test_keys_in_the_settings_that_are_none_are_told() -> None:
    with pytest.raises(ServiceError, match=r"worker.trust.jwks: not a JWK Set"):
        asyncio.run(_run(WorkerSettings.model_validate({"trust": {"jwks": "{}"}})))


async def _run(settings: WorkerSettings) -> None:
    await run_worker([shop], Bus(EmbeddedBroker(), name="worker"), stop=asyncio.Event(), settings=settings)


UNSAFE = {
    "two": ({"jwks": "{}", "jwks_url": "https://edge.example/jwks"}, "give one of"),
    "http from elsewhere": ({"jwks_url": "http://edge.example/jwks"}, "allow_plaintext"),
    "a password": ({"jwks_url": "https://u:hunter2@edge.example/jwks"}, "no user and password"),
    "another scheme": ({"jwks_url": "file:///jwks"}, "https://host"),
    "cafile for http": ({"jwks_url": "http://127.0.0.1/jwks", "cafile": __file__}, "cafile goes with"),
    "cafile that is none": ({"jwks_url": "https://edge.example/jwks", "cafile": __file__}, "certificates in PEM"),
    "a file that is not there": ({"jwks_file": "nowhere.json"}, "there is no file"),
}


@pytest.mark.parametrize(("given", "told"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_places_of_keys_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TrustSettings.model_validate(given)

    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_http_from_elsewhere_takes_a_word() -> None:
    assert TrustSettings(jwks_url="http://edge.example/jwks", allow_plaintext=True).tls() is None


async def test_a_file_of_keys_may_change_and_what_is_unfit_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwk_set([KEY]))
    async with Trust(TrustSettings(jwks_file=file)) as believed:
        assert believed.verifier.kids == [KEY.kid]
        file.write_bytes(jwk_set([KEY, OTHER]))
        await believed.look()
        assert believed.verifier.kids == [KEY.kid, OTHER.kid]
        file.write_bytes(b"{")
        await believed.look()
        file.unlink()
        await believed.look()

    assert (believed.verifier.kids, believed.looks, believed.failures) == ([KEY.kid, OTHER.kid], 4, 2)
    assert believed.unready is None


async def test_a_worker_without_keys_is_unready_and_tries_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "FIRST_RETRY", 0.01)
    file = tmp_path / "jwks.json"
    file.write_bytes(b"{}")
    async with asyncio.timeout(5), Trust(TrustSettings(jwks_file=file)) as believed:
        before = believed.unready
        file.write_bytes(jwk_set([KEY]))
        while believed.unready:
            await asyncio.sleep(0.005)

    assert before is not None
    assert "not a JWK Set" in before


async def test_a_key_that_is_not_known_has_the_worker_look_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "FIRST_RETRY", 0.01)
    file = tmp_path / "jwks.json"
    file.write_bytes(jwk_set([KEY]))
    async with asyncio.timeout(5), Trust(TrustSettings(jwks_file=file, refresh=3600)) as believed:
        gate = believed.gate(cancel, Counter())
        file.write_bytes(jwk_set([KEY, OTHER]))
        delivery: Any = type("D", (), {})()
        delivery.context = CallContext(b"0" * 32, TRACEPARENT, ANN.to_json(), 0, signed(key=OTHER))
        refused = gate(delivery)
        while OTHER.kid not in believed.verifier.kids:
            await asyncio.sleep(0.005)
        accepted = gate(delivery)

    assert (refused is not None, accepted, delivery.caller.subject) == (True, None, "ann")


# -- the address of keys

ANSWERS = {
    "not found": (b"HTTP/1.1 404 Not Found\r\n\r\n", "it answers 404"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n", "it answers 302"),
    "not HTTP": (b"220 mail ready\r\n\r\n", "not HTTP"),
    "nothing": (b"", "not HTTP"),
    "huge": (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * SIZE_LIMIT, "longer than"),
}


class Server:
    """Answers whatever it is told, then hangs up, or does not."""

    def __init__(self) -> None:
        self.asked = b""
        self.answer = b""
        self.hangs = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        if self.hangs:
            await reader.read()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as listening:
        found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks"
        yield found


async def test_keys_are_fetched_from_an_address(server: Server) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\n\r\n" + jwk_set([KEY])

    async with Trust(TrustSettings(jwks_url=server.url)) as believed:
        assert believed.verifier.kids == [KEY.kid]
    assert server.asked.startswith(b"GET /jwks HTTP/1.0\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(("answer", "told"), ANSWERS.values(), ids=ANSWERS)
async def test_an_address_that_answers_wrongly_is_no_source_of_keys(server: Server, answer: bytes, told: str) -> None:
    server.answer = answer

    with pytest.raises(FetchError, match=told):
        await fetch(server.url, None)


async def test_an_address_that_never_ends_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busgate.workers.jwks.TIMEOUT", 0.05)
    server.answer, server.hangs = b"HTTP/1.1 200 OK\r\n\r\n{", True

    with pytest.raises(FetchError, match="within"):
        await fetch(server.url, None)


async def test_an_address_where_nobody_listens_is_told(server: Server) -> None:
    with pytest.raises(FetchError, match="Connect call failed"):
        await fetch("http://127.0.0.1:1/jwks", None)


def test_a_service_says_how_it_trusts_in_one_of_two_words() -> None:
    with pytest.raises(ServiceError, match="trust is"):
        Service("orders", trust="all")  # type: ignore[arg-type]


def test_keys_that_are_none_are_an_error_of_their_own() -> None:
    with pytest.raises(UnfitKeyError):
        Trust(TrustSettings(jwks="[]"))

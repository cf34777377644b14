"""A service on the bus that decides who calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from busgate.contracts import Call, Catalog, PreCallQuestion, PreCallVerdict, http, pre_call
from busgate.edge.pre_call import PreCallSettings
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.edge.testing import Answer, HttpClient, HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness


class Where(BaseModel):
    name: str


look = Call("test.look.v1", http.get("/look/{name}"), request=Where, reply=Where, scopes={"read"})
find = Call("test.find.v1", http.get("/find/{name}"), request=Where, reply=Where)
decide = pre_call("auth.decide.v1")
ANN = PreCallVerdict(allowed=True, subject="ann", scopes=["read"], seconds=60)


@dataclass
class Auth:
    """The service that decides; `says` is its verdict for all, `asked` what it was asked."""

    says: PreCallVerdict | Exception = field(default_factory=lambda: ANN)
    asked: list[PreCallQuestion] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def services(self) -> list[Service]:
        auth, rooms = Service("auth"), Service("rooms")

        @auth.handles(decide)
        async def answer(request: PreCallQuestion, context: Context) -> PreCallVerdict:
            self.asked.append(request)
            await self.gate.wait()
            if isinstance(self.says, Exception):
                raise self.says
            return self.says

        @rooms.handles(look)
        @rooms.handles(find)
        async def entered(request: Where, context: Context) -> Where:
            caller = context.caller
            assert caller is not None
            return Where(
                name=f"{caller.subject} {caller.issuer} {sorted(caller.roles)} {caller.tenant} {caller.claims}"
            )

        return [auth, rooms]


@asynccontextmanager
async def serving(auth: Auth, *, deciding: bool = True, **settings: Any) -> AsyncIterator[HttpClient]:
    harness = Harness()
    auth.gate.set()
    table = {"topic": decide.topic, "headers": ["X-Session", "cookie"]} | settings
    services = auth.services() if deciding else auth.services()[1:]
    async with (
        harness.serving(*services),
        HttpHarness(harness.stage).serving(
            look, find, settings=EdgeSettings.model_validate({"pre_call": table})
        ) as client,
    ):
        yield client


async def ask(client: HttpClient, session: str = "s1", path: str = "/look/a", **headers: str) -> Answer:
    return await client.get(path, headers={"X-Session": session} | headers, caller=None)


async def test_the_service_says_who_calls_and_sees_the_named_headers_alone() -> None:
    auth = Auth(ANN.model_copy(update={"roles": ["clerk"], "tenant": "north", "claims": {"level": 2}}))
    async with serving(auth) as client:
        answer = await ask(client, Cookie="a=b")

    assert answer.json() == {"name": "ann pre-call ['clerk'] north {'level': 2}"}
    (asked,) = auth.asked
    assert asked == PreCallQuestion(
        topic="test.look.v1", address="127.0.0.1", headers={"x-session": "s1", "cookie": "a=b"}
    )


async def test_its_word_holds_for_as_long_as_it_says_for_one_contract_and_the_same_headers() -> None:
    auth = Auth()
    async with serving(auth) as client:
        answers = [await ask(client), await ask(client), await ask(client, "s2"), await ask(client, path="/find/a")]

    assert [each.status for each in answers] == [200] * 4
    assert [(each.topic, each.headers["x-session"]) for each in auth.asked] == [
        ("test.look.v1", "s1"), ("test.look.v1", "s2"), ("test.find.v1", "s1"),
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"longest": 0}])
async def test_what_holds_for_no_time_is_asked_each_time(settings: dict[str, Any]) -> None:
    auth = Auth(ANN if settings else ANN.model_copy(update={"seconds": 0.0}))
    async with serving(auth, **settings) as client:
        for _ in range(2):
            assert (await ask(client)).status == 200

    assert len(auth.asked) == 2


async def test_whom_it_does_not_let_in_is_refused_for_as_long_as_it_says() -> None:
    auth = Auth(PreCallVerdict(allowed=False, seconds=60))
    async with serving(auth) as client:
        refused = [await ask(client), await ask(client)]
        nothing = await client.get("/look/a", caller=None)

    assert [each.status for each in [*refused, nothing]] == [401] * 3
    assert len(auth.asked) == 1


async def test_scopes_are_needed_as_of_any_caller() -> None:
    async with serving(Auth(ANN.model_copy(update={"scopes": ["read-not", "re ad"]}))) as client:
        assert (await ask(client)).status == 403
        assert (await ask(client, path="/find/a")).status == 200


async def test_a_token_of_another_caller_beside_it_is_refused() -> None:
    async with serving(Auth()) as client:
        answer = await client.get("/look/a", headers={"X-Session": "s1"}, caller="bob")
        alone = await client.get("/look/a", caller="bob")

    assert (answer.status, alone.status) == (401, 200)


async def test_many_requests_are_one_question() -> None:
    auth = Auth()
    async with serving(auth) as client:
        auth.gate.clear()
        waiting = [asyncio.create_task(ask(client)) for _ in range(20)]
        while not auth.asked:
            await asyncio.sleep(0)
        auth.gate.set()
        answers = await asyncio.gather(*waiting)

    assert {each.status for each in answers} == {200}
    assert len(auth.asked) == 1


@pytest.mark.parametrize("says", [KeyError("boom"), PreCallVerdict.model_construct(allowed=True, subject="")])
async def test_a_service_that_cannot_tell_lets_nobody_in_and_is_asked_again(says: Any) -> None:
    auth = Auth(says)
    async with serving(auth) as client:
        failed = await ask(client)
        auth.says = ANN
        again = await ask(client)

    assert (failed.status, failed.headers["Retry-After"]) == (503, "1")
    assert (failed.json()["type"], failed.json()["outcome"]) == ("urn:busgate:pre-call-failed", "not_executed")
    assert again.status == 200


async def test_a_service_that_is_not_there_or_too_slow_lets_nobody_in() -> None:
    slow = Auth()
    async with serving(Auth(), deciding=False) as client:
        gone = await ask(client)
        token = await client.get("/look/a", caller="bob")
    async with serving(slow, timeout=0.1) as client:
        slow.gate.clear()
        late = await ask(client)

    assert (gone.status, late.status, token.status) == (503, 503, 200)


async def test_questions_under_way_are_bounded() -> None:
    auth = Auth()
    async with serving(auth, at_once=1) as client:
        auth.gate.clear()
        first = asyncio.create_task(ask(client))
        while not auth.asked:
            await asyncio.sleep(0)
        second = await ask(client, "s2")
        auth.gate.set()
        answered = await first

    assert (answered.status, second.status) == (200, 503)


async def test_a_header_that_is_not_text_proves_nothing() -> None:
    auth = Auth()
    async with serving(auth) as client, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(client.address.rpartition(":")[2]))
        writer.write(b"GET /look/a HTTP/1.1\r\nHost: a\r\nX-Session: \xff\r\n\r\n")
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert (status, auth.asked) == (b"HTTP/1.1 401 Unauthorized\r\n", [])


@pytest.mark.parametrize(
    "settings",
    [
        {"topic": "auth"},
        {"topic": "auth.*.v1"},
        {"headers": []},
        {"headers": ["x session"]},
        {"headers": ["Authorization"]},
        {"headers": ["Host"]},
        {"issuer": ""},
        {"timeout": 0},
        {"longest": -1},
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PreCallSettings.model_validate({"topic": "auth.decide.v1", "headers": ["x-session"]} | settings)


def test_no_client_may_call_what_decides() -> None:
    settings = EdgeSettings.model_validate({"pre_call": {"topic": decide.topic, "headers": ["x-session"]}})

    assert faults_with(settings, Catalog([look, decide])) == [
        "contract auth.decide.v1: it decides who calls, so no client may call it: leave it out here"
    ]

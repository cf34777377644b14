"""What a handler returns or raises, and what becomes of it on the bus."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from structlog.testing import capture_logs

from busgate.bus.wire import MAX_MESSAGE, TYPE_PROBLEM
from busgate.contracts import Call, CallFailed, Problem, http
from busgate.contracts.failure import TIMEOUT
from busgate.workers import Context, Service

if TYPE_CHECKING:
    from workers.conftest import House


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    what: str = Field(alias="q")
    count: int = 1

    @field_validator("count")
    @classmethod
    def _explode(cls, value: int) -> int:
        if value == 13:
            raise KeyError("an author's mistake")
        return value


class Reply(BaseModel):
    text: str = Field(alias="t")
    kind: str = "plain"


class LongReply(Reply):
    inner: str = "not declared"


class Closed(Problem):
    """The desk is closed."""

    status = 409
    until: str


class Surprise(Problem):
    """Not declared anywhere."""

    status = 418


ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Reply, errors=[Closed])


RAISED: dict[str, BaseException] = {
    "closed": Closed("come back later", until="noon"),
    "surprise": Surprise("boo"),
    "crash": RuntimeError("secret detail"),
    "exit": SystemExit(3),
    "cancelled": asyncio.CancelledError(),
    "stop": StopIteration(),
    "failed": CallFailed(TIMEOUT),
}


def decide(request: Ask) -> Any:
    """Return or raise what the request says."""
    if request.what in RAISED:
        raise RAISED[request.what]
    match request.what:
        case "dict":
            return {"t": "a dict is not a reply"}
        case "nothing":
            return None
        case "unfit":
            return Reply.model_construct(text=object())  # type: ignore[arg-type]
        case "huge":
            return Reply(t="x" * MAX_MESSAGE)
        case "subclass":
            return LongReply(t="long")
        case text:
            return Reply(t=text)


@pytest.fixture(params=["async", "plain"])
async def desk(request: pytest.FixtureRequest, house: "House") -> "House":
    """A house where the same handler works, in the event loop or in a thread."""
    service = Service("desk")
    if request.param == "async":

        @service.handles(ask)
        async def handle(request: Ask, _context: Context) -> Reply:
            return decide(request)  # type: ignore[no-any-return]
    else:

        @service.handles(ask)
        def handle_plainly(request: Ask, _context: Context) -> Reply:
            return decide(request)  # type: ignore[no-any-return]

    await house.work(service)
    return house


async def test_a_reply_is_the_whole_model_under_its_aliases(desk: "House") -> None:
    assert await desk.ask(ask, Ask(q="hi")) == {"t": "hi", "kind": "plain"}


async def test_a_subclass_of_the_reply_shows_only_what_is_declared(desk: "House") -> None:
    assert await desk.ask(ask, Ask(q="subclass")) == {"t": "long", "kind": "plain"}


async def test_an_answer_names_its_service(desk: "House") -> None:
    replies = [await desk.send(ask, body) for body in (b'{"q":"hi"}', b'{"q":"crash"}', b"{}")]

    assert [reply.service for reply in replies] == ["desk", "desk", "desk"]


async def test_fields_of_a_newer_edge_are_ignored(desk: "House") -> None:
    reply = await desk.send(ask, b'{"q":"hi","new":[1]}')

    assert reply.type != TYPE_PROBLEM


async def test_a_declared_problem_arrives_with_its_fields(desk: "House") -> None:
    assert await desk.fail(ask, Ask(q="closed")) == {
        "type": "urn:problem:closed",
        "title": "The desk is closed",
        "status": 409,
        "outcome": "executed",
        "detail": "come back later",
        "until": "noon",
    }


@pytest.mark.parametrize("what", ["crash", "exit", "cancelled", "stop", "dict", "nothing", "unfit", "huge", "surprise"])
async def test_a_crash_says_nothing_outside_and_everything_in_the_log(desk: "House", what: str) -> None:
    await desk.client()
    with capture_logs() as logs:
        document = await desk.fail(ask, Ask(q=what))

    assert document == {
        "type": "urn:busgate:handler-crashed",
        "title": "The service failed",
        "status": 500,
        "outcome": "unknown",
        "by": "service",
    }
    (line,) = logs
    assert (line["log_level"], line["service"], line["topic"]) == ("error", "desk", "test.ask.v1")
    assert isinstance(line["exc_info"], BaseException)
    assert line["exc_info"].__traceback__ is not None
    assert len(line["call"]) == len(line["trace"]) == 32


async def test_after_a_crash_the_worker_goes_on(desk: "House") -> None:
    answers = await asyncio.gather(
        *(desk.send(ask, b'{"q":"%s"}' % what) for what in (b"exit", b"ok", b"crash", b"ok"))
    )

    assert [answer.type for answer in answers] == [b"problem", b"reply", b"problem", b"reply"]


async def test_the_log_tells_the_author_of_an_undeclared_problem(desk: "House") -> None:
    await desk.client()
    with capture_logs() as logs:
        await desk.fail(ask, Ask(q="surprise"))

    assert logs[0]["event"] == "a handler raised Surprise, which is not in the errors of its contract"


async def test_the_log_tells_the_author_of_a_wrong_reply(desk: "House") -> None:
    await desk.client()
    with capture_logs() as logs:
        await desk.fail(ask, Ask(q="dict"))

    assert " returned a value of type dict, but test.ask.v1 replies with " in str(logs[0]["exc_info"])


async def test_a_call_failure_raised_by_the_handler_counts_as_one_of_a_nested_call(desk: "House") -> None:
    document = await desk.fail(ask, Ask(q="failed"))

    assert (document["type"], document["detail"]) == ("urn:busgate:nested-timeout", "a nested call: timeout")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"count":"many"}', "#/q (missing), #/count (int_parsing)"),
        (b'{"q":1}', "#/q (string_type)"),
        (b"[]", "# (model_type)"),
        (b"{", "# (json_invalid)"),
        (b"", "# (json_invalid)"),
        (b"\xff", "# (json_invalid)"),
        (b'{"q":"hi","count":13}', "a validator of the request model crashed"),
    ],
)
async def test_a_request_that_cannot_be_read_is_said_to_be_by_its_pointers(
    desk: "House", body: bytes, detail: str
) -> None:
    message = await desk.send(ask, body)

    assert json.loads(message.body) == {
        "type": "urn:busgate:unreadable-request",
        "title": "The worker cannot read this request",
        "status": 502,
        "outcome": "not_executed",
        "by": "service",
        "detail": detail,
    }


async def test_requests_that_cannot_be_read_are_logged_once_and_counted(house: "House") -> None:
    service = Service("desk")

    @service.handles(ask)
    async def handle(_request: Ask, _context: Context) -> Reply:
        raise NotImplementedError

    executions = await house.work(service)
    with capture_logs() as logs:
        for _ in range(3):
            await house.send(ask, b"{}")

    assert [line["detail"] for line in logs if "detail" in line] == ["#/q (missing)"]
    assert executions["test.ask.v1"].answers == {"unreadable-request": 3}


async def test_a_declared_problem_out_of_a_task_group_is_still_one(house: "House") -> None:
    service = Service("desk")

    @service.handles(ask)
    async def handle(_request: Ask, _context: Context) -> Reply:
        async def fail() -> None:
            raise Closed("come back later", until="noon")

        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        raise NotImplementedError

    await house.work(service)

    assert (await house.fail(ask, Ask(q="")))["type"] == "urn:problem:closed"


async def test_the_context_tells_of_the_call(house: "House") -> None:
    service = Service("desk")
    seen: list[Context] = []

    @service.handles(ask)
    async def handle(request: Ask, context: Context) -> Reply:
        seen.append(context)
        return Reply(t=request.what)

    await house.work(service)
    await house.ask(ask, Ask(q=""), budget=1.0, hops=2, caller=b'{"sub":"alice","iss":"https://id","scope":"a b"}')

    (context,) = seen
    assert context.caller is not None
    assert (context.caller.subject, context.caller.scopes) == ("alice", frozenset("ab"))
    assert context.caller is context.caller
    assert (context.call_id, context.hops, context.redelivered) == (f"{1:032x}", 2, False)
    assert context.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert 0 < context.remaining() < 1.0


async def test_a_public_call_has_no_caller_and_a_forged_one_is_an_error(house: "House") -> None:
    service = Service("desk")

    @service.handles(ask)
    async def handle(_request: Ask, context: Context) -> Reply:
        return Reply(t=repr(context.caller))

    await house.work(service)

    assert (await house.ask(ask, Ask(q="")))["t"] == "None"
    assert (await house.fail(ask, Ask(q=""), caller=b'{"sub":5}'))["type"] == "urn:busgate:handler-crashed"

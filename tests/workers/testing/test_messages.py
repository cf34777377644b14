"""What a beginner is told: each mistake by its name, with the cure."""

import asyncio
import traceback
from typing import Any

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, CallFailed, Problem, http
from busgate.contracts.failure import NO_ROUTE
from busgate.workers import Context, Service, ServiceError
from busgate.workers.testing import Harness


class Ask(BaseModel):
    q: str = ""


class Reply(BaseModel):
    text: str


class Declared(Problem):
    status = 409


class Undeclared(Problem):
    status = 410


ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Reply, errors=[Declared])
other = Call("test.other.v1", http.post("/other"), request=Ask, reply=Reply)
public = Call("test.public.v1", http.get("/public"), request=Ask, reply=Reply, public=True)

desk = Service("desk")
back = Service("back")


async def wrong(request: Ask, context: Context) -> Any:
    match request.q:
        case "dict":
            return {"text": "a"}
        case "nothing":
            return None
        case "forgotten":
            return context.call(other, request)
        case "used":
            pending: Any = context.call(other, request)
            try:
                return pending.text
            finally:
                pending.close()
        case "undeclared":
            raise Undeclared("gone")
        case "crash":
            raise KeyError("boom")
    return await context.call(other, request)


desk.handles(ask)(wrong)


@back.handles(other)
async def crash(request: Ask, context: Context) -> Reply:
    raise ValueError("deep inside")


@pytest.fixture
def busgate() -> Harness:
    """On the embedded bus: the words are the same."""
    return Harness()


async def failure(busgate: Harness, q: str, *services: Service) -> CallFailed:
    async with busgate.serving(desk, *services):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(ask, Ask(q=q))
    return failed.value


@pytest.mark.parametrize(
    ("q", "words"),
    [
        ("dict", "wrong returned a value of type dict, but test.ask.v1 replies with Reply"),
        ("nothing", "wrong returned nothing, but test.ask.v1 replies with Reply"),
        ("forgotten", "wrong returned a coroutine, but test.ask.v1 replies with Reply; an `await` is missing"),
    ],
)
async def test_a_handler_that_returns_the_wrong_thing(busgate: Harness, q: str, words: str) -> None:
    failed = await failure(busgate, q)

    assert isinstance(failed.__cause__, TypeError)
    assert str(failed.__cause__) == words


async def test_a_handler_that_forgets_to_await_a_call(busgate: Harness) -> None:
    failed = await failure(busgate, "used")

    assert failed.__cause__ is not None
    assert failed.__cause__.__notes__ == ["A call in the handler was not awaited: `reply = await context.call(...)`."]


async def test_a_handler_that_raises_what_its_contract_does_not_declare(busgate: Harness) -> None:
    failed = await failure(busgate, "undeclared")

    assert failed.__cause__ is not None
    assert failed.__cause__.__notes__ == [
        "The contract does not declare Undeclared. Add it to its errors: Call(..., errors=[Undeclared])."
    ]


async def test_a_crash_is_shown_where_the_author_wrote_it(busgate: Harness) -> None:
    failed = await failure(busgate, "crash")

    assert isinstance(failed.__cause__, KeyError)
    assert [frame.name for frame in traceback.extract_tb(failed.__cause__.__traceback__)] == ["wrong"]
    assert failed.kind.name == "handler-crashed"


async def test_a_crash_deep_inside_is_the_cause_of_the_call_that_the_test_made(busgate: Harness) -> None:
    failed = await failure(busgate, "nested", back)

    assert failed.kind.name == "nested-failure"
    assert isinstance(failed.__cause__, ValueError)


async def test_a_call_that_nobody_serves(busgate: Harness) -> None:
    nested = await failure(busgate, "nested")
    async with busgate.serving(desk):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(other, Ask())

    assert failed.value.kind is NO_ROUTE
    for each in (nested, failed.value):
        (note,) = each.__notes__
        assert note.startswith("Nobody serves test.other.v1 in this test. Give its service to busgate.serving(...), ")


async def test_a_call_that_was_not_awaited(busgate: Harness) -> None:
    async with busgate.serving(desk):
        used: Any = busgate.call(ask, Ask())
        with pytest.raises(AttributeError, match=r"the call of test\.ask\.v1 was not awaited: write `await busgate"):
            used.text  # noqa: B018 - as in an assert
        compared: Any = busgate.call(ask, Ask())
        with pytest.raises(TypeError, match="was not awaited"):
            assert compared == Reply(text="")


async def test_a_call_that_is_awaited_can_be_looked_at_meanwhile(busgate: Harness) -> None:
    busgate.stand_in(ask, Reply(text="here"))
    async with busgate.serving():
        task = asyncio.create_task(busgate.call(ask, Ask()))
        while not task.done():
            assert "Calling" in repr(task)
            await asyncio.sleep(0)

    assert task.result().text == "here"


async def test_a_call_that_never_arrived_twice(busgate: Harness) -> None:
    busgate.deliver_twice(ask)
    with pytest.raises(AssertionError, match=r"no call of test\.ask\.v1 came that could be delivered twice"):
        async with busgate.serving(desk):
            pass


async def test_a_call_outside_of_the_block(busgate: Harness) -> None:
    with pytest.raises(RuntimeError, match=r"make calls inside `async with busgate\.serving\(service\):`"):
        await busgate.call(ask, Ask())


async def test_a_request_of_another_type(busgate: Harness) -> None:
    request: Any = {"q": ""}
    async with busgate.serving(desk):
        with pytest.raises(TypeError, match=r"test\.ask\.v1 is called with a dict: give it a value of Ask"):
            await busgate.call(ask, request)


async def test_a_caller_of_a_public_contract(busgate: Harness) -> None:
    with pytest.raises(ValueError, match="is public: nobody is authenticated"):
        await busgate.call(public, Ask(), caller="alice")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "a stand-in for test.ask.v1 needs an answer: a Reply, a problem, a FailureKind, SILENCE, or a function"),
        ([Ask()], "test.ask.v1 does not reply with Ask: give a Reply, "),
        ([{"text": ""}], "{'text': ''} is no answer of test.ask.v1: give a Reply, "),
        ([Undeclared("x")], "Undeclared is not in the errors of test.ask.v1: its service could not raise it"),
        ([Declared], "Declared is a class: give a value of it"),
    ],
)
def test_an_answer_that_no_service_could_give(busgate: Harness, answers: list[Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        busgate.stand_in(ask, *answers)

    assert str(raised.value).startswith(words)


async def test_a_function_that_works_out_the_wrong_answer(busgate: Harness) -> None:
    busgate.stand_in(other, lambda _: Ask())  # type: ignore[arg-type, return-value] # that is the mistake
    async with busgate.serving(desk):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(ask, Ask(q="nested"))

    assert isinstance(failed.value.__cause__, TypeError)
    assert "test.other.v1 does not reply with Ask" in str(failed.value.__cause__)


async def test_a_stand_in_that_comes_too_late_or_for_what_is_served(busgate: Harness) -> None:
    async with busgate.serving(desk):
        with pytest.raises(RuntimeError, match=r"before `async with busgate\.serving"):
            busgate.stand_in(other, Reply(text=""))
    busgate.stand_in(ask, Reply(text=""))
    with pytest.raises(ValueError, match=r"test\.ask\.v1 is served by desk and played by a stand-in"):
        async with busgate.serving(desk):
            raise AssertionError("it must not open")


async def test_what_is_no_service(busgate: Harness) -> None:
    handler: Any = wrong
    with pytest.raises(TypeError, match="is not a Service: give what you decorate with"):
        async with busgate.serving(handler):
            raise AssertionError("it must not open")
    with pytest.raises(ServiceError, match="service empty has no handlers"):
        async with busgate.serving(Service("empty")):
            raise AssertionError("it must not open")


async def test_nothing_is_left_running_when_a_test_ends(busgate: Harness) -> None:
    before = asyncio.all_tasks()

    await failure(busgate, "crash")

    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)

from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, http
from busgate.workers import Context, Service, ServiceError

if TYPE_CHECKING:
    from workers.conftest import House


class Echo(BaseModel):
    text: str


echo = Call("test.echo.v1", http.post("/echo"), request=Echo, reply=Echo)


async def answer(request: Echo, _context: Context) -> Echo:
    return request


def answer_plainly(request: Echo, _context: Context) -> Echo:
    return request


class Answers:
    async def __call__(self, request: Echo, _context: Context) -> Echo:
        return request


def test_the_decorator_returns_the_function_unchanged() -> None:
    service = Service("echoes")

    assert service.handles(echo)(answer) is answer


def test_a_handler_knows_its_service_and_contract() -> None:
    service = Service("echoes")
    service.handles(echo, cancel_at_deadline=False)(answer)

    (handler,) = service

    assert (handler.service, handler.contract, handler.cancel_at_deadline) == ("echoes", echo, False)


def test_two_handlers_of_one_topic_are_refused_by_name() -> None:
    service = Service("echoes")
    service.handles(echo)(answer)

    with pytest.raises(
        ServiceError,
        match=r"two handlers for test\.echo\.v1: echoes \(answer\) and echoes \(answer_plainly\)",
    ):
        service.handles(echo)(answer_plainly)


async def test_two_services_with_one_topic_cannot_share_a_process(house: "House") -> None:
    first, second = Service("first"), Service("second")
    first.handles(echo)(answer)
    second.handles(echo)(answer)

    with pytest.raises(ServiceError, match=r"two handlers for test\.echo\.v1: first \(answer\) and second \(answer\)"):
        await house.work(first, second)


async def test_a_service_without_handlers_is_refused(house: "House") -> None:
    with pytest.raises(ServiceError, match="service idle has no handlers"):
        await house.work(Service("idle"))


@pytest.mark.parametrize("name", ["", "Orders", "or ders", "ordërs", "-orders", "o" * 65])
def test_a_service_name_that_cannot_travel_is_refused(name: str) -> None:
    with pytest.raises(ServiceError, match="service name"):
        Service(name)


def test_the_prefetch_is_the_handlers_else_the_contracts_else_by_its_kind() -> None:
    narrow = Call("test.narrow.v1", http.post("/n"), request=Echo, reply=Echo, prefetch=3)
    service = Service("echoes")
    service.handles(echo)(answer)
    service.handles(Call("test.plain.v1", http.post("/p"), request=Echo, reply=Echo))(answer_plainly)
    service.handles(narrow)(answer)
    service.handles(Call("test.own.v1", http.post("/o"), request=Echo, reply=Echo, prefetch=3), prefetch=5)(answer)

    assert [handler.prefetch for handler in service] == [32, 8, 3, 5]


def test_an_object_with_an_async_call_is_an_async_handler() -> None:
    service = Service("echoes")
    service.handles(echo)(Answers())

    (handler,) = service

    assert handler.is_async

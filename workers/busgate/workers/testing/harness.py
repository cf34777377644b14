"""What a test holds: it serves, calls, plays other services, and lets things go wrong on purpose."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from busgate.bus import Bus, CallContext, Ids
from busgate.bus.testing import Stage
from busgate.bus.typed import TypedCalls, TypedEndpoint
from busgate.contracts import Call, Caller, CallFailed, Problem
from busgate.contracts.call import ReplyT, RequestT
from busgate.workers.context import Context
from busgate.workers.execution import Execution
from busgate.workers.process import TRUST_CURE, serve
from busgate.workers.service import Service, ServiceError

from .calling import Calling
from .hints import explain, explain_crash
from .stand_in import NAME, Given, StandIn
from .worker import Worker

if TYPE_CHECKING:
    from .signing import Signing

TESTER = "tester"
"""Who calls, where a test names nobody."""


class Harness:
    """Services at work, and somebody who calls them.

        async with busgate.serving(orders):
            order = await busgate.call(place_order, PlaceOrder(sku="A-1"))

    In pytest it is the fixture `busgate`. Elsewhere make one: `Harness()` has an embedded bus of its own.
    """

    def __init__(self, stage: Stage | None = None) -> None:
        self.stage = stage or Stage()
        self.stage.before_call = self._before_call
        self._ids = Ids()
        self._stand_ins: dict[str, StandIn[Any]] = {}
        self._dies_of: set[str] = set()
        self._client: TypedCalls | None = None
        self._signing: Signing | None = None

    # -- before, or between calls

    def stand_in(self, contract: Call[RequestT, ReplyT], *answers: Given[ReplyT, RequestT]) -> StandIn[RequestT]:
        """Play the service of a contract: for one that is not yours, or that shall fail.

        Args:
            contract: what to answer.
            answers: one for each call, the last for all that follow: a reply; a problem that the contract declares;
                a FailureKind of `busgate.contracts.failure`; SILENCE; or a function from the request to the
                reply, which may raise a problem.

        Returns:
            What writes down the requests. A second `stand_in` of the contract changes its answers.

        Raises:
            TypeError, ValueError: an answer that a service of this contract could not give.
            RuntimeError: it comes too late: the contract is served, or calls are being taken already.
        """
        known = self._stand_ins.get(contract.topic)
        if known is not None:
            known.give(*answers)
            return known
        if self._client is not None:
            raise RuntimeError(f"play {contract.topic} before `async with busgate.serving(...)`, not inside it")
        playing = StandIn(contract, self.stage.note_crash)
        playing.give(*answers)
        self._stand_ins[contract.topic] = playing
        return playing

    def deliver_twice(self, contract: Call[Any, Any]) -> None:
        """Let the next call of a contract arrive twice: the worker that runs it dies before it answers.

        The broker hands the call to another worker, marked as redelivered, and the contract's `redelivery` says
        whether that one runs it again or refuses (CallFailed `redelivered`, outcome unknown). What else the dead
        worker held is delivered again as well.
        """
        self._dies_of.add(contract.topic)

    @asynccontextmanager
    async def serving(self, *services: Service) -> AsyncIterator[None]:
        """Serve these, a worker each, and the stand-ins. At the end what still runs is cut.

        Raises:
            AssertionError: a call that was to be delivered twice did not come.
            BusError: the broker cannot be used.
            ServiceError: a service without handlers, or a contract with two of them.
            TypeError, ValueError: something is not a service, or its contract is played by a stand-in.
        """
        for service in services:
            if not isinstance(service, Service):
                raise TypeError(f'{service!r} is not a Service: give what you decorate with, service = Service("name")')
        outermost = self._client is None
        async with AsyncExitStack() as closing:
            if outermost:
                await self._open(closing)
            for service in services:
                await self._work(service, closing)
            yield
            if outermost and self._dies_of:
                raise AssertionError(f"no call of {min(self._dies_of)} came that could be delivered twice")

    # -- calls

    def call(
        self,
        contract: Call[RequestT, ReplyT],
        request: RequestT,
        *,
        caller: Caller | str | None = None,
        timeout: float | None = None,
    ) -> Calling[ReplyT]:
        """Call a contract as the edge would; await what this returns.

        Args:
            contract: what to call.
            request: its request.
            caller: who calls. A name is a caller with the scopes of the contract; None is "tester", or nobody
                where the contract is public.
            timeout: seconds; None is that of the contract, which is also the most.

        Raises:
            Problem: one that the contract declares, as its own class.
            CallFailed: there was no reply. Where a handler crashed, its exception is the cause.
            RuntimeError, TypeError, ValueError: a call that cannot be made; the message says how it can.
        """
        budget = contract.timeout if timeout is None else min(timeout, contract.timeout)
        return Calling(self._call(contract, request, _caller(contract, caller), budget), contract.topic)

    async def _call(self, contract: Call[RequestT, ReplyT], request: RequestT, caller: bytes, budget: float) -> ReplyT:
        __tracebackhide__ = True  # pytest: what failed, failed in the test
        endpoint = self._to(contract)
        if not isinstance(request, contract.request):
            model, given = contract.request.__name__, type(request).__name__
            raise TypeError(f"{contract.topic} is called with a {given}: give it a value of {model}")
        call_id = self._ids.take(32)
        context = CallContext(call_id, b"00-%b-%b-01" % (call_id, self._ids.take(16)), caller)
        if caller and self._signing is not None:
            context.jws = self._signing.sign(contract, request, context)
        try:
            return await endpoint.call(request, context, budget)
        except Problem as problem:
            raise problem.with_traceback(None) from None
        except CallFailed as failure:
            explain(failure, contract.topic)
            raise failure.with_traceback(None) from self.stage.crashes.get(call_id)

    def _to(self, contract: Call[RequestT, ReplyT]) -> TypedEndpoint[RequestT, ReplyT]:
        __tracebackhide__ = True
        if self._client is None:
            raise RuntimeError("nobody serves yet: make calls inside `async with busgate.serving(service):`")
        return self._client.to(contract)

    def _before_call(self, topic: str, context: CallContext) -> None:
        playing = self._stand_ins.get(topic)
        if playing is not None:
            playing.before_call(context)

    # -- workers

    async def _open(self, closing: AsyncExitStack) -> None:
        """The first of nested `serving` opens what they share."""
        client = self.stage.bus("test")
        closing.push_async_callback(self._close)
        closing.push_async_callback(client.close)
        await client.start()
        self._client = TypedCalls(client)
        for playing in self._stand_ins.values():
            await self._play(playing, closing)

    async def _close(self) -> None:
        self._client = None
        await self.stage.clear()

    async def _work(self, service: Service, closing: AsyncExitStack) -> None:
        played = next((each.contract.topic for each in service if each.contract.topic in self._stand_ins), None)
        if played is not None:
            raise ValueError(f"{played} is served by {service.name} and played by a stand-in: leave out one of them")

        if service.trust == "verified" and self._signing is None:
            self._signing = _signing(self.stage)

        def register(bus: Bus) -> list[Execution]:
            executions = serve([service], bus, trust=None if self._signing is None else self._signing.trust)
            for execution in executions:
                execution.on_crash = self._on_crash
            return executions

        await self._start(Worker(service.name, register, stage=self.stage, dies_of=self._dies_of), closing)

    async def _play(self, playing: StandIn[Any], closing: AsyncExitStack) -> None:
        def register(bus: Bus) -> list[Execution]:
            contract = playing.contract
            bus.serve(contract.topic, playing, prefetch=1000, reruns=contract.reruns, service=NAME)
            return []

        await self._start(Worker(NAME, register, stage=self.stage, dies_of=self._dies_of), closing)

    async def _start(self, worker: Worker, closing: AsyncExitStack) -> None:
        await worker.start()
        closing.push_async_callback(worker.close)

    def _on_crash(self, error: BaseException, context: Context) -> None:
        explain_crash(error)
        self.stage.note_crash(context.traceparent, error)


def _signing(stage: Stage) -> "Signing":
    """What an edge would do for services that verify who calls."""
    try:
        from .signing import Signing  # noqa: PLC0415 - needs cryptography
    except ModuleNotFoundError as error:
        raise ServiceError(f'a service has trust="verified", which needs {error.name}: {TRUST_CURE}') from None
    return Signing(stage.signing_pem)


def _caller(contract: Call[Any, Any], caller: Caller | str | None) -> bytes:
    if contract.public:
        if caller is not None:
            raise ValueError(f"{contract.topic} is public: nobody is authenticated, so it has no caller")
        return b""
    if not isinstance(caller, Caller):
        caller = Caller(caller or TESTER, scopes=frozenset(contract.scopes))
    return caller.to_json()

"""Requester and consumers against chance: hypothesis decides who sends, dies, drops, blocks and waits, and for how long.

Time is virtual: the event loop jumps to its next timer instead of waiting, and the bus reads that clock.
Checked after every step (the names are those of the invariants that busgate promises):

    I1  every call ends exactly once, at its deadline at the latest
    I3  a reply is that of its own call
    I4  no handler starts after the deadline of its call
    I7  what was answered as not executed was never executed
    I8  when all is over, nothing is left in any table
    and what must not run twice does not
"""

import asyncio
import json
import selectors
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from busgate.bus import Bus, CallContext, Delivery
from busgate.bus.embedded import EmbeddedBroker
from busgate.bus.link import LinkEvents
from busgate.bus.wire import Message
from busgate.contracts import CallFailed

EPOCH = 1_800_000_000.0
MAY_RERUN, MUST_NOT_RERUN = "shop.stock.check.v1", "shop.orders.place.v1"
TOPICS = (MAY_RERUN, MUST_NOT_RERUN)
LATE = 0.05
"""Seconds after its budget within which a call is answered: two ticks of the sweep and some."""
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: where it would, its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 1000.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                assert timeout is not None, "everything waits for something that will not come"
                loop.now += max(timeout, 0)
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


class Call:
    """A call of the test, and what became of it."""

    def __init__(self, number: int, topic: str, due: float) -> None:
        self.body = b'{"nonce":%d}' % number
        self.topic = topic
        self.due = due
        self.future: Any = None
        self.refused: CallFailed | None = None
        self.abandoned = False
        self.starts: list[tuple[str, float, float]] = []
        """Who ran it, when, and its deadline."""

    @property
    def outcome(self) -> str | None:
        """`executed`, `unknown`, `not_executed`; None while it waits."""
        if self.refused is not None:
            return self.refused.kind.outcome
        if self.abandoned or not self.future.done():
            return None
        failure = self.future.exception()
        if failure is not None:
            assert isinstance(failure, CallFailed)
            return failure.kind.outcome
        reply = self.future.result()
        return "executed" if reply.type == b"reply" else str(json.loads(reply.body)["outcome"])


class Worker:
    def __init__(self, name: str, machine: "TheBus") -> None:
        self.name = name
        self.machine = machine
        self.bus = Bus(machine.broker, name=name)
        for topic in TOPICS:
            self.bus.serve(topic, self.handle, prefetch=3, reruns=topic == MAY_RERUN, service=name)
        self.starting = asyncio.ensure_future(self.bus.start(1e9))

    async def handle(self, delivery: Delivery) -> tuple[bytes, bytes]:
        machine = self.machine
        machine.calls[delivery.message.body].starts.append((self.name, machine.wall(), delivery.deadline))
        machine.delivered.append(delivery)
        finish: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        machine.running.append(finish)
        if not await finish:
            raise RuntimeError("crashed")
        return b"reply", delivery.message.body

    def kill(self) -> None:
        """As a process that dies: no reply, no ack, no goodbye, no memory."""
        self.starting.cancel()
        keeper, link = self.bus._keeper, self.bus._link
        if keeper is not None:
            keeper.cancel()
        handlers = [delivery.task for delivery in self.bus.consumers._running.values()]
        for task in [*handlers, *self.bus._tasks]:
            assert task is not None
            task.cancel()
        if link is not None:
            link.abort()


class TheBus(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        clock = SimpleNamespace(time=self.wall, monotonic=self.loop.time)
        self.patches = [
            mock.patch(f"busgate.bus.{module}.time", clock) for module in ("requester", "consumer", "embedded")
        ]
        for patch in self.patches:
            patch.start()
        self.broker = EmbeddedBroker()
        self.calls: dict[bytes, Call] = {}
        self.running: list[asyncio.Future[bool]] = []
        self.delivered: list[Delivery] = []
        self.names = 0
        self.do(self.open())

    def wall(self) -> float:
        return EPOCH + self.loop.now

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def settle(self) -> None:
        for _ in range(25):
            await asyncio.sleep(0)

    async def open(self) -> None:
        self.edge = Bus(self.broker, name="edge", max_waiting=8)
        self.workers = [self.new_worker(), self.new_worker()]
        await self.edge.start()
        await self.settle()

    def new_worker(self) -> Worker:
        self.names += 1
        return Worker(f"worker-{self.names}", self)

    # -- what happens

    @rule(topic=st.sampled_from(TOPICS), budget=st.sampled_from([0.02, 0.1, 0.5, 2.0]), many=st.integers(1, 4))
    def send(self, topic: str, budget: float, many: int) -> None:
        async def work() -> None:
            for _ in range(many):
                call = Call(len(self.calls), topic, self.loop.now + budget)
                self.calls[call.body] = call
                context = CallContext(b"%032x" % len(self.calls), TRACEPARENT)
                try:
                    call.future = self.edge.endpoint(topic).call(call.body, context, budget)
                    call.future.add_done_callback(lambda future: future.cancelled() or future.exception())
                except CallFailed as refused:
                    call.refused = refused
            await self.settle()

        self.do(work())

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0), well=st.sampled_from([True, True, True, False]))
    def finish_a_handler(self, which: int, well: bool) -> None:
        finish = self.running.pop(which % len(self.running))
        if not finish.done():
            finish.set_result(well)
        self.do(self.settle())

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.07, 0.3, 1.0, 4.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))
        self.do(self.settle())

    @rule(which=st.integers(0, 2))
    def drop_a_link(self, which: int) -> None:
        async def work() -> None:
            link = [self.edge, *(worker.bus for worker in self.workers)][which]._link
            if link is not None:
                link.abort()
            await self.settle()

        self.do(work())

    @rule(which=st.integers(0, 1))
    def kill_a_worker(self, which: int) -> None:
        async def work() -> None:
            self.workers[which].kill()
            await self.settle()
            self.workers[which] = self.new_worker()
            await self.settle()

        self.do(work())

    @rule(which=st.integers(0, 1), grace=st.sampled_from([0.1, 1.0]))
    def replace_a_worker_gracefully(self, which: int, grace: float) -> None:
        async def work() -> None:
            leaving, self.workers[which] = self.workers[which], self.new_worker()
            await leaving.bus.drain(grace)
            leaving.starting.cancel()
            await leaving.bus.close()
            await self.settle()

        self.do(work())

    @rule(reason=st.sampled_from([None, "memory"]))
    def change_the_alarm(self, reason: str | None) -> None:
        async def work() -> None:
            self.broker.set_alarm(reason)
            await self.settle()

        self.do(work())

    @rule(down=st.booleans())
    def stop_or_start_the_broker(self, down: bool) -> None:
        async def work() -> None:
            if down:
                self.broker.stop()
            else:
                self.broker.start()
            await self.settle()

        self.do(work())

    @rule(topic=st.sampled_from(TOPICS), length=st.sampled_from([0, 1, 1000]))
    def limit_a_queue(self, topic: str, length: int) -> None:
        self.broker.limits[topic] = length

    @rule(topic=st.sampled_from(TOPICS))
    def delete_a_queue(self, topic: str) -> None:
        async def work() -> None:
            self.broker.delete_queue(topic)
            await self.settle()

        self.do(work())

    @rule(which=st.integers(0))
    def a_client_hangs_up(self, which: int) -> None:
        waiting = [call for call in self.calls.values() if call.future is not None and not call.future.done()]
        if waiting:
            call = waiting[which % len(waiting)]
            call.abandoned = True
            call.future.cancel()

    @precondition(lambda self: self.delivered and not self.broker.down)
    @rule(which=st.integers(0), strange=st.booleans())
    def somebody_sends_a_reply_again_or_one_of_their_own(self, which: int, strange: bool) -> None:
        async def work() -> None:
            call = self.delivered[which % len(self.delivered)].message
            if not strange and not any(delivery.message is call and delivery.answer[0] for delivery in self.delivered):
                return  # it has not been answered yet, so there is nothing to send again
            again = Message(exchange=b"busgate.replies", routing_key=call.reply_to)
            again.correlation_id = b"f" * 32 if strange else call.correlation_id
            again.type, again.body, again.expiration = b"reply", call.body, b"60000"
            again.headers = {"wire": 1, "service": "again", "received": int(self.wall() * 1000), "ran": 0}
            link = await self.broker.connect(LinkEvents(), name="foreign", generation=1)
            link._route(call.reply_to.decode(), again)
            await self.settle()
            await link.close()

        self.do(work())

    # -- what must hold

    @invariant()
    def every_call_ends_once_and_in_time(self) -> None:
        for call in self.calls.values():
            if call.refused is None and not call.future.done():
                assert self.loop.now <= call.due + LATE

    @invariant()
    def a_reply_is_that_of_its_call(self) -> None:
        for call in self.calls.values():
            if call.outcome == "executed":
                assert call.future.result().body == call.body
                assert call.starts

    @invariant()
    def nothing_starts_after_its_deadline(self) -> None:
        for call in self.calls.values():
            for _, started, deadline in call.starts:
                assert started <= deadline

    @invariant()
    def what_was_not_executed_was_never_executed(self) -> None:
        for call in self.calls.values():
            assert call.outcome != "not_executed" or not call.starts

    @invariant()
    def what_must_not_run_twice_does_not(self) -> None:
        for call in self.calls.values():
            names = [name for name, _, _ in call.starts]
            assert len(set(names)) == len(names), "twice in one process"
            assert call.topic == MAY_RERUN or len(names) <= 1

    @invariant()
    def no_more_wait_than_may(self) -> None:
        waiting = sum(call.refused is None and not call.future.done() for call in self.calls.values())
        assert self.edge.requester.waiting == waiting <= 8

    def teardown(self) -> None:
        try:
            self.do(self.end())
        finally:
            rest = asyncio.all_tasks(self.loop)
            for task in rest:
                task.cancel()
            self.do(asyncio.wait(rest, timeout=1) if rest else self.settle())
            for patch in self.patches:
                patch.stop()
            self.loop.close()

    async def end(self) -> None:
        """All faults are healed: calls work again, and then nothing is left anywhere."""
        self.broker.start()
        self.broker.set_alarm(None)
        self.broker.limits.clear()
        await asyncio.sleep(10)
        for finish in self.running:
            if not finish.done():
                finish.set_result(True)
        self.running.clear()
        await asyncio.sleep(1)
        await self.healthy()
        buses = [self.edge, *(worker.bus for worker in self.workers)]
        for bus in buses:
            assert bus.requester._waiting == {}
            assert not any(bus.requester._buckets.values())
            assert all(endpoint.admission.waiting == 0 for endpoint in bus.requester._endpoints.values())
            assert (bus.consumers._running, bus.consumers._unsent) == ({}, [])
        for queue in self.broker.queues.values():
            assert not queue.ready
            assert not any(subscription.unacked for subscription in queue.consumers)
        for link in self.broker.links.values():
            assert (link._by_tag, link._held) == ({}, [])
        for worker in self.workers:
            await worker.starting
        for bus in buses:
            await bus.close()
        assert self.broker.links == {}

    async def healthy(self) -> None:
        for topic in TOPICS:
            call = Call(len(self.calls), topic, self.loop.now + 2)
            self.calls[call.body] = call
            call.future = self.edge.endpoint(topic).call(
                call.body, CallContext(b"%032x" % len(self.calls), TRACEPARENT), 2
            )
            await self.settle()
            self.running.pop().set_result(True)
            reply = await call.future
            assert reply.body == call.body
        await self.settle()


TestTheBus = TheBus.TestCase
TestTheBus.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)

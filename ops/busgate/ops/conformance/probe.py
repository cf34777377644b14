"""The tester's end of the bus: sends letters to the worker, collects what is answered, and looks into the queue."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError

from busgate.bus import Address, BusError, Ids
from busgate.bus.aio import connect, one_line
from busgate.bus.wire import CALLS_EXCHANGE, REPLIES_EXCHANGE, REPLY_QUEUE_PREFIX

from .letters import Letter, good_call

FIRST = {"x-priority": 1_000_000}
"""Of two consumers of a queue, the one of higher priority is served first: so we can take what we sent ourselves."""
_LAST_LOOK = 0.2
_GOODBYE = 5.0


class Answer:
    """A message that came to one of our reply queues."""

    def __init__(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        self.received_at = time.time()
        self.exchange = message.exchange
        self.type = properties.message_type
        self.content_type = properties.content_type
        self.delivery_mode = properties.delivery_mode
        self.correlation_id = properties.correlation_id
        self.headers: dict[str, Any] = dict(properties.headers or {})
        self.body = message.body

    @property
    def known_by(self) -> tuple[object, ...]:
        """What is the same when an answer is said a second time; a second run would begin at another time."""
        return self.type, self.body, self.headers.get("received"), self.headers.get("ran")

    @property
    def problem(self) -> str | None:
        """The `type` of a problem document; None where there is none."""
        with suppress(ValueError):
            document = json.loads(self.body)
            if self.type == "problem" and isinstance(document, dict):
                return str(document.get("type"))
        return None

    def __str__(self) -> str:
        return self.problem or str(self.type)


@dataclass(slots=True, eq=False)
class Sent:
    """A letter on its way, and what came back."""

    letter: Letter
    at: float
    answers: list[Answer] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, seconds: float) -> Answer | None:
        """The first answer, None when there is none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.arrived.wait()
        return self.answers[0] if self.answers else None


class Probe:
    """A connection to the broker of one topic. Use it as a context manager; it leaves nothing behind.

    `strays` are answers that belong to no letter, `misled` those to a queue that no worker may write to.
    """

    def __init__(self, address: Address, topic: str, *, caller: str | None, budget: float) -> None:
        self.topic = topic
        self.strays: list[Answer] = []
        self.misled: list[Answer] = []
        self._address = address
        self._caller = caller
        self._budget = budget
        self._ids = Ids()
        self._sent: dict[str, Sent] = {}
        token = self._ids.take(12).decode()
        self.reply_queue = f"{REPLY_QUEUE_PREFIX}conformance.1.{token}"
        self.other_queue = f"busgate.conformance.{token}"
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel

    # -- letters

    def call(self, body: bytes, *, budget: float | None = None, **changes: Any) -> Letter:
        """A good call with a new id, `budget` seconds before its deadline; `changes` as of Letter.changed."""
        letter = good_call(
            body,
            topic=self.topic,
            reply_to=self.reply_queue,
            caller=self._caller,
            budget=budget or self._budget,
            ids=self._ids,
        )
        return letter.changed(**changes)

    async def send(self, letter: Letter) -> Sent:
        """Publish a letter; it is on the queue when this returns."""
        sent = self._sent[letter.mark] = Sent(letter, time.time())
        properties = letter.encoded()
        try:
            await self._channel.basic_publish(
                letter.body, exchange=CALLS_EXCHANGE, routing_key=letter.key, properties=properties, mandatory=True
            )
        except DeliveryError:
            raise BusError(f"{self._address}: the queue {self.topic} is gone, or takes no more") from None
        return sent

    async def send_as_redelivered(self, *letters: Letter) -> list[Sent]:
        """Let the worker have letters as ones that were delivered before, all in one moment.

        They go to a consumer of ours first, which wins by its priority. Once that consumes no more they are handed
        back, and the worker is the only one who can get them.
        """
        async with self._first_in_line(hold={letter.mark for letter in letters}) as line:
            sent = list(await asyncio.gather(*map(self.send, letters)))
            try:
                async with asyncio.timeout(self._budget):
                    await line.holds_all.wait()
            except TimeoutError:
                raise BusError(f"{self._address}: a consumer of the highest priority gets nothing") from None
        return sent

    # -- the queue

    async def ready(self) -> tuple[int, int]:
        """Messages that wait in the queue, those that a worker holds not counted, and its consumers."""
        found = await self._channel.queue_declare(self.topic, passive=True)
        return found.message_count or 0, found.consumer_count or 0

    async def left(self, seconds: float) -> list[Sent]:
        """Take out of the queue what is ours and comes to it within this time: not consumed, or handed back."""
        async with self._first_in_line() as line:
            await asyncio.sleep(seconds)
        return line.taken

    async def get(self) -> tuple[Sent, bool] | None:
        """Take the next of our letters out of the queue, and whether it was delivered before; None: there is none."""
        message = await self._channel.basic_get(self.topic)
        if message.delivery_tag is None:
            return None
        sent = self._known(message)
        if sent is None:  # of somebody else: back with it
            await self._channel.basic_nack(message.delivery_tag, requeue=True)
            return None
        await self._channel.basic_ack(message.delivery_tag)
        return sent, bool(getattr(message.delivery, "redelivered", False))

    @asynccontextmanager
    async def _first_in_line(self, *, hold: Iterable[str] = ()) -> AsyncIterator["_Line"]:
        """Consume the topic before the worker does."""
        channel = await self._new_channel(confirms=False)
        line = _Line(self._known, hold)
        try:
            tag = (await channel.basic_consume(self.topic, line.on_message, arguments={**FIRST})).consumer_tag
            yield line
            await channel.basic_cancel(str(tag))
        finally:
            await channel.close()  # what is held goes back to the queue, flagged, to whoever consumes it now

    def _known(self, message: DeliveredMessage) -> Sent | None:
        properties = message.header.properties
        return self._sent.get(properties.message_id or "") or self._sent.get(properties.correlation_id or "")

    # -- what arrives

    async def _on_reply(self, message: DeliveredMessage) -> None:
        answer = Answer(message)
        sent = self._sent.get(answer.correlation_id or "")
        if sent is None:
            self.strays.append(answer)
        else:
            sent.answers.append(answer)
            sent.arrived.set()

    async def _on_misled(self, message: DeliveredMessage) -> None:
        self.misled.append(Answer(message))

    # -- lifecycle

    async def __aenter__(self) -> Self:
        with one_line(self._address):
            self._connection = await connect(self._address, name="busgate conformance")
            try:
                await self._open()
            except BaseException:
                await self._connection.close()
                raise
        return self

    async def _open(self) -> None:
        self._channel = await self._new_channel(confirms=True)
        for queue, callback in ((self.reply_queue, self._on_reply), (self.other_queue, self._on_misled)):
            await self._channel.queue_declare(queue, exclusive=True, arguments={"x-queue-type": "classic"})
            await self._channel.queue_bind(queue, REPLIES_EXCHANGE, queue)
            await self._channel.basic_consume(queue, callback, no_ack=True)

    async def _new_channel(self, *, confirms: bool) -> AbstractChannel:
        assert self._connection is not None
        try:
            channel = await self._connection.channel(publisher_confirms=confirms)
        except RuntimeError:  # how aiormq says it
            raise BusError(f"{self._address}: the connection fell") from None
        return await channel.get_underlay_channel()

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        with suppress(AMQPError, BusError, ChannelInvalidStateError, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                while await self.left(_LAST_LOOK):
                    pass
                await self._connection.close()


class _Line:
    """Our place at the head of the queue: takes out what is ours, holds what is not, and what it is told to hold."""

    def __init__(self, known: Callable[[DeliveredMessage], Sent | None], hold: Iterable[str]) -> None:
        self.taken: list[Sent] = []
        self.holds_all = asyncio.Event()
        self._known = known
        self._hold = set(hold)
        self._missing = set(hold)

    async def on_message(self, message: DeliveredMessage) -> None:
        sent = self._known(message)
        if sent is None:
            return
        if sent.letter.mark in self._hold:
            self._missing.discard(sent.letter.mark)
            if not self._missing:
                self.holds_all.set()
        else:
            self.taken.append(sent)
            await message.channel.basic_ack(message.delivery_tag or 0)

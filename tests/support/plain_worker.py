"""A worker that knows docs/wire.md and nothing of busgate, and can be told to do one thing wrong."""

import asyncio
import json
import re
import time
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

REPLY_QUEUE = re.compile(r"busgate\.reply\.[A-Za-z0-9._-]{1,180}")
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TAKES = 0.01
"""Seconds that a call runs."""
KNOWN_HEADERS = {"wire", "call", "deadline", "traceparent", "hops", "caller"}

Answer = tuple[str, bytes, int, int]


class PlainWorker:
    """Serves one topic. `faults` are words that are looked for below, each where it makes a difference.

    The topology must be there. `reruns`: redelivered calls are run.
    """

    def __init__(self, url: str, topic: str, *faults: str, reruns: bool = True) -> None:
        self.faults = set(faults)
        self._url = url
        self._topic = topic
        self._reruns = reruns
        self._answered: dict[str, Answer] = {}
        self._running: dict[str, list[AbstractIncomingMessage]] = {}
        self._late: list[AbstractIncomingMessage] = []
        self._served = self._busy = 0
        self._tag = ""

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url)
        dies = "dies of a return" in self.faults
        self._channel = await self._connection.channel(publisher_confirms=dies, on_return_raises=dies)
        if "no prefetch" not in self.faults:
            await self._channel.set_qos(prefetch_count=32)
        self._replies = await self._channel.get_exchange("busgate.replies")
        self._queue = await self._channel.get_queue(self._topic)
        self._tag = await self._queue.consume(self._on_message)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def stop(self) -> None:
        """Drain, well or badly, in the middle of calls."""
        while not self._running:
            await asyncio.sleep(0.001)
        if "hands back" in self.faults:
            await self._connection.close()
            return
        await self._queue.cancel(self._tag)
        if "loses what it took" in self.faults:
            self.faults.add("never replies")
        while self._busy:
            await asyncio.sleep(0.001)
        await self._connection.close()

    # -- a message

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self._busy += 1
        try:
            await self._take(message)
        finally:
            self._busy -= 1

    async def _take(self, message: AbstractIncomingMessage) -> None:
        if "silent" in self.faults:
            await message.ack()
            return
        if not self._is_call(message):
            await self._drop(message)
            return
        self._served += 1
        if self._served % 3 == 0 and self._late:
            await self._reply(self._late.pop(), ("reply", b"{}", 1, 1))
        call = str(message.headers["call"])
        if call in self._running and "runs what runs" not in self.faults:
            self._running[call].append(message)
        elif call in self._answered and not self._forgets(message):
            await self._settle([message], self._answered[call])
        elif message.redelivered and not self._reruns:
            await self._settle([message], _problem("redelivered"))
        else:
            await self._start(call, message)

    def _forgets(self, message: AbstractIncomingMessage) -> bool:
        return "runs again" in self.faults or ("refuses known ones" in self.faults and bool(message.redelivered))

    async def _start(self, call: str, message: AbstractIncomingMessage) -> None:
        copies = self._running[call] = [message]
        answer = self._answered[call] = await self._answer(message)
        self._running.pop(call, None)  # from here on it is known, and no copy joins
        await self._settle(copies, answer)

    async def _settle(self, copies: list[AbstractIncomingMessage], answer: Answer) -> None:
        for message in {copy.correlation_id: copy for copy in copies}.values():
            if "never replies" in self.faults or ("loses some" in self.faults and self._served % 50 == 0):
                continue
            await self._reply(message, answer)
            if "answers twice" in self.faults:
                await self._reply(message, answer)
        if "never acks" not in self.faults:
            for copy in copies:
                await copy.ack()

    async def _drop(self, message: AbstractIncomingMessage) -> None:
        if "answers later" in self.faults and REPLY_QUEUE.fullmatch(message.reply_to or ""):
            self._late.append(message)
        if "requeues" in self.faults:
            await message.nack(requeue=True)
        elif "never acks what it drops" not in self.faults:
            await message.ack()

    def _is_call(self, message: AbstractIncomingMessage) -> bool:
        headers: dict[str, Any] = dict(message.headers)
        checks = {
            "version": headers.get("wire") == 1,
            "type": message.type == "call" and message.content_type == "application/json",
            "ids": _is_text(r"[0-9a-f]{32}", headers.get("call")) and 16 <= len((message.correlation_id or "").encode()) <= 64,
            "reply_to": bool(REPLY_QUEUE.fullmatch(message.reply_to or "")),
            "deadline": isinstance(headers.get("deadline"), int),
            "hops": headers.get("hops") in range(9),
            "trace": isinstance(headers.get("traceparent"), str) and bool(TRACEPARENT.fullmatch(headers["traceparent"])),
            "caller": isinstance(headers.get("caller", ""), str),
            "CC": "CC" not in headers and message.routing_key == self._topic,
        }  # fmt: skip
        picky = {
            "refuses new headers": headers.keys() <= KNOWN_HEADERS,
            "refuses new properties": message.message_id is None,
            "refuses large bodies": len(message.body) < 128 * 1024,
        }
        unchecked = {fault.removeprefix("takes any ") for fault in self.faults}
        well = all(good for name, good in checks.items() if name not in unchecked)
        return well and all(good for name, good in picky.items() if name in self.faults)

    # -- an answer

    async def _answer(self, message: AbstractIncomingMessage) -> Answer:
        received = int(time.time() * 1000)
        deadline: Any = message.headers.get("deadline")
        if isinstance(deadline, int) and received > deadline and "runs late ones" not in self.faults:
            lies = "calls all of them too late" in self.faults
            return _problem("redelivered" if message.redelivered and not lies else "too-late")
        await asyncio.sleep(TAKES)
        try:
            request = json.loads(message.body)
            known = {"sku": request["sku"]}
        except (ValueError, TypeError, KeyError):
            if "ignores what it cannot read" in self.faults:
                await asyncio.sleep(30)
            return _problem("unreadable-request")
        if "refuses new members" in self.faults and request != known:
            return _problem("unreadable-request")
        if "crashes" in self.faults:
            return _problem("handler-crashed")
        reply = known if "leaves something out" in self.faults else {**known, "available": 5}
        return "reply", json.dumps(reply).encode(), received, int(TAKES * 1000)

    async def _reply(self, message: AbstractIncomingMessage, answer: Answer) -> None:
        kind, body, received, ran = answer
        headers: dict[str, Any] = {"wire": 1, "service": "plain", "received": received, "ran": ran}
        wrong = {"wire": "1", "service": None, "received": received // 1000, "ran": 1.5}
        headers |= {name: value for name, value in wrong.items() if f"wrong {name}" in self.faults}
        correlation_id = message.correlation_id or ""
        reply = aio_pika.Message(
            body,
            content_type=None if "wrong content type" in self.faults else "application/json",
            type="answer" if "wrong type" in self.faults else kind,
            delivery_mode=2 if "wrong delivery mode" in self.faults else 1,
            correlation_id=correlation_id.lower() if "wrong correlation" in self.faults else correlation_id,
            headers=headers,
        )
        exchange = self._channel.default_exchange if "wrong exchange" in self.faults else self._replies
        try:
            await exchange.publish(reply, message.reply_to or "")
        except aio_pika.exceptions.PublishError:
            await self._connection.close()


def _problem(name: str) -> Answer:
    return "problem", json.dumps({"type": f"urn:busgate:{name}"}).encode(), int(time.time() * 1000), 0


def _is_text(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None

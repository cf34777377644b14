"""One AMQP connection as an asyncio.Protocol: handshake, framing, heartbeats, closing.

`data_received` parses every frame in the buffer in one loop: no awaits, no queue and no task for a frame.
Writes of one turn of the event loop leave together. The frames that every call needs are read by `frames`,
all others by pamqp. What the frames mean is for the subclass, the Lane.
"""

import asyncio
import os
import socket
from collections import deque
from typing import Any, cast

import pamqp.commands as amqp
import pamqp.frame
import structlog
from pamqp.base import Frame
from pamqp.header import ProtocolHeader

from .frames import (
    BASIC_ACK,
    BASIC_DELIVER,
    BASIC_NACK,
    BASIC_RETURN,
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    HEARTBEAT,
    FrameError,
    decode_content_header,
    decode_deliver,
    decode_return,
    decode_settlement,
    frame_head,
    method_id,
)
from .link import BusError
from .wire import MAX_MESSAGE, Message

log = structlog.stdlib.get_logger("busgate.bus")

FRAME_MAX = 131_072
CHANNEL_MAX = 16
SLICE = 84
"""Parts of frames, those of a dozen messages, after which they leave before the turn of the loop is over: the peer
works on them meanwhile. With one write for a turn both sides wait for each other (4 % of the rate at 64 calls)."""
WRITE_BUFFER = 4 * 1024 * 1024
"""Bytes that may wait for a slow broker before we refuse more."""

_PERMANENT = {403, 404, 406, 530}  # access refused, no such thing, declared otherwise, no such vhost
_CAPABILITIES: dict[str, Any] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Connection(asyncio.Protocol):
    """The protocol below a lane. A subclass takes messages, confirms and unsolicited methods."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._contents: dict[int, _Content] = {}
        self._out: list[bytes] = []
        self._flushing = False
        self._answers: dict[int, deque[asyncio.Future[Frame]]] = {}
        self._closing = False
        self._error: Exception | None = None
        self._lost = self._loop.create_future()
        self._beat_every = 0.0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._silent_beats = 0
        self._wrote = False
        self.frame_max = FRAME_MAX
        self.congested = False

    # -- for the subclass

    def message_arrived(self, channel: int, message: Message, *, returned: bool) -> None:
        raise NotImplementedError

    def confirm_arrived(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        raise NotImplementedError

    def method_arrived(self, channel: int, method: Frame) -> None:
        raise NotImplementedError

    def before_flush(self, out: list[bytes]) -> None:
        """Add what must leave behind all that was written in this turn."""

    def link_lost(self, error: Exception | None) -> None:
        raise NotImplementedError

    # -- opening

    async def handshake(self, *, user: str, password: str, vhost: str, heartbeat: int, name: str) -> None:
        """Say who we are and agree on limits. Raises BusError; the caller bounds the time."""
        self.write(ProtocolHeader(0, 9, 1).marshal())
        await self._answer(0)
        tune = await self.call(
            0,
            amqp.Connection.StartOk(
                client_properties={
                    "product": "busgate",
                    "connection_name": name,
                    "host": socket.gethostname(),  # both are for who looks for a process that hangs
                    "pid": os.getpid(),
                    "capabilities": dict(_CAPABILITIES),
                },
                mechanism="PLAIN",
                response=f"\0{user}\0{password}",
                locale="en_US",
            ),
        )
        if not isinstance(tune, amqp.Connection.Tune):
            raise BusError(f"the broker answered {tune.name} where Connection.Tune was due")
        self.frame_max = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
        self.send(
            0,
            amqp.Connection.TuneOk(min(tune.channel_max or CHANNEL_MAX, CHANNEL_MAX), self.frame_max, heartbeat),
        )
        await self.call(0, amqp.Connection.Open(virtual_host=vhost))
        self._beat_every = heartbeat / 2
        self._beat()

    async def call(self, channel: int, method: Frame) -> Frame:
        """Send a method that the broker answers, and wait for the answer. Raises BusError when the link falls."""
        self.send(channel, method)
        return await self._answer(channel)

    async def _answer(self, channel: int) -> Frame:
        if self._error is not None or self._lost.done():
            raise self._error or BusError("the connection is closed")
        answer: asyncio.Future[Frame] = self._loop.create_future()
        self._answers.setdefault(channel, deque()).append(answer)
        return await answer

    def send(self, channel: int, method: Frame) -> None:
        self.write(pamqp.frame.marshal(method, channel))

    # -- writing

    def write(self, *parts: bytes) -> None:
        self._out += parts
        if len(self._out) > SLICE:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Write now what would leave at the end of this turn: worth it where nothing else is on its way."""
        self.before_flush(self._out)
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
            self._wrote = True
        self._out.clear()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False

    # -- reading

    def data_received(self, data: bytes) -> None:
        self._silent_beats = 0
        if self._rest:
            data = self._rest + data
        try:
            used = self._parse(data)
        except FrameError as error:
            self._fail(BusError(f"protocol error: {error}"))
        except Exception as error:  # a bug of ours must end this generation, not the process
            log.exception("a frame could not be handled")
            self._fail(BusError(f"a frame could not be handled: {type(error).__name__}"))
        else:
            self._rest = data[used:] if used < len(data) else b""

    def _parse(self, data: bytes) -> int:
        at, end = 0, len(data)
        while end - at > 7:
            kind, channel, size = frame_head.unpack_from(data, at)
            start = at + 7
            stop = start + size
            if size > self.frame_max:
                self._refuse_bytes(data, at)
            if stop >= end:
                break
            if data[stop] != FRAME_END:
                self._refuse_bytes(data, at)
            if kind == FRAME_BODY:
                self._body(channel, data[start:stop])
            elif kind == FRAME_HEADER:
                self._header(channel, data, start, stop)
            elif kind == FRAME_METHOD:
                self._method(channel, data, at, stop)
                if self._error is not None:  # it was a close: what stands behind it is not believed
                    return end
            elif kind != FRAME_HEARTBEAT:
                self._refuse_bytes(data, at)
            at = stop + 1
        if at < end and data[at] not in _FRAME_KINDS:  # a TLS alert is shorter than any frame
            self._refuse_bytes(data, at)
        return at

    def _refuse_bytes(self, data: bytes, at: int) -> None:
        if data[at] in _FRAME_KINDS:
            raise FrameError("a frame without its end mark, or larger than was agreed")
        head = data[at : at + 8]
        if b"AMQP".startswith(head[:4]):
            if len(head) < 8:
                return  # more of it is to come
            offer = ".".join(str(number) for number in head[5:])
            raise FrameError(f"the broker does not go on with AMQP 0.9.1 and offers {offer}")
        raise FrameError("these bytes are not AMQP; is this the broker's AMQP port, and TLS on both sides or none?")

    def _method(self, channel: int, data: bytes, at: int, stop: int) -> None:
        start = at + 11
        number = method_id.unpack_from(data, at + 7)[0] if stop - at >= 11 else 0
        if number == BASIC_DELIVER:
            self._contents[channel] = _Content(decode_deliver(data, start, stop), returned=False)
        elif number in (BASIC_ACK, BASIC_NACK):
            tag, flags = decode_settlement(data, start, stop)
            self.confirm_arrived(tag, multiple=bool(flags & 1), accepted=number == BASIC_ACK)
        elif number == BASIC_RETURN:
            self._contents[channel] = _Content(decode_return(data, start, stop), returned=True)
        else:
            self._rare_method(channel, data[at : stop + 1])

    def _header(self, channel: int, data: bytes, start: int, stop: int) -> None:
        content = self._contents.get(channel)
        if content is None or content.missing >= 0:
            raise FrameError("a content header that nothing announced")
        content.missing = decode_content_header(content.message, data, start, stop)
        if content.missing > MAX_MESSAGE:  # to fall over it would only have it delivered again
            content.message.fault = "a body that is larger than the bus carries"
        if content.missing == 0:
            self._complete(channel, content)

    def _body(self, channel: int, chunk: bytes) -> None:
        content = self._contents.get(channel)
        if content is None or len(chunk) > content.missing:
            raise FrameError("a body that nothing announced")
        content.missing -= len(chunk)
        if content.message.fault is not None:
            chunk = b""
        if content.missing == 0:
            content.message.body = b"".join((*content.chunks, chunk)) if content.chunks else chunk
            self._complete(channel, content)
        elif chunk:
            content.chunks.append(chunk)

    def _complete(self, channel: int, content: "_Content") -> None:
        del self._contents[channel]
        self.message_arrived(channel, content.message, returned=content.returned)

    def _rare_method(self, channel: int, frame: bytes) -> None:
        try:
            method = pamqp.frame.unmarshal(frame)[2]
        except Exception as error:  # pamqp raises whatever its parser stumbled over
            raise FrameError("a method that cannot be read") from error
        if isinstance(method, amqp.Connection.Close):
            self.send(0, amqp.Connection.CloseOk())
            self.flush()
            self._fail(_closed("connection", method), polite=True)
        elif isinstance(method, amqp.Channel.Close):
            self._fail(_closed("channel", method))
        elif isinstance(method, _UNSOLICITED):
            self.method_arrived(channel, method)
        elif self._answers.get(channel):
            answer = self._answers[channel].popleft()
            if not answer.done():
                answer.set_result(method)  # type: ignore[arg-type]
        else:
            raise FrameError(f"an answer to nothing: {method.name}")

    # -- living and dying

    def _beat(self) -> None:
        if self._silent_beats >= 4:
            self._fail(BusError("the broker is silent: no heartbeat"))
            return
        self._silent_beats += 1
        if not self._wrote:
            self.write(HEARTBEAT)
        self._wrote = False
        self._beat_timer = self._loop.call_later(self._beat_every, self._beat)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its shape
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)

    def connection_lost(self, exc: Exception | None) -> None:
        error = BusError(f"the connection fell: {exc}" if exc else "the broker closed the connection")
        error.__cause__ = exc
        self._fail(error)

    def _fail(self, error: Exception, *, polite: bool = False) -> None:
        if self._lost.done():
            return
        self._error = error
        self._lost.set_result(None)
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        if self._transport is not None:
            if polite:  # what was written still goes out; TCP_USER_TIMEOUT bounds it
                self._transport.close()
            else:
                self._transport.abort()
            self._transport = None
        self._out.clear()
        for answers in self._answers.values():
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # whoever waits sees it; nobody has to
        self._answers.clear()
        if not self._closing:
            self.link_lost(error)

    def forsake(self) -> None:
        """Drop a connection that nobody holds yet: link_lost is not called."""
        self._closing = True
        self.abort()

    def abort(self, why: str = "dropped by this process") -> None:
        """Drop the connection at once."""
        self._fail(BusError(why))

    async def close(self) -> None:
        """Say goodbye, wait at most two seconds for the answer, and hang up."""
        if self._lost.done():
            return
        self._closing = True
        try:
            async with asyncio.timeout(2):
                await self.call(0, amqp.Connection.Close(reply_code=200, reply_text="goodbye", class_id=0, method_id=0))
        except (TimeoutError, BusError):
            log.debug("the broker did not answer our goodbye")
        finally:
            self._fail(BusError("closed"))


class _Content:
    """A message whose frames are still arriving; `missing` is -1 until its header came."""

    __slots__ = ("chunks", "message", "missing", "returned")

    def __init__(self, message: Message, *, returned: bool) -> None:
        self.message = message
        self.returned = returned
        self.missing = -1
        self.chunks: list[bytes] = []


_FRAME_KINDS = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT)
_UNSOLICITED: tuple[type[Any], ...] = (
    amqp.Connection.Blocked,
    amqp.Connection.Unblocked,
    amqp.Basic.Cancel,
    amqp.Channel.Flow,
)


def _closed(what: str, method: Any) -> BusError:
    return BusError(
        f"the broker closed the {what}: {method.reply_code} {method.reply_text}",
        permanent=method.reply_code in _PERMANENT,
    )

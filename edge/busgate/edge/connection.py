"""One client connection: parse, hand each request to the handler in turn, answer, and keep time.

It stands on three pieces of aiohttp (the C parser, its StreamReader, its BaseProtocol with flow control) and
not on RequestHandler, which has no timers, answers parser errors as text and costs twice as much.

A task runs for each request. It is cancelled when the client goes away, so that what it holds is free at
once. No timer runs for a request: `deadline` is a number that the server looks at every so often.
"""

import asyncio
import logging
import math
import traceback
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.tcp_helpers import tcp_keepalive

from busgate.contracts import CallFailed, Problem

from .front_door import head_size
from .parsing import MAX_PIPELINED, new_parser, refusal_of
from .refusal import BAD_REQUEST, HEADERS_TOO_LARGE, INTERNAL, REQUEST_TIMEOUT, Refusal
from .request import Request
from .response import Response, problem_response
from .tls.peer import PeerCertificate

if TYPE_CHECKING:
    from .server import GateServer

_LOG = logging.getLogger(__name__)
_SMALL_BODY = 64 * 1024
"""A body up to this length that nobody read is read and dropped, to keep the connection."""


class Connection(BaseProtocol):
    """The protocol of one accepted connection. Made by the server.

    In order of judgement it is closing (`_closing`: nothing is read or answered any more), serving (`_task`),
    within a request head (`_head_bytes`), or idle.
    """

    __slots__ = (
        "_answered",
        "_began",
        "_born",
        "_closing",
        "_content",
        "_deaf",
        "_dismissed",
        "_head_bytes",
        "_last",
        "_queue",
        "_server",
        "_spoke",
        "_task",
        "certificate",
        "deadline",
        "peer",
    )

    def __init__(self, server: "GateServer") -> None:
        super().__init__(server.loop)
        self._parser = new_parser(self, server.loop)
        self._server = server
        self._queue: deque[tuple[RawRequestMessage | Refusal, StreamReader]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._content: StreamReader = EMPTY_PAYLOAD  # of the request that is served
        self._last: StreamReader = EMPTY_PAYLOAD  # of the request that was parsed last
        self._began = 0.0  # when the request that is served was taken up
        self._head_bytes = 0  # of a head that is not complete
        self._spoke = False
        self._answered = False  # the request that is served, while its body is still to be dropped
        self._deaf = False  # what comes in is dropped
        self._closing = False
        self._dismissed = False  # it ends after the request that is served
        self._born = 0.0
        self.deadline = math.inf
        self.peer = ""
        self.certificate: PeerCertificate | None = None

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[0]
            tcp_keepalive(self.transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (certificate := tls.getpeercert(binary_form=True)):
            self.certificate = PeerCertificate(certificate)
        # From the first byte that a client does not take: so `_paused` says that it is slow.
        self.transport.set_write_buffer_limits(high=1, low=0)
        self.deadline = self._server.now + self._server.limits.first_byte
        self._server.admit(self)
        self._born = self._server.now

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.forget(self)
        super().connection_lost(exc)
        self._deaf = self._closing = True
        self._queue.clear()
        self._parser = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        assert self._parser is not None
        within_body = not self._last.is_eof()
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._hear_nonsense(error)
            return
        if messages:
            self._take(messages, data)
        elif data and not within_body:
            self._count_head(data)
        if upgraded and not self._deaf:
            # Upgrades are ignored (RFC 9110, 7.8): what follows is HTTP/1.1 again.
            self._parser.set_upgraded(False)
            if tail:
                self.data_received(tail)

    def pause_writing(self) -> None:
        super().pause_writing()
        assert self.transport is not None
        limits = self._server.limits
        owed = self.transport.get_write_buffer_size()
        self.deadline = self._server.now + min(limits.write, limits.grace + owed / max(1, limits.min_rate))

    def resume_writing(self) -> None:
        super().resume_writing()
        limits = self._server.limits
        if self._task is not None:
            self.deadline = self._server.now  # judged anew at the next sweep
        elif self._closing:
            self.deadline = self._server.now + limits.linger
        else:
            self._go_on()

    # -- what comes in

    def _take(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]], data: bytes) -> None:
        limit = self._server.limits.head_bytes
        arrived = self._head_bytes + len(data)
        self._head_bytes = 0
        self._spoke = True
        for message, content in messages:
            self._last = content
            if arrived > limit and head_size(message) > limit:
                self._queue_refusal(Refusal(HEADERS_TOO_LARGE, close=True))
                break
            self._queue.append((message, content))
            if message.upgrade and data.find(b"\r\n\r\n") != len(data) - 4:
                # llhttp stops behind a request that asks for an upgrade, and aiohttp drops what came behind
                # it in the same read. A connection that may have lost bytes must not go on.
                self._deaf = True
                break
        if self._task is None:
            self._next()
        if len(self._queue) >= MAX_PIPELINED - 1 and not self._closing:
            self._pause_reading_for_buffer()

    def _count_head(self, data: bytes) -> None:
        if not self._head_bytes:
            if not data.strip(b"\r\n"):
                return  # empty lines between requests (RFC 9112, 2.2)
            if self._task is None:
                self.deadline = self._server.now + self._server.limits.head
        self._spoke = True
        self._head_bytes += len(data)
        if self._head_bytes > self._server.limits.head_bytes:
            self._queue_refusal(Refusal(HEADERS_TOO_LARGE, close=True))
            if self._task is None:
                self._next()

    def _hear_nonsense(self, error: HttpProcessingError) -> None:
        if not self._last.is_eof():
            self._deaf = True
            self._last.set_exception(Refusal(BAD_REQUEST, "the body is not well-formed", close=True))
            return
        self._queue_refusal(refusal_of(error))
        if self._task is None:
            self._next()

    def _queue_refusal(self, refusal: Refusal) -> None:
        """Answer this after what came before it, and end the connection."""
        self._deaf = True
        self._queue.append((refusal, EMPTY_PAYLOAD))

    # -- serving

    def _next(self) -> None:
        if self._paused:
            return  # the client has yet to take an answer; goes on in `resume_writing`
        message, content = self._queue.popleft()
        if isinstance(message, Refusal):
            self.refuse(message)
            return
        self._content = content
        self._answered = False
        self._began = self._server.now
        self.deadline = math.inf if content.is_eof() else self._began + self._server.limits.grace
        self._task = self._loop.create_task(self._serve(message, content))

    async def _serve(self, message: RawRequestMessage, content: StreamReader) -> None:
        request = Request(self._server.ids.take(32), message, content, self)
        response = await self._respond(request)
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        close = (
            response.close
            or message.should_close
            or (message.upgrade and content is not EMPTY_PAYLOAD)
            or self._server.draining
            or self._dismissed
            or self._server.now - self._born > self._server.limits.age
            or (self._deaf and not self._queue)
            or not (content.is_eof() or self._is_worth_reading(message))
        )
        date = self._server.date.now()
        with_body = message.method != "HEAD"
        standard = self._server.standard
        transport.write(response.encode(request.id, date, close=close, with_body=with_body, standard=standard))
        self._answered = True
        if self._paused:
            await self._drain_helper()
        if not close and not content.is_eof():
            close = not await _drop(content)
        self._done(close)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._server.handle(request)
        except (Refusal, CallFailed, Problem) as failure:
            return problem_response(failure, request.id)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the client went away
            _LOG.error("a request was cancelled from within", extra={"request": request.id.decode()})
        except Exception as error:  # noqa: BLE001 - whatever it is, its client gets an answer
            # The text of an exception may hold what a client sent; its type and place do not.
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("a handler failed: %s\n%s", type(error).__qualname__, where)
        return problem_response(Refusal(INTERNAL), request.id)

    def _is_worth_reading(self, message: RawRequestMessage) -> bool:
        if self._deaf or "Expect" in message.headers:
            return False
        length = message.headers.get("Content-Length")
        return length is not None and int(length) <= _SMALL_BODY

    def _done(self, close: bool) -> None:
        self._task = None
        if self.transport is None:
            return
        if close or self._server.draining or self._dismissed:
            self._finish(gently=not self._content.is_eof())
            return
        self._resume_parsing()
        self._go_on()

    def _go_on(self) -> None:
        if self._task is not None or self._closing:
            return
        limits = self._server.limits
        if self._queue:
            self._next()
        else:
            self.deadline = self._server.now + (limits.head if self._head_bytes else limits.keep_alive)

    def _resume_parsing(self) -> None:
        assert self._parser is not None
        self._parser.message_consumed()
        if self._buffer_paused and len(self._queue) <= MAX_PIPELINED // 2:
            self.data_received(b"")  # what waits within the parser comes before what waits in the socket
            if len(self._queue) < MAX_PIPELINED - 1:
                self._resume_reading_for_buffer()

    def send_continue(self) -> None:
        """Ask for a body."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- the end of it

    def refuse(self, refusal: Refusal) -> None:
        """Answer something that is not a request, and end the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        self._server.refused[refusal.kind.name] += 1
        request_id = self._server.ids.take(32)
        response = problem_response(refusal, request_id)
        date, standard = self._server.date.now(), self._server.standard
        self.transport.write(response.encode(request_id, date, close=True, standard=standard))
        self._finish(gently=True)

    def _finish(self, *, gently: bool = False) -> None:
        """Close; gently where a client may still be sending, whose answer a plain close would destroy."""
        self._closing = self._deaf = True
        self._queue.clear()
        self.deadline = self._server.now + self._server.limits.linger
        if self.transport is None or self.transport.is_closing():
            return
        if not gently:
            self.transport.close()
            return
        self._resume_transport_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def abort(self) -> None:
        """Cut the connection, whatever it is doing."""
        self._closing = self._deaf = True
        self.deadline = math.inf
        if self.transport is not None:
            self.transport.abort()

    def retire(self) -> None:
        """End the connection as soon as nothing is in flight on it; at once when it is idle."""
        if self._task is not None or self._queue or self._closing or self._head_bytes:
            return
        if self._spoke:
            self._finish()
        else:  # accepted a moment ago: its request is likely on its way
            self.deadline = min(self.deadline, self._server.now + self._server.limits.linger)

    def dismiss(self) -> None:
        """End the connection after the request that is served; at once where none is."""
        self._dismissed = True
        if self._task is None and not self._closing:
            self._finish()

    def overdue(self, now: float) -> None:
        """`deadline` is over: of what, the state says."""
        if self._paused or self._closing or self._answered_late():
            self.abort()
        elif self._task is not None:
            self._check_body(now)
        elif self._head_bytes:
            self.refuse(Refusal(REQUEST_TIMEOUT, "the headers did not come in time", close=True))
        else:
            self._finish()

    def _answered_late(self) -> bool:
        return self._task is not None and self._answered and not self._content.is_eof()

    def _check_body(self, now: float) -> None:
        content, limits = self._content, self._server.limits
        if content.is_eof():
            self.deadline = math.inf
            return
        elapsed = now - self._began
        slow = content.total_bytes < (elapsed - limits.grace) * limits.min_rate
        if (slow or elapsed > limits.body) and not self._reading_paused:
            self._deaf = True
            self.deadline = math.inf
            content.set_exception(Refusal(REQUEST_TIMEOUT, "the body did not come in time", close=True))
        else:
            self.deadline = now + limits.sweep


async def _drop(content: StreamReader) -> bool:
    """Read a body to its end and forget it; False when it does not end well."""
    try:
        while not content.is_eof():
            await content.readany()
    except Refusal:
        return False
    return True

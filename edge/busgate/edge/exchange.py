"""One request on its way through the edge, and what a step of its path is."""

from collections.abc import Awaitable, Callable

from busgate.bus import Reply

from .client_address import DIRECT, ClientAddresses
from .front_door import Head
from .looks import Look
from .metering.allowance import Allowance
from .refusal import Refusal
from .request import Request
from .response import Response
from .signatures.content import SignedContent
from .trace import Trace
from .verified import VerifiedCaller


class Exchange:
    """One request on its way. Each step reads what earlier ones left here."""

    __slots__ = (
        "_address",
        "_addresses",
        "allowance",
        "body",
        "caller",
        "finish",
        "head",
        "held",
        "looks",
        "message",
        "reply",
        "request",
        "response",
        "rule",
        "signed",
        "started",
        "topic",
        "trace",
        "traceparent",
        "variables",
    )

    head: Head
    variables: tuple[str, ...]
    body: bytes
    message: bytes
    """The canonical JSON of the request, which is what travels."""
    response: Response
    rule: str
    """The name of the access rule that let it in, or empty; only where there are rules."""
    trace: Trace
    """Only where tracing is on."""

    def __init__(
        self,
        request: Request,
        started: float,
        *,
        finish: "Finish | None" = None,
        addresses: ClientAddresses = DIRECT,
    ) -> None:
        self.request = request
        self._addresses = addresses
        self._address: str | None = None
        self.started = started
        self.finish = finish
        """What is done to the answer before it is sent; each route has its own."""
        self.topic = ""
        self.caller: VerifiedCaller | None = None
        self.reply: Reply | None = None
        self.allowance: Allowance | None = None
        """Where it stands with its limits, as far as they were asked; None where it has none."""
        self.held: list[Callable[[], None]] | None = None
        """What gives back the places that it holds, when it ends."""
        self.looks: list[Look] | None = None
        """What it needs a distant store to say, and has not asked yet; None where each step asks on its own."""
        self.traceparent = b""
        """Of the call, once it was sent; empty before."""
        self.signed: SignedContent | None = None

    @property
    def address(self) -> str:
        """Where the client is: who connected, or whom a trusted proxy names. Empty where it came over a Unix socket.

        It is found when it is first asked for.

        Raises:
            Refusal: a trusted proxy says it in a form that cannot be read.
        """
        if self._address is None:
            self._address = self._addresses.of(self.request.peer, self.head.headers)
        return self._address

    @property
    def noted_address(self) -> str:
        """The same for what is only told, of any request: who connected, where nothing better can be read."""
        try:
            return self.address if hasattr(self, "head") else self.request.peer
        except Refusal:
            return self.request.peer


Step = Callable[[Exchange], Awaitable[None] | None]
"""Takes the exchange and changes it, or raises what ends it. What it returns is waited for."""

Finish = Callable[[Exchange, Response], None]
"""What is done to an answer before it is sent."""

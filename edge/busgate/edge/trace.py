"""Where one request stands in a trace."""


class Trace:
    """The place of one request in a trace. Traceparents, each of one span; empty where there is none."""

    __slots__ = ("call", "link", "own", "parent", "sent")

    def __init__(self, own: bytes, *, parent: bytes = b"", link: bytes = b"") -> None:
        self.own = own
        self.parent = parent
        """The client's, where it is trusted."""
        self.link = link
        """The client's, where it is not."""
        self.call = b""
        self.sent = 0
        """Epoch nanoseconds of the call."""

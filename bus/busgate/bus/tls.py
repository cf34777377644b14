"""TLS to the broker, from files that are read anew for each connection: a renewed certificate needs no restart."""

import ssl
from collections.abc import Callable
from typing import Any, Self

import structlog

log = structlog.stdlib.get_logger("busgate.bus")


class FreshContext(ssl.SSLContext):
    """Stands for a context that is made anew for each connection; where that cannot be done, for the last one.

    Args:
        make: makes it; raises OSError (ssl.SSLError is one) when a file does not hold what it should.

    Raises:
        OSError: the first cannot be made.
    """

    def __new__(cls, _: Callable[[], ssl.SSLContext]) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._last = make()
        self.check_hostname = self._last.check_hostname
        self.verify_mode = self._last.verify_mode

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """What asyncio asks for at each connection."""
        try:
            self._last = self._make()
        except OSError as error:
            log.warning("the files of bus.tls cannot be used; those of before are", fault=error.strerror or str(error))
        return self._last.wrap_bio(*arguments, **named)


_REFUSED = {
    "CERTIFICATE_REQUIRED": "it wants a certificate of ours: set bus.tls.cert and bus.tls.key",
    "HANDSHAKE_FAILURE": "it may want a certificate of ours (bus.tls.cert), or speak no TLS that is still safe",
    "UNKNOWN_CA": "it does not know who vouches for bus.tls.cert",
    "BAD_CERTIFICATE": "it does not take bus.tls.cert",
    "CERTIFICATE_EXPIRED": "bus.tls.cert has ended, by its clock",
    "CERTIFICATE_REVOKED": "bus.tls.cert was revoked",
    "WRONG_VERSION_NUMBER": "it speaks none at this port",
    "RECORD_LAYER_FAILURE": "it speaks none at this port",
}


def trouble(error: BaseException | None) -> str | None:
    """What went wrong in a handshake with the broker, and the cure; None: something else did."""
    while error is not None:
        match error:
            case ssl.SSLCertVerificationError():
                why = error.verify_message.rstrip(".")
                return f"its certificate does not hold: {why}; see bus.tls.cafile, and the host in bus.url"
            case ssl.SSLError(reason=str(reason)):
                cure = next((text for word, text in _REFUSED.items() if reason.endswith(word)), None)
                words = reason.lower().replace("_", " ")
                return f"no TLS with it: {words}" if cure is None else f"no TLS with it: {cure} ({words})"
            case ConnectionResetError():
                return "it hung up: it may want a certificate of ours (bus.tls.cert), or not take the one it got"
        error = error.__cause__
    return None

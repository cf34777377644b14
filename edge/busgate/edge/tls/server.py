"""TLS of one edge process: what its listener serves now, and what takes its place when files change."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import structlog

from .authorities import Authorities
from .certificate import Certificate
from .pem import CertificateFault, when
from .serving import serving
from .settings import EdgeTlsSettings
from .watched import Watched

log = structlog.stdlib.get_logger("busgate.edge")


class _Dated(Protocol):
    """What is good for some time only."""

    def trouble(self, now: float) -> str | None: ...


FilesT = TypeVar("FilesT", bound=_Dated)


class ServerTls:
    """The certificates of an edge, and those that its clients may have.

    Old connections keep what they were opened with; new ones get what is newest and good. A change takes effect
    within two looks. When authorities of clients or what they took back change, nobody is known any more by a
    certificate of before.

    Args:
        settings: the table [edge.tls].
        dismiss: ends the connections of clients with certificates.
        clock: epoch seconds.

    Attributes:
        context: for the listener; what it serves may change.
        failed: handshakes that failed, by OpenSSL's word for why.

    Raises:
        CertificateFault: a file holds nothing good.
    """

    def __init__(
        self,
        settings: EdgeTlsSettings,
        *,
        dismiss: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.failed: Counter[str] = Counter()
        self._dismiss = dismiss
        self._clock = clock
        self.certificates: list[Watched[Certificate]] = [
            Watched([each.cert, each.key], _Reader(each.load, clock)) for each in settings.certificates
        ]
        self.authorities: Watched[Authorities] | None = None
        if settings.client_ca is not None:
            files = [settings.client_ca, settings.client_crl]
            self.authorities = Watched(files, _Reader(settings.load_authorities, clock))
        self._told: dict[str, str] = {}
        self.context = _Newest(ssl.PROTOCOL_TLS_SERVER)
        self._era = _Era()
        self._task: asyncio.Task[None] | None = None
        self._serve({})

    async def start(self) -> None:
        """Look at the files from now on."""
        for each in self.watched:
            if (trouble := each.value.trouble(self._clock())) is not None:
                log.error("certificates are not good now, and nothing better is there", trouble=trouble)
        self._task = asyncio.create_task(self._watch(), name="certificates")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def watched(self) -> list[Watched[Any]]:
        """All files, each with what is in use of it."""
        return [*self.certificates, *([self.authorities] if self.authorities is not None else [])]

    @property
    def ends(self) -> dict[str, float]:
        """By file of certificates: epoch seconds, when what is in use of it ends."""
        return {str(each.value.file): each.value.ends for each in self.watched}

    @property
    def lists_end(self) -> dict[str, float]:
        """When revocation lists end, which are made anew far more often."""
        end = None if self.authorities is None else self.authorities.value.lists_end
        return {} if end is None else {str(self.settings.client_crl): end}

    async def look(self) -> None:
        """Look at all files once, and serve what is new and good."""
        looks = [(each, await asyncio.to_thread(each.look)) for each in self.watched]
        found = {each: value for each, value in looks if value is not None}
        if found:
            try:
                self._serve(found)
            except (CertificateFault, OSError) as error:  # the next look finds them again
                for each in found:
                    each.fault = f"cannot be served now: {error}"
        for each in self.watched:
            self._tell(each, changed=each in found)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.look)
            try:
                await self.look()
            except Exception:  # a bug must cost this look, not all later ones
                log.exception("certificates could not be looked at")

    def _serve(self, found: Mapping[Watched[Any], Any]) -> None:
        """Serve what was found in place of what is in use, all of it or nothing."""
        clients = None if self.authorities is None else found.get(self.authorities, self.authorities.value)
        context = serving([found.get(each, each.value) for each in self.certificates], clients)
        era = _Era() if self.authorities in found else self._era
        context.sslobject_class = _handshake(self.failed, era)
        self.context.newest = context
        for each, value in found.items():
            each.take(value)
        if era is not self._era:
            self._era.over = True
            self._era = era
            self._dismiss()

    def _tell(self, watched: Watched[Any], *, changed: bool) -> None:
        """A line for each change, and one for each fault."""
        name, value = str(watched.files[0]), watched.value
        if watched.fault is not None:
            if self._told.get(name) != watched.fault:
                log.error("new certificates cannot be used; the old ones stay", file=name, fault=watched.fault)
            self._told[name] = watched.fault
            return
        if changed:
            log.info("new certificates are served", file=name, names=list(value.names), ends=when(value.ends))
        elif name in self._told:
            log.info("certificates are good again", file=name)
        self._told.pop(name, None)


class _Reader(Generic[FilesT]):
    """Reads files: at first whatever their dates are, later only what is good now."""

    def __init__(self, load: Callable[[], FilesT], clock: Callable[[], float]) -> None:
        self._load = load
        self._clock = clock
        self._first = True

    def __call__(self) -> FilesT:
        found = self._load()
        if not self._first and (trouble := found.trouble(self._clock())) is not None:
            raise CertificateFault(trouble)
        self._first = False
        return found


class _Newest(ssl.SSLContext):
    """Stands for the newest context: each connection is opened with that.

    A listener keeps the context that it was given, and a context cannot change its mind: a pair that does not match
    breaks it, authorities cannot be taken away, and sessions of before would be resumed.
    """

    newest: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*arguments, **named)


class _Era:
    """While the same authorities vouch for clients."""

    over = False


def _handshake(failed: Counter[str], era: _Era) -> type[ssl.SSLObject]:
    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                failed[(error.reason or "other").lower()] += 1
                raise
            if era.over and self.getpeercert(binary_form=True):
                failed["authorities_changed"] += 1
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the authorities of clients changed during the handshake")

    return Handshake

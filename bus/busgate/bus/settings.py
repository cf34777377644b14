"""The table [bus]: which broker, how to log in, and what is refused because it is not safe."""

import re
import ssl
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from .address import Address
from .tables import PrivateFile, PublicFile, Secret, Table, is_loopback, split_web_url
from .tls import FreshContext

_PORTS = {"amqp": 5672, "amqps": 5671}
_MEMORY = "memory://"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _urls(value: object) -> object:
    return (value,) if isinstance(value, str | dict | SecretStr) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def _management(text: str) -> str:
    try:
        url = split_web_url(text)
        bare = url.path in ("", "/") and not url.query
    except ValueError:
        bare = False
    if not bare:
        raise ValueError("must be like http://host:15672, no user or path in it; the user of --bus (bus.url) is taken")
    return text


class TlsSettings(Table):
    """The table [bus.tls]: how to speak TLS to the broker. All of it is for amqps addresses.

    Files are read anew for each connection.

    Args:
        cafile: PEM of the authorities that may vouch for the broker; without it, those of the system.
        cert: PEM of our own certificate, where the broker asks for one.
        key: PEM of its private key.
        verify: check the broker's certificate and name. Off is for experiments only.
    """

    cafile: PublicFile | None = None
    cert: PublicFile | None = None
    key: PrivateFile | None = None
    verify: bool = True

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        return self

    def context(self) -> ssl.SSLContext:
        """Of a connection. Raises OSError (ssl.SSLError is one) when a file does not hold what it should."""
        return FreshContext(self._make)

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.cafile)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


class BusSettings(Table):
    """The table [bus]: which broker, and how to log in.

    Args:
        url: `amqp://user:password@host:port/vhost`, `amqps://...`, or a list of them, the nodes of one
            cluster; `memory://` is the embedded bus, for one process.
        password: of the user in `url`, so that it need not stand there.
        name: of this process, in the broker's lists and in logs; without it, the host's name. Six digits are added,
            because each process needs a name of its own.
        heartbeat: seconds; a silent broker is given up after two of them.
        connect_wait: seconds to wait for the broker at start.
        exchange_kind: of the exchange that calls go through; `topic` where permissions are per topic.
            It cannot be changed later.
        max_waiting: calls of this process that may wait for a reply.
        allow_plaintext: speak amqp without TLS beyond this machine.
        tls: for amqps addresses.
        management: URL of RabbitMQ's management API, for `busgate queues` and `ps`; without it, port 15672 of a broker
            on this machine.
    """

    url: Annotated[tuple[Secret, ...], BeforeValidator(_urls)] = (SecretStr("amqp://localhost"),)
    password: Secret | None = None
    name: Annotated[str, AfterValidator(_name)] | None = None
    heartbeat: int = Field(5, ge=1, le=60)
    connect_wait: float = Field(3.0, ge=0, le=300)
    exchange_kind: Literal["direct", "topic"] = "direct"
    max_waiting: int = Field(10_000, ge=1, le=1_000_000)
    allow_plaintext: bool = False
    tls: TlsSettings = TlsSettings()
    management: Annotated[str, AfterValidator(_management)] | None = None

    @property
    def embedded(self) -> bool:
        """Whether the bus lives in this process and there is no broker."""
        return self.url[0].get_secret_value() == _MEMORY

    def addresses(self) -> list[Address]:
        """Where the broker is; none for the embedded bus.

        Raises:
            OSError: a TLS file does not hold what it should.
        """
        if self.embedded:
            return []
        urls = [_split(url.get_secret_value()) for url in self.url]
        tls = self.tls.context() if any(url.scheme == "amqps" for url in urls) else None
        return [self._address(url, tls) for url in urls]

    def management_url(self) -> str | None:
        """Where the management API is; None where nobody said so: a password does not go to a guess over a network."""
        if self.management is not None:
            return self.management.rstrip("/")
        host = _split(self.url[0].get_secret_value()).hostname or ""
        return f"http://{f'[{host}]' if ':' in host else host}:15672" if is_loopback(host) else None

    def _address(self, url: SplitResult, tls: ssl.SSLContext | None) -> Address:
        written = unquote(url.password or "guest")
        return Address(
            host=url.hostname or "",
            port=url.port or _PORTS[url.scheme],
            vhost=_vhost(url),
            user=_user(url),
            password=self.password.get_secret_value() if self.password else written,
            tls=tls if url.scheme == "amqps" else None,
        )

    @model_validator(mode="after")
    def _safe(self) -> Self:
        texts = [url.get_secret_value() for url in self.url]
        _must(bool(texts), "url is missing")
        if _MEMORY in texts:
            _must(len(texts) == 1, "memory:// stands alone: it is a bus in this process")
            return self
        urls = [_split(text) for text in texts]
        for url in urls:
            self._check(url)
        if self.management is not None:
            plain = urlsplit(self.management)
            _must(
                plain.scheme == "https" or is_loopback(plain.hostname or "") or self.allow_plaintext,
                f"management at {plain.hostname} over http shows the password to all: use https://, "
                "or set allow_plaintext = true",
            )
        _must(len({_vhost(url) for url in urls}) == 1, "all urls must name one vhost: one vhost is one busgate")
        return self

    def _check(self, url: SplitResult) -> None:
        host = url.hostname or ""
        _must(
            url.password is None or self.password is None,
            "the password stands both in url and in password; take it out of url",
        )
        if not is_loopback(host):
            _must(
                url.scheme == "amqps" or self.allow_plaintext,
                f"amqp to {host} shows the password to all: use amqps://, or set allow_plaintext = true",
            )
            _must(
                _user(url) != "guest",
                f"the user guest is refused beyond this machine: name a user for {host} in url",
            )


def _no_password() -> str:
    """Asked for where a key is encrypted. Without an answer OpenSSL would ask the terminal, and wait."""
    raise OSError("key is encrypted: keep it unencrypted, readable by busgate alone")


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _split(text: str) -> SplitResult:
    """Split an address. Its errors quote nothing of it: a password may stand anywhere in a wrong one."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("a url has a host or port that cannot be read") from None
    _must(url.scheme in _PORTS, "a url must start with amqp://, amqps:// or be memory://")
    _must(bool(url.hostname), "a url must name a host")
    _must(port != 0, "a url must have a port of 1 to 65535")
    _must(not url.query and not url.fragment, "a url must end with the vhost; options are keys of [bus]")
    _must("/" not in url.path[1:] or url.path == "//", "a / inside the vhost of a url is written %2F")
    return url


def _vhost(url: SplitResult) -> str:
    return unquote(url.path[1:]) or "/"


def _user(url: SplitResult) -> str:
    return unquote(url.username or "guest")

"""The table [edge.store]: where the processes of an edge remember together."""

import ssl
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from busgate.bus.tables import PublicFile, Secret, Table, is_loopback

from .distant import DistantStore
from .memory import MemoryStore
from .redis_url import PREFIX, RedisUrl

MEMORY = "memory://"
_FORMS = "must be memory://, sqlite:///folder/file or redis://user:password@host:6379/0 (rediss:// for TLS)"


def _url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    scheme = text.partition(":")[0]
    if text == MEMORY:
        return url
    if scheme == "sqlite":
        _file(text)
    elif scheme in ("redis", "rediss"):
        RedisUrl.parse(text)
    else:
        raise ValueError(_FORMS)
    return url


def _file(text: str) -> Path:
    """The file of a URL like sqlite:///folder/file; a fourth slash, as others want it, changes nothing."""
    url = urlsplit(text)
    path = Path("/" + url.path.lstrip("/"))
    if not text.startswith("sqlite:///") or url.query or url.fragment or not url.path.isprintable() or "%" in url.path:
        raise ValueError("must be like sqlite:///var/lib/busgate/store.db")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file")
    if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ValueError(f"{path} can be read by everyone; chmod o-rw it")
    return path


class StoreSettings(Table):
    """The table [edge.store]: where limits, nonces and answers that are good for a while are kept.

    Args:
        url: `memory://`, for one process, which knows nothing after a restart; `sqlite:///folder/file` for the
            processes of one machine; `redis://user:password@host:6379/0`, or `rediss://` for TLS, for several machines
            (Redis or Valkey; `pip install busgate[redis]`).
        password: of the user in `url`, so that it need not stand there.
        cafile: PEM of the authorities that may vouch for a `rediss` server; without it, those of the system.
        allow_plaintext: speak redis without TLS beyond this machine.
        prefix: of all keys in Redis; edges with one prefix hold one limit.
        when_unavailable: what becomes of requests with limits while the store cannot be asked: `refuse` them with 503,
            or `allow` them. Nonces are refused in any case.
    """

    url: Annotated[Secret, AfterValidator(_url)] = SecretStr(MEMORY)
    password: Secret | None = None
    cafile: PublicFile | None = None
    allow_plaintext: bool = False
    prefix: str = Field(PREFIX, max_length=64, pattern=r"^[!-~]*$")
    when_unavailable: Literal["refuse", "allow"] = "refuse"

    @property
    def in_memory(self) -> bool:
        """Whether each process remembers on its own."""
        return self.url.get_secret_value() == MEMORY

    @property
    def over_network(self) -> bool:
        return self.url.get_secret_value().startswith(("redis:", "rediss:"))

    def redis(self) -> RedisUrl:
        """Where the Redis is. Raises ValueError, but not once this table was validated."""
        return RedisUrl.parse(
            self.url.get_secret_value(), password=self.password, cafile=self.cafile, prefix=self.prefix
        )

    def open(self) -> MemoryStore | DistantStore:
        """A store, not started."""
        if self.in_memory:
            return MemoryStore()
        if not self.over_network:
            from .sqlite import SqliteStore  # noqa: PLC0415 - some builds of Python have none

            return SqliteStore(_file(self.url.get_secret_value()))
        from .redis import RedisStore  # noqa: PLC0415 - the package is in an extra

        return RedisStore(self.redis())

    def faults(self) -> list[str]:
        """What is missing on this machine."""
        if self.over_network and find_spec("redis") is None:
            return ["edge.store.url: redis is not installed; the store needs it: pip install 'busgate[redis]'"]
        return []

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not self.over_network:
            if self.password is not None or self.cafile is not None:
                raise ValueError("password and cafile go with redis:// and rediss://")
            return self
        url = self.redis()
        if not url.tls and not is_loopback(url.host) and not self.allow_plaintext:
            raise ValueError(
                "a redis beyond this machine is spoken to by rediss://; or say allow_plaintext = true, "
                "and everyone on the way can read and change what it keeps"
            )
        if self.cafile is not None:
            if not url.tls:
                raise ValueError("cafile goes with rediss://")
            try:
                ssl.create_default_context(cafile=self.cafile)
            except OSError:  # ssl.SSLError is one
                raise ValueError("cafile does not hold certificates in PEM") from None
        return self

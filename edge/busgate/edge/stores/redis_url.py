"""Where a Redis or Valkey is, and how to log in."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

PREFIX = "busgate:"
_FORM = "must be like redis://user:password@host:6379/0, or rediss:// for TLS"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Its text is fit for a log: it has no password.

    Args:
        password: of the user, or of the server where there is no user.
        cafile: PEM of the authorities that may vouch for the server; None: those of the system.
        prefix: of all keys.
    """

    host: str
    port: int
    database: int = 0
    user: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    cafile: Path | None = None
    prefix: str = PREFIX

    @classmethod
    def parse(
        cls, text: str, *, password: SecretStr | None = None, cafile: Path | None = None, prefix: str = PREFIX
    ) -> "RedisUrl":
        """Read a URL.

        Raises:
            ValueError: it is none of Redis. Quotes nothing: it may hold a password.
        """
        url, port = _split(text)
        database = url.path.removeprefix("/") or "0"
        if url.query or url.fragment or not (database.isascii() and database.isdigit() and len(database) < 6):
            raise ValueError(_FORM)
        written = SecretStr(unquote(url.password)) if url.password else None
        if written is not None and password is not None:
            raise ValueError("the password stands in url and in password; leave one out")
        return cls(
            host=url.hostname or "",
            port=port,
            database=int(database),
            user=unquote(url.username) if url.username else None,
            password=written or password,
            tls=url.scheme == "rediss",
            cafile=cafile,
            prefix=prefix,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"


def _split(text: str) -> tuple[SplitResult, int]:
    try:
        url = urlsplit(text)
        port = 6379 if url.port is None else url.port
        readable = port != 0 and bool(url.hostname) and text.isascii() and text.isprintable() and " " not in text
    except ValueError:
        readable = False
    if not readable or url.scheme not in ("redis", "rediss"):
        raise ValueError(_FORM)
    return url, port

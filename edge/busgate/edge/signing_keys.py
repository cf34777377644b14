"""The keys that an edge signs callers with: looked at again and again, and changed without a stop.

All keys of the folder are published (`/jwks`); one of them signs. That is the last by name which was published for long
enough that services know it. A key whose file is gone signs on until another may, and is published until its last
signature has ended. So to change keys is to put a new file there and take the old one away, in any order.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog
from pydantic import Field, model_validator

from busgate.bus.file_rights import too_open
from busgate.bus.signed import SigningKey, UnfitKeyError, jwk_set
from busgate.bus.tables import Folder, Secret, Table

log = structlog.stdlib.get_logger("busgate.edge")

LOOK_EVERY = 5.0
"""Seconds between two looks at the folder."""
MOST_KEYS = 16


class SigningSettings(Table):
    """The table [edge.signing]: sign callers, for services that verify them. Off without `folder` or `key`.

    Args:
        folder: holds Ed25519 private keys, `*.pem`, which not everyone may read. Looked at every five seconds. The last
            by name signs; all are published at `/jwks` of the admin listener.
        publish_first: seconds for which a new key in `folder` is only published, so that services know it when it
            signs; at least twice what they take to look again.
        publish_after: seconds for which a key that has signed is published after its last signature, though its file
            is gone. A signature is good for a minute, and another edge may change keys a little later.
        key: one such key, as its PEM. It cannot be changed without a stop.
    """

    folder: Folder | None = None
    publish_first: float = Field(120.0, ge=0, le=24 * 3600)
    publish_after: float = Field(120.0, ge=0, le=24 * 3600)
    key: Secret | None = None

    def read(self) -> dict[str, SigningKey]:
        """The keys by the names of their files, in their order. Raises UnfitKeyError."""
        if self.key is not None:
            return {"key": SigningKey(self.key.get_secret_value().encode())}
        assert self.folder is not None
        return read_folder(self.folder)

    @property
    def enabled(self) -> bool:
        """Whether callers are signed."""
        return self.folder is not None or self.key is not None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.folder is not None and self.key is not None:
            raise ValueError("folder and key exclude each other")
        if self.enabled:
            self.read()
        return self


class SigningKeys:
    """The keys of one edge process, as they are now.

    Args:
        settings: where they are.
        changed: told which key signs, where that changes.

    `failures` counts looks that found the folder unfit; then all stays as it was.
    """

    def __init__(self, settings: SigningSettings, changed: Callable[[SigningKey], None] = lambda _: None) -> None:
        self.failures = 0
        self._settings = settings
        self._changed = changed
        self._keys = settings.read()
        self._since = {key.kid: _put_there(settings.folder, name) for name, key in self._keys.items()}
        self._signed: dict[str, tuple[SigningKey, float]] = {}
        """Keys that have signed here and do no more, each with when it stopped, in epoch seconds."""
        self._told = ""
        self._looking: asyncio.Task[None] | None = None
        self.current = self._chosen(time.time()) or next(iter(self._keys.values()))

    @property
    def published(self) -> list[SigningKey]:
        """All that services should know: those of the folder, and those whose signatures may still be about."""
        keys = [*self._keys.values(), self.current, *(key for key, _ in self._signed.values())]
        return [*{key.kid: key for key in keys}.values()]

    @property
    def jwks(self) -> bytes:
        """What is published: the public halves."""
        return jwk_set(self.published)

    def __len__(self) -> int:
        return len(self.published)

    def start(self) -> None:
        """Look at the folder from now on."""
        if self._settings.folder is not None:
            self._looking = asyncio.create_task(self._look_on(), name="signing keys")

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def look(self, now: float) -> None:
        """Take the keys as they are in the folder now, if all of them are fit."""
        try:
            keys = self._settings.read()
        except UnfitKeyError as error:
            self._failed(str(error))
            return
        self._told = ""
        self._keys = keys
        self._since = {key.kid: self._since.get(key.kid, now) for key in keys.values()}
        kept = now - self._settings.publish_after
        self._signed = {kid: signed for kid, signed in self._signed.items() if signed[1] > kept}
        chosen = self._chosen(now)
        if chosen is not None and chosen.kid != self.current.kid:
            self._signed[self.current.kid] = self.current, now
            self._signed.pop(chosen.kid, None)
            self.current = chosen
            log.info("another key signs callers", kid=chosen.kid, published=len(self))
            self._changed(chosen)

    def _failed(self, why: str) -> None:
        self.failures += 1
        if why != self._told:  # once: it is looked at every few seconds
            self._told = why
            log.error("the signing keys are unfit; those from before stay", error=why)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                self.look(time.time())
            except Exception:  # a bug must cost this look, not all later ones
                log.exception("the signing keys could not be looked at")

    def _chosen(self, now: float) -> SigningKey | None:
        """The key of the folder that should sign; None where services know none of them yet."""
        known = [key for key in self._keys.values() if self._since[key.kid] + self._settings.publish_first <= now]
        return known[-1] if known else None


def read_folder(folder: Path) -> dict[str, SigningKey]:
    """The private keys of a folder by the names of their files, in their order.

    Raises:
        UnfitKeyError: there is none, there are too many, or one is not what it should be; names the file.
    """
    keys = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            if (fault := too_open(path.stat().st_mode, private=True)) is not None:
                raise UnfitKeyError(fault)
            keys[path.name] = SigningKey(path.read_bytes())
        except OSError as error:
            raise UnfitKeyError(f"{path}: {error.strerror}") from None
        except UnfitKeyError as error:
            raise UnfitKeyError(f"{path}: {error}") from error
    if not keys:
        raise UnfitKeyError(f"{folder} holds no key; make one: openssl genpkey -algorithm ed25519 -out {folder}/1.pem")
    if len(keys) > MOST_KEYS or len({key.kid for key in keys.values()}) != len(keys):
        raise UnfitKeyError(f"{folder} holds one key twice, or more than {MOST_KEYS} keys")
    return keys


def _put_there(folder: Path | None, name: str) -> float:
    """Epoch seconds since when a file is in its folder, as far as it tells: a copy keeps its other times."""
    return 0.0 if folder is None else (folder / name).stat().st_ctime

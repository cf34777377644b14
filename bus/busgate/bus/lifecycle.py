"""What is started and closed, as a context manager."""

from abc import ABC, abstractmethod
from typing import Self


class Lifecycle(ABC):
    """Use it as a context manager, or call `start` and `close`."""

    @abstractmethod
    async def start(self) -> None:
        """Begin; raises what keeps it from that."""

    @abstractmethod
    async def close(self) -> None:
        """End, in bounded time."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

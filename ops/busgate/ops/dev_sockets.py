"""The listening sockets of `busgate dev`: opened once, and kept while the configuration asks for the same."""

import socket
from collections.abc import Iterator

from busgate.edge.settings import AdminSettings, EdgeSettings

from .listeners import bind, bind_free

PORTS, ADMIN_PORTS = range(8080, 8180), range(8081, 8180)
_PUBLIC, _ADMIN = "edge.port", "edge.admin.port"

_Wish = tuple[str, int | None]


class Sockets:
    """One to serve on, and one for the operator if that is wanted. Iterate for them, in this order."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[_Wish, socket.socket]] = {}

    def __iter__(self) -> Iterator[socket.socket]:
        return (self._open[name][1] for name in (_PUBLIC, _ADMIN) if name in self._open)

    def open(self, settings: EdgeSettings) -> None:
        """Open what is not open yet, close what is not wanted any more.

        A port that nobody asked for is the usual one, or the next that is free.

        Raises:
            CommandError: an address cannot be had.
        """
        self._keep(_PUBLIC, settings, PORTS)
        if settings.admin.enabled:
            self._keep(_ADMIN, settings.admin, ADMIN_PORTS)
        else:
            self._drop(_ADMIN)

    def close(self) -> None:
        for name in tuple(self._open):
            self._drop(name)

    def _keep(self, name: str, settings: EdgeSettings | AdminSettings, usual: range) -> None:
        port = settings.port if "port" in settings.model_fields_set else None
        wish = settings.host, port
        if name in self._open and self._open[name][0] == wish:
            return
        self._drop(name)
        sock = bind_free(settings.host, usual, name=name) if port is None else bind(settings.host, port, name=name)[0]
        self._open[name] = wish, sock

    def _drop(self, name: str) -> None:
        if name in self._open:
            self._open.pop(name)[1].close()

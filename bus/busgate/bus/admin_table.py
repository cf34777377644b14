"""What [edge.admin] and [worker.admin] have in common: where the operator's listener of a process is."""

from pydantic import Field

from .tables import LAST_PORT, Authorities, Table


class AdminTable(Table):
    """Where the operator looks (health, metrics). Keep it from the world.

    Args:
        host: address to listen on.
        port: to listen on; None is not at all. Of several processes the first has this one, the second the next.
        hosts: names that requests may use for it in `Host`, beside addresses and localhost.
    """

    host: str = Field("127.0.0.1", min_length=1)
    port: int | None = Field(None, ge=0, le=LAST_PORT)
    hosts: Authorities = ()

    def port_of(self, process: int) -> int | None:
        """The port of one process, the first being 0."""
        return self.port and self.port + process

    def check(self, name: str, processes: int) -> range:
        """The ports of so many processes. Raises ValueError, with the name of the table, where they are not there."""
        if not self.port:
            return range(0)
        ports = range(self.port, self.port + processes)
        if ports[-1] > LAST_PORT:
            raise ValueError(f"{name} needs {len(ports)} ports from {ports[0]}; the last is {LAST_PORT}")
        return ports

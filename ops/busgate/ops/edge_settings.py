"""The configuration of processes with an edge in them."""

from busgate.edge.settings import EdgeSettings

from .settings import BusProcess, WorkerProcess


class EdgeProcess(BusProcess):
    """What an edge reads."""

    edge: EdgeSettings = EdgeSettings()


class Settings(EdgeProcess, WorkerProcess):
    """The whole file: for the demo, `dev` and `check`."""

"""HTTP in, HTTP out: the edge that serves contracts and sends calls over the bus."""

from .app import Edge
from .records import Recorder
from .settings import EdgeSettings

__all__ = ["Edge", "EdgeSettings", "Recorder"]

"""Test services without a broker, or on a RabbitMQ: `pytest --busgate-bus amqp://...`. See docs/testing.md."""

from .calling import Calling
from .harness import Harness
from .stand_in import SILENCE, Silence, StandIn

__all__ = ["SILENCE", "Calling", "Harness", "Silence", "StandIn"]
